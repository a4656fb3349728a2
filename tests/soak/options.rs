//! The command line.

use crate::program;
use std::path::PathBuf;

const USAGE: &str = "\
usage: soak [--containers N] [--alive N] [--workers N] [--rounds N]

Runs very many containers with $RUNTIME, or with corten as just built, and counts what the
machine has before and after. Needs root, busybox-static and unshare (util-linux).

  --containers N  containers in all, half of them in a row, half at the same time (4000)
  --alive N       containers that are alive at the same time (100)
  --workers N     processes that call the runtime at the same time (8)
  --rounds N      attempts under each shortage (64)";

#[derive(Debug, Clone)]
pub struct Options {
    pub runtime: PathBuf,
    pub containers: u64,
    pub alive: u64,
    pub workers: u64,
    pub rounds: u64,
}

impl Options {
    /// Parses the arguments. `None`: the usage was asked for and printed.
    pub fn parse(args: &[String]) -> Result<Option<Options>, String> {
        let runtime = std::env::var_os("RUNTIME").unwrap_or_else(|| env!("CARGO_BIN_EXE_corten").into());
        let runtime =
            program::find(&runtime).map_err(|why| format!("RUNTIME={}: {why}", runtime.display()))?;
        let mut options = Options { runtime, containers: 4000, alive: 100, workers: 8, rounds: 64 };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let number = match flag.as_str() {
                "--containers" => &mut options.containers,
                "--alive" => &mut options.alive,
                "--workers" => &mut options.workers,
                "--rounds" => &mut options.rounds,
                "--help" | "-h" => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                other => return Err(format!("no such option: {other}; see --help")),
            };
            let text = args.next().ok_or_else(|| format!("{flag} needs a number"))?;
            *number = text
                .parse()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| format!("{flag} {text}: not a number above 0"))?;
        }
        Ok(Some(options))
    }

    /// Returns the arguments that [`Options::parse`] reads as these options.
    pub fn to_args(&self) -> Vec<String> {
        let Options { runtime: _, containers, alive, workers, rounds } = self;
        let pairs =
            [("--containers", containers), ("--alive", alive), ("--workers", workers), ("--rounds", rounds)];
        pairs.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.to_string()]).collect()
    }
}
