//! Finds the cgroup hierarchies of the host, and the cgroups of a process in them.

use super::{Driver, Hierarchy};
use crate::error::{Context, Result};
use crate::sys::mountinfo::unescape;
use crate::sys::proc_pid::path_in_proc;
use crate::sys::process::read_file;
use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use std::path::{Path, PathBuf};

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
            return Ok(Host::V2 { mount: ROOT.into(), own: v2_path(&own) });
        }
        let mounts = read_file("/proc/self/mountinfo").op_on("read", "/proc/self/mountinfo")?;
        let (mounts, unified) = v1_mounts(&String::from_utf8_lossy(&mounts), &own);
        Ok(if mounts.is_empty() { Host::None } else { Host::V1 { mounts, unified } })
    }
}

fn v2_path(own: &str) -> PathBuf {
    own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").into()
}

/// Returns the cgroup filesystems that are mounted below /sys/fs/cgroup. If a hierarchy
/// is mounted twice, takes the first mount.
pub fn v1_mounts(mountinfo: &str, own: &str) -> (Vec<V1Mount>, Option<HierarchyPlace>) {
    let mut out: Vec<V1Mount> = Vec::new();
    let mut unified = None;
    for line in mountinfo.lines().filter_map(Line::parse) {
        if line.fs == "cgroup2" {
            unified = unified.or_else(|| Some(line.locate(&v2_path(own))));
        } else if let Some(mount) = v1_mount(&line, own)
            && out.iter().all(|other| other.controllers != mount.controllers)
        {
            out.push(mount);
        }
    }
    (out, unified)
}

/// The fields that matter of a line `id parent dev root point options… - type source
/// super` of mountinfo.
struct Line<'a> {
    root: PathBuf,
    point: PathBuf,
    fs: &'a str,
    super_options: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Line<'a>> {
        let (head, tail) = line.split_once(" - ")?;
        let mut tail = tail.split(' ');
        let fs = tail.next().filter(|fs| fs.starts_with("cgroup"))?;
        let super_options = tail.nth(1)?;
        let mut head = head.split(' ').skip(3);
        let mut path = || Some(unescape(head.next()?.as_bytes()));
        let (root, point) = (path()?, path()?);
        point.starts_with(ROOT).then_some(Line { root, point, fs, super_options })
    }

    /// Returns the mount point, and the directory of the cgroup `own`. A bind mount of a
    /// part of a hierarchy shows only the cgroups below its `root`.
    fn locate(&self, own: &Path) -> HierarchyPlace {
        let below = own.strip_prefix(&self.root).unwrap_or(Path::new(""));
        HierarchyPlace { mount: self.point.clone(), own: self.point.join(below) }
    }
}

/// Parses a v1 mount. /proc/self/cgroup tells which of the mount options are controllers.
fn v1_mount(line: &Line, own: &str) -> Option<V1Mount> {
    let (listed, path) = own.lines().find_map(|own| {
        let mut fields = own.splitn(3, ':').skip(1);
        let (listed, path) = (fields.next()?, fields.next()?);
        let is_option = |name: &str| line.super_options.split(',').any(|option| option == name);
        (!listed.is_empty() && listed.split(',').all(is_option)).then_some((listed, path))
    })?;
    let named = listed.strip_prefix("name=");
    Some(V1Mount {
        controllers: named.unwrap_or(listed).split(',').map(Into::into).collect(),
        named: named.is_some(),
        place: line.locate(Path::new(path)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "4:memory:/jobs/a\n3:cpu,cpuacct:/\n2:name=systemd:/\n0::/x/y\n";

    #[test]
    fn finds_hierarchies_and_places() {
        let mountinfo = "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            34 25 0:26 / /elsewhere rw - cgroup cgroup rw,memory\n";
        let (mounts, unified) = v1_mounts(mountinfo, OWN);
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
        let line = "30 25 0:26 /jobs /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory";
        let mount = v1_mount(&Line::parse(line).expect("a cgroup"), OWN).expect("found");
        assert_eq!(mount.place.own, Path::new("/sys/fs/cgroup/memory/a"));
        // mountinfo escapes a space, and /proc/PID/cgroup does not.
        let line = r"30 25 0:26 /my\040jobs /sys/fs/cgroup/a\040b rw - cgroup cgroup rw,memory";
        let line = Line::parse(line).expect("a cgroup");
        let mount = v1_mount(&line, "4:memory:/my jobs/a\n").expect("found");
        assert_eq!(mount.place.own, Path::new("/sys/fs/cgroup/a b/a"));
        assert!(Line::parse("30 25 0:26 / /sys/fs/cgroups rw - cgroup2 cgroup rw").is_none());
    }
}
