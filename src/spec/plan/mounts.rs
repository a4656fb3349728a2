//! Mounts (config.md "Mounts").

use super::namespaces::IdMaps;
use crate::sys::mount::{MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, MountAttr};
use std::ffi::CString;
use std::path::PathBuf;

/// The propagation type of a mount (config-linux.md "Rootfs Mount Propagation",
/// mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Private,
    Slave,
    Shared,
    Unbindable,
}

impl Propagation {
    /// Returns the MS_… bit.
    pub fn flag(self) -> u64 {
        match self {
            Propagation::Private => MS_PRIVATE,
            Propagation::Slave => MS_SLAVE,
            Propagation::Shared => MS_SHARED,
            Propagation::Unbindable => MS_UNBINDABLE,
        }
    }
}

/// The place of a mount that is to be removed. The type of the mount does not matter.
#[derive(Debug, PartialEq, Eq)]
pub struct Unmount {
    /// JSON pointer of the entry.
    pub at: String,
    /// Absolute path in the container.
    pub path: PathBuf,
    /// Whether a symbolic link at `path` is itself the mount point. If false, the runtime
    /// follows the link.
    pub nofollow: bool,
}

/// An entry of `mounts` (config.md "Mounts").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// JSON pointer of the entry.
    pub at: String,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Whether to mount over a symbolic link at the target instead of following the link
    /// (`dest-nofollow`).
    pub target_nofollow: bool,
    pub kind: MountKind,
    /// The attributes to set and clear on this mount alone.
    pub attr: MountAttr,
    /// The flags of a bind mount's source (MOUNT_ATTR_… bits) that no option names. Init
    /// clears them where the kernel allows that.
    pub flags_to_clear: u64,
    /// The attributes of the `r…` options, for this mount and all mounts below it.
    pub recursive_attr: MountAttr,
    /// The bool says whether the propagation also applies to the mounts below. `None` if
    /// no option names a propagation.
    pub propagation: Option<(Propagation, bool)>,
    /// `None`: the mount has no id mapping.
    pub idmap: Option<Idmap>,
}

/// What an entry of `mounts` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Whether to bind the mounts below the source, too (`rbind`).
        recursive: bool,
        link: SourceLink,
    },
    /// A mount of type `cgroup` or `cgroup2`: the container's view of its cgroups, on
    /// either version.
    Cgroup {
        readonly: bool,
        options: Vec<FsOption>,
    },
    Filesystem(Filesystem),
    /// A change of the mount that is already at the target. The attributes are the
    /// mount's alone. The options go to its filesystem, and all mounts of the filesystem
    /// share them.
    Remount {
        options: Vec<FsOption>,
    },
}

/// A mount option for the filesystem: a key, and its value if the option has one.
pub type FsOption = (CString, Option<CString>);

/// A filesystem to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// The type, such as `tmpfs`.
    pub fs: CString,
    pub source: CString,
    pub options: Vec<FsOption>,
    /// MS_… bits that only mount(2) takes.
    pub mount2_flags: u64,
    /// Whether the new tmpfs starts with a copy of the directory that it covers
    /// (`tmpcopyup`).
    pub copy_up: bool,
}

/// What a bind mount binds if its source is a symbolic link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceLink {
    /// The target of the link.
    #[default]
    Follow,
    /// The link itself (`src-nofollow`).
    Itself,
    /// Nothing. Init creates a link with the same target in the container
    /// (`copy-symlink`).
    Copy,
}

/// The id mapping of a mount, which decides whom the mount shows as owners of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idmap {
    pub users: IdmapUsers,
    /// Whether the mapping also applies to the mounts below (`ridmap`).
    pub recursive: bool,
}

/// The user namespace of an idmapped mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdmapUsers {
    /// A new user namespace with these mappings, from ids of the filesystem to ids of the
    /// host.
    Maps(IdMaps),
    /// The user namespace that the container joins.
    Joined,
}
