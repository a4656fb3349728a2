//! What a mount of type `cgroup` is to show (`init/cgroup_mount.rs`). The host's side
//! knows where the hierarchies are, and init doesn't.

use std::path::PathBuf;

/// What the host's cgroups look like, from the point of view of a container
/// that is to see its own.
pub enum View {
    V2 {
        /// Where the host has the hierarchy mounted.
        mount: PathBuf,
        /// The container's cgroup, on the host.
        own: PathBuf,
        namespaced: bool,
    },
    V1 {
        namespaced: bool,
        hierarchies: Vec<V1>,
    },
    /// No cgroup mounts on the host.
    None,
}

/// One hierarchy of version 1.
pub struct V1 {
    /// Its directory below /sys/fs/cgroup, as `cpu,cpuacct`.
    pub name: String,
    /// Mount options that select it: `cpu,cpuacct`, `none,name=systemd`.
    pub options: String,
    /// The container's cgroup in it, on the host.
    pub path: PathBuf,
}
