//! Names the processes that do not end or do not release a lock, and what they wait for.

use super::host::ROOT;
use super::pids;
use crate::error::{Context, Error, Result};
use crate::sys::pidfd::{self, PATIENCE};
use crate::sys::proc_pid::path_in_proc;
use crate::sys::process::{read_file, stat_fields};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Waits until a process that was sent SIGKILL has ended.
///
/// # Errors
/// The process still runs after [`PATIENCE`]. The error names the process, its state, the
/// kernel function in which it waits, and a remedy.
pub fn wait_until_killed(process: &OwnedFd, pid: i32, id: &str) -> Result<()> {
    if pidfd::ends_within(process, PATIENCE).op_on("wait for init", id)? {
        return Ok(());
    }
    Err(init_still_running_error(pid, id))
}

/// Returns the error for an init that still runs after SIGKILL: runc's words, and what is
/// known about the process.
pub fn init_still_running_error(pid: i32, id: &str) -> Error {
    let text = format!("container init still running {PATIENCE:?} after SIGKILL: {}", describe_process(pid));
    Error::msg(text).on(id).hint(choose_hint(pid))
}

/// Returns the error for a cgroup in which processes still run after SIGKILL. Names at
/// most three.
pub fn cgroup_still_running_error(path: &Path) -> Error {
    let left = pids::list_pids(path).unwrap_or_default();
    let names: Vec<String> = left.iter().take(3).map(|pid| describe_process(*pid)).collect();
    let text = format!("still running {PATIENCE:?} after SIGKILL: {}", names.join("; "));
    Error::msg(text)
        .on(path.display().to_string())
        .hint(left.first().map_or_else(String::new, |pid| choose_hint(*pid)))
}

/// Returns a description like `process 7 (sleep), state S, wchan do_wait`. Leaves out
/// what the caller may not read, and everything but the pid if the process has ended.
pub fn describe_process(pid: i32) -> String {
    let mut out = format!("process {pid}");
    if let Some((command, state)) = read_file(path_in_proc(pid, "stat").as_str()).ok().and_then(parse_stat) {
        out.push_str(&format!(" ({command}), state {state}"));
    }
    if let Some(place) = read_wchan(pid) {
        out.push_str(&format!(", wchan {place}"));
    }
    out
}

/// Returns the command and the letter of the state from /proc/PID/stat.
fn parse_stat(stat: Vec<u8>) -> Option<(String, String)> {
    let begin = stat.iter().position(|byte| *byte == b'(')?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let command = String::from_utf8_lossy(stat.get(begin + 1..end)?).into_owned();
    Some((command, stat_fields(&stat)?.next()?.to_owned()))
}

/// Returns the kernel function in which the process waits. `None` if it does not wait, or
/// if the caller may not read that.
fn read_wchan(pid: i32) -> Option<String> {
    let text = String::from_utf8(read_file(path_in_proc(pid, "wchan").as_str()).ok()?).ok()?;
    Some(text).filter(|text| !text.is_empty() && text != "0")
}

fn choose_hint(pid: i32) -> String {
    // Some kernels report a wrong wchan (user-mode-linux does). Zombies are found without
    // it, so look for them first.
    let zombies = find_zombies(pid);
    if !zombies.is_empty() {
        return format!("end the parents of the zombies in its pid namespace: {}", zombies.join(", "));
    }
    match read_wchan(pid).as_deref() {
        Some("zap_pid_ns_processes") => "end the other processes of its pid namespace first".into(),
        Some(place) if place.contains("freez") || place.contains("refrigerator") => {
            "thaw its cgroup, or the frozen cgroup above it".into()
        }
        _ => {
            "try again later: it hangs in the kernel, on a device or a filesystem that does not answer".into()
        }
    }
}

/// Returns up to three zombies in the cgroup of `init`, each with its parent. As the init
/// of a pid namespace, `init` can't end before the parents have reaped them.
fn find_zombies(init: i32) -> Vec<String> {
    // Without version 2 all processes are in the root cgroup, so the search would find
    // zombies of others.
    let own = pids::cgroup_of_process(init).filter(|own| own != Path::new(ROOT));
    let Some(own) = own else { return Vec::new() };
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let zombies = pids.filter_map(|pid| {
        let stat = read_file(format!("/proc/{pid}/stat").as_str()).ok()?;
        let mut fields = stat_fields(&stat)?;
        let is_zombie = fields.next()? == "Z" && pid != init;
        let parent: i32 = fields.next()?.parse().ok()?;
        (is_zombie && pids::cgroup_of_process(pid)?.starts_with(&own))
            .then(|| format!("{pid}, child of {}", describe_process(parent)))
    });
    zombies.take(3).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_is_named_by_all_that_is_known() {
        let me = super::describe_process(std::process::id().cast_signed());
        assert!(me.starts_with("process ") && me.contains("), state "), "{me}");
        assert_eq!(super::describe_process(0), "process 0");
    }
}
