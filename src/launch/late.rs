//! Sources of bind mounts that are opened when the mount's turn comes, not before the
//! fork.
//!
//! - A source below the rootfs, because an earlier mount may be there. Init looks it up
//!   beneath the container's root: the image decides where a path across the rootfs
//!   leads, and no link in that path may lead to the host.
//! - Sources for which there are too few descriptors. The runtime opens one at a time
//!   when init asks for it.

use super::sources::Opener;
use super::target;
use crate::error::{Context, Error, Result};
use crate::spec::plan::{Mount, MountKind, Plan, SourceLink};
use crate::spec::proc_paths;
use crate::sys::openat2;
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The number of descriptors that `create` and init need for other things: cgroups (up to
/// a dozen on version 1), sockets, the start gate, and files that are open only for a
/// moment.
const RESERVE: usize = 32;

/// Returns how many descriptors may stay open until the container's mounts are made.
/// `newest` was just opened, so all numbers below it are in use.
pub fn budget(newest: &OwnedFd) -> usize {
    let used = usize::try_from(newest.as_raw_fd()).unwrap_or(0) + 1;
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(used + RESERVE)
}

/// Returns the path of a source relative to the rootfs, `.` for the rootfs itself. `None`
/// if the source is not below the rootfs.
pub fn inside(plan: &Plan, source: &Path) -> Option<PathBuf> {
    let below = source.strip_prefix(&plan.rootfs).ok()?;
    relative_to_rootfs(plan, below)
}

/// Like [`inside`], for a source that does not exist: its path may lead to the rootfs by
/// another name.
pub fn inside_by_another_name(plan: &Plan, source: &Path) -> Option<PathBuf> {
    let rootfs = plan.rootfs.canonicalize().ok()?;
    let (above, real) =
        source.ancestors().find_map(|above| above.canonicalize().ok().map(|real| (above, real)))?;
    let whole = real.join(source.strip_prefix(above).ok()?);
    relative_to_rootfs(plan, whole.strip_prefix(rootfs).ok()?)
}

fn relative_to_rootfs(plan: &Plan, below: &Path) -> Option<PathBuf> {
    // If the host's root is the container's root, everything is below it.
    if plan.rootfs == Path::new("/") || !proc_paths::is_plain(below) {
        return None;
    }
    Some(Path::new(".").join(below))
}

/// Opens `path`, which is below the container's root `root`.
pub fn open_inside(root: &OwnedFd, path: &Path, link: SourceLink) -> nix::Result<OwnedFd> {
    let flags = if link == SourceLink::Follow { libc::O_PATH } else { libc::O_PATH | libc::O_NOFOLLOW };
    let path = target::c_path(path).map_err(|_| nix::errno::Errno::EINVAL)?;
    openat2::in_root(root, &path, flags)
}

/// The runtime's part in opening sources after the fork.
pub struct Late<'a> {
    plan: &'a Plan,
    opener: Opener<'a>,
}

impl<'a> Late<'a> {
    pub fn new(plan: &'a Plan, opener: Opener<'a>) -> Late<'a> {
        Late { plan, opener }
    }

    /// Opens the source of the mount with this index. With `root`, the container's root,
    /// opens a file below that root. Init may not be allowed to walk to that file.
    pub fn open(&mut self, index: u32, root: Option<&OwnedFd>) -> Result<OwnedFd> {
        let entry = self.entry(index)?;
        let MountKind::Bind { source, link, .. } = &entry.kind else {
            return Err(Error::msg("init asked for the source of a mount that has none"));
        };
        let opened = match root {
            None => self.opener.tree(entry),
            Some(root) => {
                let path = inside(self.plan, source).or_else(|| inside_by_another_name(self.plan, source));
                let path = path.ok_or_else(|| Error::msg("the source is not below the rootfs"))?;
                open_inside(root, &path, *link).op("open the source in the container's root")
            }
        };
        opened.map_err(|e| of_source(e, entry))
    }

    /// Maps the ids of a detached tree that init has cloned. Only the host's root may do
    /// that.
    pub fn map_ids(&mut self, index: u32, tree: &OwnedFd) -> Result<()> {
        let entry = self.entry(index)?;
        self.opener.map_ids(entry, tree).map_err(|e| of_source(e, entry))
    }

    fn entry(&self, index: u32) -> Result<&'a Mount> {
        let entry = usize::try_from(index).ok().and_then(|index| self.plan.mounts.get(index));
        entry.ok_or_else(|| Error::msg("init asked for a mount that there is not"))
    }
}

/// Names the source in an error.
pub fn of_source(error: Error, entry: &Mount) -> Error {
    match &entry.kind {
        MountKind::Bind { source, .. } => {
            error.at(format!("{}/source", entry.at)).on(source.display().to_string())
        }
        _ => error,
    }
}
