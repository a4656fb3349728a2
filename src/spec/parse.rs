//! Parses JSON into the types of [`super::config`].

use super::config::{Config, Mount, Process, Resources, Shape};
use super::unknown;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;

/// Parses a `config.json`. Ignores unknown keys, and adds a warning for each (config.md
/// "Extensibility").
pub fn parse_config(text: &[u8], warnings: &mut Vec<String>) -> Result<Config> {
    parse(text, warnings)
}

/// Parses the file of `exec --process`. Treats unknown keys as [`parse_config`] does.
pub fn parse_process(text: &[u8], warnings: &mut Vec<String>) -> Result<Process> {
    parse(text, warnings)
}

/// Parses `linux.resources` by itself. Treats unknown keys as [`parse_config`] does.
pub fn parse_resources(text: &[u8], warnings: &mut Vec<String>) -> Result<Resources> {
    parse(text, warnings)
}

/// Parses a list of mounts by itself. Treats unknown keys as [`parse_config`] does.
pub fn parse_mounts(text: &[u8], warnings: &mut Vec<String>) -> Result<Vec<Mount>> {
    parse(text, warnings)
}

/// Parses `text`. A text without errors takes one pass. For any other text, a second pass
/// uses a tree of JSON values:
///
/// - The pass removes unknown keys from the tree.
/// - If a key stands twice, the last value counts, as in Go.
/// - An error that is still there gets a JSON pointer.
///
/// The second pass writes the tree as text and parses the text. serde could read the tree
/// itself. But the parser of all these types for a second kind of input makes up a tenth
/// of the whole program.
fn parse<T: DeserializeOwned + Shape>(text: &[u8], warnings: &mut Vec<String>) -> Result<T> {
    if let Ok(parsed) = serde_json::from_slice(text) {
        return Ok(parsed);
    }
    let mut tree: serde_json::Value =
        serde_json::from_slice(text).map_err(|e| Error::msg(format!("not valid JSON: {e}")))?;
    warnings.extend(unknown::remove_keys::<T>(&mut tree));
    let text = format!("{tree:#}");
    serde_json::from_slice(text.as_bytes()).map_err(|e| {
        let what = e.to_string();
        let position = format!(" at line {} column {}", e.line(), e.column());
        Error::config(pointer_of_value(&text, e.line()), what.strip_suffix(&position).unwrap_or(&what))
    })
}

/// Returns the JSON pointer of the value in a line of `pretty`, which has a line for each
/// value. The closing line of an object or a list stands for the whole of it.
fn pointer_of_value(pretty: &str, line: usize) -> String {
    // For each object or list around the line: its pointer, and how many of its values
    // are above the line.
    let mut around: Vec<(String, usize)> = Vec::new();
    for (number, text) in (1..).zip(pretty.lines().map(str::trim_start)) {
        let at = pointer_of_line(text, &mut around);
        if number == line {
            return if at.is_empty() { "/".into() } else { at };
        }
        if text.ends_with(['{', '[']) {
            around.push((at, 0));
        }
    }
    "/".into()
}

/// Returns the JSON pointer of the value in the line `text`, and updates `around`.
fn pointer_of_line(text: &str, around: &mut Vec<(String, usize)>) -> String {
    if text.starts_with(['}', ']']) {
        return around.pop().map(|(at, _)| at).unwrap_or_default();
    }
    let Some((parent, above)) = around.last_mut() else { return String::new() };
    let segment = key_of_line(text).map_or_else(|| above.to_string(), |key| crate::error::escape(&key));
    *above += 1;
    format!("{parent}/{segment}")
}

/// Returns the key of a line `"key": value`. An element of a list has no key.
fn key_of_line(text: &str) -> Option<String> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let key = strings.next()?.ok()?;
    text[strings.byte_offset()..].starts_with(':').then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Error {
        parse_config(text.as_bytes(), &mut Vec::new()).expect_err("must be refused")
    }

    /// Parses a configuration, which must cause no warning.
    fn accepted(text: &str) -> Config {
        let mut warnings = Vec::new();
        let config = parse_config(text.as_bytes(), &mut warnings).expect("accepted");
        assert_eq!(warnings, [""; 0]);
        config
    }

    #[test]
    fn names_the_place_of_a_wrong_type() {
        let text = r#"{"ociVersion":"1.0.2","process":{"user":{"uid":"x","gid":0},"cwd":"/","args":["a"]}}"#;
        assert_eq!(error(text).at, "/process/user/uid");
        assert_eq!(error(r#"{"mounts":[{},{"options":["a",1]}]}"#).at, "/mounts/1/options/1");
        assert_eq!(error(r#"{"annotations":{"a/b":1}}"#).at, "/annotations/a~1b");
        assert_eq!(error(r#"{"mounts":[{"options":["{","[",{}]}]}"#).at, "/mounts/0/options/2");
        assert_eq!(error(r#"{"annotations":{"a":"b\n\"c\": [","é\"}":1}}"#).at, "/annotations/é\"}");
        assert_eq!(
            error(r#"{"linux":{"namespaces":[],"uidMappings":[{"size":1}]}}"#).at,
            "/linux/uidMappings/0"
        );
        assert_eq!(error(r#"{"hooks":{"prestart":[{}]},"root":7}"#).at, "/root");
        assert_eq!(error("7").at, "/");
    }

    #[test]
    fn a_list_is_no_object() {
        let lists = [
            ("[]", "/"),
            (r#"{"linux":[]}"#, "/linux"),
            (r#"{"process":[true]}"#, "/process"),
            (r#"{"hooks":[]}"#, "/hooks"),
            (r#"{"mounts":[{},[]]}"#, "/mounts/1"),
            (r#"{"linux":{"resources":[]}}"#, "/linux/resources"),
            (r#"{"linux":{"timeOffsets":{"boottime":[1,2]}}}"#, "/linux/timeOffsets/boottime"),
        ];
        for (text, at) in lists {
            let error = error(text);
            assert_eq!(error.at, at, "{text}");
            assert!(error.op.contains("sequence, expected an object"), "{error}");
        }
    }

    #[test]
    fn names_the_line_of_broken_json() {
        assert!(error("{\n\"ociVersion\": }").op.contains("line 2"));
    }

    #[test]
    fn takes_null_for_absent() {
        let text = r#"{"ociVersion":"1.0.2","root":{"path":"r","readonly":null},"mounts":null,"linux":null}"#;
        let config = accepted(text);
        assert!(config.mounts.is_empty() && config.linux.is_none());
    }

    #[test]
    fn takes_the_last_of_two() {
        let config = accepted(r#"{"hostname":"a","hostname":"b"}"#);
        assert_eq!(config.hostname, "b");
    }

    /// Compares with oci-spec's types, which read the same file.
    #[test]
    fn agrees_with_oci_spec() {
        let text = serde_json::to_string(&oci_spec::runtime::Spec::default()).expect("JSON");
        let config = accepted(&text);
        let spec: oci_spec::runtime::Spec = serde_json::from_str(&text).expect("accepted");
        let mounts = spec.mounts().clone().unwrap_or_default();
        assert_eq!(config.mounts.len(), mounts.len());
        for (a, b) in config.mounts.iter().zip(&mounts) {
            assert_eq!(&a.destination, b.destination());
            assert_eq!(a.options, b.options().clone().unwrap_or_default());
        }
        let linux = config.linux.expect("linux");
        let spec_linux = spec.linux().clone().expect("linux");
        assert_eq!(Some(linux.masked_paths), *spec_linux.masked_paths());
        assert_eq!(linux.namespaces.len(), spec_linux.namespaces().clone().unwrap_or_default().len());
        let caps = config.process.and_then(|p| p.capabilities).expect("capabilities");
        assert_eq!(caps.bounding.len(), 3);
    }
}
