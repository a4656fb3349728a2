//! What may be mounted in the container's /proc.
//!
//! A file of an image or volume in the place of a procfs file would be taken
//! for it, by the runtime as well (CVE-2019-16884, CVE-2025-52881). So, as in
//! runc, nothing goes there but a few read-only figures that lxcfs makes up.

use super::plan::MountKind;
use crate::error::{Error, Result};
use std::path::{Component, Path, PathBuf};

/// The files that may be covered.
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

/// Where a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The root directory itself.
    Root,
    /// /proc itself: for procfs alone.
    Proc,
    /// In /proc, where no mount may be.
    InProc,
    Elsewhere,
}

/// Where the absolute path `path`, without links and `..`, is in a container.
pub fn place(path: &Path) -> Place {
    let path: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    if path.as_os_str().is_empty() {
        return Place::Root;
    }
    match path.strip_prefix("proc") {
        Err(_) => Place::Elsewhere,
        Ok(below) if below.as_os_str().is_empty() => Place::Proc,
        Ok(below) if FIGURES.iter().any(|figure| below == Path::new(figure)) || is_net_dev(below) => {
            Place::Elsewhere
        }
        Ok(_) => Place::InProc,
    }
}

/// `PID/net/dev`, which is where net/dev leads.
fn is_net_dev(below: &Path) -> bool {
    let mut parts = below.components();
    let pid = parts.next().and_then(|part| part.as_os_str().to_str());
    pid.is_some_and(|pid| pid.parse::<u32>().is_ok()) && parts.as_path() == Path::new("net/dev")
}

/// Does the path say where it leads, whatever links there are?
pub fn is_plain(path: &Path) -> bool {
    path.components().all(|part| part != Component::ParentDir)
}

/// The places where a mount of this kind may not be. Whether a bind mount on
/// /proc is of a procfs is still to be asked.
pub fn refuse(place: Place, kind: &MountKind) -> Result<()> {
    let is_proc = match kind {
        MountKind::Filesystem(new) => new.fs.as_c_str() == c"proc",
        MountKind::Bind { .. } => true,
        MountKind::Cgroup { .. } | MountKind::Remount { .. } => false,
    };
    match place {
        Place::Root => {
            Err(Error::msg("the container's root can't be mounted over")
                .hint("/root/path says what the root is"))
        }
        Place::InProc => Err(Error::msg("cannot be mounted because it is inside /proc")),
        Place::Proc if !is_proc => Err(Error::msg("cannot be mounted because it is not of type proc")),
        Place::Proc | Place::Elsewhere => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (path, wanted) in [
            ("/", Place::Root),
            ("//.", Place::Root),
            ("/proc", Place::Proc),
            ("/proc//", Place::Proc),
            ("/proc/uptime", Place::Elsewhere),
            ("/proc/1/net/dev", Place::Elsewhere),
            ("/proc/self/net/dev", Place::InProc),
            ("/proc/sys/kernel", Place::InProc),
            ("/proc/sysrq-trigger", Place::InProc),
            ("/procs/x", Place::Elsewhere),
            ("/data", Place::Elsewhere),
        ] {
            assert_eq!(place(Path::new(path)), wanted, "{path}");
        }
    }

    #[test]
    fn a_path_that_goes_up_is_not_plain() {
        assert!(is_plain(Path::new("/a/./b")));
        assert!(!is_plain(Path::new("/a/../proc")));
    }
}
