//! Notices that a container ran out of memory. On version 1 the kernel signals an eventfd
//! that is registered for memory.oom_control; on version 2 memory.events changes.

use super::{Cgroup, tree};
use crate::error::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// A watch for a lack of memory in a container.
pub enum Watch {
    V1 {
        event: EventFd,
        /// The kernel removes the registration when this descriptor is closed.
        control: OwnedFd,
    },
    V2 {
        own: Count,
        /// The count of the parent cgroup, which includes this cgroup. systemd removes
        /// the container's cgroup as soon as the cgroup is empty, perhaps before the
        /// runtime reads its count. `None` if the parent has no count.
        above: Option<Count>,
    },
}

impl Cgroup {
    /// Starts to watch for a lack of memory. Returns `None` if there is no memory
    /// controller, or if the cgroup no longer exists.
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

    /// Starts a watch for a caller that reads the count after the container has ended.
    /// systemd removes a cgroup together with its last process, but the watch remains
    /// readable. Returns `None` if systemd does not manage the cgroup: such a cgroup
    /// remains. Returns `None` also if the watch fails.
    pub fn watch_oom_until_the_end(&self) -> Option<Watch> {
        let Cgroup::Systemd { .. } = self else { return None };
        self.watch_oom().ok().flatten()
    }

    /// Returns the number of processes in the cgroup that the kernel has killed for lack
    /// of memory. `None` if there is no memory controller, or if the cgroup no longer
    /// exists.
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        let killed = match self {
            Cgroup::None => return Ok(None),
            Cgroup::V2 { path } => count_kills(path, "memory.events"),
            Cgroup::V1 { hierarchies, .. } => match hierarchies.iter().find(|h| h.has("memory")) {
                Some(hierarchy) => count_kills(&hierarchy.path, "memory.oom_control"),
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

/// A memory.events file, and the number of killed processes when it was last read.
pub struct Count {
    events: OwnedFd,
    killed: u64,
}

impl Count {
    fn open(path: &Path) -> Result<Count> {
        let events = tree::open_file(tree::open(path)?, "memory.events", libc::O_RDONLY)?;
        let killed = read_kills(&events)?;
        Ok(Count { events, killed })
    }

    fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(self.events.as_fd(), PollFlags::POLLPRI)
    }
}

impl Watch {
    /// Watches the cgroup of version 1's memory controller.
    pub fn v1(path: &Path) -> Result<Watch> {
        let dir = tree::open(path)?;
        let control = tree::open_file(&dir, "memory.oom_control", libc::O_RDONLY)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).op("eventfd")?;
        let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
        tree::write(&dir, "cgroup.event_control", &line)?;
        Ok(Watch::V1 { event, control })
    }

    /// Watches the memory.events of a v2 cgroup and of its parent.
    pub fn v2(path: &Path) -> Result<Watch> {
        // The parent's file comes first, so that a kill between the two reads still
        // raises the parent's count.
        let above = path.parent().and_then(|parent| Count::open(parent).ok());
        Ok(Watch::V2 { own: Count::open(path)?, above })
    }

    /// Returns the descriptors to poll.
    pub fn poll_fds(&self) -> Vec<PollFd<'_>> {
        match self {
            Watch::V1 { event, .. } => vec![PollFd::new(event.as_fd(), PollFlags::POLLIN)],
            Watch::V2 { own, above } => {
                [Some(own), above.as_ref()].into_iter().flatten().map(Count::poll_fd).collect()
            }
        }
    }

    /// Returns whether the container has run out of memory since the last call.
    pub fn has_new_oom(&mut self) -> Result<bool> {
        match self {
            Watch::V1 { event, control } => match event.read() {
                // The kernel also signals the eventfd when the cgroup is removed.
                Ok(_) => Ok(nix::sys::uio::pread(control, &mut [0; 1], 0) != Err(Errno::ENODEV)),
                Err(Errno::EAGAIN) => Ok(false),
                Err(errno) => Err(errno).op("read the eventfd"),
            },
            Watch::V2 { own, above } => has_new_kills(own, above.as_mut()),
        }
    }
}

/// Returns whether the cgroup's own count has grown. If the cgroup is gone, returns
/// whether the parent's count has grown.
fn has_new_kills(own: &mut Count, above: Option<&mut Count>) -> Result<bool> {
    let total = above.as_ref().and_then(|above| read_kills(&above.events).ok());
    let (new, is_gone) = match read_kills(&own.events) {
        Ok(now) => (now.saturating_sub(std::mem::replace(&mut own.killed, now)), false),
        Err(e) if e.is(Errno::ENODEV) => (0, true),
        Err(e) => return Err(e),
    };
    let (Some(above), Some(total)) = (above, total) else { return Ok(new > 0) };
    let has_grown = total > above.killed;
    // A new kill may have come after the runtime read `total`, so add it here.
    above.killed = total.max(above.killed + new);
    Ok(new > 0 || is_gone && has_grown)
}

/// Returns the number of processes that the kernel has killed for lack of memory since
/// the cgroup was created. `file` is memory.events or memory.oom_control.
pub fn count_kills(path: &Path, file: &str) -> Result<u64> {
    read_kills(&tree::open_file(tree::open(path)?, file, libc::O_RDONLY)?)
}

/// Reads `oom_kill` from memory.events, or from version 1's memory.oom_control. 0 if
/// there is no such line.
fn read_kills(events: &OwnedFd) -> Result<u64> {
    let mut buf = [0u8; 512];
    let len = nix::sys::uio::pread(events, &mut buf, 0).op("read the memory controller's events")?;
    let text = String::from_utf8_lossy(&buf[..len]);
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    Ok(count.and_then(|count| count.trim().parse().ok()).unwrap_or_default())
}
