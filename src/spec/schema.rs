//! Tests that hold the types and the resolver against the JSON schema of the
//! specification and its examples.

use super::config::{Config, Shape};
use super::{Plan, parse_config, resolve};
use crate::error::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema")
}

fn read(path: &str) -> Value {
    let text = std::fs::read(data().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn planned(config: &Value, warnings: &mut Vec<String>) -> Result<Plan> {
    resolve(&parse_config(config.to_string().as_bytes(), warnings)?, Path::new("/bundle"), warnings)
}

/// Adds what the examples leave out and a container of corten needs: a process, and a
/// mount namespace. runc refuses a `create` without a process, too.
fn completed(mut config: Value) -> Value {
    if config["process"].is_null() {
        config["process"] = json!({ "args": ["sh"], "cwd": "/" });
    }
    if config["linux"]["namespaces"].is_null() {
        config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "network" }]);
    }
    config
}

#[test]
fn good_examples_are_accepted() {
    for name in ["minimal", "minimal-for-start", "linux-rdma", "linux-netdevice"] {
        let mut warnings = Vec::new();
        let config = completed(read(&format!("test/config/good/{name}.json")));
        planned(&config, &mut warnings).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(warnings, [""; 0], "{name}");
    }
}

#[test]
fn the_example_with_everything_is_accepted() {
    let mut config = read("test/config/good/spec-example.json");
    // The example has the version 0.5.0-dev, which is before all compatible versions.
    assert!(planned(&config, &mut Vec::new()).is_err_and(|e| e.at == "/ociVersion"));
    config["ociVersion"] = json!("1.3.0");
    let mut warnings = Vec::new();
    let plan = planned(&config, &mut warnings).unwrap_or_else(|error| panic!("{error}"));
    // The example still has this key from before version 1.0.
    let leftover = "/linux/resources/oomScoreAdj: unknown key is ignored; does it belong to /process?";
    assert_eq!(warnings, [leftover]);
    assert_eq!((plan.mounts.len(), plan.devices.len(), plan.device_rules.is_empty()), (7, 8, false));
}

#[test]
fn bad_examples_are_refused_with_their_place() {
    for (name, at) in [
        ("linux-hugepage", "/linux/resources/hugepageLimits/0/pageSize"),
        ("linux-netdevice", "/linux/netDevices/eth0/name"),
        ("linux-rdma", "/linux/resources/rdma/mlx5_1/hcaHandles"),
    ] {
        let config = completed(read(&format!("test/config/bad/{name}.json")));
        let error = planned(&config, &mut Vec::new()).expect_err(name);
        assert_eq!(error.at, at, "{name}: {error}");
    }
    let text = std::fs::read(data().join("test/config/bad/invalid-json.json")).expect("the example");
    assert!(parse_config(&text, &mut Vec::new()).is_err_and(|e| e.op.contains("not valid JSON")));
}

/// Collects the places of everything below `schema`, in the form of [`Shape::places`].
fn places(schema: &Value, file: &str, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let (other, pointer) = reference.split_once('#').expect("a reference");
        let other = if other.is_empty() { file } else { other };
        // `tests/data/schema` lacks the schemas of other platforms.
        if data().join(other).exists() {
            places(read(other).pointer(pointer).expect("its target"), other, at, found);
        }
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        found.push(format!("{at}/{key}"));
        places(value, file, &format!("{at}/{key}"), found);
    }
    for any in ["items", "additionalProperties"] {
        if schema[any].is_object() {
            places(&schema[any], file, &format!("{at}/*"), found);
        }
    }
    for all in ["allOf", "anyOf"] {
        schema[all].as_array().into_iter().flatten().for_each(|part| places(part, file, at, found));
    }
}

/// Fields of the schema that are not for Linux. For corten they are unknown keys.
const NOT_FOR_LINUX: [&str; 1] = ["/process/commandLine"];

#[test]
fn every_field_of_the_schema_is_known() {
    let mut known = Vec::new();
    Config::places("", &mut |place| known.push(place.to_owned()));
    let mut in_schema = Vec::new();
    places(&read("config-schema.json"), "config-schema.json", "", &mut in_schema);
    assert!(in_schema.len() > 200, "{} fields were found", in_schema.len());
    // corten has a map there, because it checks the keys together with the namespace.
    let places = in_schema.into_iter().map(|place| {
        place
            .replace("/timeOffsets/boottime", "/timeOffsets/*")
            .replace("/timeOffsets/monotonic", "/timeOffsets/*")
    });
    let missing = |place: &String| !known.contains(place) && !NOT_FOR_LINUX.contains(&place.as_str());
    assert_eq!(places.filter(missing).collect::<Vec<_>>(), [""; 0]);
}
