//! What init attaches but can't open itself: the host's trees.
//!
//! They are cloned on the host side, as detached mounts, because a user
//! namespace's root may not be allowed to walk to them. An unprivileged
//! runtime can't clone mounts of the host; there init, which is root over its
//! own mount namespace, does the same with the same function.

use crate::error::{Context, Error, Result};
use crate::spec::plan::{Mount, MountKind, Plan, Propagation};
use crate::sys::mount::{self, MS_SLAVE, MountAttr};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The detached trees of a plan.
pub struct Sources {
    pub rootfs: OwnedFd,
    /// By the index of the mount.
    pub binds: Vec<Option<OwnedFd>>,
}

impl Sources {
    /// Clones the rootfs and every bind source.
    pub fn open(plan: &Plan) -> Result<Sources> {
        let rootfs = clone(&plan.rootfs, true).map_err(|e| rootfs_error(e, &plan.rootfs))?;
        // Mounts that the host makes below the rootfs come in; none go out.
        slave(&rootfs)?;
        let shared = plan.root_propagation == Some(Propagation::Shared);
        let binds = plan.mounts.iter().map(|m| bind(m, shared)).collect::<Result<_>>()?;
        Ok(Sources { rootfs, binds })
    }
}

/// May this process clone the host's mounts?
pub fn may_clone() -> bool {
    crate::sys::caps::get().is_ok_and(|sets| sets.effective >> 21 & 1 == 1)
}

fn bind(mount: &Mount, shared: bool) -> Result<Option<OwnedFd>> {
    let MountKind::Bind { source, recursive } = &mount.kind else { return Ok(None) };
    let tree = clone(source, *recursive)
        .map_err(|e| e.at(format!("{}/source", mount.at)).on(source.display().to_string()))?;
    // Only a container whose root is shared takes part in the host's groups.
    if !shared {
        slave(&tree)?;
    }
    Ok(Some(tree))
}

fn slave(tree: &OwnedFd) -> Result<()> {
    let attr = MountAttr { propagation: MS_SLAVE, ..MountAttr::default() };
    mount::set_attr(tree, attr, true).op("mount_setattr slave")
}

fn clone(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::msg("NUL in a path"))?;
    mount::clone_tree(AT_FDCWD, &c_path, recursive, false).op("open_tree")
}

fn rootfs_error(error: Error, path: &Path) -> Error {
    let missing = error.is(Errno::ENOENT);
    let error = error.at("/root/path").on(path.display().to_string());
    if missing { error.hint("the rootfs must exist; a relative path is the bundle's") } else { error }
}
