//! `make attack`: every attack that once worked on a runtime, against corten or $RUNTIME, and
//! races over each path that the runtime touches. README.md explains the table.
#![allow(unsafe_code, reason = "the probe and the harness make raw system calls")]
#![allow(clippy::disallowed_methods, reason = "the bans protect the runtime, not a test's own files")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    reason = "what goes wrong fails an attack"
)]

#[macro_use]
#[path = "../harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the suite uses the rest")]
mod harness;
#[path = "../checkpoint.rs"]
#[allow(dead_code, reason = "the suite runs its tests")]
mod checkpoint;
#[path = "../joins.rs"]
#[allow(dead_code, reason = "the suite runs its tests")]
mod joins;
#[path = "../probe.rs"]
mod probe;
#[path = "../filters/xorshift.rs"]
mod random;
#[path = "../security.rs"]
mod security;
#[path = "../storm.rs"]
#[allow(dead_code, reason = "the suite runs its tests")]
mod storm;
#[path = "../terminal.rs"]
#[allow(dead_code, reason = "the suite runs its tests")]
mod terminal;

mod census;
mod flips;
mod jail;
mod known;
mod race;
mod scene;
mod table;
mod touched;
mod verbs;
mod view;
mod waits;

use std::process::ExitCode;
use std::time::{Duration, Instant};
use table::Table;

const USAGE: &str = "\
Attacks a runtime, in a jail of its own, and prints a table: the attack, the tries, the tries in which the
attack took place, and those in which it succeeded. Needs root, busybox-static and strace.

    make attack [RUNTIME=PATH] [SECONDS=20] [ARGS=\"TEXT...\"]

TEXT selects the rows whose name contains it. The environment:

    RUNTIME         another runtime than corten as just built
    ATTACK_SECONDS  how long each race runs (20)
    WEAKENED        a build of corten with a weakened resolver, which the races must catch within a minute
    CRIU            a CRIU that works on this machine, for the races of checkpoint and restore
    SEED            a number that gives the races of an earlier run again
    VERBOSE         set: also prints what each race met, and what the runtime said
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--view") => return view::main(&args[1..]),
        Some("--mounts-outside") => return census::mounts_outside(&args[1..]),
        Some("--help" | "-h") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ if probe::is_called() => return ExitCode::from(probe::main() as u8),
        _ => {}
    }
    if let Some(option) = args.iter().find(|arg| arg.starts_with('-')) {
        eprintln!("attack: no such option: {option}; see --help");
        return ExitCode::from(2);
    }
    if !harness_is_usable() {
        println!("attack: 0 passed, 0 failed, 1 skipped (0 s)");
        return ExitCode::SUCCESS;
    }
    let settings = match Settings::read() {
        Ok(settings) => settings,
        Err(why) => {
            eprintln!("attack: {why}");
            return ExitCode::from(2);
        }
    };
    if !jail::is_inside() {
        // An error in RUNTIME is one of the caller's, too.
        harness::check_runtime();
        jail::enter(&args);
    }
    jail::furnish();
    attack(&args, &settings)
}

/// Whether this machine has what the attacks need. Prints what is missing.
fn harness_is_usable() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    let missing = [
        (is_root, "root: the attacks run in namespaces and cgroups of their own"),
        (std::path::Path::new("/bin/busybox").exists(), "/bin/busybox (apt-get install busybox-static)"),
        (std::path::Path::new("/usr/bin/strace").exists(), "strace (apt-get install strace)"),
    ];
    for (_, what) in missing.iter().filter(|(is_there, _)| !is_there) {
        println!("skipped: needs {what}");
    }
    missing.iter().all(|(is_there, _)| *is_there)
}

struct Settings {
    /// How long each race runs.
    time: Duration,
    seed: u64,
}

impl Settings {
    /// Reads them from the environment. The error names what is no number.
    fn read() -> Result<Settings, String> {
        let time = Duration::from_secs(number("ATTACK_SECONDS")?.unwrap_or(20));
        Ok(Settings { time, seed: number("SEED")?.unwrap_or_else(clock) })
    }
}

fn attack(wanted: &[String], &Settings { time, seed }: &Settings) -> ExitCode {
    let begin = Instant::now();
    harness::catch_panics();
    let mut table = Table::new(wanted, seed);
    for case in security::cases().iter().filter(|case| known::is_attack(case)) {
        table.row(&known::name(case.name), || known::row(case));
    }
    let host = census::Host::new();
    for verb in verbs::ALL {
        table.row(verb.row(), || race::row(&host, verb, time, seed));
    }
    if let Some(weakened) = std::env::var_os("WEAKENED").filter(|path| !path.is_empty()) {
        table.row("weakened resolver (must be caught)", || race::weakened(&host, weakened.as_ref(), seed));
    }
    table.end(begin.elapsed())
}

/// Returns the number in a variable of the environment, if it is set.
fn number(name: &str) -> Result<Option<u64>, String> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty());
    let number = text.map(|text| text.parse().map_err(|_| format!("{name}={text}: not a number")));
    number.transpose()
}

/// Returns the nanoseconds of the clock, as a seed.
fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |time| u64::from(time.subsec_nanos()))
}
