//! The soak: very many containers, one after the other and at the same time, also where
//! memory, processes or disk run out. It counts what the machine has before and after, and
//! fails if something is left. README.md has the phases, the bounds and figures.
//!
//! The soak runs in its own mount and pid namespace: a stray mount or signal reaches
//! nothing else, and every process that it can see is its own.
#![allow(clippy::disallowed_methods, reason = "the bans protect the runtime, not a test's own files")]
#![allow(clippy::expect_used, clippy::panic, reason = "what goes wrong ends the soak")]

mod census;
mod full;
mod machine;
mod options;
mod outside;
mod place;
mod pressure;
#[path = "../harness/program.rs"]
mod program;
mod verdict;
mod worker;

use census::Census;
use options::Options;
use place::Place;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use verdict::Verdict;

/// Containers that run before the first count, so that the caches of the kernel are filled.
const WARM_UP: u64 = 200;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--worker") => worker::main(&args[1..]),
        Some("--inside") => soak(&args[1..]),
        _ => start(&args),
    }
}

/// On the host: reads the command line, and starts the soak in its namespaces.
fn start(args: &[String]) -> ExitCode {
    let options = match Options::parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::from(2);
        }
    };
    let is_root = nix::unistd::geteuid().is_root();
    let missing = [
        (is_root, "root, for namespaces and cgroups"),
        (Path::new("/bin/busybox").exists(), "/bin/busybox (apt-get install busybox-static)"),
    ];
    if let Some((_, what)) = missing.iter().find(|(is_there, _)| !is_there) {
        println!("skipped: needs {what}\nsoak: 0 passed, 0 failed, 1 skipped (0 s)");
        return ExitCode::SUCCESS;
    }
    outside::run(&options)
}

/// In the namespaces: every phase, with a count before and after.
fn soak(args: &[String]) -> ExitCode {
    let options = Options::parse(&args[1..]).ok().flatten().expect("options of the process outside");
    let place = Place::create(args[0].as_ref(), &options.runtime);
    let started = Instant::now();
    let mut verdict = Verdict::default();
    println!("runtime: {}", options.runtime.display());
    println!("machine: {}", machine::describe());
    verdict.phase("the count finds what is left on purpose", || census::finds_leftovers(&place));
    let warmed_up =
        worker::many(&place, "run", 1, WARM_UP).and_then(|()| worker::many(&place, "life", 8, WARM_UP));
    if let Err(why) = warmed_up {
        println!("the first {WARM_UP} containers: {why}\nsoak: 0 passed, 1 failed, 0 skipped (0 s)");
        return ExitCode::FAILURE;
    }
    let before = Census::take(&place);
    let row = options.containers / 4;
    let at_once = row.next_multiple_of(options.workers);
    verdict.soaked(&place, "run, one after the other", row, || worker::many(&place, "run", 1, row));
    verdict.soaked(&place, "create, start, delete, one after the other", row, || {
        worker::many(&place, "life", 1, row)
    });
    verdict.soaked(&place, &format!("run, {} at a time", options.workers), at_once, || {
        worker::many(&place, "run", options.workers, at_once)
    });
    verdict.soaked(&place, &format!("create, start, delete, {} at a time", options.workers), at_once, || {
        worker::many(&place, "life", options.workers, at_once)
    });
    verdict.soaked(&place, "alive at the same time", options.alive, || {
        worker::alive(&place, options.workers, options.alive)
    });
    let rounds = options.rounds;
    for limit in pressure::LIMITS {
        let name = format!("{} short, {} at a time", limit.what, options.workers);
        match pressure::unavailable(limit) {
            Some(reason) => verdict.skip(&name, &reason),
            None => verdict
                .soaked(&place, &name, rounds, || pressure::sweep(&place, limit, options.workers, rounds)),
        }
    }
    verdict.soaked(&place, "a state root that is full", rounds, || full::sweep(&place, rounds));
    verdict.whole(&place, &before);
    let passed = verdict.finish(started.elapsed());
    let left = Census::take(&place).leftovers();
    if !left.is_empty() {
        println!("left behind: {left:?}");
    }
    if passed && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
