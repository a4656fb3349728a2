//! Which processes are in a cgroup, and which cgroup of version 2 a process is in.

use super::host::ROOT;
use super::tree::list_subtree;
use crate::error::{Context, Result};
use crate::sys::proc_pid::path_in_proc;
use crate::sys::process::read_file;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Returns the pids of the processes in the cgroup and below it.
pub fn list_pids(path: &Path) -> Result<Vec<i32>> {
    let mut out = Vec::new();
    for dir in list_subtree(path) {
        let procs = dir.join("cgroup.procs");
        match std::fs::read_to_string(&procs) {
            // 0 is a process that this pid namespace has no pid for.
            Ok(text) => {
                out.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0))
            }
            // The cgroup has been removed meanwhile, or is threaded.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) => {}
            Err(e) => return Err(e).op_on("read", procs.display()),
        }
    }
    Ok(out)
}

/// Returns the directory of a process's cgroup. `None` if the process has none in version
/// 2, or if that can't be read.
pub fn cgroup_of_process(pid: i32) -> Option<PathBuf> {
    let own = read_file(path_in_proc(pid, "cgroup").as_str()).ok()?;
    let path = own.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/"))?;
    Some(Path::new(ROOT).join(std::ffi::OsStr::from_bytes(path)))
}
