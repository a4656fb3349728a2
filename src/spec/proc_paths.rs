//! The rules for mounts in the container's /proc.
//!
//! If a mount covered a procfs file with a file of an image or volume, programs would
//! read the wrong file, and so would the runtime (CVE-2019-16884, CVE-2025-52881). So, as
//! in runc, a mount may cover only a few read-only files in /proc. lxcfs provides the
//! content of such files.

use super::plan::MountKind;
use crate::error::{Error, Result};
use std::path::{Component, Path, PathBuf};

/// The files in /proc that a mount may cover.
const FIGURES: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// The part of a container that a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathClass {
    /// The root directory itself.
    Root,
    /// /proc itself. Only a procfs may be mounted there.
    Proc,
    /// A path in /proc where no mount may be.
    InProc,
    /// Any other path, and the files in /proc that a mount may cover.
    Elsewhere,
}

/// Returns the part of a container that `path` belongs to. `path` is absolute, and has
/// neither links nor `..`.
pub fn classify_path(path: &Path) -> PathClass {
    let path: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    if path.as_os_str().is_empty() {
        return PathClass::Root;
    }
    match path.strip_prefix("proc") {
        Err(_) => PathClass::Elsewhere,
        Ok(below) if below.as_os_str().is_empty() => PathClass::Proc,
        Ok(below) if FIGURES.iter().any(|figure| below == Path::new(figure)) || is_net_dev(below) => {
            PathClass::Elsewhere
        }
        Ok(_) => PathClass::InProc,
    }
}

/// Returns whether the path below /proc is `PID/net/dev`. The link net/dev leads there.
fn is_net_dev(below: &Path) -> bool {
    let mut parts = below.components();
    let pid = parts.next().and_then(|part| part.as_os_str().to_str());
    pid.is_some_and(|pid| pid.parse::<u32>().is_ok()) && parts.as_path() == Path::new("net/dev")
}

/// Returns whether the path has no `..`. Where `..` leads depends on the links before it.
pub fn has_no_dotdot(path: &Path) -> bool {
    path.components().all(|part| part != Component::ParentDir)
}

/// Refuses a place where a mount of this kind may not be. The caller still has to check
/// that a bind mount on /proc is of a procfs.
pub fn refuse_mount(class: PathClass, kind: &MountKind) -> Result<()> {
    let is_proc = match kind {
        MountKind::Filesystem(new) => new.fs.as_c_str() == c"proc",
        MountKind::Bind { .. } => true,
        MountKind::Cgroup { .. } | MountKind::Remount { .. } => false,
    };
    match class {
        PathClass::Root => Err(Error::msg("the container's root can't be mounted over")
            .hint("use /root/path to choose the root")),
        PathClass::InProc => Err(Error::msg("cannot be mounted because it is inside /proc")),
        PathClass::Proc if !is_proc => Err(Error::msg("cannot be mounted because it is not of type proc")),
        PathClass::Proc | PathClass::Elsewhere => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (path, wanted) in [
            ("/", PathClass::Root),
            ("//.", PathClass::Root),
            ("/proc", PathClass::Proc),
            ("/proc//", PathClass::Proc),
            ("/proc/uptime", PathClass::Elsewhere),
            ("/proc/1/net/dev", PathClass::Elsewhere),
            ("/proc/self/net/dev", PathClass::InProc),
            ("/proc/sys/kernel", PathClass::InProc),
            ("/proc/sysrq-trigger", PathClass::InProc),
            ("/procs/x", PathClass::Elsewhere),
            ("/data", PathClass::Elsewhere),
        ] {
            assert_eq!(classify_path(Path::new(path)), wanted, "{path}");
        }
    }

    #[test]
    fn a_path_that_goes_up_is_not_plain() {
        assert!(has_no_dotdot(Path::new("/a/./b")));
        assert!(!has_no_dotdot(Path::new("/a/../proc")));
    }
}
