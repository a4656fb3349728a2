//! The output of this room: `config.json`, resolved.
//!
//! A [`Plan`] holds nothing that still has to be checked. Paths of files are absolute,
//! names are resolved to numbers, and defaults are filled in. `None` never means "not
//! checked yet": the doc of the field says what `None` means. This module makes no system
//! call.

use super::config::Resources;
use crate::seccomp::profile::Profile;
use crate::sys::mount::{MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, MountAttr};
use crate::sys::namespaces::NsFlags;
use crate::sys::pty::Size;
use crate::sys::sched::Attr;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// A set of fields that an `exec` process can take over, with a bit for each
/// ([`inherit`](super::inherit)).
pub type Fields = u16;

/// A container, resolved from `config.json`.
#[derive(Debug)]
pub struct Plan {
    /// Absolute path of the bundle directory on the host.
    pub bundle: PathBuf,
    /// Absolute path of the root filesystem on the host.
    pub rootfs: PathBuf,
    /// Whether to make the root mount read-only (`root.readonly`).
    pub root_readonly: bool,
    /// From `linux.rootfsPropagation`. The bool says whether the propagation also applies
    /// to the mounts below the root. `None` if the configuration has no propagation.
    pub root_propagation: Option<(Propagation, bool)>,
    /// From `linux.namespaces` (config-linux.md "Namespaces").
    pub namespaces: Namespaces,
    /// The mappings of a new user namespace. `None` if the container gets no new user
    /// namespace.
    pub id_maps: Option<IdMaps>,
    /// The mappings that the configuration gives although the container joins a user
    /// namespace. The runtime checks that the namespace has exactly these. `None` if the
    /// configuration gives none.
    pub joined_maps: Option<IdMaps>,
    /// Lines for /proc/self/timens_offsets, of the form `clock seconds nanoseconds`
    /// (config-linux.md "Offset for Time Namespace").
    pub time_offsets: Vec<String>,
    /// At most 64 bytes. `None` keeps the hostname of the UTS namespace.
    pub hostname: Option<String>,
    /// At most 64 bytes. `None` keeps the domainname of the UTS namespace.
    pub domainname: Option<String>,
    pub sysctl: Vec<Sysctl>,
    /// From `mounts`, in the order of the configuration.
    pub mounts: Vec<Mount>,
    /// The mount option that gives a new filesystem its SELinux label. `None` if the
    /// configuration has no `linux.mountLabel`. `container/bundle.rs` also sets `None` on
    /// a host without SELinux.
    pub mount_label: Option<FsOption>,
    /// The device nodes to create: those of `linux.devices`, and the default devices.
    pub devices: Vec<Device>,
    pub net_devices: Vec<NetDevice>,
    /// Absolute paths in the container (config-linux.md "Masked Paths").
    pub masked: Vec<PathBuf>,
    /// Absolute paths in the container (config-linux.md "Readonly Paths").
    pub readonly: Vec<PathBuf>,
    pub process: Process,
    /// Which fields the container has for `exec` processes whose own description lacks
    /// them.
    pub inheritable: Fields,
    pub hooks: Hooks,
    /// From `linux.cgroupsPath`, without `..`. May be relative, or have the form
    /// `slice:prefix:name` for systemd. `None` if the configuration has no path.
    pub cgroups_path: Option<String>,
    /// From `linux.resources`, without the device rules. The values are checked, but
    /// still have the types of `config.json`.
    pub resources: Resources,
    /// The rules for the device controller, in the order in which they apply: deny
    /// everything, then the rules of `linux.resources.devices`, then the defaults.
    pub device_rules: Vec<DeviceRule>,
    /// `None` if the configuration has no `linux.intelRdt`.
    pub rdt: Option<Rdt>,
    /// `None`: the payload runs without a seccomp filter.
    pub seccomp: Option<Profile>,
    /// All annotations, also those that mean nothing to the runtime.
    pub annotations: BTreeMap<String, String>,
}

impl Plan {
    /// Returns whether the payload can write to its own cgroup. It can if the container
    /// has a new cgroup namespace and a writable mount of type `cgroup` at
    /// /sys/fs/cgroup.
    pub fn manages_cgroups(&self) -> bool {
        let is_writable = |mount: &Mount| {
            mount.target == Path::new("/sys/fs/cgroup")
                && matches!(mount.kind, MountKind::Cgroup { readonly: false, .. })
        };
        self.namespaces.is_new(NsKind::Cgroup) && self.mounts.iter().any(is_writable)
    }

    /// Returns the host's directory that a bind mount puts at /dev. `None` if no bind
    /// mount has the target /dev.
    pub fn bound_dev(&self) -> Option<&Path> {
        self.mounts.iter().find_map(|mount| match &mount.kind {
            MountKind::Bind { source, .. } if mount.target == Path::new("/dev") => Some(source.as_path()),
            _ => None,
        })
    }
}

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
    pub fn is_private(&self, kind: NsKind) -> bool {
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

/// The propagation type of a mount (mount_namespaces(7)).
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

/// A value to write below /proc/sys (config-linux.md "Sysctl").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// JSON pointer of the entry.
    pub at: String,
    /// The kind of namespace that the sysctl belongs to.
    pub kind: NsKind,
    /// Path relative to /proc/sys.
    pub path: CString,
    pub value: String,
}

/// The place of a mount that is to be removed. The type of the mount does not matter.
#[derive(Debug, PartialEq, Eq)]
pub struct Mounted {
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
    pub unnamed: u64,
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
    pub legacy: u64,
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

/// A device node (config-linux.md "Devices").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// JSON pointer of the entry; empty for a default device.
    pub at: String,
    /// Absolute path in the container.
    pub path: PathBuf,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits, from 0 to 07777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Device {
    /// Returns whether `other` has the same type and the same numbers. Mode and owner may
    /// differ.
    pub fn is_same(&self, other: &Device) -> bool {
        (self.file_type(), self.number()) == (other.file_type(), other.number())
    }

    /// Returns whether the file with this `stat` is the device.
    pub fn is(&self, stat: &nix::sys::stat::FileStat) -> bool {
        stat.st_mode & libc::S_IFMT == self.file_type() && stat.st_rdev == self.number()
    }

    /// Returns the S_IF… bits.
    pub fn file_type(&self) -> u32 {
        match self.kind {
            DeviceKind::Char => libc::S_IFCHR,
            DeviceKind::Block => libc::S_IFBLK,
            DeviceKind::Fifo => libc::S_IFIFO,
        }
    }

    /// Returns major and minor in one number, as `st_rdev` has them. 0 for a FIFO.
    pub fn number(&self) -> u64 {
        match self.kind {
            DeviceKind::Fifo => 0,
            _ => nix::sys::stat::makedev(self.major.into(), self.minor.into()),
        }
    }
}

/// A network device that the runtime moves from its own network namespace into the
/// container's (config-linux.md "Network Devices").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// JSON pointer of the entry.
    pub at: String,
    /// The name in the runtime's network namespace.
    pub name: String,
    /// The name in the container. The kernel replaces one `%d` in the name by the first
    /// free number.
    pub new_name: String,
}

/// The type of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Char,
    Block,
    Fifo,
}

/// A rule for the device controller (config-linux.md "Allowed Device list").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    pub allow: bool,
    /// `None` matches every type.
    pub kind: Option<DeviceKind>,
    /// `None` matches every major number.
    pub major: Option<u32>,
    /// `None` matches every minor number.
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

/// What to execute, and as whom. Describes init's payload and an `exec` process alike
/// (config.md "Process").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub terminal: bool,
    /// The size of the terminal. `None` if the configuration has no size.
    pub console_size: Option<Size>,
    /// Whether the terminal ends lines of output with \n instead of \r\n. The command
    /// line decides this, not the configuration, so the resolver sets `false`.
    pub bare_newlines: bool,
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// Whether the process keeps the caller's supplementary groups instead of
    /// `additional_gids` (crun's annotation `run.oci.keep_original_groups`).
    pub keep_groups: bool,
    /// From 0 to 0777; 0022 if the configuration has none.
    pub umask: u32,
    /// The arguments, at least one. The first names the executable and is not empty.
    pub args: Vec<CString>,
    /// `NAME=VALUE` strings, each name once.
    pub env: Vec<CString>,
    /// Absolute path in the container.
    pub cwd: CString,
    pub capabilities: Capabilities,
    pub rlimits: Vec<Rlimit>,
    pub no_new_privileges: bool,
    /// From -1000 to 1000. `None` leaves the score as it is.
    pub oom_score_adj: Option<i32>,
    /// `None` leaves the scheduling policy as it is.
    pub scheduler: Option<Attr>,
    /// Class and level as ioprio_set(2) takes them. `None` leaves the I/O priority as it
    /// is.
    pub io_priority: Option<u16>,
    /// For `exec` processes only.
    pub cpu_affinity: CpuAffinity,
    /// The AppArmor profile. `None` if the configuration has none.
    pub apparmor: Option<String>,
    /// The SELinux label. `None` if the configuration has none.
    pub selinux: Option<String>,
    /// From `linux.personality`. Applies to every process in the container. `None` leaves
    /// the execution domain as it is.
    pub personality: Option<u32>,
    /// From `linux.memoryPolicy`. Applies to every process in the container. `None`
    /// leaves the policy as it is.
    pub memory_policy: Option<MemoryPolicy>,
}

/// The CPUs that an `exec` process may use. CPU n is bit n % 64 of word n / 64. An empty
/// list: the configuration has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuAffinity {
    /// The CPUs before the process moves into the container's cgroup.
    pub initial: Vec<u64>,
    /// The CPUs after the move.
    pub last: Vec<u64>,
}

/// The arguments of set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The mode (MPOL_…) and its flags (MPOL_F_…).
    pub mode: i32,
    /// Node n is bit n % 64 of word n / 64. Empty if the policy has no nodes.
    pub nodes: Vec<u64>,
}

/// The group in the resctrl filesystem (config-linux.md "IntelRdt").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rdt {
    /// The class of service: the name of a directory in the resctrl filesystem. `/` is
    /// the root directory. `None` stands for a directory with the container's id as its
    /// name.
    pub clos: Option<String>,
    /// The lines of `l3CacheSchema` and `memBwSchema`. Empty if the configuration has
    /// neither.
    pub combined: String,
    /// The lines of `schemata`, which the runtime writes after `combined`. Empty if the
    /// configuration has none.
    pub schemata: String,
    /// Whether to create a monitoring group (`enableMonitoring`).
    pub monitor: bool,
    /// Whether the kernel must be able to monitor cache occupancy (`enableCMT`).
    pub needs_occupancy: bool,
    /// Whether the kernel must be able to monitor memory bandwidth (`enableMBM`).
    pub needs_bandwidth: bool,
}

/// The capability sets of a process. Bit n is the capability with the number n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// The arguments of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// The kernel's RLIMIT_… number.
    pub resource: u32,
    /// Not above `hard`.
    pub soft: u64,
    pub hard: u64,
}

/// A hook (config.md "POSIX-platform Hooks").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub at: String,
    /// Absolute path: in the container for `start_container`, on the host for all other
    /// hooks.
    pub path: CString,
    /// The arguments, at least one. The first is `argv[0]`.
    pub args: Vec<CString>,
    /// `None` if the configuration has no environment. `hooks.rs` says which one the hook
    /// gets then.
    pub env: Option<Vec<CString>>,
    /// In seconds, at least 1. `None`: the runtime waits without a limit.
    pub timeout: Option<i32>,
}

/// The hooks, each list in the order of the configuration (config.md "POSIX-platform
/// Hooks").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}
