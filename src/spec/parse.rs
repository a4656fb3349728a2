//! JSON to oci-spec's types.
//!
//! The types are stricter than the runtimes that engines were written against:
//! they refuse `null` for "absent", and a capability that they don't know. So a
//! text that fails is normalised, in exactly those two points, and tried once
//! more; what then fails is named by its JSON pointer. The common case is
//! parsed straight and pays nothing for this.

use crate::error::{Error, Result};
use oci_spec::runtime::{Capability, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A parsed text and the remarks on what had to be normalised.
pub type Parsed<T> = (T, Vec<String>);

/// Parses a `config.json`.
pub fn parse_spec(text: &[u8]) -> Result<Parsed<Spec>> {
    parse(text, "/process/capabilities")
}

/// Parses the file of `exec --process`.
pub fn parse_process(text: &[u8]) -> Result<Parsed<Process>> {
    parse(text, "/capabilities")
}

fn parse<T: DeserializeOwned>(text: &[u8], capabilities: &str) -> Result<Parsed<T>> {
    if let Ok(parsed) = serde_json::from_slice(text) {
        return Ok((parsed, Vec::new()));
    }
    let mut value: Value =
        serde_json::from_slice(text).map_err(|e| Error::msg(format!("not valid JSON: {e}")))?;
    let mut warnings = Vec::new();
    drop_nulls(&mut value);
    if let Some(sets) = value.pointer_mut(capabilities) {
        drop_unknown_capabilities(sets, capabilities, &mut warnings);
    }
    match serde_path_to_error::deserialize(value) {
        Ok(parsed) => Ok((parsed, warnings)),
        Err(e) => Err(Error::config(pointer(e.path()), e.inner().to_string())),
    }
}

/// Go's encoder writes `null` for a nil slice or pointer: the same as absent.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// config.md: an unknown capability is warned about, not an error.
fn drop_unknown_capabilities(sets: &mut Value, at: &str, warnings: &mut Vec<String>) {
    let Value::Object(sets) = sets else { return };
    for (set, names) in sets {
        let Value::Array(names) = names else { continue };
        names.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known && name.is_string() {
                warnings.push(format!("{at}/{set}: unknown capability {name} is ignored"));
            }
            known || !name.is_string()
        });
    }
}

/// `mounts[3].type` as `/mounts/3/type`.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(key),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => pointer.push('?'),
        }
    }
    if pointer.is_empty() { "/".into() } else { pointer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Error {
        parse_spec(text.as_bytes()).expect_err("must be refused")
    }

    #[test]
    fn names_the_place_of_a_wrong_type() {
        let text = r#"{"ociVersion":"1.0.2","process":{"user":{"uid":"x","gid":0},"cwd":"/","args":["a"]}}"#;
        assert_eq!(error(text).at, "/process/user/uid");
    }

    #[test]
    fn names_the_line_of_broken_json() {
        assert!(error("{\n\"ociVersion\": }").op.contains("line 2"));
    }

    #[test]
    fn takes_null_for_absent() {
        let text = r#"{"ociVersion":"1.0.2","root":{"path":"r","readonly":null},"mounts":null}"#;
        let (spec, warnings) = parse_spec(text.as_bytes()).expect("accepted");
        assert!(spec.mounts().is_none());
        assert!(warnings.is_empty());
    }

    #[test]
    fn warns_of_an_unknown_capability() {
        let text = r#"{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"cwd":"/",
            "capabilities":{"bounding":["CAP_KILL","CAP_TO_FLY"]}}}"#;
        let (spec, warnings) = parse_spec(text.as_bytes()).expect("accepted");
        let caps = spec.process().as_ref().and_then(|p| p.capabilities().clone()).expect("capabilities");
        assert_eq!(caps.bounding().as_ref().map(|set| set.len()), Some(1));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("/process/capabilities/bounding") && warnings[0].contains("CAP_TO_FLY"));
    }
}
