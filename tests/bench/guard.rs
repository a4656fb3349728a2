//! `make bench-check`: counts what corten does for each verb on the same input, and compares
//! with the kept figures. README.md explains what is counted.

use crate::container::{Bench, Payload};
use crate::instructions;
use crate::kept::{self, Build, Figures};
use crate::lifecycle::runs;
use crate::options::Options;
use crate::place::{self, Job, Layout, Place};
use crate::runtimes::Runtime;
use crate::tracer::{self, Beside, Command, Ended};
use crate::{calls, container};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The limit for one command, except where instructions are counted.
const BOUND: Duration = Duration::from_secs(30);

/// How often everything is counted. The smallest figure is the one that counts: it has no
/// retries, and no page that the kernel had to read again.
const ROUNDS: usize = 10;
/// A round of steps takes minutes on some virtual machines, and two differ by 0.03 %.
const INSTRUCTION_ROUNDS: usize = 1;

/// The commands, in the order in which a round executes them.
pub const COMMANDS: [&str; 9] =
    ["--version", "run", "create", "start", "exec", "state", "list", "kill", "delete"];

#[derive(Clone, Copy, PartialEq)]
enum Count {
    Calls,
    Faults,
    Instructions,
}

pub fn outside(options: &Options, programs: container::Programs, runtimes: Vec<Runtime>) -> Result<()> {
    let runtimes: Vec<Runtime> = runtimes.into_iter().filter(|r| r.name == "corten").collect();
    let corten = runtimes.first().context("CORTEN is none")?;
    let build = Build::of(&corten.path)?;
    let (options, keep) = (options.clone(), options.keep);
    let counted = place::run_inside(Layout::V2, &Job { options, programs, runtimes })?;
    let counted: BTreeMap<String, Figures> = serde_json::from_value(counted)?;
    if keep {
        return kept::keep(&build, counted);
    }
    ensure!(kept::compare(&build, &counted)?, "corten does more than before");
    Ok(())
}

/// Stops ignoring what the caller ignores (`nohup`): init makes a call for each such signal.
fn default_signals() {
    for number in Signal::iterator().filter(|number| *number != Signal::SIGPIPE) {
        // SAFETY: the default is no handler. SIGKILL and SIGSTOP have no other: EINVAL.
        let _ = unsafe { signal(number, SigHandler::SigDfl) };
    }
}

/// Sets what a command inherits: addresses that are not random, the working directory /, and
/// default signals. Blocks SIGCHLD, because the tracer waits for it.
pub fn prepare() -> Result<()> {
    // Addresses decide how many pages a process touches.
    // SAFETY: an integer only.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
    std::env::set_current_dir("/")?;
    default_signals();
    let mut child_ended = SigSet::empty();
    child_ended.add(Signal::SIGCHLD);
    Ok(child_ended.thread_block()?)
}

pub fn inside(place: &Place, job: &Job) -> Result<Value> {
    prepare()?;
    let guard = Guard::new(place, job)?;
    // Fills the caches of the kernel.
    guard.round(Count::Faults)?;
    let mut all: BTreeMap<String, Figures> = BTreeMap::new();
    for (count, rounds) in
        [(Count::Calls, ROUNDS), (Count::Faults, ROUNDS), (Count::Instructions, INSTRUCTION_ROUNDS)]
    {
        if count == Count::Instructions {
            if job.options.quick || !instructions::ARE_COUNTED {
                continue;
            }
            eprintln!("counting instructions, which takes some seconds or some minutes");
            instructions::stay_on_one_cpu()?;
        }
        for _ in 0..rounds {
            for (command, figures) in guard.round(count)? {
                all.entry(command).or_default().take_smaller(figures);
            }
        }
    }
    Ok(serde_json::to_value(all)?)
}

pub struct Guard {
    bench: Bench,
    corten: Runtime,
}

impl Guard {
    pub fn new(place: &Place, job: &Job) -> Result<Self> {
        let bench = Bench::new(place, job)?;
        let mut corten = job.runtimes.first().context("no corten")?.clone();
        let copy = place.work.join("corten");
        fs::copy(&corten.path, &copy)?;
        corten.path = copy;
        Ok(Self { bench, corten })
    }

    fn round(&self, count: Count) -> Result<BTreeMap<String, Figures>> {
        self.run_lifecycle(|name, init| self.count(name, count, init))
    }

    /// Executes each command once, in the life of one container and of a second one by `run`.
    /// `execute` gets the command's name and init's pid (0 before `create`).
    pub fn run_lifecycle<T>(
        &self,
        mut execute: impl FnMut(&str, i32) -> Result<T>,
    ) -> Result<BTreeMap<String, T>> {
        let mut round = BTreeMap::new();
        let mut init = 0;
        for name in COMMANDS {
            tracer::forget_reaped();
            let result = execute(name, init).with_context(|| name.to_owned())?;
            round.insert(name.to_owned(), result);
            match name {
                "create" => {
                    init = fs::read_to_string(self.bench.pid_file(&self.corten))?.trim().parse()?;
                }
                "start" => runs(init)?,
                "kill" => {
                    let code = tracer::exit_code(init, BOUND);
                    ensure!(code == Some(128 + libc::SIGKILL), "init ended with {code:?} after kill");
                }
                _ => {}
            }
        }
        Ok(round)
    }

    fn count(&self, name: &str, count: Count, init: i32) -> Result<Figures> {
        let words = self.words(name);
        let mut figures = Figures::default();
        let ended = match count {
            Count::Calls => {
                let beside = if name == "start" { Beside::Traced(init) } else { Beside::None };
                let (traced, _) = Command::new(&words).trace(None, beside, BOUND);
                for made in traced.calls.iter().flatten() {
                    *figures.calls.entry(calls::name(made.number).to_owned()).or_default() += 1;
                }
                traced.ended
            }
            Count::Faults => {
                let floor = self.bench.floor.display().to_string();
                let usage = [floor.as_str(), "usage"].into_iter().chain(words.iter().map(String::as_str));
                let (ended, _) = Command::new(usage).run(BOUND);
                let faults = ended.stderr.lines().find_map(|line| line.strip_prefix("faults "));
                figures.faults = faults.context("no figure from `floor usage`")?.parse()?;
                ended
            }
            Count::Instructions => {
                let (ended, steps) = instructions::count(&Command::new(&words))?;
                figures.instructions = steps;
                ended
            }
        };
        succeeded(&ended)?;
        Ok(figures)
    }

    pub fn words(&self, name: &str) -> Vec<String> {
        let payload = if name == "run" { Payload::Ok } else { Payload::Pause };
        let mut words = self.bench.command(&self.corten, name, payload, 0);
        match name {
            // Without the id.
            "list" => words.truncate(words.len() - 1),
            "--version" => words = vec![words[0].clone(), name.to_owned()],
            _ => {}
        }
        words
    }
}

pub fn succeeded(ended: &Ended) -> Result<()> {
    ensure!(
        ended.code == 0 && ended.hang.is_empty(),
        "exit status {} {:?}\n{}{}",
        ended.code,
        ended.hang,
        ended.stdout,
        ended.stderr
    );
    Ok(())
}
