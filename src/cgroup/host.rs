//! Finds the cgroup hierarchies of the host, and the cgroups of a process in them.

use super::{Driver, Hierarchy};
use crate::error::{Context, Result};
use crate::sys::mountinfo::{MountInfo, read_mounts};
use crate::sys::proc_pid::path_in_proc;
use crate::sys::process::read_file;
use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use std::path::{Component, Path, PathBuf};

/// The directory at or below which the host mounts its cgroup filesystems.
pub const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup hierarchies of the host.
#[derive(Debug, PartialEq, Eq)]
pub enum Host {
    /// No cgroup filesystem is mounted at or below /sys/fs/cgroup.
    None,
    /// The unified hierarchy, mounted at `mount`. `own` is the path of the process's
    /// cgroup in the hierarchy, and begins with a slash.
    V2 { mount: PathBuf, own: PathBuf },
    /// Hierarchies of version 1. `unified` is the v2 hierarchy beside them, if there is
    /// one; it has few controllers.
    V1 { mounts: Vec<V1Mount>, unified: Option<HierarchyPlace> },
}

/// A mounted hierarchy, and a process's cgroup in it.
#[derive(Debug, PartialEq, Eq)]
pub struct HierarchyPlace {
    /// The mount point of the hierarchy.
    pub mount: PathBuf,
    /// The directory of the process's cgroup: an absolute path on the host.
    pub own: PathBuf,
}

impl HierarchyPlace {
    /// Returns the directory of the cgroup `path`. An absolute path starts at the root of
    /// the hierarchy. Any other path starts at the runtime's own cgroup, as in runc.
    pub fn resolve(&self, path: &str) -> PathBuf {
        match path.strip_prefix('/') {
            Some(path) => self.mount.join(path.trim_start_matches('/')),
            None => self.own.join(path),
        }
    }
}

/// One mounted hierarchy of version 1.
#[derive(Debug, PartialEq, Eq)]
pub struct V1Mount {
    pub controllers: Vec<String>,
    /// Whether this is a named hierarchy (`name=systemd`), which has no controller.
    pub named: bool,
    pub place: HierarchyPlace,
}

impl V1Mount {
    /// Returns the container's cgroup in this hierarchy. `None` if it has none here.
    pub fn find_cgroup<'a>(&self, hierarchies: &'a [Hierarchy]) -> Option<&'a Hierarchy> {
        hierarchies.iter().find(|h| h.controllers == self.controllers)
    }
}

/// Returns whether version 2 is mounted at [`ROOT`]. `None`: the directory is missing, or the
/// caller is not root and may not enter it. Any other failure is an error: without it, a
/// container would get no cgroup.
fn find_version_2() -> Result<Option<bool>> {
    match statfs(ROOT) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(Errno::EACCES) if !nix::unistd::geteuid().is_root() => Ok(None),
        stat => Ok(Some(stat.op_on("statfs", ROOT)?.filesystem_type() == CGROUP2_SUPER_MAGIC)),
    }
}

impl Host {
    /// Returns whether the host mounts version 2 alone, at /sys/fs/cgroup.
    pub fn is_v2() -> bool {
        statfs(ROOT).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC)
    }

    /// Reads the hierarchies of the host, and this process's cgroups in them. Does not
    /// read this process's cgroup if the host has version 2 alone, and the container's
    /// path is absolute or the driver is systemd. `own` is `/` then.
    pub fn detect(driver: Driver, cgroups_path: Option<&str>) -> Result<Host> {
        let Some(is_v2) = find_version_2()? else { return Ok(Host::None) };
        let is_absolute = driver == Driver::Systemd || cgroups_path.is_some_and(|path| path.starts_with('/'));
        if is_v2 && is_absolute {
            return Ok(Host::V2 { mount: ROOT.into(), own: "/".into() });
        }
        Host::read_layout("/proc/self/cgroup", is_v2)
    }

    /// Reads the hierarchies of the host; each `own` is the cgroup of process `pid`.
    pub fn of_process(pid: i32) -> Result<Host> {
        let Some(is_v2) = find_version_2()? else { return Ok(Host::None) };
        Host::read_layout(path_in_proc(pid, "cgroup").as_str(), is_v2)
    }

    fn read_layout(file: &str, is_v2: bool) -> Result<Host> {
        let own = read_file(file).op_on("read", file)?;
        let own = String::from_utf8_lossy(&own);
        if is_v2 {
            let own = v2_path(&own);
            return Ok(Host::V2 { mount: ROOT.into(), own: if leads_out(&own) { "/".into() } else { own } });
        }
        let mounts = read_mounts("self").op_on("read", "/proc/self/mountinfo")?;
        let (mounts, unified) = v1_mounts(&mounts, &own);
        Ok(if mounts.is_empty() { Host::None } else { Host::V1 { mounts, unified } })
    }
}

fn v2_path(own: &str) -> PathBuf {
    own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").into()
}

/// Returns the cgroup filesystems that are mounted below /sys/fs/cgroup. If a hierarchy
/// is mounted twice, takes the first mount. `own` is the text of `/proc/PID/cgroup`.
pub fn v1_mounts(mounts: &[MountInfo], own: &str) -> (Vec<V1Mount>, Option<HierarchyPlace>) {
    let mut out: Vec<V1Mount> = Vec::new();
    let mut unified = None;
    for mount in mounts.iter().filter(|mount| mount.path.starts_with(ROOT)) {
        if mount.fs == b"cgroup2" {
            unified = unified.or_else(|| Some(locate(mount, &v2_path(own))));
        } else if let Some(mount) = v1_mount(mount, own)
            && out.iter().all(|other| other.controllers != mount.controllers)
        {
            out.push(mount);
        }
    }
    (out, unified)
}

/// Returns the mount point, and the directory of the cgroup `own`. A bind mount of a part of
/// a hierarchy shows only the cgroups below its root. A cgroup that it does not show, as the
/// one above a cgroup namespace's root, gives the mount point.
fn locate(mount: &MountInfo, own: &Path) -> HierarchyPlace {
    let below = own.strip_prefix(&mount.root).ok().filter(|path| path.is_relative() && !leads_out(path));
    let below = below.unwrap_or(Path::new(""));
    HierarchyPlace { mount: mount.path.clone(), own: mount.path.join(below) }
}

/// Returns whether the path of a cgroup has a `..`: the cgroup is not below the root of the
/// cgroup namespace (cgroup_namespaces(7)).
fn leads_out(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

/// Returns a v1 hierarchy. /proc/PID/cgroup tells which of the mount's options are
/// controllers.
fn v1_mount(mount: &MountInfo, own: &str) -> Option<V1Mount> {
    if mount.fs != b"cgroup" {
        return None;
    }
    let (listed, path) = own.lines().find_map(|own| {
        let mut fields = own.splitn(3, ':').skip(1);
        let (listed, path) = (fields.next()?, fields.next()?);
        let is_option = |name: &str| mount.super_options.split(|c| *c == b',').any(|o| o == name.as_bytes());
        (!listed.is_empty() && listed.split(',').all(is_option)).then_some((listed, path))
    })?;
    let named = listed.strip_prefix("name=");
    Some(V1Mount {
        controllers: named.unwrap_or(listed).split(',').map(Into::into).collect(),
        named: named.is_some(),
        place: locate(mount, Path::new(path)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mountinfo::parse_mounts;

    const OWN: &str = "4:memory:/jobs/a\n3:cpu,cpuacct:/\n2:name=systemd:/\n0::/x/y\n";

    #[test]
    fn finds_hierarchies_and_places() {
        let mountinfo = b"30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            34 25 0:26 / /elsewhere rw - cgroup cgroup rw,memory\n";
        let (mounts, unified) = v1_mounts(&parse_mounts(mountinfo), OWN);
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[0].place.resolve("c"), Path::new("/sys/fs/cgroup/memory/jobs/a/c"));
        assert_eq!(mounts[0].place.resolve("/c"), Path::new("/sys/fs/cgroup/memory/c"));
        assert_eq!(unified.map(|u| u.own), Some("/sys/fs/cgroup/unified/x/y".into()));
        assert_eq!(mounts[1].controllers, ["cpu", "cpuacct"]);
        assert!(mounts[2].named && mounts[2].controllers == ["systemd"]);
        assert_eq!(v2_path(OWN), Path::new("/x/y"));
    }

    #[test]
    fn a_bound_part_of_a_hierarchy_is_its_root() {
        let own_of = |line: &[u8], own: &str| {
            let (mounts, unified) = v1_mounts(&parse_mounts(line), own);
            mounts.into_iter().map(|mount| mount.place).chain(unified).map(|place| place.own).next()
        };
        let line = b"30 25 0:26 /jobs /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory";
        assert_eq!(own_of(line, OWN), Some("/sys/fs/cgroup/memory/a".into()));
        // mountinfo escapes a space, and /proc/PID/cgroup does not.
        let line = br"30 25 0:26 /my\040jobs /sys/fs/cgroup/a\040b rw - cgroup cgroup rw,memory";
        assert_eq!(own_of(line, "4:memory:/my jobs/a\n"), Some("/sys/fs/cgroup/a b/a".into()));
        assert_eq!(own_of(b"30 25 0:26 / /sys/fs/cgroups rw - cgroup2 cgroup rw", OWN), None);
        // A process above the root of its cgroup namespace.
        let line = b"33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(own_of(line, "0::/../x\n"), Some("/sys/fs/cgroup/unified".into()));
        let line = b"33 25 0:29  /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(own_of(line, OWN), Some("/sys/fs/cgroup/unified".into()));
    }
}
