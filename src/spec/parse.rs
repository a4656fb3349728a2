//! JSON to the types of [`super::config`].

use super::config::{Config, Mount, Process, Resources, Shape};
use super::unknown;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;

/// Parses a `config.json`. Keys that it may not have are ignored, with a
/// warning each (config.md "Extensibility").
pub fn parse_config(text: &[u8], warnings: &mut Vec<String>) -> Result<Config> {
    parse(text, warnings)
}

/// Parses the file of `exec --process`, likewise.
pub fn parse_process(text: &[u8], warnings: &mut Vec<String>) -> Result<Process> {
    parse(text, warnings)
}

/// Parses `linux.resources` by itself, likewise.
pub fn parse_resources(text: &[u8], warnings: &mut Vec<String>) -> Result<Resources> {
    parse(text, warnings)
}

/// Parses a list of mounts by itself, likewise.
pub fn parse_mounts(text: &[u8], warnings: &mut Vec<String>) -> Result<Vec<Mount>> {
    parse(text, warnings)
}

/// The common case is parsed straight. What fails is looked at again, by way
/// of a tree: unknown keys are taken out of it; a key that stands twice counts
/// with its last value, as in Go; and what is wrong all the same is named by
/// its JSON pointer.
///
/// The tree is read as text once more. serde would read it as it is, but the
/// parser of all these types for a second kind of input is a tenth of the whole
/// program.
fn parse<T: DeserializeOwned + Shape>(text: &[u8], warnings: &mut Vec<String>) -> Result<T> {
    if let Ok(parsed) = serde_json::from_slice(text) {
        return Ok(parsed);
    }
    let mut tree: serde_json::Value =
        serde_json::from_slice(text).map_err(|e| Error::msg(format!("not valid JSON: {e}")))?;
    warnings.extend(unknown::take_out::<T>(&mut tree));
    let text = format!("{tree:#}");
    serde_json::from_slice(text.as_bytes()).map_err(|e| {
        let what = e.to_string();
        let place = format!(" at line {} column {}", e.line(), e.column());
        Error::config(pointer(&text, e.line()), what.strip_suffix(&place).unwrap_or(&what))
    })
}

/// The JSON pointer of what stands in a line of `pretty`, which gives each value
/// a line of its own. The closing line of an object or a list stands for all of it.
fn pointer(pretty: &str, line: usize) -> String {
    // Of each object or list around the line: its pointer, and how many of its values are over.
    let mut around: Vec<(String, usize)> = Vec::new();
    for (number, text) in (1..).zip(pretty.lines().map(str::trim_start)) {
        let at = place(text, &mut around);
        if number == line {
            return if at.is_empty() { "/".into() } else { at };
        }
        if text.ends_with(['{', '[']) {
            around.push((at, 0));
        }
    }
    "/".into()
}

/// The pointer of one line's value.
fn place(text: &str, around: &mut Vec<(String, usize)>) -> String {
    if text.starts_with(['}', ']']) {
        return around.pop().map(|(at, _)| at).unwrap_or_default();
    }
    let Some((parent, over)) = around.last_mut() else { return String::new() };
    let segment = key(text).map_or_else(|| over.to_string(), |key| super::escape(&key));
    *over += 1;
    format!("{parent}/{segment}")
}

/// `"key": value` has a key, an element of a list has none.
fn key(text: &str) -> Option<String> {
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

    /// Taken without a warning.
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

    /// The same file, read by the types of another project.
    #[test]
    fn agrees_with_oci_spec() {
        let theirs = serde_json::to_string(&oci_spec::runtime::Spec::default()).expect("JSON");
        let ours = accepted(&theirs);
        let theirs: oci_spec::runtime::Spec = serde_json::from_str(&theirs).expect("accepted");
        let mounts = theirs.mounts().clone().unwrap_or_default();
        assert_eq!(ours.mounts.len(), mounts.len());
        for (a, b) in ours.mounts.iter().zip(&mounts) {
            assert_eq!(&a.destination, b.destination());
            assert_eq!(a.options, b.options().clone().unwrap_or_default());
        }
        let linux = ours.linux.expect("linux");
        let their_linux = theirs.linux().clone().expect("linux");
        assert_eq!(Some(linux.masked_paths), *their_linux.masked_paths());
        assert_eq!(linux.namespaces.len(), their_linux.namespaces().clone().unwrap_or_default().len());
        let caps = ours.process.and_then(|p| p.capabilities).expect("capabilities");
        assert_eq!(caps.bounding.len(), 3);
    }
}
