//! Rules of the device controller, six bytes each, and an access: the program for the kernel
//! gives the same verdict as the rules read one after the other, and the kernel's verifier
//! would find no jump out of it and no instruction that is never reached.
#![no_main]

use corten::cgroup::fuzz::compile_device_rules;
use corten::spec::plan::{DeviceKind, DeviceRule};
use corten::sys::bpf::Insn;
use libfuzzer_sys::fuzz_target;

const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

fuzz_target!(|input: &[u8]| {
    let rules: Vec<DeviceRule> = input.chunks_exact(6).map(rule).collect();
    let Ok(program) = compile_device_rules(&rules) else { return };
    all_is_reached(&program);
    // Numbers of the rules, and their neighbours.
    let majors = rules.iter().filter_map(|rule| rule.major).flat_map(|n| [n, n ^ 1]).chain([0, 7]);
    let minors: Vec<u32> =
        rules.iter().filter_map(|rule| rule.minor).flat_map(|n| [n, n ^ 1]).chain([0, 9]).collect();
    for (major, minor) in majors.flat_map(|major| minors.iter().map(move |minor| (major, *minor))).take(200) {
        // The kernel knows no larger numbers.
        let (major, minor) = (major & 0xfff, minor & 0xf_ffff);
        for kind in [1u32, 2] {
            for access in 1..8 {
                let wanted = verdict(&rules, kind, access, major, minor);
                let got = interpret(&program, kind, access, major, minor);
                assert_eq!(got, wanted, "{rules:?}: type {kind}, access {access}, {major}:{minor}");
            }
        }
    }
});

fn rule(bytes: &[u8]) -> DeviceRule {
    let bit = |n: u8| bytes[0] >> n & 1 == 1;
    let kind = match bytes[1] & 3 {
        0 => None,
        1 => Some(DeviceKind::Block),
        2 => Some(DeviceKind::Char),
        _ => Some(DeviceKind::Fifo),
    };
    // Few numbers, so that rules meet; and now and then one that is too large.
    let number = |high: u8, low: u8| u32::from(low) << (u32::from(high) & 31);
    DeviceRule {
        allow: bit(0),
        kind,
        major: bit(1).then(|| number(bytes[2], bytes[3])),
        minor: bit(2).then(|| number(bytes[4], bytes[5])),
        read: bit(3),
        write: bit(4),
        mknod: bit(5),
    }
}

/// The rules in the order of the configuration. The last one that says something about
/// the access decides; where all are silent, it is denied. A rule that allows has to cover
/// the whole access, a rule that denies any part of it.
fn verdict(rules: &[DeviceRule], kind: u32, access: u32, major: u32, minor: u32) -> bool {
    let mut allowed = false;
    for rule in rules {
        let is_kind = match rule.kind {
            None => true,
            Some(DeviceKind::Block) => kind == 1,
            Some(DeviceKind::Char | DeviceKind::Fifo) => kind == 2,
        };
        let is_device = rule.major.is_none_or(|n| n == major) && rule.minor.is_none_or(|n| n == minor);
        let covered = [(rule.mknod, MKNOD), (rule.read, READ), (rule.write, WRITE)];
        let covered = covered.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit);
        let covers = if rule.allow { access & !covered == 0 } else { access & covered != 0 };
        if is_kind && is_device && covers {
            allowed = rule.allow;
        }
    }
    allowed
}

/// linux/bpf_common.h and linux/bpf.h, as far as `compile` uses them.
fn interpret(program: &[Insn], kind: u32, access: u32, major: u32, minor: u32) -> bool {
    let mut regs = [0u32; 11];
    let mut at = 0usize;
    loop {
        let insn = program[at];
        let (to, from) = (usize::from(insn.regs & 15), usize::from(insn.regs >> 4));
        let imm = insn.imm.cast_unsigned();
        at += 1;
        let jump = usize::try_from(insn.off).unwrap_or(usize::MAX);
        match insn.code {
            0x61 => regs[to] = [access << 16 | kind, major, minor][jump / 4],
            0xb4 => regs[to] = imm,
            0xbc => regs[to] = regs[from],
            0x54 => regs[to] &= imm,
            0x4c => regs[to] |= regs[from],
            0x64 => regs[to] <<= imm,
            0x74 => regs[to] >>= imm,
            0x05 => at += jump,
            0x16 if regs[to] == imm => at += jump,
            0x56 if regs[to] != imm => at += jump,
            0x16 | 0x56 => {}
            0x95 => return regs[0] == 1,
            other => panic!("an instruction that is not expected: {other:#x}"),
        }
    }
}

fn all_is_reached(program: &[Insn]) {
    let mut reached = vec![false; program.len()];
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        let target = at + 1 + usize::try_from(program[at].off).expect("a jump goes forward");
        match program[at].code {
            0x95 => {}
            0x05 => open.push(target),
            0x16 | 0x56 => open.extend([at + 1, target]),
            _ => open.push(at + 1),
        }
    }
    assert!(reached.iter().all(|it| *it), "never reached: {program:?}");
}
