//! The error of a directory that is mounted on a file, or of a file on a directory.

use crate::error::Error;
use crate::launch::target::{self, MountPointKind};
use crate::spec::plan::{Mount, MountKind};
use nix::errno::Errno;
use std::os::fd::OwnedFd;

/// If `error` occurs because one of mount and mount point is a directory and the other is
/// not, returns an error that names both. `kind` is what the mount `entry` can cover.
/// Returns every other error as it is.
///
/// The kernel returns ENOTDIR or EINVAL. Docker explains the text "not a directory" to
/// its users, so the error has that text in both cases.
pub fn explain(error: Error, root: &OwnedFd, entry: &Mount, kind: MountPointKind) -> Error {
    if !error.is(Errno::ENOTDIR) && !error.is(Errno::EINVAL) {
        return error;
    }
    let Some(on_directory) = target::leads_to_directory(root, &entry.target) else {
        // A name on the way to the mount point is a file.
        return if error.is(Errno::ENOTDIR) { error.in_kernels_words() } else { error };
    };
    let (mounted, covered) = match (kind, on_directory) {
        (MountPointKind::Directory | MountPointKind::PlainDirectory, false) => ("directory", "file"),
        (MountPointKind::File, true) => ("file", "directory"),
        _ => return error,
    };
    let operation = match &entry.kind {
        MountKind::Bind { source, .. } => format!("bind the {mounted} {} on a {covered}", source.display()),
        MountKind::Filesystem(new) => format!("mount {} on a {covered}", new.fs.to_string_lossy()),
        MountKind::Cgroup { .. } => format!("mount cgroup on a {covered}"),
        MountKind::Remount { .. } => return error,
    };
    let error = Error::os(&operation, Errno::ENOTDIR).in_kernels_words();
    error.hint("mount a directory on a directory, and a file on a file")
}
