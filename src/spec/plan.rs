//! What is going to be done: `config.json` with every question answered.
//!
//! A [`Plan`] holds nothing that still has to be checked: paths are absolute,
//! names are numbers, defaults are filled in, and an `Option` means "don't",
//! never "not validated yet". Nothing here touches the kernel.

use super::config::Resources;
use super::inherit::Fields;
use crate::seccomp::profile::Profile;
use crate::sys::mount::{MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, MountAttr};
use crate::sys::namespaces::NsFlags;
use crate::sys::pty::Size;
use crate::sys::sched::Attr;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// A container, resolved.
#[derive(Debug)]
pub struct Plan {
    pub bundle: PathBuf,
    /// Absolute path of the root filesystem on the host.
    pub rootfs: PathBuf,
    pub root_readonly: bool,
    /// `true`: of the mounts below the root, too.
    pub root_propagation: Option<(Propagation, bool)>,
    pub namespaces: Namespaces,
    /// The mappings of a new user namespace.
    pub id_maps: Option<IdMaps>,
    /// The mappings that a joined user namespace is said to have.
    pub joined_maps: Option<IdMaps>,
    /// `clock seconds nanoseconds` lines for /proc/self/timens_offsets.
    pub time_offsets: Vec<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub sysctl: Vec<Sysctl>,
    pub mounts: Vec<Mount>,
    /// The option that gives a new filesystem its SELinux label.
    pub mount_label: Option<FsOption>,
    pub devices: Vec<Device>,
    pub net_devices: Vec<NetDevice>,
    pub masked: Vec<PathBuf>,
    pub readonly: Vec<PathBuf>,
    pub process: Process,
    /// What the container's execs can take over.
    pub inheritable: Fields,
    pub hooks: Hooks,
    pub cgroups_path: Option<String>,
    pub resources: Resources,
    /// The device rules of `resources`, in their order, then the defaults.
    pub device_rules: Vec<DeviceRule>,
    pub rdt: Option<Rdt>,
    pub seccomp: Option<Profile>,
    pub annotations: BTreeMap<String, String>,
}

impl Plan {
    /// Whether the payload can write to its own cgroup: in a cgroup namespace of its
    /// own, with a writable mount of type `cgroup` at /sys/fs/cgroup.
    pub fn manages_cgroups(&self) -> bool {
        let is_writable = |mount: &Mount| {
            mount.target == Path::new("/sys/fs/cgroup")
                && matches!(mount.kind, MountKind::Cgroup { readonly: false, .. })
        };
        self.namespaces.is_new(NsKind::Cgroup) && self.mounts.iter().any(is_writable)
    }

    /// The directory of the host that is the container's /dev, if it has no /dev
    /// of its own.
    pub fn bound_dev(&self) -> Option<&Path> {
        self.mounts.iter().find_map(|mount| match &mount.kind {
            MountKind::Bind { source, .. } if mount.target == Path::new("/dev") => Some(source.as_path()),
            _ => None,
        })
    }
}

/// The eight kinds of namespace, in the order in which they are entered: the
/// user namespace first, as it owns the others; the mount namespace last, as
/// joining it takes the host's paths away.
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

    /// The CLONE_NEW… bit.
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

    /// The name of its file in /proc/PID/ns.
    pub fn file(self) -> &'static str {
        match self {
            NsKind::Network => "net",
            NsKind::Mount => "mnt",
            other => other.name(),
        }
    }

    /// The name in `linux.namespaces[].type`.
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

/// Where a container's namespace comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ns {
    #[default]
    Inherit,
    New,
    Join {
        path: PathBuf,
        /// JSON pointer of the path.
        at: String,
    },
}

/// A source for each kind of namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces([Ns; 8]);

impl Namespaces {
    pub fn get(&self, kind: NsKind) -> &Ns {
        &self.0[kind as usize]
    }

    pub fn set(&mut self, kind: NsKind, ns: Ns) {
        self.0[kind as usize] = ns;
    }

    pub fn is_new(&self, kind: NsKind) -> bool {
        *self.get(kind) == Ns::New
    }

    /// Is it another's, by path?
    pub fn is_joined(&self, kind: NsKind) -> bool {
        matches!(self.get(kind), Ns::Join { .. })
    }

    /// Is it any but the runtime's own?
    pub fn is_private(&self, kind: NsKind) -> bool {
        *self.get(kind) != Ns::Inherit
    }
}

/// One line of a uid_map or gid_map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub uid: Vec<IdMap>,
    pub gid: Vec<IdMap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Private,
    Slave,
    Shared,
    Unbindable,
}

impl Propagation {
    /// The MS_… bit.
    pub fn flag(self) -> u64 {
        match self {
            Propagation::Private => MS_PRIVATE,
            Propagation::Slave => MS_SLAVE,
            Propagation::Shared => MS_SHARED,
            Propagation::Unbindable => MS_UNBINDABLE,
        }
    }
}

/// One value below /proc/sys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// JSON pointer of the entry.
    pub at: String,
    /// The namespace that it belongs to.
    pub kind: NsKind,
    /// Path relative to /proc/sys.
    pub path: CString,
    pub value: String,
}

/// Where a mount is, whatever is mounted.
#[derive(Debug, PartialEq, Eq)]
pub struct Mounted {
    /// JSON pointer of the entry.
    pub at: String,
    /// Absolute path in the container.
    pub path: PathBuf,
    /// A symbolic link there is meant itself.
    pub nofollow: bool,
}

/// One entry of `mounts`, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// JSON pointer of the entry.
    pub at: String,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// A symbolic link at the target is covered itself, not followed.
    pub target_nofollow: bool,
    pub kind: MountKind,
    pub attr: MountAttr,
    /// The flags of a bind mount's source (MOUNT_ATTR_… bits) that no option names,
    /// and that are cleared where the kernel lets them.
    pub unnamed: u64,
    /// The attributes given with `r…` options: for all mounts below, too.
    pub recursive_attr: MountAttr,
    pub propagation: Option<(Propagation, bool)>,
    pub idmap: Option<Idmap>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        recursive: bool,
        link: SourceLink,
    },
    /// The container's view of its cgroups, whatever their version.
    Cgroup {
        readonly: bool,
        options: Vec<FsOption>,
    },
    Filesystem(Filesystem),
    /// Other attributes for the mount that is there, and options for its
    /// filesystem, which all its mounts share.
    Remount {
        options: Vec<FsOption>,
    },
}

/// `key`, or `key` and value, for the filesystem.
pub type FsOption = (CString, Option<CString>);

/// A filesystem that is mounted anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    pub fs: CString,
    pub source: CString,
    pub options: Vec<FsOption>,
    /// MS_… bits that no call but mount(2) takes.
    pub legacy: u64,
    /// It begins with a copy of what it covers.
    pub copy_up: bool,
}

/// What is bound where the source is a symbolic link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceLink {
    /// What it leads to.
    #[default]
    Follow,
    Itself,
    /// Nothing: a link like it is made in the container.
    Copy,
}

/// Through which user namespace a mount shows the owners of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idmap {
    pub users: IdmapUsers,
    /// Of the mounts below it, too.
    pub recursive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdmapUsers {
    /// From ids of the filesystem to ids of the host.
    Maps(IdMaps),
    /// Those of the user namespace that the container joins.
    Joined,
}

/// One device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// JSON pointer of the entry; empty for a default device.
    pub at: String,
    pub path: PathBuf,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Device {
    /// Is it the same device, whatever its mode and owner?
    pub fn is_same(&self, other: &Device) -> bool {
        (self.file_type(), self.number()) == (other.file_type(), other.number())
    }

    /// Is this file the device?
    pub fn is(&self, stat: &nix::sys::stat::FileStat) -> bool {
        stat.st_mode & libc::S_IFMT == self.file_type() && stat.st_rdev == self.number()
    }

    /// The S_IF… bits.
    pub fn file_type(&self) -> u32 {
        match self.kind {
            DeviceKind::Char => libc::S_IFCHR,
            DeviceKind::Block => libc::S_IFBLK,
            DeviceKind::Fifo => libc::S_IFIFO,
        }
    }

    /// Major and minor as the kernel has them in one.
    pub fn number(&self) -> u64 {
        match self.kind {
            DeviceKind::Fifo => 0,
            _ => nix::sys::stat::makedev(self.major.into(), self.minor.into()),
        }
    }
}

/// A network device that moves from the runtime's network namespace into the
/// container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// JSON pointer of the entry.
    pub at: String,
    pub name: String,
    /// Its name in the container, where one `%d` stands for the first free number.
    pub new_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Char,
    Block,
    Fifo,
}

/// One rule of the device controller; `None` is a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    pub allow: bool,
    /// `None` is "all".
    pub kind: Option<DeviceKind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

/// What is executed, and as whom; for init and for `exec` alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub terminal: bool,
    pub console_size: Option<Size>,
    /// Whether the terminal ends lines of output with \n, not \r\n. The command
    /// line decides it, not the config.
    pub bare_newlines: bool,
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// Keep the caller's groups instead (crun's `run.oci.keep_original_groups`).
    pub keep_groups: bool,
    /// From 0 to 0777; 0022 if the config has none.
    pub umask: u32,
    pub args: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: CString,
    pub capabilities: Capabilities,
    pub rlimits: Vec<Rlimit>,
    pub no_new_privileges: bool,
    pub oom_score_adj: Option<i32>,
    pub scheduler: Option<Attr>,
    /// Class and level as ioprio_set(2) takes them.
    pub io_priority: Option<u16>,
    /// For exec only.
    pub cpu_affinity: CpuAffinity,
    pub apparmor: Option<String>,
    pub selinux: Option<String>,
    /// Of `linux`, as the next: all processes of a container have it.
    pub personality: Option<u32>,
    pub memory_policy: Option<MemoryPolicy>,
}

/// The CPUs before and after the way into the container's cgroup, a bit each;
/// none is "not given".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuAffinity {
    pub initial: Vec<u64>,
    pub last: Vec<u64>,
}

/// The arguments of set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The mode and its flags.
    pub mode: i32,
    /// A bit for each NUMA node.
    pub nodes: Vec<u64>,
}

/// `linux.intelRdt`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rdt {
    /// The class of service: a directory, `/` for the root, or `None` for one
    /// that has the container's id.
    pub clos: Option<String>,
    /// `l3CacheSchema` and `memBwSchema`, as lines, or empty.
    pub combined: String,
    /// `schemata`, as lines, or empty; written last.
    pub schemata: String,
    /// Make a monitoring group.
    pub monitor: bool,
    /// The kernel must be able to monitor cache occupancy.
    pub needs_occupancy: bool,
    /// The kernel must be able to monitor memory bandwidth.
    pub needs_bandwidth: bool,
}

/// Bits by capability number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// One hook. Its JSON pointer names it in errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub at: String,
    pub path: CString,
    pub args: Vec<CString>,
    /// `None`: the runtime's own environment.
    pub env: Option<Vec<CString>>,
    /// In seconds; `None` waits for ever.
    pub timeout: Option<i32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}
