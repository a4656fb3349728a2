//! Assembles classic BPF, from the last instruction to the first.
//!
//! Jumps go forward only. So code that is written backwards knows the place of every
//! target. A conditional jump reaches 255 instructions. For a target that is further
//! away, the assembler inserts a stepping stone: another copy of the `return`, or an
//! unconditional jump.

use super::profile::Action;
use crate::sys::seccomp::Insn;

/// Codes of instructions (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// How a conditional jump compares the accumulator with its constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    /// Whether the two have a bit in common.
    AnyBit,
}

impl Test {
    fn code(self) -> u16 {
        match self {
            Test::Equal => 0x15,
            Test::Greater => 0x25,
            Test::GreaterOrEqual => 0x35,
            Test::AnyBit => 0x45,
        }
    }
}

/// The target of a jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Return(Action),
    /// An instruction, counted from the end of the program, from 0 on.
    At(usize),
}

/// How far a conditional jump reaches beyond its successor. This is two less than the
/// kernel allows: the assembler may insert a stepping stone for the other target.
const REACH: usize = 253;

/// A program that is being assembled.
#[derive(Default)]
pub struct Assembler {
    /// The instructions, the last one first.
    code: Vec<Insn>,
    /// The place of the latest `return` of each action.
    returns: Vec<(Action, usize)>,
}

impl Assembler {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.code.push(Insn { code, jt, jf, k });
        self.code.len() - 1
    }

    /// Returns the place of `target`, or of a stepping stone to it, that the next
    /// instruction can reach.
    fn place_near(&mut self, target: Target) -> usize {
        match target {
            Target::At(at) if self.code.len() - at <= REACH => at,
            Target::At(at) => {
                let skip = self.code.len() - at - 1;
                // The conversion cannot fail: `compile` refuses programs of more than
                // 4096 instructions.
                self.push(JUMP, 0, 0, u32::try_from(skip).unwrap_or(u32::MAX))
            }
            Target::Return(action) => {
                let known = self.returns.iter().position(|(known, _)| *known == action);
                if let Some((_, at)) = known.and_then(|known| self.returns.get(known))
                    && self.code.len() - at <= REACH
                {
                    return *at;
                }
                let at = self.push(RETURN, 0, 0, action.0);
                match known {
                    Some(known) => self.returns[known].1 = at,
                    None => self.returns.push((action, at)),
                }
                at
            }
        }
    }

    /// Adds `if accumulator TEST k goto yes else goto no`.
    pub fn branch(&mut self, test: Test, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let (yes, no) = (self.place_near(yes), self.place_near(no));
        let here = self.code.len();
        let skip = |at: usize| u8::try_from(here - at - 1).unwrap_or(u8::MAX);
        Target::At(self.push(test.code(), skip(yes), skip(no), k))
    }

    /// Adds `accumulator &= mask`, then goes on to `next`.
    pub fn and(&mut self, mask: u32, next: Target) -> Target {
        self.push_before(next, AND, mask)
    }

    /// Adds a load of the word of `seccomp_data` at `offset`, then goes on to `next`.
    pub fn load(&mut self, offset: u32, next: Target) -> Target {
        self.push_before(next, LOAD_WORD, offset)
    }

    /// Adds an instruction that goes on to `next`. Adds a jump before, if `next` is not
    /// the latest instruction.
    fn push_before(&mut self, next: Target, code: u16, k: u32) -> Target {
        match next {
            // A `return` needs no accumulator.
            Target::Return(_) => next,
            Target::At(at) => {
                if at + 1 != self.code.len() {
                    let skip = self.code.len() - at - 1;
                    self.push(JUMP, 0, 0, u32::try_from(skip).unwrap_or(u32::MAX));
                }
                Target::At(self.push(code, 0, 0, k))
            }
        }
    }

    /// Returns the program that begins at `entry`.
    pub fn finish(mut self, entry: Target) -> Vec<Insn> {
        match entry {
            Target::Return(action) => {
                self.push(RETURN, 0, 0, action.0);
            }
            Target::At(at) => self.code.truncate(at + 1),
        }
        self.code.reverse();
        self.code
    }
}
