//! What a profile says about each call of one architecture.
//!
//! The specification leaves open what happens when several rules are for one
//! call. All runtimes have given profiles the meaning that libseccomp gives
//! them, so that is what is done here, whatever the order of the rules:
//!
//! - A rule for any arguments beats those for certain ones; of two such, the
//!   first counts.
//! - Of rules for certain arguments any may hold. If they differ in their
//!   action, the more special is asked first ([`place`]).
//! - Rules for the same arguments with different actions contradict each other.
//! - A rule with the action that is the default anyway doesn't count.
//!
//! Calls that a kernel also has in a multiplexed form (socketcall, ipc) are
//! looked for there, too. Their arguments lie in memory, where a filter can't
//! look: conditions on them are compared with socketcall's own.

use super::arch::Arch;
use super::arguments::{Clause, halves as split};
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

/// Whether these calls of the native architecture are made, whatever their arguments. An
/// agent that is asked about them may take its time.
pub fn lets_through(profile: &Profile, calls: &[libc::c_long]) -> Result<bool> {
    let Some(arch) = profile.archs.first() else { return Ok(true) };
    let verdicts = of(profile, *arch)?;
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
    let at = place(clauses, &new, arch.facts().wide);
    clauses.insert(at, new);
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

/// Where a new clause is to be asked. Clauses form a tree: those that begin with
/// the same comparison are together, and among them those that go on with the
/// same. Of different comparisons the higher argument comes first, then equality
/// before an order, then the higher value (for "less" the lower one); the high
/// half of a value before the low one. Where two tie, the older is first.
fn place(clauses: &[Clause], new: &Clause, wide: bool) -> usize {
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
    /// Twice the argument, and one more for its high half.
    half: u8,
    class: u8,
    test: u8,
    mask: u32,
    value: u32,
    less: bool,
}

impl Node {
    /// The same comparison, whichever outcome of it is wanted.
    fn is_same(&self, other: &Node) -> bool {
        (self.half, self.test, self.mask, self.value) == (other.half, other.test, other.mask, other.value)
    }

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
