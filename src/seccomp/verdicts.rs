//! What a profile says about each call of one architecture.
//!
//! The specification leaves open what happens when several rules are for one
//! call. All runtimes have given profiles the meaning that libseccomp gives
//! them, so that is what is done here, whatever the order of the rules:
//!
//! - A rule for any arguments beats those for certain ones; of two such, the
//!   first counts.
//! - Of rules for certain arguments any may hold. If they differ in their
//!   action, the more special is asked first ([`precedes`]).
//! - Rules for the same arguments with different actions contradict each other.
//! - A rule with the action that is the default anyway doesn't count.
//!
//! Calls that a kernel also has in a multiplexed form (socketcall, ipc) are
//! looked for there, too. Their arguments lie in memory, where a filter can't
//! look: conditions on them are compared with socketcall's own.

use super::arch::Arch;
use super::arguments::Clause;
use super::calls::Call;
use super::profile::{Action, Condition, Conditions, Op, Profile, Rule};
use crate::error::{Error, Result};
use std::cmp::Ordering;

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Always(Action),
    /// The first clause that holds; the default if none does.
    Check(Vec<Clause>),
}

/// The calls that aren't the default's, by number.
pub fn of(profile: &Profile, arch: Arch) -> Result<Vec<(u32, Verdict)>> {
    let mut uses = uses(profile, arch);
    // Stable: the rules of one call stay in their order.
    uses.sort_by_key(|one| one.number);
    let mut out: Vec<(u32, Verdict)> = Vec::with_capacity(uses.len());
    for one in &uses {
        if out.last().is_none_or(|(number, _)| *number != one.number) {
            out.push((one.number, Verdict::Check(Vec::new())));
        }
        if let Some((_, verdict)) = out.last_mut() {
            add(verdict, one, arch)?;
        }
    }
    Ok(out)
}

/// The highest number that the profile has a rule for; those above are newer
/// than the profile.
pub fn highest(profile: &Profile, arch: Arch) -> Option<u32> {
    let calls = profile.rules.iter().flat_map(|rule| &rule.calls);
    calls.filter_map(|call| call.number(arch)).max()
}

/// A rule and one of its calls.
struct Use<'a> {
    number: u32,
    call: Call,
    rule: &'a Rule,
    /// What the first argument of a multiplexed call has to be.
    through: Option<u64>,
}

fn uses(profile: &Profile, arch: Arch) -> Vec<Use<'_>> {
    let mut uses = Vec::with_capacity(512);
    for rule in profile.rules.iter().filter(|rule| rule.action != profile.default) {
        for call in &rule.calls {
            if arch.has_multiplexed_calls()
                && let Some((entry, value)) = call.multiplexed()
                && let Some(number) = entry.number(arch)
            {
                uses.push(Use { number, call: entry, rule, through: Some(value) });
            }
            if let Some(number) = call.number(arch) {
                uses.push(Use { number, call: *call, rule, through: None });
            }
        }
    }
    uses
}

fn add(verdict: &mut Verdict, one: &Use, arch: Arch) -> Result<()> {
    let any = [Vec::new()];
    let any_of = if one.rule.any_of.is_empty() { &any[..] } else { &one.rule.any_of };
    for conditions in any_of {
        let Verdict::Check(clauses) = verdict else { return Ok(()) };
        let conditions = adapt(conditions, one.through, arch);
        if conditions.is_empty() {
            *verdict = Verdict::Always(one.rule.action);
            return Ok(());
        }
        let clause = Clause { index: one.rule.index, conditions, action: one.rule.action };
        insert(clauses, clause, arch).map_err(|other| contradiction(one, other))?;
    }
    Ok(())
}

/// Conditions as the architecture can check them, without those that always
/// hold.
fn adapt(conditions: &Conditions, through: Option<u64>, arch: Arch) -> Conditions {
    let width = if arch.facts().wide { u64::MAX } else { u32::MAX.into() };
    let first = through.map(|value| Condition { arg: 0, op: Op::Eq, mask: u64::MAX, value });
    let rest = conditions.iter().filter(|c| through.is_none() || c.arg != 0).copied();
    let cut = |c: Condition| Condition { mask: c.mask & width, value: c.value & c.mask & width, ..c };
    first.into_iter().chain(rest).map(cut).filter(|c| c.mask != 0).collect()
}

/// Puts a clause where it belongs, unless it adds nothing. Fails with the place
/// of the rule that it contradicts.
fn insert(clauses: &mut Vec<Clause>, new: Clause, arch: Arch) -> Result<(), usize> {
    for old in clauses.iter() {
        let same = old.action == new.action;
        if new.conditions.starts_with(&old.conditions) {
            let equal = new.conditions.len() == old.conditions.len();
            return if equal && !same { Err(old.index) } else { Ok(()) };
        }
        if old.conditions.starts_with(&new.conditions) && !same {
            return Err(old.index);
        }
    }
    clauses.retain(|old| !old.conditions.starts_with(&new.conditions));
    let wide = arch.facts().wide;
    let at = clauses.iter().position(|old| precedes(&new.conditions, &old.conditions, wide));
    clauses.insert(at.unwrap_or(clauses.len()), new);
    Ok(())
}

fn contradiction(one: &Use, other: usize) -> Error {
    Error::config(
        format!("/linux/seccomp/syscalls/{}", one.rule.index),
        format!(
            "another action for arguments of {} that /linux/seccomp/syscalls/{other} is for",
            one.call.name()
        ),
    )
}

/// Is `new` to be asked before `old`? Conditions are compared one by one: the
/// higher argument first, then equality before an order, then the higher value
/// (for "less" the lower one). The high half of a value comes before the low
/// one. Where two conditions tie without being the same, the older rule is
/// first.
fn precedes(new: &Conditions, old: &Conditions, wide: bool) -> bool {
    for (new, old) in new.iter().zip(old) {
        let order = new.arg.cmp(&old.arg).then(class(new.op).cmp(&class(old.op)));
        if order != Ordering::Equal {
            return order == Ordering::Greater;
        }
        let halves = if wide { &[32, 0][..] } else { &[0] };
        for shift in halves {
            let half = |value: u64| value >> shift & u64::from(u32::MAX);
            let order = half(new.value).cmp(&half(old.value));
            if order != Ordering::Equal {
                let less = matches!(new.op, Op::Lt | Op::Le);
                return (order == Ordering::Greater) != less;
            }
            let differ = test(new.op, *shift == 32) != test(old.op, *shift == 32);
            if differ || half(new.mask) != half(old.mask) {
                return false;
            }
        }
    }
    false
}

fn class(op: Op) -> u8 {
    match op {
        Op::Eq | Op::Ne | Op::MaskedEq => 3,
        Op::Lt | Op::Le => 2,
        Op::Ge | Op::Gt => 1,
    }
}

/// The test that a half is put to; its opposite is the same test.
fn test(op: Op, high: bool) -> u8 {
    match op {
        Op::Eq | Op::Ne => 0,
        Op::MaskedEq => 1,
        _ if high => 2,
        Op::Gt | Op::Le => 2,
        Op::Ge | Op::Lt => 3,
    }
}
