//! Figures: medians and ratios, as tables and as JSON.

use crate::options::VERBS;
use crate::place::Layout;
use crate::runtimes::Runtime;
use serde_json::{Map, Value, json};
use std::fs;
use std::process::Command;

pub fn statistics(samples: impl Iterator<Item = f64>) -> Value {
    let mut sorted: Vec<f64> = samples.collect();
    let all = sorted.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    json!({ "median": at(50), "min": at(0), "p10": at(10), "p90": at(90), "max": at(100), "samples": all })
}

pub fn machine(runtimes: &[Runtime]) -> Value {
    let mut versions = Map::new();
    for runtime in runtimes {
        let size = fs::metadata(&runtime.path).map_or(0, |m| m.len());
        let said = Command::new(&runtime.path).arg("--version").output().ok();
        let version =
            said.map(|o| String::from_utf8_lossy(&o.stdout).lines().next().unwrap_or("").to_owned());
        versions.insert(runtime.name.clone(), json!({ "bytes": size, "version": version }));
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!("\nbinaries:");
    for (name, about) in &versions {
        let kib = about["bytes"].as_u64().unwrap_or(0) / 1024;
        println!("  {name:<10} {kib:>7} KiB  {}", about["version"].as_str().unwrap_or(""));
    }
    json!({ "kernel": kernel.trim(), "cpus": cpus, "runtimes": versions })
}

/// The names in the order of the columns: the floor, corten, then the peers.
pub fn columns(verb: &Value) -> Vec<String> {
    let mut names: Vec<String> = verb.as_object().map(|m| m.keys().cloned().collect()).unwrap_or_default();
    names.sort_by_key(|n| (n != "floor", n != "corten", n != "runc", n != "crun", n.clone()));
    names
}

pub fn print(layout: Layout, result: &Value, stat: &str) {
    for (pace, title) in [("gapped", "with idle gaps"), ("back_to_back", "back to back")] {
        for (what, label) in [("wall_ms", "wall"), ("cpu_ms", "cpu")] {
            println!("\ncgroup {layout}, {title}: {label}, {stat} in ms (× floor)");
            times(&result[pace], what, stat);
        }
    }
    println!("\ncgroup {layout}: peak memory in KiB");
    plain(&result["memory_kib"], &["run", "create", "exec", "waiting init"]);
    println!("\ncgroup {layout}: page faults");
    plain(&result["page_faults"], &VERBS);
    println!("\ncgroup {layout}: system calls");
    if let Some(reason) = result["syscalls"].as_str() {
        println!("  not counted: {reason}");
    }
    plain(&result["syscalls"], &VERBS);
    println!("load before: {}", result["load"].as_str().unwrap_or_default());
    for note in result["notes"].as_array().into_iter().flatten() {
        println!("note: {}", note.as_str().unwrap_or_default());
    }
}

fn times(pace: &Value, what: &str, stat: &str) {
    let Some(first) = VERBS.iter().map(|v| &pace[v]).find(|v| v.is_object()) else {
        return;
    };
    let names = columns(first);
    let ours = names.iter().any(|n| n == "corten");
    let mut header = format!("  {:<7}", "");
    for name in &names {
        header += &format!(" {name:>9}{:>8}", "");
    }
    for peer in names.iter().filter(|n| ours && *n != "floor" && *n != "corten") {
        header += &format!(" {:>13}", format!("{peer}/corten"));
    }
    println!("{}", header.trim_end());
    for verb in VERBS.iter().filter(|v| pace[*v].is_object()) {
        let median = |name: &str| pace[*verb][name][what][stat].as_f64().unwrap_or(f64::NAN);
        let mut line = format!("  {verb:<7}");
        for name in &names {
            let ratio = if name == "floor" {
                String::new()
            } else {
                format!("({:.2})", median(name) / median("floor"))
            };
            line += &format!(" {:>9.3}{ratio:>8}", median(name));
        }
        for peer in names.iter().filter(|n| ours && *n != "floor" && *n != "corten") {
            line += &format!(" {:>13.2}", median(peer) / median("corten"));
        }
        println!("{}", line.trim_end());
    }
}

fn plain(by_runtime: &Value, rows: &[&str]) {
    let names = columns(by_runtime);
    if names.is_empty() {
        return;
    }
    println!("  {:<13}{}", "", names.iter().map(|n| format!(" {n:>9}")).collect::<String>());
    for row in rows {
        let cells =
            names.iter().map(|n| format!(" {:>9}", by_runtime[n][*row].to_string())).collect::<String>();
        println!("  {row:<13}{cells}");
    }
}
