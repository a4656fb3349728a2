//! Processes that don't end, or don't give a lock back: which they are, and on
//! what they wait.

use super::host::ROOT;
use super::{tree, v2};
use crate::error::{Context, Error, Result};
use crate::sys::pidfd::{self, PATIENCE};
use crate::sys::process::{path_in_proc, read_file, stat_fields};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Waits until what was sent SIGKILL has ended.
///
/// # Errors
/// After [`PATIENCE`]: which process it is, its state, where in the kernel it
/// waits, and what can be done about it.
pub fn until_killed(process: &OwnedFd, pid: i32, id: &str) -> Result<()> {
    if pidfd::ends_within(process, PATIENCE).op_on("wait for init", id)? {
        return Ok(());
    }
    Err(still_running(pid, id))
}

/// runc's phrase, and what is known besides.
pub fn still_running(pid: i32, id: &str) -> Error {
    let text = format!("container init still running {PATIENCE:?} after SIGKILL: {}", name(pid));
    Error::msg(text).on(id).hint(hint(pid))
}

/// The same of what is left in a cgroup whose processes were all killed.
pub fn in_cgroup(path: &Path) -> Error {
    let left = tree::pids(path).unwrap_or_default();
    let names: Vec<String> = left.iter().take(3).map(|pid| name(*pid)).collect();
    let text = format!("still running {PATIENCE:?} after SIGKILL: {}", names.join("; "));
    Error::msg(text)
        .on(path.display().to_string())
        .hint(left.first().map_or_else(String::new, |pid| hint(*pid)))
}

/// `process 7 (sleep), state S, wchan do_wait`. What the caller may not read, or
/// what has ended meanwhile, is left out.
pub fn name(pid: i32) -> String {
    let mut out = format!("process {pid}");
    if let Some((command, state)) = read_file(path_in_proc(pid, "stat").as_str()).ok().and_then(parse) {
        out.push_str(&format!(" ({command}), state {state}"));
    }
    if let Some(place) = wchan(pid) {
        out.push_str(&format!(", wchan {place}"));
    }
    out
}

/// The command and the letter of the state.
fn parse(stat: Vec<u8>) -> Option<(String, String)> {
    let begin = stat.iter().position(|byte| *byte == b'(')?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let command = String::from_utf8_lossy(stat.get(begin + 1..end)?).into_owned();
    Some((command, stat_fields(&stat)?.next()?.to_owned()))
}

/// The kernel's function in which it waits, where that may be read.
fn wchan(pid: i32) -> Option<String> {
    let text = String::from_utf8(read_file(path_in_proc(pid, "wchan").as_str()).ok()?).ok()?;
    Some(text).filter(|text| !text.is_empty() && text != "0")
}

fn hint(pid: i32) -> String {
    // Not every kernel tells the place right (user-mode-linux doesn't): what can be found
    // is looked for first.
    let zombies = zombies(pid);
    if !zombies.is_empty() {
        return format!(
            "its pid namespace still has zombies that nobody has reaped: {}; end or mend their parents",
            zombies.join(", ")
        );
    }
    match wchan(pid).as_deref() {
        Some("zap_pid_ns_processes") => "its pid namespace still has processes, which must end first".into(),
        Some(place) if place.contains("freez") || place.contains("refrigerator") => {
            "its cgroup, or one above, is frozen: thaw that".into()
        }
        _ => {
            "it hangs in the kernel, on a device or a filesystem that does not answer; try again later".into()
        }
    }
}

/// Zombies in the cgroup of a process, which it waits for as the init of a pid
/// namespace: each with its parent, whose part it is to reap it.
fn zombies(init: i32) -> Vec<String> {
    // Where there are no cgroups of version 2 all processes are in the root.
    let own = v2::of_process(init).filter(|own| own != Path::new(ROOT));
    let Some(own) = own else { return Vec::new() };
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let zombies = pids.filter_map(|pid| {
        let stat = read_file(format!("/proc/{pid}/stat").as_str()).ok()?;
        let mut fields = stat_fields(&stat)?;
        let is_zombie = fields.next()? == "Z" && pid != init;
        let parent: i32 = fields.next()?.parse().ok()?;
        (is_zombie && v2::of_process(pid)?.starts_with(&own))
            .then(|| format!("{pid}, child of {}", name(parent)))
    });
    zombies.take(3).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_is_named_by_all_that_is_known() {
        let me = super::name(std::process::id().cast_signed());
        assert!(me.starts_with("process ") && me.contains("), state "), "{me}");
        assert_eq!(super::name(0), "process 0");
    }
}
