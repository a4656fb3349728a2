//! The device controller of version 2: rules compiled to a BPF program.
//!
//! The kernel calls it with the kind of access, the kind of device, and its
//! numbers. The rules are tried from the last to the first, and the first that
//! speaks about the access decides: an allowing rule must cover all of it, a
//! denying one need only touch it. What no rule speaks about is denied.

use crate::spec::plan::{DeviceKind, DeviceRule};
use crate::sys::bpf::Insn;

const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

// Registers: what the context is loaded into.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

const LOAD_WORD: u8 = 0x61;
const MOV_IMM: u8 = 0xb4;
const MOV_REG: u8 = 0xbc;
const AND_IMM: u8 = 0x54;
const RSH_IMM: u8 = 0x74;
const JEQ_IMM: u8 = 0x16;
const JNE_IMM: u8 = 0x56;
const EXIT: u8 = 0x95;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, regs: dst | src << 4, off, imm }
}

/// The program for these rules.
pub fn compile(rules: &[DeviceRule]) -> Vec<Insn> {
    let mut program = vec![
        insn(LOAD_WORD, KIND, CONTEXT, 0, 0),
        insn(MOV_REG, ACCESS, KIND, 0, 0),
        insn(AND_IMM, KIND, 0, 0, 0xffff),
        insn(RSH_IMM, ACCESS, 0, 0, 16),
        insn(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        insn(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        program.extend(block(rule));
    }
    program.extend(verdict(false));
    program
}

fn verdict(allow: bool) -> [Insn; 2] {
    [insn(MOV_IMM, RESULT, 0, 0, allow.into()), insn(EXIT, 0, 0, 0, 0)]
}

/// Tests that jump behind the block, and the verdict.
fn block(rule: &DeviceRule) -> Vec<Insn> {
    let mut out = Vec::new();
    match rule.kind {
        None => {}
        Some(DeviceKind::Block) => out.push(insn(JNE_IMM, KIND, 0, 0, BLOCK)),
        Some(DeviceKind::Char | DeviceKind::Fifo) => out.push(insn(JNE_IMM, KIND, 0, 0, CHAR)),
    }
    let bits = [(rule.mknod, MKNOD), (rule.read, READ), (rule.write, WRITE)];
    let access = bits.iter().filter(|(on, _)| *on).fold(0, |mask, (_, bit)| mask | bit);
    if access != MKNOD | READ | WRITE {
        out.push(insn(MOV_REG, SCRATCH, ACCESS, 0, 0));
        if rule.allow {
            out.push(insn(AND_IMM, SCRATCH, 0, 0, !access));
            out.push(insn(JNE_IMM, SCRATCH, 0, 0, 0));
        } else {
            out.push(insn(AND_IMM, SCRATCH, 0, 0, access));
            out.push(insn(JEQ_IMM, SCRATCH, 0, 0, 0));
        }
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            out.push(insn(JNE_IMM, register, 0, 0, number.cast_signed()));
        }
    }
    let end = out.len() + 2;
    for (i, insn) in out.iter_mut().enumerate() {
        if matches!(insn.code, JNE_IMM | JEQ_IMM) {
            // Blocks are a handful of instructions long.
            insn.off = i16::try_from(end - i - 1).unwrap_or(i16::MAX);
        }
    }
    out.extend(verdict(rule.allow));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the few instructions that are used.
    fn run(program: &[Insn], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let mut regs = [0i32; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            let (dst, src) = (usize::from(i.regs & 15), usize::from(i.regs >> 4));
            at += 1;
            match i.code {
                LOAD_WORD => regs[dst] = [access << 16 | kind, major, minor][usize::try_from(i.off / 4).expect("off")],
                MOV_IMM => regs[dst] = i.imm,
                MOV_REG => regs[dst] = regs[src],
                AND_IMM => regs[dst] &= i.imm,
                RSH_IMM => regs[dst] >>= i.imm,
                JEQ_IMM | JNE_IMM => {
                    if (regs[dst] == i.imm) == (i.code == JEQ_IMM) {
                        at += usize::try_from(i.off).expect("forward");
                    }
                }
                EXIT => return regs[0] == 1,
                other => panic!("{other:#x}"),
            }
        }
    }

    fn rule(allow: bool, kind: Option<DeviceKind>, major: Option<u32>, access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind,
            major,
            minor: None,
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        }
    }

    #[test]
    fn the_last_rule_that_speaks_decides() {
        let program = compile(&[
            rule(false, None, None, "rwm"),
            rule(true, Some(DeviceKind::Char), Some(1), "rw"),
            rule(false, Some(DeviceKind::Char), Some(1), "w"),
        ]);
        assert!(run(&program, CHAR, READ, 1, 3));
        assert!(!run(&program, CHAR, WRITE, 1, 3));
        assert!(!run(&program, CHAR, READ | WRITE, 1, 3));
        assert!(!run(&program, CHAR, MKNOD, 1, 3));
        assert!(!run(&program, BLOCK, READ, 1, 3));
        assert!(!run(&program, CHAR, READ, 2, 3));
    }

    #[test]
    fn nothing_is_allowed_by_silence() {
        assert!(!run(&compile(&[]), CHAR, READ, 1, 3));
    }

    #[test]
    fn the_defaults_allow_making_any_node_and_using_few() {
        let program = compile(&crate::spec::default_rules());
        assert!(run(&program, BLOCK, MKNOD, 8, 0));
        assert!(!run(&program, BLOCK, READ, 8, 0));
        assert!(run(&program, CHAR, READ | WRITE, 1, 3));
        assert!(run(&program, CHAR, WRITE, 136, 40));
    }
}
