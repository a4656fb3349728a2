//! The file of `exec --process`: refused with a place, or the same process that a config.json
//! with this `process` has.
#![no_main]

use corten::spec::{self, exec_defaults};
use libfuzzer_sys::fuzz_target;
use oracle::{has_place, one_line, same};
use std::path::Path;

fuzz_target!(|text: &[u8]| {
    let mut warnings = Vec::new();
    let given = match spec::parse_process(text, &mut warnings) {
        Ok(given) => given,
        Err(error) => return one_line(&error),
    };
    let alone = spec::resolve_process(&given, "/process", &mut warnings);
    let alone = match alone {
        Ok(process) => process,
        Err(error) => {
            assert!(error.at.starts_with("/process"), "{error}");
            return has_place(&error);
        }
    };
    assert!(alone.cwd.to_bytes().starts_with(b"/"));
    assert!(!alone.args.is_empty());
    assert!(![alone.uid, alone.gid].contains(&u32::MAX) && !alone.additional_gids.contains(&u32::MAX));
    // A capability beyond the bounding set could not be had, and is not in a set by accident.
    let sets = &alone.capabilities;
    assert_eq!(sets.effective & !sets.permitted, 0, "effective, but not permitted");
    // The same text in a config.json is the same process.
    let head = br#"{"ociVersion":"1.3.0","root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"mount"}]},"process":"#;
    let config = [&head[..], text, b"}"].concat();
    let config = spec::parse_config(&config, &mut Vec::new()).expect("a process is a process");
    match spec::resolve(&config, Path::new("/bundle"), &mut Vec::new()) {
        Ok(plan) => same("alone and in a config.json", &alone, &plan.process),
        Err(error) => has_place(&error),
    }
    // A process that lacks nothing takes nothing over.
    let own = config.process.expect("given");
    let mut filled = given.clone();
    exec_defaults::fill_missing(&mut filled, &own);
    let filled = spec::resolve_process(&filled, "/process", &mut Vec::new());
    same("filled from itself", &filled, &Ok(alone));
    // One that lacks all has afterwards what the other has.
    let mut empty = spec::config::Process::default();
    exec_defaults::fill_missing(&mut empty, &own);
    same("given fields", &exec_defaults::given_fields(&empty), &exec_defaults::given_fields(&own));
});
