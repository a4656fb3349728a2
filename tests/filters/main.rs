//! corten's filters beside libseccomp's, and beside what the profile says.
//!
//! Both compile a profile as runc hands it to libseccomp; an interpreter runs
//! both programs over numbers, arguments and architectures, and the verdicts
//! must be the same. What the library hasn't, the ENOSYS for calls that are
//! newer than the profile, is put over its verdict as runc does.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what goes wrong fails a test"
)]

mod bpf;
mod oracle;
#[path = "../profiles.rs"]
mod profiles;
mod random;
mod rules;
mod xorshift;

use bpf::{Data, is_big_endian};
use corten::seccomp::arch::Arch;
use corten::seccomp::calls::Call;
use corten::seccomp::profile::Profile;
use corten::sys::seccomp::Insn;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use oracle::Oracle;
use random::{FAMILIES, Kind};
use rules::Rules;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;
use xorshift::Random;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    let trials = vec![
        trial("numbers_are_libseccomps", numbers),
        trial("engines_profiles", engines),
        trial("random_profiles", random_profiles),
        trial("allowed_calls_are_constant", constant),
    ];
    libtest_mimic::run(&args, trials).exit_code()
}

/// Skips the tests if the library is missing, and prints that.
fn trial(name: &str, body: fn(&mut Oracle)) -> Trial {
    Trial::ignorable_test(name, move || {
        let mut oracle = match Oracle::start() {
            Ok(oracle) => oracle,
            Err(reason) => return Ok(Completion::ignored_with(reason)),
        };
        match catch_unwind(AssertUnwindSafe(|| body(&mut oracle))) {
            Ok(()) => Ok(Completion::Completed),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map_or("panicked", String::as_str);
                Err(Failed::from(text.to_owned()))
            }
        }
    })
}

/// The resolved profile for these architectures, on any machine.
fn resolve(profile: &Value, archs: &[Arch]) -> Profile {
    let text = json!({ "linux": { "seccomp": profile } }).to_string();
    let config = corten::spec::parse_config(text.as_bytes(), &mut Vec::new()).expect("JSON");
    let mut resolved = corten::spec::resolve_seccomp(&config).expect("valid").expect("a profile");
    resolved.archs = archs.to_vec();
    resolved
}

/// A call for which the library has another number, or none.
fn is_newer_than_the_library(oracle: &mut Oracle, arch: Arch, call: Call) -> bool {
    match (oracle.number(arch, call.name()), call.number(arch)) {
        (Some(theirs), Some(ours)) if theirs >= 0 => {
            assert_eq!(theirs, i64::from(ours), "{} on {arch:?}", call.name());
            false
        }
        // -100 to -299: a multiplexed call.
        (Some(-299..=-100), _) | (Some(..=-1), None) | (None, None) => false,
        (Some(theirs), None) => panic!("{} is {theirs} on {arch:?}, and unknown here", call.name()),
        (_, Some(_)) => true,
    }
}

fn numbers(oracle: &mut Oracle) {
    let (mut same, mut newer, mut unknown) = (0, BTreeSet::new(), Vec::new());
    for arch in Arch::ALL {
        if !oracle.knows(arch) {
            unknown.push(oracle::library_name(arch));
            continue;
        }
        for call in Call::all() {
            if is_newer_than_the_library(oracle, arch, call) {
                newer.insert(call.name());
            } else {
                same += 1;
            }
        }
    }
    eprintln!("numbers: {same} agree; architectures that the library doesn't know: {unknown:?}");
    eprintln!("numbers: {} calls are newer than the library: {newer:?}", newer.len());
}

/// libseccomp takes these two for one call, because they have the same number in its
/// seccomp-syscalls.h.
const CONFUSED: [&str; 2] = ["sys_debug_setcontext", "switch_endian"];

/// The profile without the calls that this version of the library does not know.
fn for_the_library(oracle: &mut Oracle, profile: &Value, archs: &[Arch]) -> Value {
    let mut profile = profile.clone();
    let entries = profile["syscalls"].as_array_mut().expect("syscalls");
    for entry in entries.iter_mut() {
        let names = entry["names"].as_array_mut().expect("names");
        names.retain(|name| {
            let name = name.as_str().expect("a name");
            let known = |call| !archs.iter().any(|arch| is_newer_than_the_library(oracle, *arch, call));
            !CONFUSED.contains(&name) && Call::find(name).is_none_or(known)
        });
    }
    entries.retain(|entry| !entry["names"].as_array().expect("names").is_empty());
    profile
}

/// The two programs of a profile.
struct Pair {
    ours: Vec<Insn>,
    theirs: Vec<Insn>,
    nanoseconds: u64,
}

/// The result of compiling.
enum Compiled {
    Both(Pair),
    /// Both find that the profile contradicts itself.
    Neither,
    /// Only libseccomp finds a contradiction.
    OnlyOurs,
}

fn compile(oracle: &mut Oracle, profile: &Value, resolved: &Profile, optimize: bool) -> Compiled {
    let big_endian = is_big_endian(resolved.archs[0]);
    let ours = corten::seccomp::compile(resolved, big_endian);
    rules::tell(oracle, profile, &resolved.archs, optimize);
    match (ours, oracle.export(big_endian)) {
        (Ok(ours), Some(theirs)) => {
            Compiled::Both(Pair { ours, theirs: theirs.program, nanoseconds: theirs.nanoseconds })
        }
        (Err(_), None) => Compiled::Neither,
        (Ok(_), None) => Compiled::OnlyOurs,
        (Err(error), Some(_)) => panic!("only corten refuses {profile}: {error}"),
    }
}

#[derive(Default)]
struct Count {
    calls: usize,
    probes: usize,
    /// Wrong verdicts of corten's program.
    wrong: usize,
    /// Wrong verdicts of the library's program.
    library_is_wrong: usize,
    /// Cases in which rules with several actions apply, and the compilers chose different
    /// actions.
    other_choice: usize,
    examples: Vec<String>,
}

/// The numbers to test: all that could be calls, and some beyond.
fn numbers_of(resolved: &Profile) -> BTreeSet<u32> {
    let mut numbers: BTreeSet<u32> = (0..600).collect();
    for base in [4000, 5000, 6000, 1 << 30] {
        numbers.extend(base..base + 600);
    }
    numbers.extend(0xf_0000..0xf_0010);
    numbers.extend([
        1000,
        0x3fff_ffff,
        0x7fff_ffff,
        0x8000_0000,
        0xbfff_ffff,
        0xc000_0000,
        u32::MAX - 1,
        u32::MAX,
    ]);
    for rule in &resolved.rules {
        for call in &rule.calls {
            for number in resolved.archs.iter().filter_map(|arch| call.number(*arch)) {
                numbers.extend([number.saturating_sub(1), number, number.saturating_add(1)]);
            }
        }
    }
    numbers
}

fn compare(profile: &Value, resolved: &Profile, pair: &Pair, random: &mut Random, count: &mut Count) {
    let big_endian = is_big_endian(resolved.archs[0]);
    let rules = Rules::new(resolved);
    let mut audits: Vec<u32> = resolved.archs.iter().map(|arch| arch.facts().audit).collect();
    audits.dedup();
    audits.push(Arch::Sheb.facts().audit);
    for audit in audits {
        for number in numbers_of(resolved) {
            count.calls += 1;
            for args in rules.samples(number, audit, random) {
                count.probes += 1;
                let data = Data::new(audit, number, args, big_endian);
                let ours = bpf::run(&pair.ours, &data).0;
                let library = bpf::run(&pair.theirs, &data).0;
                let said = rules.verdict(audit, number, args);
                let theirs = rules.with_enosys(audit, number).unwrap_or(library);
                if !said.contains(&ours) || ours != theirs {
                    match (said.contains(&ours), said.contains(&theirs)) {
                        (false, _) => count.wrong += 1,
                        (true, false) => count.library_is_wrong += 1,
                        (true, true) => count.other_choice += 1,
                    }
                    if count.examples.len() < 3 {
                        count.examples.push(format!(
                            "{audit:#x} {number} {args:x?}: {ours:#x}, libseccomp {theirs:#x}, profile {said:x?}; {}",
                            rules::entries_for(profile, &resolved.archs, number)
                        ));
                    }
                }
            }
        }
    }
}

fn engines(oracle: &mut Oracle) {
    for (name, profile) in [("Docker", profiles::docker()), ("Podman", profiles::podman())] {
        let archs = [Arch::X86_64, Arch::X86, Arch::X32];
        let known = for_the_library(oracle, &profile, &archs);
        let resolved = resolve(&known, &archs);
        let mut count = Count::default();
        for optimize in [false, true] {
            let Compiled::Both(pair) = compile(oracle, &known, &resolved, optimize) else {
                panic!("{name}'s profile contradicts itself");
            };
            compare(&known, &resolved, &pair, &mut Random(1), &mut count);
            figures(name, optimize, &resolved, &pair);
        }
        eprintln!(
            "{name}: {} calls, {} probes, {} differences",
            count.calls,
            count.probes,
            count.examples.len()
        );
        assert!(count.examples.is_empty(), "{name}: {:#?}", count.examples);
    }
}

/// Figures for the reader. No check depends on them.
fn figures(name: &str, optimize: bool, resolved: &Profile, pair: &Pair) {
    let best = (0..200).map(|_| {
        let start = Instant::now();
        let _ = std::hint::black_box(corten::seccomp::compile(resolved, false));
        start.elapsed()
    });
    let best = best.min().unwrap_or_default();
    let steps = |program: &[Insn], number: u32| {
        bpf::run(program, &Data::new(Arch::X86_64.facts().audit, number, [0; 6], false)).1
    };
    let average =
        |program: &[Insn]| (0..460).map(|number| steps(program, number)).sum::<usize>() as f64 / 460.0;
    let both = |f: &dyn Fn(&[Insn]) -> String| format!("{} / {}", f(&pair.ours), f(&pair.theirs));
    eprintln!(
        "{name}, corten / libseccomp{}: {} instructions; executed for read {}, write {}, openat {}, average {}; compiled in {} / {} µs",
        if optimize { " with its tree" } else { "" },
        both(&|program| program.len().to_string()),
        both(&|program| steps(program, 0).to_string()),
        both(&|program| steps(program, 1).to_string()),
        both(&|program| steps(program, 257).to_string()),
        both(&|program| format!("{:.1}", average(program))),
        best.as_nanos() / 1000,
        pair.nanoseconds / 1000,
    );
}

/// libseccomp (2.5.4 and 2.6.1) goes wrong in two ways, which the letter of the profile
/// (`Rules::verdict`) shows. Both are kept to the last kind of profile:
///
/// - A call that an architecture doesn't have takes part all the same. Rules for
///   it can contradict each other, and if it would come first the library forgets
///   to load the number and compares the architecture with it.
/// - It merges the rules of a call into a tree. Where they compare by an order,
///   what follows one comparison is sometimes run after another.
fn random_profiles(oracle: &mut Oracle) {
    for kind in [Kind::Single, Kind::Equal, Kind::Wild] {
        let mut random = Random(0x5ecc_0e9b ^ kind as u64);
        let (mut count, mut profiles, mut refused, mut only_theirs) = (Count::default(), 0, 0, 0);
        for at in 0..100 {
            let archs = FAMILIES[at % FAMILIES.len()];
            if !archs.iter().all(|arch| oracle.knows(*arch)) {
                continue;
            }
            let names = random::names(if kind == Kind::Wild { &[] } else { archs });
            let profile = random::profile(&mut random, kind, &names);
            let profile = for_the_library(oracle, &profile, archs);
            let resolved = resolve(&profile, archs);
            match compile(oracle, &profile, &resolved, at % 3 == 0) {
                Compiled::Both(pair) => {
                    profiles += 1;
                    compare(&profile, &resolved, &pair, &mut random, &mut count);
                }
                Compiled::Neither => refused += 1,
                Compiled::OnlyOurs => only_theirs += 1,
            }
        }
        eprintln!(
            "{kind:?}: {profiles} profiles, {} calls, {} probes: {} verdicts of corten's that the profile doesn't give, {} of \
             libseccomp's; {} where several rules hold and each took another; refused as a contradiction by both {refused}, by \
             libseccomp alone {only_theirs}",
            count.calls, count.probes, count.wrong, count.library_is_wrong, count.other_choice
        );
        let examples = &count.examples;
        assert!(profiles >= 50 && count.probes > 500_000, "{profiles} profiles, {} probes", count.probes);
        assert_eq!(count.wrong, 0, "{examples:#?}");
        match kind {
            Kind::Single | Kind::Equal => {
                assert!(examples.is_empty() && only_theirs == 0, "{only_theirs} {examples:#?}");
            }
            Kind::Wild => {
                let rare = 1000 * (count.library_is_wrong + count.other_choice) < count.probes;
                assert!(rare, "libseccomp would not be that wrong: {examples:#?}");
            }
        }
    }
}

/// On the path to a plain `SCMP_ACT_ALLOW`, the program looks at no argument.
fn constant(_: &mut Oracle) {
    for profile in [profiles::docker(), profiles::podman()] {
        let archs = [Arch::X86_64, Arch::X86, Arch::X32];
        let resolved = resolve(&profile, &archs);
        let program = corten::seccomp::compile(&resolved, false).expect("a program");
        let mut found = 0;
        for rule in
            resolved.rules.iter().filter(|rule| rule.any_of.is_empty() && rule.action.0 == 0x7fff_0000)
        {
            for (call, arch) in rule.calls.iter().flat_map(|call| archs.iter().map(move |arch| (call, arch)))
            {
                if let Some(number) = call.number(*arch) {
                    assert!(
                        bpf::is_constant(&program, arch.facts().audit, number),
                        "{} {arch:?}",
                        call.name()
                    );
                    found += 1;
                }
            }
        }
        eprintln!("constant: {found} calls");
        assert!(found > 900);
    }
}
