//! Measures corten, its peers and the floor side by side in one run. The floor is the same
//! container with the fewest system calls. README.md explains what is measured, how, and
//! how to read the figures.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "clocks, waits and namespaces of its own children"
)]
#![allow(clippy::disallowed_methods, reason = "the bans protect the runtime, not a bench's own files")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a wrong number ends the run"
)]

mod at_once;
#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/calls.rs"]
mod calls;
mod container;
mod guard;
mod instructions;
mod kept;
mod lifecycle;
mod measure;
mod options;
mod order;
mod place;
mod plot;
#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/registers.rs"]
mod registers;
mod report;
mod runtimes;
mod scale;
mod scale_plot;
#[allow(dead_code, reason = "`make torture` uses the rest")]
#[path = "../torture/tracer.rs"]
mod tracer;

use anyhow::{Context, Result, bail};
use options::Options;
use place::Layout;
use serde_json::{Value, json};
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, without the backtrace that RUST_BACKTRACE adds.
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, layout, options] = args.as_slice()
        && flag == "--inside"
    {
        return inside(layout.parse()?, &serde_json::from_str(options)?);
    }
    let Some(options) = Options::parse(&args)? else {
        return Ok(());
    };
    outside(&options)
}

/// On the host: builds the programs, and measures each layout in a process with its own
/// mount namespace. Removes what that process left in the cgroup tree, whatever its end.
fn outside(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the benchmark makes containers with every namespace and its own cgroup: it needs root");
    }
    let programs = container::compile()?;
    let runtimes = runtimes::find(&programs)?;
    if options.guard {
        return guard::outside(options, programs, runtimes);
    }
    if let Some(script) = &options.order {
        return order::outside(options, script, programs, runtimes);
    }
    let mut layouts = serde_json::Map::new();
    for layout in options.layouts()? {
        let job =
            place::Job { options: options.clone(), programs: programs.clone(), runtimes: runtimes.clone() };
        let result = place::run_inside(layout, &job)?;
        if !options.check {
            if !options.at_once.is_empty() {
                at_once::print(&layout.to_string(), &result);
            } else if !options.scale.is_empty() {
                scale::print(&layout.to_string(), &result, &options.stat);
                if let Some(file) = &options.plot {
                    scale_plot::write(file, &layout.to_string(), &result, &options.stat)?;
                }
            } else {
                report::print(layout, &result, &options.stat);
                if let Some(file) = &options.plot {
                    plot::write(file, layout, &result, &options.stat)?;
                }
            }
            layouts.insert(layout.to_string(), result);
        }
    }
    if options.check {
        return Ok(());
    }
    let all = json!({ "machine": report::machine(&runtimes), "layouts": layouts });
    let path = options.json.as_path();
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, serde_json::to_string_pretty(&all)?)
        .with_context(|| format!("writing {}", path.display()))?;
    println!("\nall samples: {}", path.display());
    Ok(())
}

/// In a private mount namespace: takes all measurements. Writes the result to stdout as
/// JSON.
fn inside(layout: Layout, job: &place::Job) -> Result<()> {
    let place = place::Place::enter(layout, job.options.guard || job.options.order.is_some())?;
    if job.options.guard {
        println!("{}", guard::inside(&place, job)?);
        return Ok(());
    }
    if job.options.order.is_some() {
        println!("{}", order::inside(&place, job)?);
        return Ok(());
    }
    let bench = container::Bench::new(&place, job)?;
    if job.options.check {
        return lifecycle::check(&bench);
    }
    if !job.options.at_once.is_empty() {
        println!("{}", Value::Object(at_once::measure(&bench, &job.options)?));
        return Ok(());
    }
    if !job.options.scale.is_empty() {
        println!("{}", Value::Object(scale::measure(&bench, &job.options)?));
        return Ok(());
    }
    let mut result = Value::Object(lifecycle::measure(&bench, &job.options)?);
    result["notes"] = json!(bench.notes);
    println!("{result}");
    Ok(())
}
