//! `--scale`: what a verb costs while many containers are alive, and what memory each takes.
//!
//! Each runtime makes its own crowd of running containers, one size after the other. Next to
//! each crowd it runs the verbs on one more container, back to back.

use crate::container::{Bench, Payload};
use crate::lifecycle::{Meter, Samples, killed, runs};
use crate::measure::Init;
use crate::options::{Options, VERBS};
use crate::report::statistics;
use crate::runtimes::{Kind, Runtime};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The kinds of memory of /proc/meminfo that containers take, in KiB.
const KINDS: [&str; 7] =
    ["AnonPages", "Shmem", "PageTables", "KernelStack", "SUnreclaim", "SReclaimable", "Percpu"];

pub fn measure(bench: &Bench, options: &Options) -> Result<Map<String, Value>> {
    let mut meter = Meter::new(bench, options);
    let mut result = Map::new();
    for runtime in &bench.runtimes {
        let mut crowd = Crowd { meter: &mut meter, runtime, inits: Vec::new() };
        // Fills the caches.
        crowd.sample(&mut Samples::new())?;
        let mut sizes = Map::new();
        for size in &options.scale {
            eprintln!("{}: {size} containers", runtime.name);
            let memory = crowd.grow(*size)?;
            let mut samples = Samples::new();
            for _ in 0..options.n {
                crowd.sample(&mut samples)?;
            }
            let mut verbs = Map::new();
            for ((verb, _), list) in &samples {
                verbs.insert(verb.clone(), statistics(list.iter().map(|sample| sample.wall)));
            }
            sizes.insert(size.to_string(), json!({ "wall_ms": verbs, "memory_kib": memory }));
        }
        crowd.end()?;
        result.insert(runtime.name.clone(), Value::Object(sizes));
    }
    Ok(result)
}

struct Crowd<'a, 'b> {
    meter: &'a mut Meter<'b>,
    runtime: &'a Runtime,
    inits: Vec<i32>,
}

impl Crowd<'_, '_> {
    /// Creates and starts containers until `size` are alive. Returns the memory that each new
    /// one takes between `create` and `start`, and after `start`.
    fn grow(&mut self, size: usize) -> Result<Value> {
        let (from, before) = (self.inits.len(), memory()?);
        ensure!(size > from, "--scale: each size must be larger than the one before");
        for n in from..size {
            let init = self.create(n)?;
            self.inits.push(init);
        }
        let created = memory()?;
        for n in from..size {
            let argv = self.meter.bench.member_command(self.runtime, "start", n);
            self.meter.runner.timed(&argv, Init::Lives(self.inits[n]))?;
            runs(self.inits[n])?;
        }
        let each = |after: &BTreeMap<String, i64>| {
            let share = |(kind, kib): (&String, &i64)| {
                (kind.clone(), json!((kib - before[kind]) / (size - from).cast_signed() as i64))
            };
            Value::Object(after.iter().map(share).collect())
        };
        Ok(json!({ "created": each(&created), "running": each(&memory()?) }))
    }

    fn create(&self, n: usize) -> Result<i32> {
        let bench = self.meter.bench;
        bench.make_member(self.runtime, n)?;
        self.meter.runner.timed(&bench.member_command(self.runtime, "create", n), Init::None)?;
        bench.member_init(self.runtime, n)
    }

    /// Takes one sample of each verb. The floor has no `state` and no `list`.
    fn sample(&mut self, into: &mut Samples) -> Result<()> {
        self.meter.life(self.runtime, Duration::ZERO, into)?;
        if self.runtime.kind == Kind::Floor || self.inits.is_empty() {
            return Ok(());
        }
        for verb in ["state", "list"] {
            let sample = self
                .meter
                .runner
                .timed(&self.meter.bench.member_command(self.runtime, verb, 0), Init::None)?;
            into.entry((verb.to_owned(), self.runtime.name.clone())).or_default().push(sample);
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        for (n, init) in self.inits.iter().enumerate() {
            kill(Pid::from_raw(*init), Signal::SIGKILL)?;
            killed(self.runtime, *init)?;
            let argv = self.meter.bench.member_command(self.runtime, "delete", n);
            self.meter.runner.timed(&argv, Init::None)?;
        }
        Ok(())
    }
}

fn memory() -> Result<BTreeMap<String, i64>> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = |kind: &str| -> Result<(String, i64)> {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
        let line = line.with_context(|| format!("/proc/meminfo has no {kind}"))?;
        Ok((kind.to_owned(), line.trim().trim_end_matches(" kB").parse()?))
    };
    KINDS.iter().map(|kind| kib(kind)).collect()
}

/// The verbs that are measured beside a crowd.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    VERBS.into_iter().filter(|verb| *verb != "run").chain(["state", "list"])
}

/// Returns the numbers that each runtime was measured with, ascending: the sizes of the crowds.
pub fn sizes(result: &Value) -> Vec<String> {
    let first = result.as_object().and_then(|runtimes| runtimes.values().next()?.as_object());
    let mut sizes: Vec<String> = first.map_or_else(Vec::new, |sizes| sizes.keys().cloned().collect());
    sizes.sort_by_key(|size| size.parse::<usize>().unwrap_or(0));
    sizes
}

/// Prints a table of medians for each verb, a line for each runtime and a column for each
/// size; then the memory.
pub fn print(layout: &str, result: &Value, stat: &str) {
    let Some(runtimes) = result.as_object() else { return };
    let sizes = sizes(result);
    println!("\ncgroup {layout}, back to back, while so many containers are alive: {stat} in ms");
    for verb in verbs() {
        println!("  {verb:<10}{}", sizes.iter().map(|size| format!("{size:>10}")).collect::<String>());
        for (name, runtime) in runtimes {
            let figure = |size: &String| runtime[size]["wall_ms"][verb][stat].as_f64();
            let figures = sizes.iter().filter_map(figure).map(|ms| format!("{ms:>10.3}")).collect::<String>();
            if !figures.is_empty() {
                println!("    {name:<8}{figures}");
            }
        }
    }
    let Some(largest) = sizes.last() else { return };
    println!("\ncgroup {layout}: KiB of memory for each container of the last {largest}");
    println!("  {:<24}{}{:>13}", "", KINDS.map(|kind| format!("{kind:>13}")).concat(), "sum");
    for (name, runtime) in runtimes {
        for state in ["created", "running"] {
            let kinds = KINDS.map(|kind| runtime[largest]["memory_kib"][state][kind].as_i64().unwrap_or(0));
            let figures = kinds.map(|kib| format!("{kib:>13}")).concat();
            println!("  {:<24}{figures}{:>13}", format!("{name}, {state}"), kinds.iter().sum::<i64>());
        }
    }
}

impl Bench {
    fn member_dir(&self, runtime: &Runtime, n: usize) -> std::path::PathBuf {
        self.work.join("crowd").join(&runtime.name).join(n.to_string())
    }

    fn member_pid_file(&self, runtime: &Runtime, n: usize) -> std::path::PathBuf {
        self.member_dir(runtime, n).join("init.pid")
    }

    fn member_cgroup(&self, runtime: &Runtime, n: usize) -> String {
        format!("{}-{n}", self.cgroup(runtime, Payload::Pause))
    }

    /// Returns the pid of the member's init.
    pub fn member_init(&self, runtime: &Runtime, n: usize) -> Result<i32> {
        let file = self.member_pid_file(runtime, n);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(text.trim().parse()?)
    }

    /// Makes the bundle of the crowd's member `n`, which has a cgroup of its own.
    pub fn make_member(&self, runtime: &Runtime, n: usize) -> Result<()> {
        let dir = self.member_dir(runtime, n);
        fs::create_dir_all(&dir)?;
        if runtime.kind == Kind::Floor {
            return Ok(());
        }
        let config = fs::read(self.bundle(runtime, Payload::Pause).join("config.json"))?;
        let mut config: Value = serde_json::from_slice(&config)?;
        config["linux"]["cgroupsPath"] = json!(format!("/{}", self.member_cgroup(runtime, n)));
        fs::write(dir.join("config.json"), serde_json::to_string_pretty(&config)?)?;
        Ok(())
    }

    pub fn member_command(&self, runtime: &Runtime, verb: &str, n: usize) -> Vec<String> {
        let dir = self.member_dir(runtime, n).display().to_string();
        let pid_file = self.member_pid_file(runtime, n).display().to_string();
        let (id, state, cgroup) =
            (format!("crowd-{n}"), format!("{dir}/init"), self.member_cgroup(runtime, n));
        let rootfs = self.rootfs().display().to_string();
        let root = self.root(runtime).display().to_string();
        let words: Vec<&str> = match (&runtime.kind, verb) {
            (Kind::Floor, "create") => {
                let place = [verb, &self.floor_layout, &rootfs, &cgroup, &state];
                place.into_iter().chain(Payload::Pause.argv().iter().copied()).collect()
            }
            (Kind::Floor, "start") => vec![verb, &state],
            (Kind::Floor, _) => vec![verb, &self.floor_layout, &cgroup, &state],
            (Kind::Oci, "create") => {
                vec!["--root", &root, verb, "--bundle", &dir, "--pid-file", &pid_file, &id]
            }
            (Kind::Oci, "list") => vec!["--root", &root, verb],
            (Kind::Oci, _) => vec!["--root", &root, verb, &id],
        };
        let mut argv = vec![runtime.path.display().to_string()];
        argv.extend(words.into_iter().map(String::from));
        argv
    }
}
