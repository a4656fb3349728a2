//! An interpreter of classic BPF, for the instructions that seccomp filters use.

use corten::seccomp::arch::Arch;
use corten::sys::seccomp::Insn;

/// The words that a filter reads of a call (`struct seccomp_data`).
pub struct Data([u32; 16]);

impl Data {
    pub fn new(audit: u32, number: u32, args: [u64; 6], big_endian: bool) -> Data {
        let mut words = [0; 16];
        (words[0], words[1]) = (number, audit);
        for (at, arg) in args.iter().enumerate() {
            let (high, low) = ((arg >> 32) as u32, *arg as u32);
            let (first, second) = if big_endian { (high, low) } else { (low, high) };
            (words[4 + 2 * at], words[5 + 2 * at]) = (first, second);
        }
        Data(words)
    }
}

/// Returns the filter's verdict, and the number of instructions that ran. Panics if the
/// kernel would refuse the program.
pub fn run(program: &[Insn], data: &Data) -> (u32, usize) {
    let (mut a, mut at, mut steps) = (0u32, 0usize, 0);
    loop {
        let insn = program[at];
        at += 1;
        steps += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { insn.jt } else { insn.jf });
        match insn.code {
            0x20 => {
                assert!(insn.k.is_multiple_of(4) && insn.k < 64, "load of {}", insn.k);
                a = data.0[insn.k as usize / 4];
            }
            0x54 => a &= insn.k,
            0x05 => at += insn.k as usize,
            0x06 => return (insn.k, steps),
            0x15 => branch(a == insn.k),
            0x25 => branch(a > insn.k),
            0x35 => branch(a >= insn.k),
            0x45 => branch(a & insn.k != 0),
            code => panic!("instruction {code:#x}"),
        }
    }
}

/// Returns whether the kernel finds by itself that a call is always allowed
/// (`seccomp_is_const_allow`). The instructions before the verdict then load only the
/// number and the architecture.
pub fn is_constant(program: &[Insn], audit: u32, number: u32) -> bool {
    let (mut a, mut at) = (0u32, 0usize);
    loop {
        let insn = program[at];
        at += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { insn.jt } else { insn.jf });
        match insn.code {
            0x20 if insn.k == 0 => a = number,
            0x20 if insn.k == 4 => a = audit,
            0x20 => return false,
            0x54 => a &= insn.k,
            0x05 => at += insn.k as usize,
            0x06 => return insn.k == 0x7fff_0000,
            0x15 => branch(a == insn.k),
            0x25 => branch(a > insn.k),
            0x35 => branch(a >= insn.k),
            0x45 => branch(a & insn.k != 0),
            code => panic!("instruction {code:#x}"),
        }
    }
}

/// Returns whether the first byte of a number is its highest.
pub fn is_big_endian(arch: Arch) -> bool {
    arch.facts().audit & 0x4000_0000 == 0
}
