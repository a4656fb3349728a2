//! The container's view of its cgroups at a mount of type `cgroup`.

use super::attributes;
use super::fs_context;
use crate::error::{Context, Error, Result};
use crate::launch::cgroup_view::{CgroupView, HierarchyV1};
use crate::launch::target;
use crate::spec::plan::{FsOption, Mount, Propagation};
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_SLAVE, MountAttr};
use crate::sys::mountinfo::{find_type, read_mounts};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{fchdir, symlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The attributes whose bits are the same in mount(2): ro, nosuid, nodev, noexec.
const PLAIN_ATTRS: u64 = 0x0f;

/// A mount of type `cgroup` in the configuration.
pub struct Wanted<'a> {
    pub entry: &'a Mount,
    pub readonly: bool,
    /// Options of the cgroup filesystem.
    pub options: &'a [FsOption],
    /// The SELinux label of the tmpfs that cgroup v1 needs.
    pub label: Option<&'a FsOption>,
}

/// Mounts the container's view of its cgroups on `target`.
pub fn attach(wanted: &Wanted, target: &OwnedFd, view: &CgroupView) -> Result<()> {
    let Wanted { entry, options, .. } = wanted;
    match view {
        CgroupView::None => Err(Error::msg("the host has no cgroup mounts")),
        CgroupView::V2 { mount, own, namespaced } => {
            let tree = if *namespaced {
                mount_v2(entry, own, options)?
            } else {
                bind_hierarchy(entry, mount, options)?
            };
            mount::attach(&tree, target).op("move_mount cgroup2")
        }
        CgroupView::V1 { namespaced, hierarchies } => {
            refuse_new_options(options, b"")?;
            mount_v1(wanted, target, *namespaced, hierarchies)
        }
    }
}

/// Creates a cgroup2 mount. In a cgroup namespace its root is the container's own cgroup.
/// If the kernel refuses a new mount, binds that cgroup instead.
fn mount_v2(entry: &Mount, own: &Path, options: &[FsOption]) -> Result<OwnedFd> {
    match fs_context::create_by_fsopen(c"cgroup2", c"cgroup", options, entry.attr.set) {
        Ok(tree) => {
            attributes::finish(entry, &tree, MountAttr::default(), entry.recursive_attr)?;
            Ok(tree)
        }
        Err(e) if e.is(Errno::EPERM) || e.is(Errno::EBUSY) => bind_hierarchy(entry, own, options),
        Err(error) => Err(error),
    }
}

/// Binds `path`, a directory of the host's hierarchy. Without a cgroup namespace the path
/// is the root of the hierarchy, as in other runtimes. A new mount would change the flags of
/// the superblock, which belongs to the host. So `options` may contain only options that
/// the superblock has already (Docker passes them on).
fn bind_hierarchy(entry: &Mount, path: &Path, options: &[FsOption]) -> Result<OwnedFd> {
    if !options.is_empty() {
        refuse_new_options(options, &host_superblock_options()?)?;
    }
    let tree = clone_path(path)?;
    attributes::finish(entry, &tree, clone_attributes(entry), entry.recursive_attr)?;
    Ok(tree)
}

/// Returns the attributes for a clone of the host's hierarchy. The clone is a peer or a
/// slave of the host's mount. It becomes private, or a slave if `entry` asks for a
/// propagation that receives mounts from the host.
fn clone_attributes(entry: &Mount) -> MountAttr {
    let propagation = match entry.propagation {
        Some((Propagation::Slave | Propagation::Shared, _)) => MS_SLAVE,
        _ => MS_PRIVATE,
    };
    MountAttr { propagation, ..entry.attr }
}

/// Returns the options of the host's cgroup2 superblock, separated by commas.
fn host_superblock_options() -> Result<Vec<u8>> {
    let mounts = read_mounts("self").op_on("read", "/proc/self/mountinfo")?;
    Ok(find_type(mounts, b"cgroup2").map(|mount| mount.super_options).unwrap_or_default())
}

/// Refuses an option that is not in `in_effect`, the superblock's options separated by
/// commas.
fn refuse_new_options(options: &[FsOption], in_effect: &[u8]) -> Result<()> {
    let is_set = |key: &CStr| in_effect.split(|c| *c == b',').any(|set| set == key.to_bytes());
    match options.iter().find(|(key, value)| value.is_some() || !is_set(key)) {
        Some((key, _)) => Err(Error::msg(format!("option {} can't be set here", key.to_string_lossy()))
            .hint(
                "remove the option. Only cgroup2 has options, and only in a cgroup namespace of the \
                 container's own",
            )),
        None => Ok(()),
    }
}

/// Mounts a tmpfs with one directory for each hierarchy, as on the host. Controllers that
/// share a hierarchy get symbolic links to its directory.
fn mount_v1(wanted: &Wanted, target: &OwnedFd, namespaced: bool, hierarchies: &[HierarchyV1]) -> Result<()> {
    let entry = wanted.entry;
    let mut options = vec![(c"mode".into(), Some(c"755".into()))];
    options.extend(wanted.label.cloned());
    // The tmpfs stays writable until its directories are created.
    let attrs = entry.attr.set & !MOUNT_ATTR_RDONLY;
    let tmpfs = fs_context::create_by_fsopen(c"tmpfs", c"tmpfs", &options, attrs)?;
    attributes::finish(entry, &tmpfs, MountAttr::default(), entry.recursive_attr)?;
    mount::attach(&tmpfs, target).op("move_mount tmpfs")?;
    fchdir(&tmpfs).op("fchdir")?;
    for hierarchy in hierarchies {
        mount_v1_hierarchy(entry, &tmpfs, namespaced, hierarchy).map_err(|e| e.on(hierarchy.name.clone()))?;
    }
    if wanted.readonly {
        let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        mount::set_attr(&tmpfs, attr, false).op("mount_setattr read-only")?;
    }
    Ok(())
}

fn mount_v1_hierarchy(
    entry: &Mount,
    tmpfs: &OwnedFd,
    namespaced: bool,
    hierarchy: &HierarchyV1,
) -> Result<()> {
    mkdirat(tmpfs, hierarchy.name.as_str(), Mode::from_bits_truncate(0o755)).op("mkdir")?;
    if namespaced && entry.attr.set & !PLAIN_ATTRS == 0 {
        // The working directory is the tmpfs, which no other process has seen. mount(2)
        // takes two system calls here, a detached mount takes seven, and there are a
        // dozen hierarchies.
        let flags = MsFlags::from_bits_retain(entry.attr.set);
        let name = hierarchy.name.as_str();
        nix::mount::mount(Some("cgroup"), name, Some("cgroup"), flags, Some(hierarchy.options.as_str()))
            .op("mount cgroup")?;
    } else {
        let tree = clone_path(&hierarchy.path)?;
        attributes::finish(entry, &tree, clone_attributes(entry), entry.recursive_attr)?;
        let name = target::c_path(Path::new(&hierarchy.name))?;
        mount::attach_at(&tree, tmpfs, &name).op("move_mount cgroup")?;
    }
    if hierarchy.name.contains(',') {
        for controller in hierarchy.name.split(',') {
            symlinkat(hierarchy.name.as_str(), tmpfs, controller).op("symlink")?;
        }
    }
    Ok(())
}

fn clone_path(path: &Path) -> Result<OwnedFd> {
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::msg("NUL in a path"))?;
    let c_path: &CStr = &c_path;
    mount::clone_tree(AT_FDCWD, c_path, false, false).op_on("open_tree", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_the_host_has_are_no_change() {
        let host = b"rw,nsdelegate";
        let option = |key: &CStr, value| [(CString::from(key), value)];
        assert!(refuse_new_options(&option(c"nsdelegate", None), host).is_ok());
        assert!(refuse_new_options(&option(c"memory_recursiveprot", None), host).is_err());
        assert!(refuse_new_options(&option(c"nsdelegate", Some(c"1".into())), host).is_err());
    }
}
