//! `--at-once`: the time of a hundred `create` if several callers work at the same time.

use crate::container::Bench;
use crate::lifecycle::killed;
use crate::measure::{Init, Runner};
use crate::options::Options;
use crate::report::columns;
use crate::runtimes::Runtime;
use crate::scale;
use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

const CONTAINERS: usize = 100;

/// Returns, for each runtime and number of callers, the wall time of all containers in
/// milliseconds: the smallest of three rounds.
pub fn measure(bench: &Bench, options: &Options) -> Result<Map<String, Value>> {
    let runner = Runner::new(&bench.work);
    let mut result = Map::new();
    for runtime in &bench.runtimes {
        for n in 0..CONTAINERS {
            bench.make_member(runtime, n)?;
        }
        // Fills the caches.
        round(bench, &runner, runtime, 1)?;
        let mut times = Map::new();
        for callers in &options.at_once {
            let mut least = f64::MAX;
            for _ in 0..3 {
                least = least.min(round(bench, &runner, runtime, *callers)?);
            }
            times.insert(callers.to_string(), json!(least));
        }
        result.insert(runtime.name.clone(), Value::Object(times));
    }
    Ok(result)
}

/// Creates all containers, `callers` at a time, and removes them one after the other.
fn round(bench: &Bench, runner: &Runner, runtime: &Runtime, callers: usize) -> Result<f64> {
    let commands: Vec<_> = (0..CONTAINERS).map(|n| bench.member_command(runtime, "create", n)).collect();
    let wall = runner.all(&commands, callers)?;
    for n in 0..CONTAINERS {
        let init = bench.member_init(runtime, n)?;
        kill(Pid::from_raw(init), Signal::SIGKILL)?;
        killed(runtime, init)?;
        runner.timed(&bench.member_command(runtime, "delete", n), Init::None)?;
    }
    Ok(wall)
}

/// Prints the milliseconds for each container.
pub fn print(layout: &str, result: &Value) {
    let names = columns(result);
    let callers = scale::sizes(result);
    println!("\ncgroup {layout}: ms for each of {CONTAINERS} containers, so many `create` at a time");
    println!("  {:<10}{}", "", callers.iter().map(|callers| format!("{callers:>10}")).collect::<String>());
    for name in &names {
        let each = |callers: &String| result[name][callers].as_f64().unwrap_or(0.0) / CONTAINERS as f64;
        let figures: String = callers.iter().map(each).map(|ms| format!("{ms:>10.3}")).collect();
        println!("  {name:<10}{figures}");
    }
}
