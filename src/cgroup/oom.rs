//! Hearing of a container that ran out of memory: on version 1 by an eventfd
//! at memory.oom_control, on version 2 by changes of memory.events.

use super::{Cgroup, tree};
use crate::error::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

pub enum Watch {
    V1 {
        event: EventFd,
        /// The kernel forgets the registration when this is closed.
        control: OwnedFd,
    },
    V2 {
        own: Count,
        /// Of the cgroup above, which counts what happens below. systemd removes
        /// the container's as soon as that is empty, perhaps before it is read.
        above: Option<Count>,
    },
}

impl Cgroup {
    /// Hears of a lack of memory, where there is a memory controller.
    pub fn watch_oom(&self) -> Result<Option<Watch>> {
        let watch = match self {
            Cgroup::None => return Ok(None),
            Cgroup::V2 { path } => Watch::v2(path),
            Cgroup::V1 { hierarchies, .. } => match hierarchies.iter().find(|h| h.has("memory")) {
                Some(hierarchy) => Watch::v1(&hierarchy.path),
                None => return Ok(None),
            },
            Cgroup::Systemd { place, .. } => return place.watch_oom(),
        };
        match watch {
            Err(e) if e.is(Errno::ENOENT) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The same for whoever looks once the container has ended: systemd removes
    /// a cgroup with its last process. `None` where it stays.
    pub fn watch_oom_until_the_end(&self) -> Option<Watch> {
        let Cgroup::Systemd { .. } = self else { return None };
        self.watch_oom().ok().flatten()
    }

    /// How many of its processes were killed for want of memory; `None` where
    /// nobody counts.
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        let killed = match self {
            Cgroup::None => return Ok(None),
            Cgroup::V2 { path } => kills(path, "memory.events"),
            Cgroup::V1 { hierarchies, .. } => match hierarchies.iter().find(|h| h.has("memory")) {
                Some(hierarchy) => kills(&hierarchy.path, "memory.oom_control"),
                None => return Ok(None),
            },
            Cgroup::Systemd { place, .. } => return place.oom_kills(),
        };
        match killed {
            Err(e) if e.is(Errno::ENOENT) => Ok(None),
            other => other.map(Some),
        }
    }
}

/// A memory.events, and how many were killed when it was last looked.
pub struct Count {
    events: OwnedFd,
    killed: u64,
}

impl Count {
    fn of(path: &Path) -> Result<Count> {
        let events = tree::open_file(tree::open(path)?, "memory.events", libc::O_RDONLY)?;
        let killed = killed(&events)?;
        Ok(Count { events, killed })
    }

    fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(self.events.as_fd(), PollFlags::POLLPRI)
    }
}

impl Watch {
    /// Watches the memory controller's cgroup of version 1.
    pub fn v1(path: &Path) -> Result<Watch> {
        let dir = tree::open(path)?;
        let control = tree::open_file(&dir, "memory.oom_control", libc::O_RDONLY)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).op("eventfd")?;
        let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
        tree::write(&dir, "cgroup.event_control", &line)?;
        Ok(Watch::V1 { event, control })
    }

    pub fn v2(path: &Path) -> Result<Watch> {
        // This one first: what comes between the two is counted here, too.
        let above = path.parent().and_then(|parent| Count::of(parent).ok());
        Ok(Watch::V2 { own: Count::of(path)?, above })
    }

    /// What to poll for.
    pub fn poll_fds(&self) -> Vec<PollFd<'_>> {
        match self {
            Watch::V1 { event, .. } => vec![PollFd::new(event.as_fd(), PollFlags::POLLIN)],
            Watch::V2 { own, above } => {
                [Some(own), above.as_ref()].into_iter().flatten().map(Count::poll_fd).collect()
            }
        }
    }

    /// Has it run out of memory since this was last asked?
    pub fn heard(&mut self) -> Result<bool> {
        match self {
            Watch::V1 { event, control } => match event.read() {
                // The end of the cgroup is told by the same way.
                Ok(_) => Ok(nix::sys::uio::pread(control, &mut [0; 1], 0) != Err(Errno::ENODEV)),
                Err(Errno::EAGAIN) => Ok(false),
                Err(errno) => Err(errno).op("read the eventfd"),
            },
            Watch::V2 { own, above } => heard(own, above.as_mut()),
        }
    }
}

/// Has the first count grown, or, where that is gone, the one above it?
fn heard(own: &mut Count, above: Option<&mut Count>) -> Result<bool> {
    let total = above.as_ref().and_then(|above| killed(&above.events).ok());
    let (new, is_gone) = match killed(&own.events) {
        Ok(now) => (now.saturating_sub(std::mem::replace(&mut own.killed, now)), false),
        Err(e) if e.is(Errno::ENODEV) => (0, true),
        Err(e) => return Err(e),
    };
    let (Some(above), Some(total)) = (above, total) else { return Ok(new > 0) };
    let has_grown = total > above.killed;
    // What is new may have come after the total was read.
    above.killed = total.max(above.killed + new);
    Ok(new > 0 || is_gone && has_grown)
}

/// How many processes were killed for want of memory, since the cgroup was made.
pub fn kills(path: &Path, file: &str) -> Result<u64> {
    killed(&tree::open_file(tree::open(path)?, file, libc::O_RDONLY)?)
}

/// `oom_kill` of memory.events, or of version 1's memory.oom_control.
fn killed(events: &OwnedFd) -> Result<u64> {
    let mut buf = [0u8; 512];
    let len = nix::sys::uio::pread(events, &mut buf, 0).op("read the memory controller's events")?;
    let text = String::from_utf8_lossy(&buf[..len]);
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    Ok(count.and_then(|count| count.trim().parse().ok()).unwrap_or_default())
}
