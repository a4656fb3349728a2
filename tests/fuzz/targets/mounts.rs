//! Options of a mount: a line each, after one for its type and one for its destination.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::path::Path;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let (kind, destination) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let options: Vec<&str> = lines.collect();
    let config = json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["sh"] },
        "mounts": [{ "destination": destination, "type": kind, "source": "/source", "options": options }],
        "linux": { "namespaces": [{ "type": "mount" }] },
    });
    let config = config.to_string();
    let parsed = corten::spec::parse_config(config.as_bytes(), &mut Vec::new());
    let parsed = parsed.unwrap_or_else(|e| panic!("strings are strings: {e}"));
    match corten::spec::resolve(&parsed, Path::new("/bundle"), &mut Vec::new()) {
        Ok(plan) => assert!(plan.mounts[0].target.is_absolute()),
        Err(error) => assert!(error.at.starts_with("/mounts/0"), "{error}"),
    }
});
