//! A bind mount that says `ro` and yet shows the host's cgroup hierarchy writable
//! (CVE-2023-25809): `ro` holds for the mount of /sys alone, and the hierarchy is
//! mounted below it.

use super::config::Linux;
use super::plan::{Mount, MountKind};
use crate::sys::mount::MOUNT_ATTR_RDONLY;
use std::path::{Path, PathBuf};

const HIERARCHY: &str = "/sys/fs/cgroup";

/// Adds a warning for each mount of `mounts` through which the payload can reach
/// the hierarchy although the configuration says `ro`.
pub fn warn(mounts: &[Mount], linux: &Linux, warnings: &mut Vec<String>) {
    let paths = linux.masked_paths.iter().chain(&linux.readonly_paths);
    let paths: Vec<&Path> = paths.map(Path::new).collect();
    for (i, mount) in mounts.iter().enumerate() {
        let Some(place) = exposed_by(mount) else { continue };
        let covers = |other: &Path| place.starts_with(other);
        if !mounts[i + 1..].iter().any(|later| covers(&later.target))
            && !paths.iter().any(|path| covers(path))
        {
            warnings.push(format!(
                "{}: ro holds for {} alone: the host's cgroups at {} stay writable; use rro, or mount type cgroup there",
                mount.at,
                mount.target.display(),
                place.display()
            ));
        }
    }
}

/// Where in the container the hierarchy comes along.
fn exposed_by(mount: &Mount) -> Option<PathBuf> {
    let MountKind::Bind { source, recursive: true, .. } = &mount.kind else { return None };
    let below =
        Path::new(HIERARCHY).strip_prefix(source).ok().filter(|below| !below.as_os_str().is_empty())?;
    let (all, own) = (mount.recursive_attr.set & MOUNT_ATTR_RDONLY, mount.attr.set & MOUNT_ATTR_RDONLY);
    (all == 0 && own != 0).then(|| mount.target.join(below))
}
