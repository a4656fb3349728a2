//! Facts about the machine.

use std::fs;
use std::path::{Path, PathBuf};

pub const CGROUPS: &str = "/sys/fs/cgroup";

/// Whether version 2 is mounted alone.
pub fn is_v2() -> bool {
    Path::new(CGROUPS).join("cgroup.controllers").exists()
}

/// Returns the root of the hierarchy that has a controller.
pub fn hierarchy(controller: &str) -> PathBuf {
    if is_v2() { CGROUPS.into() } else { Path::new(CGROUPS).join(controller) }
}

/// Returns the cgroups at the top of every hierarchy, and below, whose name contains `token`.
pub fn cgroups_named(token: &str) -> Vec<PathBuf> {
    let mut open = vec![PathBuf::from(CGROUPS)];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(token) {
                    found.push(entry.path());
                }
                open.push(entry.path());
            }
        }
    }
    found
}

/// Returns kernel, memory, processors and cgroup version in one line.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo").lines().next().unwrap_or_default().replace("MemTotal:", "");
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let version = if is_v2() { "v2" } else { "v1" };
    format!("Linux {}, {cpus} CPUs,{memory}, cgroup {version}", read("/proc/sys/kernel/osrelease").trim())
}
