//! The namespaces of a container, and the mappings of its ids (config-linux.md
//! "Namespaces", "User namespace mappings").

use crate::sys::namespaces::NsFlags;
use std::path::PathBuf;

/// A kind of namespace. The variants stand in the order in which init enters the
/// namespaces. The user namespace comes first because it owns the others. The mount
/// namespace comes last because joining it takes the host's paths away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NsKind {
    User,
    Pid,
    Network,
    Ipc,
    Uts,
    Cgroup,
    Time,
    Mount,
}

impl NsKind {
    /// All kinds, in the order of the variants.
    pub const ALL: [NsKind; 8] = [
        NsKind::User,
        NsKind::Pid,
        NsKind::Network,
        NsKind::Ipc,
        NsKind::Uts,
        NsKind::Cgroup,
        NsKind::Time,
        NsKind::Mount,
    ];

    /// Returns the CLONE_NEW… bit.
    pub fn flag(self) -> NsFlags {
        match self {
            NsKind::User => NsFlags::new(libc::CLONE_NEWUSER),
            NsKind::Pid => NsFlags::new(libc::CLONE_NEWPID),
            NsKind::Network => NsFlags::new(libc::CLONE_NEWNET),
            NsKind::Ipc => NsFlags::new(libc::CLONE_NEWIPC),
            NsKind::Uts => NsFlags::new(libc::CLONE_NEWUTS),
            NsKind::Cgroup => NsFlags::new(libc::CLONE_NEWCGROUP),
            NsKind::Time => NsFlags::TIME,
            NsKind::Mount => NsFlags::new(libc::CLONE_NEWNS),
        }
    }

    /// Returns the name of the file in /proc/PID/ns.
    pub fn file(self) -> &'static str {
        match self {
            NsKind::Network => "net",
            NsKind::Mount => "mnt",
            other => other.name(),
        }
    }

    /// Returns the name in `linux.namespaces[].type`.
    pub fn name(self) -> &'static str {
        match self {
            NsKind::User => "user",
            NsKind::Pid => "pid",
            NsKind::Network => "network",
            NsKind::Ipc => "ipc",
            NsKind::Uts => "uts",
            NsKind::Cgroup => "cgroup",
            NsKind::Time => "time",
            NsKind::Mount => "mount",
        }
    }
}

/// The origin of a namespace of the container (config-linux.md "Namespaces").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ns {
    /// The runtime's own namespace, which init inherits.
    #[default]
    Inherit,
    /// A new namespace.
    New,
    /// An existing namespace.
    Join {
        /// Absolute path of the namespace on the host.
        path: PathBuf,
        /// JSON pointer of `path`.
        at: String,
    },
}

/// The origin of each kind of namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces([Ns; 8]);

impl Namespaces {
    /// Returns the origin of the namespace of this kind.
    pub fn get(&self, kind: NsKind) -> &Ns {
        &self.0[kind as usize]
    }

    /// Sets the origin of the namespace of this kind.
    pub fn set(&mut self, kind: NsKind, ns: Ns) {
        self.0[kind as usize] = ns;
    }

    /// Returns whether the container gets a new namespace of this kind.
    pub fn is_new(&self, kind: NsKind) -> bool {
        *self.get(kind) == Ns::New
    }

    /// Returns whether the container joins an existing namespace of this kind.
    pub fn is_joined(&self, kind: NsKind) -> bool {
        matches!(self.get(kind), Ns::Join { .. })
    }

    /// Returns whether the namespace of this kind is new or joined, so that the container
    /// does not inherit the runtime's.
    pub fn is_not_inherited(&self, kind: NsKind) -> bool {
        *self.get(kind) != Ns::Inherit
    }
}

/// A range of mapped ids: one line of a uid_map or gid_map (user_namespaces(7)), or of
/// the mapping of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// The first id in the user namespace or, for a mount, in the filesystem.
    pub container: u32,
    /// The first id on the host.
    pub host: u32,
    /// Number of ids, at least 1. Neither range reaches beyond the last id.
    pub size: u32,
}

/// The mappings of user ids and of group ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub uid: Vec<IdMap>,
    pub gid: Vec<IdMap>,
}
