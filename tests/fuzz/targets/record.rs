//! A container's state.json, and the config.json that is kept beside it, after a NUL byte:
//! a whole record comes back as it was written, and of a damaged one `delete --force` keeps
//! what can be read.
#![no_main]

use corten::container::state::{PartialRecord, of_newer, parse};
use libfuzzer_sys::fuzz_target;
use oracle::{one_line, same};

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (text, config) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let partial = PartialRecord::read(text, config, "box");
    assert!(partial.unknown.iter().all(|line| !line.is_empty()));
    match parse(text, "box") {
        Ok(state) => {
            let written = serde_json::to_vec(&state).expect("a record is JSON");
            same("read, written, read", &parse(&written, "box"), &Ok(state.clone()));
            assert!(of_newer(text, "box").is_none(), "a record of this version is of a newer one, too");
            // What ends a container: delete --force must not know less of a whole record.
            same("init", &partial.state.init, &state.init);
            // U+FFFD stands for a damaged byte, so such a path counts as damaged.
            let is_damaged = serde_json::to_string(&state.cgroup).is_ok_and(|text| text.contains('\u{fffd}'));
            if !is_damaged {
                same("cgroup", &partial.state.cgroup, &state.cgroup);
            }
            if state.rdt.is_some() {
                same("RDT group", &partial.state.rdt, &state.rdt);
            }
            // Cut short anywhere, by a full disk or a crash, it is refused.
            let torn = written.len() * usize::from(text.len() as u8) / 256;
            assert!(parse(&written[..torn], "box").is_err(), "torn at {torn}");
            PartialRecord::read(&written[..torn], config, "box");
        }
        Err(error) => {
            one_line(&error);
            if let Some(state) = of_newer(text, "box") {
                assert!(error.op.contains("has version"), "{error}");
                same("init", &partial.state.init, &state.init);
                same("cgroup", &partial.state.cgroup, &state.cgroup);
            }
        }
    }
});
