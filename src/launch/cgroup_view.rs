//! What a mount of type `cgroup` shows (`init/cgroup_mount.rs`). The runtime knows where
//! the hierarchies are, and init does not.

use std::path::PathBuf;

/// The host's cgroups, as a mount of type `cgroup` shows them to the container.
pub enum CgroupView {
    V2 {
        /// Where the hierarchy is mounted on the host.
        mount: PathBuf,
        /// The path of the container's cgroup on the host.
        own: PathBuf,
        /// Whether the container is in another cgroup namespace than the runtime.
        namespaced: bool,
    },
    V1 {
        /// Whether the container is in another cgroup namespace than the runtime.
        namespaced: bool,
        hierarchies: Vec<HierarchyV1>,
    },
    /// The host has no cgroup mounts.
    None,
}

/// One hierarchy of version 1.
pub struct HierarchyV1 {
    /// Its directory below /sys/fs/cgroup, such as `cpu,cpuacct`.
    pub name: String,
    /// The mount options that select the hierarchy: `cpu,cpuacct`, or
    /// `none,name=systemd`.
    pub options: String,
    /// The path of the container's cgroup in this hierarchy, on the host.
    pub path: PathBuf,
}
