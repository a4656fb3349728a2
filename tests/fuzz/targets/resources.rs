//! The file of `update --resources`, and after a NUL byte a second update: what is accepted
//! is merged, kept in the record and read again as it was, and each limit becomes one write
//! to one file of a cgroup.
#![no_main]

use corten::cgroup::fuzz::{Otherwise, Setting, v1_settings, v2_settings};
use corten::spec::plan::Resources;
use corten::spec::{self, check_resources, convert_resources, encode_resources, merge_resources};
use libfuzzer_sys::fuzz_target;
use oracle::{placed, same};

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (one, two) = (&input[..end], input.get(end + 1..).unwrap_or(b"{}"));
    let Some(one) = resolve(one) else { return };
    tables(&one);
    let Some(two) = resolve(two) else { return };
    let mut merged = one.clone();
    merge_resources(&mut merged, &two);
    if placed(check_resources(&merged, "/linux/resources")).is_none() {
        return;
    }
    // The next update reads what this one keeps in the record.
    same("the record", &read_again(&merged), &Some(merged.clone()));
    tables(&merged);
    let once = merged.clone();
    merge_resources(&mut merged, &two);
    same("merged twice", &merged, &once);
    let mut from_nothing = Resources::default();
    merge_resources(&mut from_nothing, &once);
    same("merged into nothing", &from_nothing, &once);
});

fn resolve(text: &[u8]) -> Option<Resources> {
    let given = placed(spec::parse_resources(text, &mut Vec::new()))?;
    placed(convert_resources(&given, "/linux/resources"))
}

fn read_again(resources: &Resources) -> Option<Resources> {
    resolve(encode_resources(resources).expect("JSON").to_string().as_bytes())
}

fn tables(resources: &Resources) {
    let encoded = encode_resources(resources).expect("JSON");
    for settings in [v1_settings(resources), v2_settings(resources)] {
        for setting in placed(settings).unwrap_or_default() {
            check(&setting);
            // Else an update that sets only this field would write nothing.
            assert!(setting.is_asked(&encoded), "nobody asked for {setting:?}: {encoded}");
        }
    }
}

fn check(setting: &Setting) {
    assert!(!setting.value.is_empty() || setting.controller == "unified", "{setting:?}");
    assert!(!setting.files.is_empty(), "{setting:?}");
    for file in &setting.files {
        assert!(!file.is_empty() && !file.contains(['/', '\0']) && file != "..", "{setting:?}");
    }
    if let Otherwise::Try(other) = &setting.otherwise {
        check(other);
    }
}
