//! Which process is meant: a pid may be used again, a pid with the inode of its
//! pidfd is not. Where the kernel gives all pidfds one inode (before Linux 6.9)
//! the start time has to do, which counts in ticks of 10 ms.

use crate::error::{Context, Error, Result};
use crate::sys::pidfd::{self, Exit};
use crate::sys::process::{path_in_proc, read_file, stat_fields};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};

/// A process, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Field 22 of /proc/PID/stat, in clock ticks since boot.
    pub start_time: u64,
    /// Of its pidfd; `None` in the state of an older corten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
}

/// What /proc/PID/stat tells of a process.
struct Stat {
    state: u8,
    start_time: u64,
    /// As wait(2) has it; 0 for who may not trace the process.
    exit_code: i32,
}

impl Stat {
    /// A zombie is not alive: its payload is over.
    fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }
}

impl Identity {
    /// Of a process that is known to live, by its handle.
    pub fn of(pid: i32, handle: impl AsFd) -> Result<Identity> {
        let stat = stat(pid)?.ok_or_else(|| Error::msg("the process ended").on(pid.to_string()))?;
        Ok(Identity { pid, start_time: stat.start_time, inode: Some(inode(handle)?) })
    }

    /// Is it alive?
    pub fn is_alive(&self) -> Result<bool> {
        Ok(self.open()?.is_some())
    }

    /// Whether SIGKILL has been sent to it and not ended it yet.
    pub fn is_killed(&self) -> bool {
        let status = read_file(format!("/proc/{}/status", self.pid).as_str()).unwrap_or_default();
        String::from_utf8_lossy(&status).lines().any(|line| {
            let pending = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"));
            let mask = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.is_some_and(|mask| mask >> (libc::SIGKILL - 1) & 1 == 1)
        })
    }

    /// How it ended, while it is a zombie that its parent hasn't reaped.
    pub fn exit(&self) -> Result<Option<Exit>> {
        let zombie = self.find()?.filter(|(_, stat)| stat.state == b'Z');
        Ok(zombie
            .filter(|(_, stat)| stat.exit_code != 0 || self.may_be_traced())
            .map(|(_, stat)| pidfd::exit_of_status(stat.exit_code)))
    }

    /// Who may not trace a process reads zeros in its stat. Of a zombie's
    /// executable there is nothing to see (ENOENT), but that has to be asked for, too.
    fn may_be_traced(&self) -> bool {
        nix::fcntl::readlink(path_in_proc(self.pid, "exe").as_str()) != Err(Errno::EACCES)
    }

    /// A handle on this very process, or `None` if it is gone.
    pub fn open(&self) -> Result<Option<OwnedFd>> {
        Ok(self.find()?.filter(|(_, stat)| stat.is_alive()).map(|(handle, _)| handle))
    }

    /// The same for a process that may be a zombie.
    pub fn open_dead_or_alive(&self) -> Result<Option<OwnedFd>> {
        Ok(self.find()?.map(|(handle, _)| handle))
    }

    /// The checks come after the open: whoever has the pid later, the handle is
    /// on the process that was checked.
    fn find(&self) -> Result<Option<(OwnedFd, Stat)>> {
        let handle = match pidfd::open(self.pid) {
            // EINVAL: now a thread of another process.
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

/// Since Linux 6.9 no two processes have the same, until the next boot.
fn inode(pidfd: impl AsFd) -> Result<u64> {
    Ok(fstat(pidfd).op("fstat a pidfd")?.st_ino)
}

fn stat(pid: i32) -> Result<Option<Stat>> {
    let path = path_in_proc(pid, "stat");
    match read_file(path.as_str()) {
        Ok(bytes) => parse(&bytes).map(Some).ok_or_else(|| Error::msg("can't be understood").on(path)),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        other => other.map(|_| None).op_on("read", path),
    }
}

fn parse(bytes: &[u8]) -> Option<Stat> {
    let mut fields = stat_fields(bytes)?;
    let state = *fields.next()?.as_bytes().first()?;
    // The state is field 3, the start time field 22 and the exit code field 52.
    let start_time = fields.nth(22 - 3 - 1)?.parse().ok()?;
    let exit_code = fields.nth(52 - 22 - 1)?.parse().ok()?;
    Some(Stat { state, start_time, exit_code })
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
