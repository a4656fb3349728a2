//! A seccomp profile: refused, or a program that the kernel's checker would take.
#![no_main]

use corten::sys::seccomp::Insn;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let config = [br#"{"linux":{"seccomp":"#, text, b"}}"].concat();
    let Ok(config) = corten::spec::parse_config(&config, &mut Vec::new()) else { return };
    let Ok(Some(profile)) = corten::spec::resolve_seccomp(&config) else { return };
    for big_endian in [false, true] {
        if let Ok(program) = corten::seccomp::compile(&profile, big_endian) {
            check(&program);
        }
    }
});

/// What seccomp_check_filter and bpf_check_classic ask for.
fn check(program: &[Insn]) {
    const CLASS: u16 = 0x07;
    const JUMP: u16 = 0x05;
    const JUMP_ALWAYS: u16 = 0x05;
    const RETURN: u16 = 0x06;
    assert!((1..=4096).contains(&program.len()));
    for (at, insn) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        let furthest = match insn.code {
            JUMP_ALWAYS => insn.k as usize + 1,
            code if code & CLASS == JUMP => usize::from(insn.jt.max(insn.jf)) + 1,
            code if code & CLASS == RETURN => continue,
            _ => 1,
        };
        assert!(furthest <= left, "instruction {at} leads out of the program");
    }
}
