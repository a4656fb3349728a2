//! The command line.

use crate::place::Layout;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub const VERBS: [&str; 6] = ["run", "create", "start", "exec", "kill", "delete"];

const USAGE: &str = "\
cargo bench --bench verbs -- [OPTIONS]

  --n N         samples of each verb back to back (60); with idle gaps, N * 5 / 12 (25)
  --gap MS      the idle gap before each gapped sample (100)
  --verbs A,B   only these: run, create, start, exec, kill, delete
  --only A,B    only these runtimes, by name (the floor stays)
  --v2          on cgroup v2, in a private mount namespace
  --both        as the machine is, and on cgroup v2
  --stat NAME   what the table shows: median, p10, min or p90 (median); on a loaded machine p10 moves least
  --json FILE   every sample (target/bench.json)
  --plot FILE   a plot of the wall times back to back, as SVG; with --both, of cgroup v2; with --scale, of the times
                beside each number of containers
  --guard       measure no time: count what corten does, and compare with tests/bench/kept.json
  --keep        with --guard: write the figures to tests/bench/kept.json instead
  --quick       with --guard: without instructions, which take longest
  --scale A,B   instead, while A, then B containers are alive: N samples of each verb, and memory for each
                container
  --at-once A,B instead, a hundred `create` by A, then B callers at the same time
  --order FILE  measure no time: write the linker script src/hot.ld, from a CORTEN with symbols
  --check       measure nothing: compare what a process sees inside under each runtime with the floor

Environment: CORTEN, RUNC, CRUN = path or `none`; PEERS = name=path,...
";

#[derive(Clone, Serialize, Deserialize)]
pub struct Options {
    pub n: usize,
    pub gapped: usize,
    pub gap_ms: u64,
    pub verbs: Vec<String>,
    pub only: Vec<String>,
    pub stat: String,
    pub json: PathBuf,
    pub plot: Option<PathBuf>,
    pub check: bool,
    /// Ascending.
    pub scale: Vec<usize>,
    pub at_once: Vec<usize>,
    pub guard: bool,
    pub keep: bool,
    pub quick: bool,
    pub order: Option<PathBuf>,
    v2: bool,
    both: bool,
}

impl Options {
    /// `None`: the caller asked for the help, which is printed.
    pub fn parse(args: &[String]) -> Result<Option<Self>> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
        let mut options = Self {
            n: 60,
            gapped: 25,
            gap_ms: 100,
            verbs: VERBS.map(String::from).to_vec(),
            only: Vec::new(),
            stat: "median".into(),
            json: target.join("bench.json"),
            plot: None,
            check: false,
            scale: Vec::new(),
            at_once: Vec::new(),
            guard: false,
            keep: false,
            quick: false,
            order: None,
            v2: false,
            both: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--n" => {
                    options.n = value()?.parse().context("--n")?;
                    options.gapped = (options.n * 5).div_ceil(12);
                }
                "--gap" => options.gap_ms = value()?.parse().context("--gap")?,
                "--verbs" => options.verbs = value()?.split(',').map(String::from).collect(),
                "--only" => options.only = value()?.split(',').map(String::from).collect(),
                "--stat" => options.stat.clone_from(value()?),
                "--json" => options.json = value()?.into(),
                "--plot" => options.plot = Some(value()?.into()),
                "--order" => options.order = Some(value()?.into()),
                "--scale" => options.scale = numbers(value()?).context("--scale")?,
                "--at-once" => options.at_once = numbers(value()?).context("--at-once")?,
                "--v2" => options.v2 = true,
                "--both" => options.both = true,
                "--check" => options.check = true,
                "--guard" => options.guard = true,
                "--keep" => options.keep = true,
                "--quick" => options.quick = true,
                // `cargo bench` adds this flag.
                "--bench" => {}
                "--help" | "-h" => {
                    print!("{USAGE}");
                    return Ok(None);
                }
                _ => bail!("unknown option {arg}\n\n{USAGE}"),
            }
        }
        if let Some(verb) = options.verbs.iter().find(|v| !VERBS.contains(&v.as_str())) {
            bail!("no such verb: {verb} (there are {})", VERBS.join(", "));
        }
        if !["median", "p10", "min", "p90"].contains(&options.stat.as_str()) {
            bail!("no such statistic: {}", options.stat);
        }
        if (options.keep || options.quick) && !options.guard {
            bail!("--keep and --quick need --guard");
        }
        if options.keep && options.quick {
            bail!("--keep needs all figures: leave out --quick");
        }
        if options.n == 0 {
            bail!("--n must be at least 1");
        }
        Ok(Some(options))
    }

    pub fn layouts(&self) -> Result<Vec<Layout>> {
        let native = Layout::of_machine()?;
        Ok(match (self.v2, self.both, native) {
            (true, _, _) | (_, _, Layout::V2) => vec![Layout::V2],
            (_, true, Layout::V1) => vec![Layout::V1, Layout::V2],
            _ => vec![Layout::V1],
        })
    }

    pub fn wants(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

fn numbers(list: &str) -> Result<Vec<usize>> {
    let numbers: Vec<usize> = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
    ensure!(!numbers.contains(&0), "0 is too few");
    Ok(numbers)
}
