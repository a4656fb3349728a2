//! The measurement: the order of runtimes and verbs, and the checks in between.

use crate::container::{Bench, Payload};
use crate::measure::{Init, Runner, Sample, cpu_of, until, wait};
use crate::options::Options;
use crate::report::statistics;
use crate::runtimes::{Kind, Runtime};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// The number of back-to-back samples of one runtime. The first does not count, because it
/// pays for the kernel's remaining work of the runtime before.
const BLOCK: usize = 5;

pub type Samples = BTreeMap<(String, String), Vec<Sample>>;

pub struct Meter<'a> {
    pub bench: &'a Bench,
    pub runner: Runner,
    options: &'a Options,
    random: u64,
}

pub fn measure(bench: &Bench, options: &Options) -> Result<Map<String, Value>> {
    let mut meter = Meter::new(bench, options);
    let mut result = Map::new();
    let load = fs::read_to_string("/proc/loadavg")?;
    result.insert("load".into(), load.trim().into());
    // Fills the page cache and the slab caches, and checks that everything works, before
    // the first sample.
    for runtime in &bench.runtimes {
        meter.run(runtime, Duration::ZERO, &mut Samples::new())?;
        meter.life(runtime, Duration::ZERO, &mut Samples::new())?;
    }
    let gap = Duration::from_millis(options.gap_ms);
    result.insert("gapped".into(), meter.pace(options.gapped, 0, gap)?);
    result.insert("back_to_back".into(), meter.pace(options.n, 1, Duration::ZERO)?);
    let (memory, faults) = meter.memory()?;
    result.insert("memory_kib".into(), memory);
    result.insert("page_faults".into(), faults);
    result.insert("syscalls".into(), meter.syscalls()?);
    Ok(result)
}

impl<'a> Meter<'a> {
    pub fn new(bench: &'a Bench, options: &'a Options) -> Self {
        Self { bench, runner: Runner::new(&bench.work), options, random: 1 }
    }

    /// Takes `n` samples of each verb and runtime. If `warm` is 1, takes them in blocks.
    fn pace(&mut self, n: usize, warm: usize, gap: Duration) -> Result<Value> {
        let mut samples = Samples::new();
        let per_round = if warm == 0 { 1 } else { BLOCK - warm };
        let rounds = n.div_ceil(per_round);
        for round in 0..rounds {
            eprint!("\r{} of {rounds} rounds, {} ms between samples ", round + 1, gap.as_millis());
            for lives in [false, true] {
                for runtime in self.shuffled() {
                    for i in 0..warm + per_round {
                        let mut unused = Samples::new();
                        let into = if i < warm { &mut unused } else { &mut samples };
                        if lives && self.options.verbs.iter().any(|v| v != "run") {
                            self.life(&runtime, gap, into)?;
                        } else if !lives && self.options.wants("run") {
                            self.run(&runtime, gap, into)?;
                        }
                    }
                }
            }
        }
        eprintln!();
        let mut verbs = Map::new();
        for ((verb, name), list) in &samples {
            let runtimes = verbs.entry(verb.clone()).or_insert_with(|| json!({}));
            runtimes[name] = json!({
                "wall_ms": statistics(list.iter().map(|s| s.wall)),
                "cpu_ms": statistics(list.iter().map(|s| s.cpu)),
            });
        }
        Ok(Value::Object(verbs))
    }

    /// Every round has another order, the same in each run of the benchmark. So no runtime
    /// always follows the same other one.
    fn shuffled(&mut self) -> Vec<Runtime> {
        let mut list = self.bench.runtimes.clone();
        for i in (1..list.len()).rev() {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let j = usize::try_from(self.random >> 33).unwrap_or(0) % (i + 1);
            list.swap(i, j);
        }
        list
    }

    fn one(
        &self,
        runtime: &Runtime,
        verb: &str,
        payload: Payload,
        init: Init,
        gap: Duration,
        into: &mut Samples,
    ) -> Result<Sample> {
        let pid = if let Init::Lives(pid) = init { pid } else { 0 };
        let argv = self.bench.command(runtime, verb, payload, pid);
        if self.options.wants(verb) {
            sleep(gap);
        }
        let sample = self.runner.timed(&argv, init)?;
        if self.options.wants(verb) {
            into.entry((verb.to_owned(), runtime.name.clone())).or_default().push(sample);
        }
        Ok(sample)
    }

    fn run(&self, runtime: &Runtime, gap: Duration, into: &mut Samples) -> Result<()> {
        self.one(runtime, "run", Payload::Ok, Init::None, gap, into).map(drop)
    }

    /// create, start, exec, kill, delete.
    pub fn life(&self, runtime: &Runtime, gap: Duration, into: &mut Samples) -> Result<()> {
        let mut created = Samples::new();
        self.one(runtime, "create", Payload::Pause, Init::None, gap, &mut created)?;
        let init = self.init(runtime)?;
        // `create` has created init. Init's CPU time so far belongs to `create`.
        for (key, list) in created {
            let share = cpu_of(init).unwrap_or(0.0);
            into.entry(key).or_default().extend(list.iter().map(|s| Sample { cpu: s.cpu + share, ..*s }));
        }
        self.one(runtime, "start", Payload::Pause, Init::Lives(init), gap, into)?;
        runs(init)?;
        self.one(runtime, "exec", Payload::Pause, Init::Lives(init), gap, into)?;
        self.one(runtime, "kill", Payload::Pause, Init::Lives(init), gap, into)?;
        killed(runtime, init)?;
        self.one(runtime, "delete", Payload::Pause, Init::None, gap, into)?;
        Ok(())
    }

    fn init(&self, runtime: &Runtime) -> Result<i32> {
        let file = self.bench.pid_file(runtime);
        let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        let pid =
            text.trim().parse().with_context(|| format!("the pid file of {} has {text:?}", runtime.name))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let parent = status.lines().find_map(|l| l.strip_prefix("PPid:\t"));
        ensure!(
            parent == Some(std::process::id().to_string().as_str()),
            "{}: {pid} of the pid file is no process of this run",
            runtime.name
        );
        Ok(pid)
    }

    /// Peak memory in KiB of `run`, `create`, `exec` and the init that waits for `start`, and
    /// the page faults of each verb.
    fn memory(&self) -> Result<(Value, Value)> {
        let (mut memory, mut faults) = (Map::new(), Map::new());
        for runtime in &self.bench.runtimes {
            let mut by_verb = Map::new();
            let mut peak = |verb: &str, payload, init| -> Result<u64> {
                let pid = if let Init::Lives(pid) = init { pid } else { 0 };
                let argv = self.bench.command(runtime, verb, payload, pid);
                let usage = self.runner.usage(&self.bench.floor, &argv, init)?;
                by_verb.insert(verb.into(), usage.faults.into());
                Ok(usage.peak_kib)
            };
            let run = peak("run", Payload::Ok, Init::None)?;
            let create = peak("create", Payload::Pause, Init::None)?;
            let init = self.init(runtime)?;
            let status = fs::read_to_string(format!("/proc/{init}/status"))?;
            let field = |name: &str| -> Result<u64> {
                let line = status.lines().find_map(|l| l.strip_prefix(name)).context("/proc/PID/status")?;
                Ok(line.trim().trim_end_matches(" kB").parse()?)
            };
            let (waiting, waiting_now) = (field("VmHWM:")?, field("VmRSS:")?);
            peak("start", Payload::Pause, Init::Lives(init))?;
            runs(init)?;
            let exec = peak("exec", Payload::Pause, Init::Lives(init))?;
            peak("kill", Payload::Pause, Init::Lives(init))?;
            killed(runtime, init)?;
            peak("delete", Payload::Pause, Init::None)?;
            memory.insert(
                runtime.name.clone(),
                json!({ "run": run, "create": create, "exec": exec, "waiting init": waiting,
                        "waiting init now": waiting_now }),
            );
            faults.insert(runtime.name.clone(), Value::Object(by_verb));
        }
        Ok((Value::Object(memory), Value::Object(faults)))
    }

    fn syscalls(&self) -> Result<Value> {
        let Some(strace) = ["/usr/bin/strace", "/bin/strace", "/usr/local/bin/strace"]
            .iter()
            .find(|p| Path::new(p).exists())
        else {
            return Ok(json!("strace is not installed"));
        };
        let strace = PathBuf::from(strace);
        let mut all = Map::new();
        for runtime in &self.bench.runtimes {
            let mut calls = Map::new();
            let count = |verb: &str, payload, init| {
                self.runner.syscalls(&strace, &self.bench.command(runtime, verb, payload, init), || Ok(()))
            };
            calls.insert("run".into(), count("run", Payload::Ok, 0)?.into());
            let create = self.bench.command(runtime, "create", Payload::Pause, 0);
            let created = self.runner.syscalls(&strace, &create, || {
                let file = self.bench.pid_file(runtime);
                let init: i32 = fs::read_to_string(&file)?.trim().parse()?;
                calls.insert("start".into(), count("start", Payload::Pause, init)?.into());
                runs(init)?;
                calls.insert("exec".into(), count("exec", Payload::Pause, init)?.into());
                calls.insert("kill".into(), count("kill", Payload::Pause, init)?.into());
                killed(runtime, init)
            })?;
            calls.insert("create".into(), created.into());
            calls.insert("delete".into(), count("delete", Payload::Pause, 0)?.into());
            all.insert(runtime.name.clone(), Value::Object(calls));
        }
        Ok(Value::Object(all))
    }
}

/// The payload has replaced the runtime's init.
pub fn runs(init: i32) -> Result<()> {
    until("the payload runs after start", || {
        fs::read_to_string(format!("/proc/{init}/comm")).is_ok_and(|name| name == "pause\n")
    })
}

pub fn killed(runtime: &Runtime, init: i32) -> Result<()> {
    let status = wait(init.cast_unsigned())?;
    ensure!(
        status == libc::SIGKILL,
        "{}: init ended with wait status {status:#x} instead of SIGKILL",
        runtime.name
    );
    Ok(())
}

/// Prints how the report of a process differs from that of the floor's process.
pub fn check(bench: &Bench) -> Result<()> {
    let runner = Runner::new(&bench.work);
    let mut floor: Vec<String> = Vec::new();
    for runtime in &bench.runtimes {
        runner.timed(&bench.command(runtime, "run", Payload::Probe, 0), Init::None)?;
        let seen: Vec<String> = runner.stdout().lines().map(String::from).collect();
        ensure!(
            seen.len() > 40,
            "the probe says too little (is a static busybox installed?):\n{}",
            seen.join("\n")
        );
        if runtime.kind == Kind::Floor {
            floor = seen;
            continue;
        }
        println!("{} against the floor:", runtime.name);
        for (sign, these, those) in [('-', &floor, &seen), ('+', &seen, &floor)] {
            for line in these.iter().filter(|l| !those.contains(l)) {
                println!("  {sign} {line}");
            }
        }
    }
    Ok(())
}
