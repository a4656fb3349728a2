//! Decides what a profile says about each call of an architecture.
//!
//! The specification does not say what happens if several rules are for the same call.
//! All runtimes give profiles the meaning that libseccomp gives them. This module does
//! the same, whatever the order of the rules:
//!
//! - A rule for any arguments beats the rules for certain arguments. Of two rules for any
//!   arguments, the first counts.
//! - Of the rules for certain arguments, any may hold. If their actions differ, the
//!   filter asks the more special rule first ([`find_position`]).
//! - Rules for the same arguments with different actions contradict each other.
//! - A rule whose action is the default action does not count.
//!
//! Some kernels also have a multiplexed form of a call (socketcall, ipc). The rules for
//! the call apply to that form, too. The arguments of the call then lie in memory, which
//! a filter cannot read. So the filter compares the conditions with the arguments of
//! socketcall itself.

use super::arch::Arch;
use super::arguments::{Clause, halves as split};
use super::calls::Call;
use super::profile::{Action, Condition, Conditions, Op, Profile, Rule};
use crate::error::{Error, Result};
use std::cmp::Ordering;

/// The verdict for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The action, whatever the arguments.
    Always(Action),
    /// The action of the first clause that holds, or the default action if none holds.
    Check(Vec<Clause>),
}

/// Returns the numbers of all calls with a rule that counts, in ascending order, and
/// their verdicts. All other calls get the default action.
pub fn collect(profile: &Profile, arch: Arch) -> Result<Vec<(u32, Verdict)>> {
    let mut uses = list_uses(profile, arch);
    // The sort is stable: the rules of one call stay in their order.
    uses.sort_by_key(|call_use| call_use.number);
    let mut out: Vec<(u32, Verdict)> = Vec::with_capacity(uses.len());
    for call_use in &uses {
        if out.last().is_none_or(|(number, _)| *number != call_use.number) {
            out.push((call_use.number, Verdict::Check(Vec::new())));
        }
        if let Some((_, verdict)) = out.last_mut() {
            add_rule(verdict, call_use, arch)?;
        }
    }
    Ok(out)
}

/// Returns whether the filter lets these calls of the native architecture through,
/// whatever their arguments. A call that the agent decides about counts as let through,
/// although the agent may take its time.
pub fn allows_calls(profile: &Profile, calls: &[libc::c_long]) -> Result<bool> {
    let Some(arch) = profile.archs.first() else { return Ok(true) };
    let verdicts = collect(profile, *arch)?;
    let lets = |action: Action| action.lets_unknown_calls_through() || action == Action::NOTIFY;
    Ok(calls.iter().all(|call| {
        let verdict = verdicts.iter().find(|(number, _)| libc::c_long::from(*number) == *call);
        match verdict {
            Some((_, Verdict::Always(action))) => lets(*action),
            Some((_, Verdict::Check(_))) => false,
            None => lets(profile.default),
        }
    }))
}

/// Returns the highest number that the profile has a rule for. Calls with higher numbers
/// are newer than the profile.
pub fn highest_number(profile: &Profile, arch: Arch) -> Option<u32> {
    let calls = profile.rules.iter().flat_map(|rule| &rule.calls);
    calls.filter_map(|call| call.number(arch)).max()
}

/// A rule, and one of its calls.
struct Use<'a> {
    number: u32,
    call: Call,
    rule: &'a Rule,
    /// The value that the first argument of the multiplexed call must have. `None` for a
    /// direct call.
    first_argument: Option<u64>,
}

fn list_uses(profile: &Profile, arch: Arch) -> Vec<Use<'_>> {
    let mut uses = Vec::with_capacity(512);
    for rule in profile.rules.iter().filter(|rule| rule.action != profile.default) {
        for call in &rule.calls {
            if arch.has_multiplexed_calls()
                && let Some((entry, value)) = call.multiplexed()
                && let Some(number) = entry.number(arch)
            {
                uses.push(Use { number, call: entry, rule, first_argument: Some(value) });
            }
            if let Some(number) = call.number(arch) {
                uses.push(Use { number, call: *call, rule, first_argument: None });
            }
        }
    }
    uses
}

fn add_rule(verdict: &mut Verdict, call_use: &Use, arch: Arch) -> Result<()> {
    let any = [Vec::new()];
    let any_of = if call_use.rule.any_of.is_empty() { &any[..] } else { &call_use.rule.any_of };
    for conditions in any_of {
        let Verdict::Check(clauses) = verdict else { return Ok(()) };
        let conditions = adapt_conditions(conditions, call_use.first_argument, arch);
        if conditions.is_empty() {
            *verdict = Verdict::Always(call_use.rule.action);
            return Ok(());
        }
        let clause = Clause { index: call_use.rule.index, conditions, action: call_use.rule.action };
        insert_clause(clauses, clause, arch).map_err(|other| contradiction(call_use, other))?;
    }
    Ok(())
}

/// Returns the conditions in the form that the architecture can check, without the
/// conditions that always hold.
fn adapt_conditions(conditions: &Conditions, first_argument: Option<u64>, arch: Arch) -> Conditions {
    let width = if arch.facts().wide { u64::MAX } else { u32::MAX.into() };
    let first = first_argument.map(|value| Condition { arg: 0, op: Op::Eq, mask: u64::MAX, value });
    let rest = conditions.iter().filter(|c| first_argument.is_none() || c.arg != 0).copied();
    let cut = |c: Condition| Condition { mask: c.mask & width, value: c.value & c.mask & width, ..c };
    first.into_iter().chain(rest).map(cut).filter(|c| c.mask != 0).collect()
}

/// Inserts a clause at its position, unless the clause adds nothing. Fails with the index
/// of the rule that the clause contradicts.
fn insert_clause(clauses: &mut Vec<Clause>, new: Clause, arch: Arch) -> Result<(), usize> {
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
    let at = find_position(clauses, &new, arch.facts().wide);
    clauses.insert(at, new);
    Ok(())
}

fn contradiction(call_use: &Use, other: usize) -> Error {
    Error::config(
        format!("/linux/seccomp/syscalls/{}", call_use.rule.index),
        format!(
            "gives another action to arguments of {} that /linux/seccomp/syscalls/{other} covers, too",
            call_use.call.name()
        ),
    )
}

/// Returns the position of a new clause in the order of tests.
///
/// Clauses form a tree: all clauses that begin with the same comparisons stand together.
/// Different comparisons have this order:
///
/// - The higher argument comes first.
/// - For the same argument, the high half comes before the low half.
/// - Equality comes before less, and less before greater.
/// - The higher value comes first, or the lower one for "less".
/// - Otherwise the older clause comes first.
fn find_position(clauses: &[Clause], new: &Clause, wide: bool) -> usize {
    let (mut from, mut to) = (0, clauses.len());
    for (level, node) in nodes(&new.conditions, wide).enumerate() {
        let at_level = |clause: &Clause| nodes(&clause.conditions, wide).nth(level);
        let mut branch = None;
        let mut at = from;
        while at < to && branch.is_none() {
            let Some(old) = at_level(&clauses[at]) else { break };
            let alike = |clause: &Clause| at_level(clause).is_some_and(|other| other.is_same(&old));
            let end = at + clauses[at..to].iter().take_while(|clause| alike(clause)).count();
            if old.is_same(&node) {
                branch = Some((at, end));
            } else if node.precedes(&old) {
                break;
            } else {
                at = end;
            }
        }
        match branch {
            Some((start, end)) => (from, to) = (start, end),
            None => return at,
        }
    }
    to
}

/// A comparison of one half of an argument.
struct Node {
    /// Twice the index of the argument, plus 1 for its high half.
    half: u8,
    /// The rank of the operator in the order of tests; see [`class`].
    class: u8,
    test: u8,
    mask: u32,
    value: u32,
    less: bool,
}

impl Node {
    /// Returns whether both are the same comparison, whichever outcome they want.
    fn is_same(&self, other: &Node) -> bool {
        (self.half, self.test, self.mask, self.value) == (other.half, other.test, other.mask, other.value)
    }

    /// Returns whether this comparison comes before `old`.
    fn precedes(&self, old: &Node) -> bool {
        let order = self.half.cmp(&old.half).then(self.class.cmp(&old.class));
        let values = self.value.cmp(&old.value);
        order.then(if self.less { values.reverse() } else { values }) == Ordering::Greater
    }
}

fn nodes(conditions: &[Condition], wide: bool) -> impl Iterator<Item = Node> {
    let halves = if wide { &[true, false][..] } else { &[false] };
    conditions.iter().flat_map(move |c| {
        halves.iter().map(move |high| {
            let ((high_mask, low_mask), (high_value, low_value)) = (split(c.mask), split(c.value));
            let (mask, value) = if *high { (high_mask, high_value) } else { (low_mask, low_value) };
            let (class, less) = (class(c.op), matches!(c.op, Op::Lt | Op::Le));
            Node { half: 2 * c.arg + u8::from(*high), class, test: test(c.op, *high), mask, value, less }
        })
    })
}

fn class(op: Op) -> u8 {
    match op {
        Op::Eq | Op::Ne | Op::MaskedEq => 3,
        Op::Lt | Op::Le => 2,
        Op::Ge | Op::Gt => 1,
    }
}

/// Returns the test for a half. An operator and its opposite have the same test.
fn test(op: Op, high: bool) -> u8 {
    match op {
        Op::Eq | Op::Ne => 0,
        Op::MaskedEq => 1,
        _ if high => 2,
        Op::Gt | Op::Le => 2,
        Op::Ge | Op::Lt => 3,
    }
}
