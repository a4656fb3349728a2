//! Compiles a profile to a program for the kernel's classic BPF.
//!
//! ```text
//! load the architecture; for each that the profile has:
//!     load the number ─▶ a binary tree over ranges of numbers with one verdict
//!                              ├─▶ return
//!                              └─▶ look at arguments ─▶ return
//! any other architecture: kill the thread
//! ```
//!
//! A verdict that does not depend on arguments never loads an argument. So the kernel can
//! find out which calls the filter always allows, and does not run the filter for them
//! (Linux 5.11 and later).
//!
//! A call above the highest number that the profile knows gets ENOSYS, as in runc. A
//! program that tries a new call then falls back to an old one. After EPERM it would not.

use super::arch::{Arch, X32_BIT};
use super::arguments::{self, Layout};
use super::assemble::{Assembler, Target, Test};
use super::profile::{Action, Profile};
use super::verdicts::{self, Verdict};
use crate::error::{Error, Result};
use crate::sys::seccomp::Insn;

/// BPF_MAXINSNS: the largest number of instructions.
const MAX: usize = 4096;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// The action for a call of an architecture that the profile does not have.
const BAD_ARCH: Action = Action::KILL_THREAD;

#[expect(clippy::cast_possible_truncation, reason = "errnos fit 12 bits")]
const ENOSYS: Action = Action::errno(libc::ENOSYS as u16);

/// The verdict for all calls from a number on, up to the next range.
type Range = (u32, Verdict);

/// Compiles the profile for its architectures. `big_endian` is the byte order of the
/// machine. Fails if the program is longer than the kernel allows.
pub fn compile(profile: &Profile, big_endian: bool) -> Result<Vec<Insn>> {
    let mut asm = Assembler::default();
    let mut next = Target::Return(BAD_ARCH);
    // Backwards, so that the program tests the native architecture first.
    for (at, arch) in profile.archs.iter().enumerate().rev() {
        let audit = arch.facts().audit;
        if profile.archs[..at].iter().any(|earlier| earlier.facts().audit == audit) {
            continue;
        }
        let tree = compile_section(profile, audit, big_endian, &mut asm)?;
        let entry = asm.load(NUMBER, tree);
        next = asm.branch(Test::Equal, audit, entry, next);
    }
    let entry = asm.load(ARCH, next);
    let program = asm.finish(entry);
    if program.len() > MAX {
        return Err(Error::config(
            "/linux/seccomp",
            format!("compiles to {} instructions, and the kernel takes {MAX}", program.len()),
        ));
    }
    Ok(program)
}

/// Generates the code for all ABIs that the kernel reports as `audit`.
fn compile_section(profile: &Profile, audit: u32, big_endian: bool, asm: &mut Assembler) -> Result<Target> {
    let mut targets: Vec<(u32, Target)> = Vec::new();
    for (arch, ranges) in ranges_of_audit(profile, audit)? {
        let layout = Layout { wide: arch.is_some_and(|arch| arch.facts().wide), big_endian };
        for (start, verdict) in ranges {
            let target = match verdict {
                Verdict::Always(action) => Target::Return(action),
                Verdict::Check(clauses) => {
                    arguments::check(asm, &clauses, layout, Target::Return(profile.default))
                }
            };
            if targets.last().is_none_or(|(_, last)| *last != target) {
                targets.push((start, target));
            }
        }
    }
    Ok(search_tree(asm, &merge_leaves(&targets)))
}

/// Returns the ranges of every ABI that the kernel reports as `audit`, in the order of
/// their numbers. A range without an ABI has `None`.
fn ranges_of_audit(profile: &Profile, audit: u32) -> Result<Vec<(Option<Arch>, Vec<Range>)>> {
    let here = |arch: &&Arch| arch.facts().audit == audit;
    let mut archs: Vec<Arch> = profile.archs.iter().filter(here).copied().collect();
    archs.sort_by_key(|arch| arch.facts().base);
    let mut out = Vec::new();
    for arch in &archs {
        let start = if *arch == Arch::X32 { X32_BIT } else { 0 };
        out.push((Some(*arch), ranges_of_arch(profile, *arch, start)?));
    }
    if audit == Arch::X86_64.facts().audit {
        match archs[..] {
            // Without rules for x32, x32 calls would bypass the profile. The number -1 is
            // an exception: a tracer sets this number to skip a call (seccomp(2)).
            [Arch::X86_64] => {
                let bad = vec![(X32_BIT, Verdict::Always(BAD_ARCH))];
                let skipped = vec![(u32::MAX, Verdict::Always(profile.default))];
                out.extend([(None, bad), (None, skipped)]);
            }
            [Arch::X32] => out.insert(0, (None, vec![(0, Verdict::Always(BAD_ARCH))])),
            _ => {}
        }
    }
    Ok(out)
}

/// Returns the ranges of one ABI, from its lowest number to its highest.
fn ranges_of_arch(profile: &Profile, arch: Arch, start: u32) -> Result<Vec<Range>> {
    let default = || Verdict::Always(profile.default);
    let tail =
        verdicts::highest_number(profile, arch).filter(|_| !profile.default.lets_unknown_calls_through());
    let mut out: Vec<Range> = vec![(start, default())];
    let mut put = |number: u32, verdict: Verdict| {
        match out.last_mut() {
            Some((at, last)) if *at == number => *last = verdict,
            _ => out.push((number, verdict)),
        }
        // The next number has the default verdict again.
        if let Some(after) = number.checked_add(1) {
            out.push((after, default()));
        }
    };
    // On s390 the kernel reports a call with an unknown number as 0.
    if tail.is_some() && matches!(arch, Arch::S390 | Arch::S390X) {
        put(0, Verdict::Always(ENOSYS));
    }
    for (number, verdict) in verdicts::collect(profile, arch)? {
        put(number, verdict);
    }
    if let Some(after) = tail.and_then(|highest| highest.checked_add(1)) {
        out.retain(|(start, _)| *start < after);
        out.push((after, Verdict::Always(ENOSYS)));
    }
    Ok(out)
}

/// The target of all numbers from `start` on, except for at most one of them.
struct Leaf {
    start: u32,
    target: Target,
    but: Option<(u32, Target)>,
}

/// Merges ranges into leaves. A single number between two ranges with the same target
/// needs one test instead of two.
fn merge_leaves(ranges: &[(u32, Target)]) -> Vec<Leaf> {
    let mut out = Vec::with_capacity(ranges.len());
    let mut rest = ranges;
    while let [(start, target), after @ ..] = rest {
        let mut leaf = Leaf { start: *start, target: *target, but: None };
        rest = after;
        if let [(number, other), (next, same), after @ ..] = after
            && same == target
            && *next == number + 1
        {
            leaf.but = Some((*number, *other));
            rest = after;
        }
        out.push(leaf);
    }
    out
}

/// Generates a binary search for the number in the accumulator.
fn search_tree(asm: &mut Assembler, leaves: &[Leaf]) -> Target {
    match leaves {
        [] => Target::Return(BAD_ARCH),
        [leaf] => match leaf.but {
            None => leaf.target,
            Some((number, other)) => asm.branch(Test::Equal, number, other, leaf.target),
        },
        _ => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            let (start, high) = (high[0].start, search_tree(asm, high));
            let low = search_tree(asm, low);
            asm.branch(Test::GreaterOrEqual, start, high, low)
        }
    }
}
