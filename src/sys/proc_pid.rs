//! Finds other processes in a /proc that may belong to another pid namespace.

use super::{Result, pidfd};
use std::sync::OnceLock;

/// Returns the path of a file of the process `pid` in /proc. `file` is a name such as
/// `ns/user`.
///
/// /proc may belong to another pid namespace (`unshare --pid --fork` leaves the old one
/// mounted). The process then has another number there, and another process has the
/// number `pid`.
pub fn path_in_proc(pid: i32, file: &str) -> String {
    // No process has the number 0, so the path of a process that has ended gives ENOENT.
    format!("/proc/{}/{file}", number_in_proc(pid).unwrap_or(0))
}

/// Returns the number of the process `pid` in /proc.
///
/// # Errors
/// ESRCH if /proc belongs to another pid namespace and doesn't show the process.
pub fn number_in_proc(pid: i32) -> Result<i32> {
    if proc_is_of_own_namespace() { Ok(pid) } else { pidfd::pid_in_proc(pidfd::open(pid)?) }
}

/// Whether /proc has the numbers of this process's own pid namespace. Compares only the
/// number of this process itself, and only once. A process can have the same number in
/// two namespaces, but only by accident.
fn proc_is_of_own_namespace() -> bool {
    static IS_OWN: OnceLock<bool> = OnceLock::new();
    *IS_OWN.get_or_init(|| {
        let Ok(own) = nix::fcntl::readlink("/proc/self") else { return true };
        own.to_str().and_then(|own| own.parse().ok()) == Some(std::process::id())
    })
}
