//! Code that looks at a call's arguments.
//!
//! A filter sees arguments as 64 bits and computes with 32, so a comparison is
//! made of two halves. On an architecture of 32 bits the low half is all there
//! is to look at.

use super::assemble::{Assembler, Target, Test};
use super::profile::{Action, Condition, Conditions, Op};

/// Conditions, sorted by argument, and what they lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The rule's place in `syscalls`.
    pub index: usize,
    pub conditions: Conditions,
    pub action: Action,
}

/// How a machine lays out its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// All 64 bits count.
    pub wide: bool,
    pub big_endian: bool,
}

impl Layout {
    /// `offsetof(struct seccomp_data, args[arg])`, of its low half.
    fn low(self, arg: u8) -> u32 {
        16 + 8 * u32::from(arg) + if self.big_endian { 4 } else { 0 }
    }

    fn high(self, arg: u8) -> u32 {
        16 + 8 * u32::from(arg) + if self.big_endian { 0 } else { 4 }
    }
}

/// The high and the low half.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
pub fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// The first clause that holds decides; if none does, `otherwise`.
pub fn check(asm: &mut Assembler, clauses: &[Clause], layout: Layout, otherwise: Target) -> Target {
    let mut next = otherwise;
    let mut rest = clauses;
    while let Some(last) = rest.last() {
        let run = run_at_end(rest, layout);
        if run > 1 {
            let (before, run) = rest.split_at(rest.len() - run);
            next = one_of(asm, run, layout, next);
            rest = before;
        } else {
            let found = Target::Return(last.action);
            next = last.conditions.iter().rev().fold(found, |yes, c| condition(asm, c, layout, yes, next));
            rest = &rest[..rest.len() - 1];
        }
    }
    next
}

/// How many clauses at the end ask for one value each of the same argument,
/// with the same high half: that is looked at once for all of them.
fn run_at_end(clauses: &[Clause], layout: Layout) -> usize {
    let shape = |clause: &Clause| match clause.conditions[..] {
        [Condition { arg, op: Op::Eq | Op::MaskedEq, mask, value }] => {
            let ((mask, low_mask), (value, low_value)) = (halves(mask), halves(value));
            let keeps = low_mask == u32::MAX || low_value & low_mask == 0;
            let high = if layout.wide { (mask, value & mask) } else { (0, 0) };
            Some(((arg, high), keeps))
        }
        _ => None,
    };
    let Some((last, _)) = clauses.last().and_then(shape) else { return 0 };
    // Only the last may change the accumulator.
    let same = |clause: &&Clause| shape(clause).is_some_and(|(shape, keeps)| shape == last && keeps);
    1 + clauses[..clauses.len() - 1].iter().rev().take_while(same).count()
}

fn one_of(asm: &mut Assembler, run: &[Clause], layout: Layout, next: Target) -> Target {
    let first = run[0].conditions[0];
    let low = run.iter().rev().fold(next, |no, clause| {
        let Condition { mask, value, .. } = clause.conditions[0];
        masked(asm, halves(mask).1, halves(value).1, Target::Return(clause.action), no)
    });
    let low = asm.load(layout.low(first.arg), low);
    let (mask, value) = (halves(first.mask).0, halves(first.value).0);
    if !layout.wide || mask == 0 {
        return low;
    }
    let high = masked(asm, mask, value, low, next);
    asm.load(layout.high(first.arg), high)
}

/// `if condition goto yes else goto no`, from the load on.
fn condition(asm: &mut Assembler, c: &Condition, layout: Layout, yes: Target, no: Target) -> Target {
    if yes == no {
        return yes;
    }
    let (yes, no, op) = match c.op {
        Op::Ne => (no, yes, Op::Eq),
        Op::Lt => (no, yes, Op::Ge),
        Op::Le => (no, yes, Op::Gt),
        op => (yes, no, op),
    };
    let ((high_mask, low_mask), (high, low)) = (halves(c.mask), halves(c.value));
    let test = match op {
        Op::Ge => Test::GreaterOrEqual,
        Op::Gt => Test::Greater,
        _ => {
            let rest = low_half(asm, c, layout, yes, no, low_mask);
            if !layout.wide || high_mask == 0 {
                return rest;
            }
            let test = masked(asm, high_mask, high, rest, no);
            return asm.load(layout.high(c.arg), test);
        }
    };
    let rest = asm.branch(test, low, yes, no);
    let rest = asm.load(layout.low(c.arg), rest);
    if !layout.wide {
        return rest;
    }
    let equal = asm.branch(Test::Equal, high, rest, no);
    let above = asm.branch(Test::Greater, high, yes, equal);
    asm.load(layout.high(c.arg), above)
}

fn low_half(
    asm: &mut Assembler,
    c: &Condition,
    layout: Layout,
    yes: Target,
    no: Target,
    mask: u32,
) -> Target {
    if mask == 0 {
        return yes;
    }
    let test = masked(asm, mask, halves(c.value).1, yes, no);
    asm.load(layout.low(c.arg), test)
}

/// `(accumulator & mask) == (value & mask)`, without a change to the
/// accumulator where that is possible.
fn masked(asm: &mut Assembler, mask: u32, value: u32, yes: Target, no: Target) -> Target {
    let value = value & mask;
    match mask {
        0 => yes,
        u32::MAX => asm.branch(Test::Equal, value, yes, no),
        _ if value == 0 => asm.branch(Test::AnyBit, mask, no, yes),
        _ if value == mask && mask.is_power_of_two() => asm.branch(Test::AnyBit, mask, yes, no),
        _ => {
            let test = asm.branch(Test::Equal, value, yes, no);
            asm.and(mask, test)
        }
    }
}
