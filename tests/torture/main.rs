//! Kills the runtime at each system call, lets each system call fail, damages the state, and
//! looks whether anything is left. README.md describes the checks.
#![allow(unsafe_code, reason = "ptrace(2) and waitpid(2) have no safe form that serves")]
#![allow(clippy::disallowed_methods, reason = "the bans protect the runtime, not a test's own files")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    reason = "what goes wrong fails a test"
)]

#[allow(dead_code, unused_imports, unused_macros, reason = "the suite uses the rest")]
#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the suite uses the rest")]
#[path = "../profiles.rs"]
mod profiles;

mod calls;
mod cases;
mod criu;
mod damage;
mod jail;
mod later_cases;
mod points;
#[path = "../filters/xorshift.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod random;
mod registers;
mod table;
mod tracer;
#[allow(dead_code, reason = "tests/privilege constructs the rest")]
mod world;

use cases::Verb;
use points::{Finding, Options, Tally};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use world::{Variant, World};

const USAGE: &str = "usage: torture [--short] [--seconds N] [--seed N] [--verbose] [NAME...]

Tests $RUNTIME, or corten as just built. NAME is a part of VARIANT/VERB, for example
`plain/create`, or of a single point as findings name it: `plain/create/0/17:openat/EACCES`.

  --short      a random part of the points, for about two minutes
  --seconds N  the same, for about N seconds
  --seed N     the seed of the random choice; it is printed
  --verbose    print each point and what came of it
  --no-jail    for RUNTIME_FLAGS=--systemd-cgroup. Only on a machine that nothing else uses, as
               that of integration/vm: a runtime that goes wrong can reach everything there";

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("torture: {why}; see --help");
            return ExitCode::from(2);
        }
    };
    if let Some(why) = jail::missing() {
        println!("torture: 0 passed, 0 failed, 1 skipped (0 s): {why}");
        return ExitCode::SUCCESS;
    }
    match options.no_jail {
        true => jail::enter_mounts_only(),
        false => jail::enter(),
    }
    torture(&options)
}

/// Reads the command line. `None`: the caller asks for the usage.
fn options() -> Result<Option<Options>, String> {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--short" => options.seconds = Some(120),
            "--seconds" => options.seconds = Some(number(&arg, args.next())?),
            "--seed" => options.seed = number(&arg, args.next())?,
            "--verbose" => options.verbose = true,
            "--no-jail" => options.no_jail = true,
            // cargo passes it on.
            "--bench" | "--quiet" | "-q" => {}
            _ if arg.starts_with('-') => return Err(format!("no such option: {arg}")),
            _ => options.names.push(arg),
        }
    }
    Ok(Some(options))
}

fn number(option: &str, text: Option<String>) -> Result<u64, String> {
    let text = text.ok_or_else(|| format!("{option} needs a number"))?;
    text.parse().map_err(|_| format!("{option} {text}: not a number"))
}

fn torture(options: &Options) -> ExitCode {
    let began = Instant::now();
    println!("seed {}\n", options.seed);
    table::print_head();
    let mut skipped = 0;
    let (verbs, lacking) = known_verbs();
    for (verb, why) in lacking {
        if verb.variants.iter().any(|variant| options.wants(*variant, verb.name)) {
            println!("{}: skipped: {why}", verb.name);
            skipped += 1;
        }
    }
    let wanted: Vec<(Variant, &Verb)> = Variant::ALL
        .into_iter()
        .flat_map(|variant| verbs.iter().map(move |verb| (variant, verb)))
        .filter(|(variant, verb)| verb.variants.contains(variant) && options.wants(*variant, verb.name))
        .collect();
    let mut tallies: Vec<Tally> = Vec::new();
    let mut findings: Vec<Finding> = Vec::new();
    let mut world: Option<World> = None;
    let mut lacking: Option<Variant> = None;
    for (done, (variant, verb)) in wanted.iter().enumerate() {
        if lacking == Some(*variant) {
            continue;
        }
        if world.as_ref().is_none_or(|world| world.variant != *variant) {
            end(world.take());
            match World::new(*variant) {
                Ok(new) => world = Some(new),
                Err(why) => {
                    println!("{}: skipped: {why}", variant.name());
                    (skipped, lacking) = (skipped + 1, Some(*variant));
                    continue;
                }
            }
        }
        let Some(world) = &world else { continue };
        // The time that is left, in equal parts for what is left.
        let share = options.seconds.map(|seconds| {
            let left = Duration::from_secs(seconds).saturating_sub(began.elapsed());
            left / u32::try_from(wanted.len() - done).unwrap_or(1)
        });
        let tally = points::try_all(world, verb, options, share, &mut findings);
        table::print_row(&tally);
        tallies.push(tally);
    }
    for (verb, what) in [("damaged state", Harm::State), ("full disk", Harm::Disk)] {
        if !options.wants(Variant::Plain, verb) {
            continue;
        }
        if world.as_ref().is_none_or(|world| world.variant != Variant::Plain) {
            end(world.take());
            match World::new(Variant::Plain) {
                Ok(new) => world = Some(new),
                Err(why) => {
                    println!("{verb}: skipped: {why}");
                    skipped += 1;
                }
            }
        }
        let Some(world) = &world else { continue };
        let tally = match what {
            // A tenth, in addition.
            Harm::State => {
                let share = options.seconds.map(|seconds| Duration::from_secs(seconds.div_ceil(10)));
                damage::try_all(world, options, share, &mut findings)
            }
            Harm::Disk => damage::full_disk(world, options, &mut findings),
        };
        table::print_row(&tally);
        tallies.push(tally);
    }
    end(world);
    if tallies.is_empty() && skipped == 0 {
        println!("no VARIANT/VERB has in its name: {}", options.names.join(", "));
    }
    table::print_end(&tallies, &findings);
    let failed = findings.len();
    let tried: usize = tallies.iter().map(|tally| tally.kills + tally.errnos + tally.damages).sum();
    println!(
        "torture: {} passed, {failed} failed, {skipped} skipped ({} s)",
        tried - failed.min(tried),
        began.elapsed().as_secs()
    );
    if failed == 0 && tried > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The verbs that this machine can run, and the others with the reason.
fn known_verbs() -> (Vec<Verb>, Vec<(Verb, String)>) {
    let (mut known, mut lacking) = (Vec::new(), Vec::new());
    for verb in cases::all().into_iter().chain(later_cases::all()) {
        match (verb.lacking)() {
            None => known.push(verb),
            Some(why) => lacking.push((verb, why)),
        }
    }
    (known, lacking)
}

#[derive(Clone, Copy)]
enum Harm {
    State,
    Disk,
}

fn end(world: Option<World>) {
    let left = world.map(World::end).unwrap_or_default();
    assert!(left.is_empty(), "left at the end: {left:?}");
}
