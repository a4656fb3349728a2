//! Sources of bind mounts that are below the rootfs.

use super::target;
use crate::spec::plan::{Plan, SourceLink};
use crate::spec::proc_paths;
use crate::sys::openat2;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Returns the path of a source relative to the rootfs, `.` for the rootfs itself. `None`
/// if the source is not below the rootfs.
pub fn path_below_rootfs(plan: &Plan, source: &Path) -> Option<PathBuf> {
    let below = source.strip_prefix(&plan.rootfs).ok()?;
    relative_to_rootfs(plan, below)
}

/// Like [`path_below_rootfs`], for a source that does not exist: its path may lead to the rootfs by
/// another name.
pub fn path_below_rootfs_by_realpath(plan: &Plan, source: &Path) -> Option<PathBuf> {
    let rootfs = plan.rootfs.canonicalize().ok()?;
    let (above, real) =
        source.ancestors().find_map(|above| above.canonicalize().ok().map(|real| (above, real)))?;
    let whole = real.join(source.strip_prefix(above).ok()?);
    relative_to_rootfs(plan, whole.strip_prefix(rootfs).ok()?)
}

fn relative_to_rootfs(plan: &Plan, below: &Path) -> Option<PathBuf> {
    // If the host's root is the container's root, everything is below it.
    if plan.rootfs == Path::new("/") || !proc_paths::has_no_dotdot(below) {
        return None;
    }
    Some(Path::new(".").join(below))
}

/// Opens `path`, which is below the container's root `root`.
pub fn open_below_rootfs(root: &OwnedFd, path: &Path, link: SourceLink) -> nix::Result<OwnedFd> {
    let flags = if link == SourceLink::Follow { libc::O_PATH } else { libc::O_PATH | libc::O_NOFOLLOW };
    let path = target::c_path(path).map_err(|_| nix::errno::Errno::EINVAL)?;
    openat2::open_in_root(root, &path, flags)
}
