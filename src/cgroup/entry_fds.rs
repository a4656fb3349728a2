//! The descriptors by which a new process gets into its cgroups, and a caller who may not use
//! them.

use crate::error::Error;
use nix::errno::Errno;
use std::os::fd::OwnedFd;

/// The descriptors by which a new process gets into its cgroups.
#[derive(Default)]
pub struct EntryFds {
    /// The v2 cgroup into which clone3 puts the process. `None` if there is no such
    /// cgroup.
    pub clone: Option<OwnedFd>,
    /// The `tasks` files of the v1 cgroups. The process moves itself by writing to them.
    pub tasks: Vec<OwnedFd>,
}

/// Returns whether `error` says that the caller may not create a cgroup or move a process
/// into it: EACCES, EPERM or EROFS.
pub(super) fn is_denied(error: &Error) -> bool {
    [Errno::EACCES, Errno::EPERM, Errno::EROFS].into_iter().any(|errno| error.is(errno))
}
