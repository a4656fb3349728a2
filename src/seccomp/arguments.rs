//! Generates the code that compares a call's arguments.
//!
//! Arguments have 64 bits, but a filter computes with 32 bits, so the code compares each
//! half by itself. On an architecture of 32 bits it compares only the low half.

use super::assemble::{Assembler, Target, Test};
use super::profile::{Action, Condition, Conditions, Op};

/// Conditions, sorted by argument, and the action for a call that meets all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The index of the rule in `syscalls`.
    pub index: usize,
    pub conditions: Conditions,
    pub action: Action,
}

/// How an architecture lays out its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Whether all 64 bits count.
    pub wide: bool,
    pub big_endian: bool,
}

impl Layout {
    /// Returns the offset of the low half of `args[arg]` in `struct seccomp_data`.
    fn low(self, arg: u8) -> u32 {
        16 + 8 * u32::from(arg) + if self.big_endian { 4 } else { 0 }
    }

    /// Returns the offset of the high half.
    fn high(self, arg: u8) -> u32 {
        16 + 8 * u32::from(arg) + if self.big_endian { 0 } else { 4 }
    }
}

/// Returns the high and the low half.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
pub fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// Generates code that takes the action of the first clause that holds, and goes on to
/// `otherwise` if none holds.
pub fn check(asm: &mut Assembler, clauses: &[Clause], layout: Layout, otherwise: Target) -> Target {
    let mut next = otherwise;
    let mut rest = clauses;
    while let Some(last) = rest.last() {
        let count = count_at_end(rest, layout);
        if count > 1 {
            let (before, group) = rest.split_at(rest.len() - count);
            next = check_group(asm, group, layout, next);
            rest = before;
        } else {
            let found = Target::Return(last.action);
            next =
                last.conditions.iter().rev().fold(found, |yes, c| check_condition(asm, c, layout, yes, next));
            rest = &rest[..rest.len() - 1];
        }
    }
    next
}

/// Returns how many clauses at the end can share the comparison of the high half. Each of
/// them compares the same argument with one value, and all these values have the same
/// high half.
fn count_at_end(clauses: &[Clause], layout: Layout) -> usize {
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
    // Only the last clause may change the accumulator.
    let same = |clause: &&Clause| shape(clause).is_some_and(|(shape, keeps)| shape == last && keeps);
    1 + clauses[..clauses.len() - 1].iter().rev().take_while(same).count()
}

/// Generates code for the clauses that [`count_at_end`] counted.
fn check_group(asm: &mut Assembler, group: &[Clause], layout: Layout, next: Target) -> Target {
    let first = group[0].conditions[0];
    let low = group.iter().rev().fold(next, |no, clause| {
        let Condition { mask, value, .. } = clause.conditions[0];
        check_masked(asm, halves(mask).1, halves(value).1, Target::Return(clause.action), no)
    });
    let low = asm.load(layout.low(first.arg), low);
    let (mask, value) = (halves(first.mask).0, halves(first.value).0);
    if !layout.wide || mask == 0 {
        return low;
    }
    let high = check_masked(asm, mask, value, low, next);
    asm.load(layout.high(first.arg), high)
}

/// Generates `if condition goto yes else goto no`, with the loads.
fn check_condition(asm: &mut Assembler, c: &Condition, layout: Layout, yes: Target, no: Target) -> Target {
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
            let rest = check_low_half(asm, c, layout, yes, no, low_mask);
            if !layout.wide || high_mask == 0 {
                return rest;
            }
            let test = check_masked(asm, high_mask, high, rest, no);
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

/// Generates the comparison of the low half, with the load.
fn check_low_half(
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
    let test = check_masked(asm, mask, halves(c.value).1, yes, no);
    asm.load(layout.low(c.arg), test)
}

/// Generates `if (accumulator & mask) == (value & mask) goto yes else goto no`. The code
/// changes the accumulator only if that is necessary.
fn check_masked(asm: &mut Assembler, mask: u32, value: u32, yes: Target, no: Target) -> Target {
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
