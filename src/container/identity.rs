//! Which process is meant: a pid may be used again, a pid with its start time
//! is not.

use crate::error::{Context, Error, Result};
use crate::sys::pidfd;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// A process, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Field 22 of /proc/PID/stat, in clock ticks since boot.
    pub start_time: u64,
}

/// What /proc/PID/stat tells of a process.
struct Stat {
    state: u8,
    start_time: u64,
}

impl Identity {
    /// Of a process that is known to live.
    pub fn of(pid: i32) -> Result<Identity> {
        let stat = stat(pid)?.ok_or_else(|| Error::msg("the process ended").on(pid.to_string()))?;
        Ok(Identity { pid, start_time: stat.start_time })
    }

    /// Is it alive? A zombie is not: its payload is over.
    pub fn is_alive(&self) -> Result<bool> {
        Ok(stat(self.pid)?
            .is_some_and(|s| s.start_time == self.start_time && !matches!(s.state, b'Z' | b'X')))
    }

    /// A handle on this very process, or `None` if it is gone. The check comes
    /// after the open: once the handle is there the pid can't change hands.
    pub fn open(&self) -> Result<Option<OwnedFd>> {
        let handle = match pidfd::open(self.pid) {
            // EINVAL: now a thread of another process.
            Err(Errno::ESRCH | Errno::EINVAL) => return Ok(None),
            other => other.op_on("pidfd_open", self.pid)?,
        };
        Ok(self.is_alive()?.then_some(handle))
    }
}

fn stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    match crate::sys::process::read_file(path.as_str()) {
        Ok(bytes) => parse(&bytes).map(Some).ok_or_else(|| Error::msg("can't be understood").on(path)),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        other => other.map(|_| None).op_on("read", path),
    }
}

/// The command name is in brackets, and may contain anything, brackets too.
fn parse(bytes: &[u8]) -> Option<Stat> {
    let end = bytes.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(bytes.get(end + 2..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // The state is field 3 and the start time field 22.
    let start_time = fields.nth(22 - 3 - 1)?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_can_not_forge_the_fields() {
        let line = b"7 (x) R 1 (y)) Z 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0\n";
        let stat = parse(line).expect("parsed");
        assert_eq!((stat.state, stat.start_time), (b'Z', 4242));
    }
}
