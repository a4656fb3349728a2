//! A `config.json` of any bytes: refused with a place, or a plan.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &[u8]| {
    let mut warnings = Vec::new();
    let Ok(config) = corten::spec::parse_config(text, &mut warnings) else { return };
    if let Ok(plan) = corten::spec::resolve(&config, Path::new("/bundle"), &mut Vec::new()) {
        assert!(plan.rootfs.is_absolute());
        assert!(plan.masked.iter().chain(&plan.readonly).all(|path| path.is_absolute()));
        assert!(plan.mounts.iter().all(|mount| mount.target.is_absolute()));
        // The record of a container keeps its resources in the form of the configuration.
        let kept = corten::spec::encode_resources(&plan.resources).expect("JSON").to_string();
        let read = corten::spec::parse_resources(kept.as_bytes(), &mut warnings).expect("resources");
        assert_eq!(corten::spec::convert_resources(&read, "").expect("accepted"), plan.resources);
    }
    let _ = corten::spec::parse_process(text, &mut warnings);
});
