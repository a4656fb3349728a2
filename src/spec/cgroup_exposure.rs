//! Warnings about bind mounts that say `ro` but leave the host's cgroup hierarchy
//! writable (CVE-2023-25809). `ro` holds for the mount of /sys alone. The hierarchy is
//! another mount, below /sys.

use super::config::Linux;
use super::plan::{Mount, MountKind};
use crate::sys::mount::MOUNT_ATTR_RDONLY;
use std::path::{Path, PathBuf};

const HIERARCHY: &str = "/sys/fs/cgroup";

/// Adds a warning for each mount through which the payload can write to the host's cgroup
/// hierarchy although the configuration says `ro`.
pub fn warn_of_exposed_cgroups(mounts: &[Mount], linux: &Linux, warnings: &mut Vec<String>) {
    let paths = linux.masked_paths.iter().chain(&linux.readonly_paths);
    let paths: Vec<&Path> = paths.map(Path::new).collect();
    for (i, mount) in mounts.iter().enumerate() {
        let Some(place) = find_exposed_path(mount) else { continue };
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

/// Returns the path at which a recursive bind mount with `ro` shows the hierarchy in the
/// container. `None` for any other mount, and for a mount with `rro`.
fn find_exposed_path(mount: &Mount) -> Option<PathBuf> {
    let MountKind::Bind { source, recursive: true, .. } = &mount.kind else { return None };
    let below =
        Path::new(HIERARCHY).strip_prefix(source).ok().filter(|below| !below.as_os_str().is_empty())?;
    let (all, own) = (mount.recursive_attr.set & MOUNT_ATTR_RDONLY, mount.attr.set & MOUNT_ATTR_RDONLY);
    (all == 0 && own != 0).then(|| mount.target.join(below))
}
