//! The output of this room: `config.json`, resolved.
//!
//! A [`Plan`] holds nothing that still has to be checked. Paths of files are absolute,
//! names are resolved to numbers, and defaults are filled in. `None` never means "not
//! checked yet": the doc of the field says what `None` means. No number has a second
//! meaning, such as "not set". This module makes no system call.

mod devices;
mod mounts;
mod namespaces;
mod process;
mod resources;

pub use devices::{Device, DeviceKind, DeviceRule};
pub use mounts::{
    Filesystem, FsOption, Idmap, IdmapUsers, Mount, MountKind, Propagation, SourceLink, Unmount,
};
pub use namespaces::{IdMap, IdMaps, Namespaces, Ns, NsKind};
pub use process::{Capabilities, CpuAffinity, MemoryPolicy, Process, Rlimit};
pub use resources::{
    BlockIo, Cpu, HugepageLimit, InterfacePriority, Limit, Memory, Network, Pids, Rdma, Resources,
    ThrottleDevice, WeightDevice,
};

use crate::seccomp::profile::Profile;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// A set of fields that an `exec` process can take over, with a bit for each
/// ([`exec_defaults`](super::exec_defaults)).
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
    pub exec_defaults: Fields,
    pub hooks: Hooks,
    /// From `linux.cgroupsPath`, without `..`. May be relative, or have the form
    /// `slice:prefix:name` for systemd. `None` if the configuration has no path.
    pub cgroups_path: Option<String>,
    /// From `linux.resources`, without the device rules (config-linux.md "Control
    /// groups").
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
