//! Finds the processes that wait for the other end of a FIFO.

use crate::checkpoint::works;
use std::fs;
use std::path::{Path, PathBuf};

/// Whether CRIU, and nobody else in the jail, sleeps in the open of a FIFO. CRIU opens the
/// container's files by their names.
pub fn only_criu() -> bool {
    let waiting = at_a_fifo();
    let dir = works().as_ref().ok().and_then(|dir| dir.canonicalize().ok());
    !waiting.is_empty() && dir.is_some_and(|dir| waiting.iter().all(|program| program.starts_with(&dir)))
}

/// Returns the programs of all processes that sleep in the open of a FIFO.
fn at_a_fifo() -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").expect("list /proc").flatten();
    let waits = |dir: &Path| fs::read_to_string(dir.join("wchan")).is_ok_and(|at| at == "wait_for_partner");
    let programs = processes.map(|entry| entry.path()).filter(|dir| waits(dir));
    programs.filter_map(|dir| fs::read_link(dir.join("exe")).ok()).collect()
}
