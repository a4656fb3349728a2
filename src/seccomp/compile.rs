//! From a profile to a program of the kernel's classic BPF.
//!
//! ```text
//! load the architecture; for each that the profile has:
//!     load the number ─▶ a binary tree over ranges of numbers with one verdict
//!                              ├─▶ return
//!                              └─▶ look at arguments ─▶ return
//! any other architecture: kill the thread
//! ```
//!
//! Nothing on the way to a plain verdict looks at arguments, so the kernel
//! finds for itself which calls are always allowed and doesn't run the filter
//! for them (Linux 5.11 and later).
//!
//! Calls above the highest number that the profile knows get ENOSYS, as in
//! runc: a program that tries a new call then falls back to an old one, which it
//! wouldn't after EPERM.

use super::arch::{Arch, X32_BIT};
use super::arguments::{self, Layout};
use super::assemble::{Assembler, Target, Test};
use super::profile::{Action, Profile};
use super::verdicts::{self, Verdict};
use crate::error::{Error, Result};
use crate::sys::seccomp::Insn;

/// BPF_MAXINSNS
const MAX: usize = 4096;

/// `offsetof(struct seccomp_data, …)`
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// What a call gets that was made in another architecture's way.
const BAD_ARCH: Action = Action::KILL_THREAD;

#[expect(clippy::cast_possible_truncation, reason = "errnos fit 12 bits")]
const ENOSYS: Action = Action::errno(libc::ENOSYS as u16);

/// Calls from a number on, up to the next range.
type Range = (u32, Verdict);

/// Compiles the profile for its architectures.
pub fn compile(profile: &Profile, big_endian: bool) -> Result<Vec<Insn>> {
    let mut asm = Assembler::default();
    let mut next = Target::Return(BAD_ARCH);
    // Backwards, so that the native one is tested first.
    for (at, arch) in profile.archs.iter().enumerate().rev() {
        let audit = arch.facts().audit;
        if profile.archs[..at].iter().any(|earlier| earlier.facts().audit == audit) {
            continue;
        }
        let tree = section(profile, audit, big_endian, &mut asm)?;
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

/// All that the kernel reports as one architecture.
fn section(profile: &Profile, audit: u32, big_endian: bool, asm: &mut Assembler) -> Result<Target> {
    let mut targets: Vec<(u32, Target)> = Vec::new();
    for (arch, ranges) in ranges(profile, audit)? {
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
    Ok(tree(asm, &leaves(&targets)))
}

/// The ranges of every ABI in it, in the order of their numbers.
fn ranges(profile: &Profile, audit: u32) -> Result<Vec<(Option<Arch>, Vec<Range>)>> {
    let here = |arch: &&Arch| arch.facts().audit == audit;
    let mut archs: Vec<Arch> = profile.archs.iter().filter(here).copied().collect();
    archs.sort_by_key(|arch| arch.facts().base);
    let mut out = Vec::new();
    for arch in &archs {
        let start = if *arch == Arch::X32 { X32_BIT } else { 0 };
        out.push((Some(*arch), of_arch(profile, *arch, start)?));
    }
    if audit == Arch::X86_64.facts().audit {
        match archs[..] {
            // x32 is a way round the profile, if it has no rules for it. But a
            // tracer makes the number -1 to skip a call (seccomp(2)).
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

/// The ranges of one ABI, from its lowest number to its highest.
fn of_arch(profile: &Profile, arch: Arch, start: u32) -> Result<Vec<Range>> {
    let default = || Verdict::Always(profile.default);
    let tail = verdicts::highest(profile, arch).filter(|_| !profile.default.lets_unknown_calls_through());
    let mut out: Vec<Range> = vec![(start, default())];
    let mut put = |number: u32, verdict: Verdict| {
        match out.last_mut() {
            Some((at, last)) if *at == number => *last = verdict,
            _ => out.push((number, verdict)),
        }
        // Up to the next one.
        if let Some(after) = number.checked_add(1) {
            out.push((after, default()));
        }
    };
    // On s390 a call with a number that the kernel doesn't know arrives as 0.
    if tail.is_some() && matches!(arch, Arch::S390 | Arch::S390X) {
        put(0, Verdict::Always(ENOSYS));
    }
    for (number, verdict) in verdicts::of(profile, arch)? {
        put(number, verdict);
    }
    if let Some(after) = tail.and_then(|highest| highest.checked_add(1)) {
        out.retain(|(start, _)| *start < after);
        out.push((after, Verdict::Always(ENOSYS)));
    }
    Ok(out)
}

/// Numbers from `start` on with one verdict, but for at most one of them.
struct Leaf {
    start: u32,
    target: Target,
    but: Option<(u32, Target)>,
}

/// One number among others of another verdict needs one test, not two.
fn leaves(ranges: &[(u32, Target)]) -> Vec<Leaf> {
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

/// A binary search for the number in the accumulator.
fn tree(asm: &mut Assembler, leaves: &[Leaf]) -> Target {
    match leaves {
        [] => Target::Return(BAD_ARCH),
        [leaf] => match leaf.but {
            None => leaf.target,
            Some((number, other)) => asm.branch(Test::Equal, number, other, leaf.target),
        },
        _ => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            let (start, high) = (high[0].start, tree(asm, high));
            let low = tree(asm, low);
            asm.branch(Test::GreaterOrEqual, start, high, low)
        }
    }
}
