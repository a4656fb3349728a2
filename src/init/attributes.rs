//! Attributes and propagation of a mount that is not attached yet.

use crate::error::{Context, Error, Result};
use crate::launch::sources;
use crate::spec::plan::Mount;
use crate::sys::mount::{self, MOUNT_ATTR_ATIME, MountAttr};
use nix::errno::Errno;
use std::os::fd::OwnedFd;

/// Sets the attributes of the mount itself and of its whole tree, then the propagation.
pub fn finish(entry: &Mount, tree: &OwnedFd, attr: MountAttr, recursive: MountAttr) -> Result<()> {
    set_attributes(tree, attr, recursive)?;
    match entry.propagation {
        Some((propagation, recursive)) => sources::set_propagation(tree, propagation, recursive),
        None => Ok(()),
    }
}

/// Sets the attributes of a bind mount. Returns a warning if the mount keeps a flag that
/// an option clears.
///
/// In a user namespace the kernel locks the flags of the host's mounts. runc keeps a
/// locked flag if no option names it. crun keeps it in any case.
pub fn set_bind_attributes(entry: &Mount, tree: &OwnedFd) -> Result<Option<String>> {
    let attr = entry.attr;
    let with = |clear: u64| set_attributes(tree, MountAttr { clear, ..attr }, entry.recursive_attr);
    let locked = match with(attr.clear | entry.flags_to_clear) {
        Err(error) if error.is(Errno::EPERM) && attr.clear | entry.flags_to_clear != 0 => error,
        other => return other.map(|()| None),
    };
    if entry.flags_to_clear != 0 && with(attr.clear).is_ok() {
        return Ok(None);
    }
    // The kernel sets an atime mode only together with the mask of all modes.
    let mask = if attr.set & MOUNT_ATTR_ATIME != 0 { MOUNT_ATTR_ATIME } else { 0 };
    if with(mask).is_err() {
        return Err(locked);
    }
    let place = entry.target.display();
    Ok(Some(format!(
        "{}/options ({place}): the host has locked flags of the source's mount, so the \
         container keeps them",
        entry.at
    )))
}

/// Sets `attr` on the mount itself, then `recursive` on it and on all mounts below it.
pub fn set_attributes(tree: &OwnedFd, attr: MountAttr, recursive: MountAttr) -> Result<()> {
    if attr != MountAttr::default() {
        mount::set_attr(tree, attr, false).op("mount_setattr").map_err(locked)?;
    }
    if recursive != MountAttr::default() {
        mount::set_attr(tree, recursive, true).op("mount_setattr (recursive)").map_err(locked)?;
    }
    Ok(())
}

fn locked(error: Error) -> Error {
    if error.is(Errno::EPERM) {
        return error.hint(
            "keep ro, nosuid, nodev and noexec of the host's mount: only a caller with privilege on \
             the host can clear them",
        );
    }
    error
}
