//! The identity of a process. The kernel may use a pid again. Since Linux 6.9 each process
//! has its own pidfd inode, which is unique until the next boot. Before Linux 6.9 all
//! pidfds share one inode. So corten also compares the start time, in clock ticks of 10 ms.

use crate::error::{Context, Error, Result};
use crate::sys::pidfd::{self, Exit};
use crate::sys::proc_pid::path_in_proc;
use crate::sys::process::{read_file, read_once, stat_fields};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};

/// A process that can't be confused with a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Field 22 of /proc/PID/stat, in clock ticks since boot.
    pub start_time: u64,
    /// The inode of its pidfd. `None`: an older corten wrote the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
}

/// Fields of /proc/PID/stat.
struct Stat {
    state: u8,
    flags: u64,
    start_time: u64,
    /// The status as in wait(2). 0 if the reader may not trace the process.
    exit_code: i32,
}

impl Stat {
    /// Whether the process still runs. A zombie does not.
    fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }

    /// Whether the process has called execve since its fork.
    fn has_executed(&self) -> bool {
        /// The flag PF_FORKNOEXEC (include/linux/sched.h): the kernel sets it at the fork, and
        /// clears it at an execve that can no longer fail.
        const FORKED_ONLY: u64 = 0x40;
        self.flags & FORKED_ONLY == 0
    }
}

impl Identity {
    /// Returns the identity of the running process `pid`. `handle` is its pidfd.
    pub fn of(pid: i32, handle: impl AsFd) -> Result<Identity> {
        let stat = stat(pid)?.ok_or_else(|| Error::msg("the process ended").on(pid.to_string()))?;
        Ok(Identity { pid, start_time: stat.start_time, inode: Some(inode(handle)?) })
    }

    /// Whether the process is alive.
    pub fn is_alive(&self) -> Result<bool> {
        Ok(self.open()?.is_some())
    }

    /// Does what [`Identity::is_alive`] does, for a record from this boot. A pidfd's inode is
    /// unique until the next boot (Linux 6.9). It identifies the process without
    /// /proc/PID/stat, which costs the kernel more than all calls here.
    pub fn is_alive_since_this_boot(&self) -> Result<bool> {
        match (self.inode, pidfd::open_leader(self.pid)) {
            (Some(known), Ok(handle)) if pidfd::has_unique_inodes(&handle) => {
                Ok(inode(&handle)? == known && !pidfd::is_ready(&handle).op("poll a pidfd")?)
            }
            (Some(_), Err(Errno::ESRCH)) => Ok(false),
            _ => self.is_alive(),
        }
    }

    /// Whether SIGKILL is pending: it was sent and has not ended the process yet.
    pub fn is_killed(&self) -> bool {
        let status = read_file(format!("/proc/{}/status", self.pid).as_str()).unwrap_or_default();
        String::from_utf8_lossy(&status).lines().any(|line| {
            let pending = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"));
            let mask = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.is_some_and(|mask| mask >> (libc::SIGKILL - 1) & 1 == 1)
        })
    }

    /// Returns how the process ended, if it is a zombie that its parent hasn't reaped.
    pub fn exit(&self) -> Result<Option<Exit>> {
        let zombie = self.find()?.filter(|(_, stat)| stat.state == b'Z');
        Ok(zombie
            .filter(|(_, stat)| stat.exit_code != 0 || self.may_be_traced())
            .map(|(_, stat)| pidfd::exit_of_status(stat.exit_code)))
    }

    /// Whether the runtime may trace this process, a zombie. If not, the exit code in
    /// /proc/PID/stat is 0. readlink of a zombie's /proc/PID/exe always fails: with ENOENT if
    /// the caller may trace the zombie, else with EACCES.
    fn may_be_traced(&self) -> bool {
        nix::fcntl::readlink(path_in_proc(self.pid, "exe").as_str()) != Err(Errno::EACCES)
    }

    /// Whether this process has called execve since its fork; it may be a zombie. `None` if its
    /// parent has reaped it.
    pub fn has_executed(&self) -> Result<Option<bool>> {
        Ok(stat(self.pid)?.filter(|stat| stat.start_time == self.start_time).map(|stat| stat.has_executed()))
    }

    /// Opens a pidfd of exactly this process. `None`: the process has ended.
    pub fn open(&self) -> Result<Option<OwnedFd>> {
        Ok(self.find()?.filter(|(_, stat)| stat.is_alive()).map(|(handle, _)| handle))
    }

    /// Opens a pidfd of exactly this process, which may be a zombie. `None`: it was reaped.
    pub fn open_dead_or_alive(&self) -> Result<Option<OwnedFd>> {
        Ok(self.find()?.map(|(handle, _)| handle))
    }

    /// Returns a pidfd of this process and its stat. `None`: the process was reaped, and
    /// another one may have its pid. Opens the pidfd first and compares afterwards: if
    /// the kernel uses the pid again later, the pidfd still refers to the compared
    /// process.
    fn find(&self) -> Result<Option<(OwnedFd, Stat)>> {
        let handle = match pidfd::open(self.pid) {
            // EINVAL: the number is a thread of another process now.
            Err(Errno::ESRCH | Errno::EINVAL) => return Ok(None),
            other => other.op_on("pidfd_open", self.pid)?,
        };
        if let Some(known) = self.inode
            && inode(&handle)? != known
        {
            return Ok(None);
        }
        Ok(stat(self.pid)?.filter(|stat| stat.start_time == self.start_time).map(|stat| (handle, stat)))
    }
}

/// Whether the process `pid` has called execve since its fork; it may be a zombie. `None` if its
/// parent has reaped it.
pub fn has_executed(pid: i32) -> Result<Option<bool>> {
    Ok(stat(pid)?.map(|stat| stat.has_executed()))
}

/// Returns the inode of a pidfd. Since Linux 6.9 it is unique until the next boot.
fn inode(pidfd: impl AsFd) -> Result<u64> {
    Ok(fstat(pidfd).op("fstat a pidfd")?.st_ino)
}

fn stat(pid: i32) -> Result<Option<Stat>> {
    let path = path_in_proc(pid, "stat");
    // 52 fields: a name of at most 64 bytes, and numbers of at most 20 digits.
    match read_once(path.as_str(), &mut [0; 2048]) {
        Ok(bytes) => parse(bytes).map(Some).ok_or_else(|| Error::msg("can't be understood").on(path)),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        other => other.map(|_| None).op_on("read", path),
    }
}

fn parse(bytes: &[u8]) -> Option<Stat> {
    let mut fields = stat_fields(bytes)?;
    let state = *fields.next()?.as_bytes().first()?;
    // The state is field 3, the flags are field 9, the start time is field 22 and the exit
    // code field 52.
    let flags = fields.nth(9 - 3 - 1)?.parse().ok()?;
    let start_time = fields.nth(22 - 9 - 1)?.parse().ok()?;
    let exit_code = fields.nth(52 - 22 - 1)?.parse().ok()?;
    Some(Stat { state, flags, start_time, exit_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_can_not_forge_the_fields() {
        let zeros = "0 ".repeat(29);
        let line = format!("7 (x) R 1 (y)) Z 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4242 {zeros}768\n");
        let stat = parse(line.as_bytes()).expect("parsed");
        assert_eq!((stat.state, stat.start_time), (b'Z', 4242));
        assert_eq!(pidfd::exit_of_status(stat.exit_code), Exit::Code(3));
    }
}
