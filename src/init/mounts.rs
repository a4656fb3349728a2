//! The mounts of the configuration, in their order (config.md "Mounts").
//!
//! Every mount takes the same steps. Init takes a detached tree: a new filesystem, or a
//! clone of a tree of the host. It sets the attributes of the tree, and attaches the tree
//! to a target that it opened inside the rootfs.

use super::attributes;
use super::cgroup_mount::{self, Wanted};
use super::fs_context;
use super::late::LateSources;
use super::mismatch;
use super::readonly::{self, Readonly};
use super::rootfs::Root;
use super::{copy_up, filesystem};
use crate::error::{Context, Error, Result};
use crate::launch::cgroup_view::CgroupView;
use crate::launch::inside_rootfs;
use crate::launch::messages::FromInit;
use crate::launch::sources::{self, Source};
use crate::launch::target::{self, MountPoint, MountPointKind};
use crate::spec::plan::{Filesystem, FsOption, Mount, MountKind, Plan, Propagation};
use crate::spec::proc_paths::{self, PathClass};
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MountAttr};
use crate::sys::{openat2, xattr};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::symlinkat;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Attaches every mount of the plan. `sources` holds the sources that were opened before
/// the fork. `late` opens the others. Returns the mounts that are to become read-only at
/// the end.
pub fn attach_all(
    late: &LateSources,
    root: &Root,
    sources: Vec<Source>,
    view: &CgroupView,
) -> Result<Readonly> {
    let plan = late.plan;
    let mut attaching = Attaching { plan, root, view, readonly: Readonly::default(), warnings: Vec::new() };
    plan.mounts.iter().zip(sources).enumerate().try_for_each(|(index, (mount, source))| {
        if let MountKind::Cgroup { .. } = mount.kind {
            (late.wait_for_cgroup)()?;
        }
        late.open(index, root, source)
            .and_then(|source| attaching.attach(mount, source))
            .map_err(|e| explain(e, mount).at(mount.at.clone()).on(mount.target.display().to_string()))
    })?;
    attaching.warnings.into_iter().try_for_each(|warning| late.sync.send(FromInit::Warning(warning)))?;
    Ok(attaching.readonly)
}

/// The state of attaching the mounts of a plan.
struct Attaching<'a> {
    plan: &'a Plan,
    root: &'a Root,
    view: &'a CgroupView,
    readonly: Readonly,
    warnings: Vec<String>,
}

impl Attaching<'_> {
    fn attach(&mut self, entry: &Mount, source: Source) -> Result<()> {
        match (&entry.kind, source) {
            (MountKind::Bind { source, .. }, Source::Tree(tree)) => self.attach_bind(entry, source, tree),
            (_, Source::Link(to)) => self.copy_link(entry, &to),
            (MountKind::Bind { .. }, _) => Err(Error::msg("the runtime did not open the source")),
            (MountKind::Cgroup { readonly, options }, _) => {
                let point = self.mount_point(entry, MountPointKind::Directory)?;
                let label = self.plan.mount_label.as_ref();
                let wanted = Wanted { entry, readonly: *readonly, options, label };
                cgroup_mount::attach(&wanted, &point.at, self.view)
            }
            (MountKind::Filesystem(new), source) => self.new_filesystem(entry, new, &source),
            (MountKind::Remount { options }, _) => self.remount(entry, options),
        }
    }

    fn mount_point(&mut self, entry: &Mount, kind: MountPointKind) -> Result<MountPoint> {
        let tree = &self.root.tree;
        let check = |class| proc_paths::refuse_mount(class, &entry.kind);
        self.readonly
            .create(tree, &entry.target, || target::open_mount_point(tree, &entry.target, kind, check))
            .map_err(|error| mismatch::explain(error, tree, entry, kind))
    }

    fn attach_bind(&mut self, entry: &Mount, source: &Path, tree: OwnedFd) -> Result<()> {
        let kind = kind_for(entry, &tree)?;
        if proc_paths::classify_path(&entry.target) == PathClass::Proc {
            only_procfs(&tree)?;
        }
        let root = &self.root.tree;
        let check = |class| check_bind(entry, &tree, class);
        let target = self
            .readonly
            .create(root, &entry.target, || target::open_mount_point(root, &entry.target, kind, check))
            .map_err(|error| mismatch::explain(error, root, entry, kind))?;
        let changes = readonly::will_make_readonly(entry, &tree)?;
        self.warnings.extend(attributes::set_bind_attributes(entry, &tree)?);
        let tree = attach_bind_tree(self.plan, entry, source, tree, &target)
            .map_err(|error| mismatch::explain(error, root, entry, kind))?;
        if changes { self.readonly.note_done(entry, &tree) } else { Ok(()) }
    }

    /// Creates a copy of the source, a symbolic link, instead of a mount (crun's
    /// `copy-symlink`). Accepts an existing link with the same target.
    fn copy_link(&mut self, entry: &Mount, to: &OsStr) -> Result<()> {
        let tree = &self.root.tree;
        self.readonly.create(tree, &entry.target, || create_link(entry, tree, to))
    }

    fn new_filesystem(&mut self, entry: &Mount, new: &Filesystem, source: &Source) -> Result<()> {
        let point = self.mount_point(entry, kind_for_new(new))?;
        let tree = filesystem_for(self.plan, entry, new, &point, &self.root.host, source)?;
        let late = readonly::is_wanted(entry);
        if late && !can_create(new) {
            make_readonly(&tree)?;
        }
        mount::attach(&tree, &point.at).op("move_mount")?;
        if late && can_create(new) {
            self.readonly.make_readonly_later(entry, tree);
        }
        Ok(())
    }

    /// Changes the mount at the target: its own attributes, and the options of its
    /// filesystem. All mounts of the filesystem share those options.
    fn remount(&mut self, entry: &Mount, options: &[FsOption]) -> Result<()> {
        let path = target::c_path(&entry.target)?;
        let there = openat2::open_in_root(&self.root.tree, &path, libc::O_PATH).op("open the mount")?;
        let changes = readonly::will_make_readonly(entry, &there)?;
        if !options.is_empty() {
            fs_context::reconfigure(&there, options).map_err(nothing_there)?;
        }
        attributes::finish(entry, &there, entry.attr, entry.recursive_attr).map_err(nothing_there)?;
        if changes { self.readonly.note_done(entry, &there) } else { Ok(()) }
    }
}

/// Attaches the tree of a bind mount, whose attributes are set already. Returns the tree
/// that was attached.
fn attach_bind_tree(
    plan: &Plan,
    entry: &Mount,
    source: &Path,
    tree: OwnedFd,
    target: &MountPoint,
) -> Result<OwnedFd> {
    let prepare = |tree: &OwnedFd| {
        if entry.idmap.is_some() || matches!(plan.root_propagation, Some((Propagation::Shared, _))) {
            return Err(Error::os("move_mount", Errno::ELOOP)
                .hint("remove the file of a mount namespace that is mounted in the source"));
        }
        sources::set_bind_propagation(plan, entry, tree)?;
        attributes::set_bind_attributes(entry, tree).map(drop)
    };
    let path = inside_rootfs::path_below_rootfs(plan, source).is_none().then_some(source);
    sources::attach_or_clone_again(tree, &target.at, path, prepare)
}

/// Returns what a bind mount of `tree` can cover.
pub fn kind_for(entry: &Mount, tree: &OwnedFd) -> Result<MountPointKind> {
    let directory = target::is_directory(&fstat(tree).op("fstat the source")?);
    Ok(match (entry.target_nofollow, directory) {
        (true, _) => MountPointKind::Link,
        (false, true) => MountPointKind::Directory,
        (false, false) => MountPointKind::File,
    })
}

/// Checks whether `tree` may be bound at `place`.
pub fn check_bind(entry: &Mount, tree: &OwnedFd, class: PathClass) -> Result<()> {
    proc_paths::refuse_mount(class, &entry.kind)?;
    if class == PathClass::Proc { only_procfs(tree) } else { Ok(()) }
}

fn only_procfs(tree: &OwnedFd) -> Result<()> {
    let found = fstatfs(tree).op("fstatfs the source")?;
    if found.filesystem_type() == PROC_SUPER_MAGIC {
        return Ok(());
    }
    Err(Error::msg("cannot be mounted because it is not of type proc"))
}

fn create_link(entry: &Mount, root: &OwnedFd, to: &OsStr) -> Result<()> {
    let (parent, name) = target::parent_of(root, &entry.target)?;
    match symlinkat(to, &parent, name.as_c_str()) {
        Err(Errno::EEXIST) => {
            let there = nix::fcntl::readlinkat(&parent, name.as_c_str());
            if there.is_ok_and(|there| there == to) {
                return Ok(());
            }
            Err(Error::msg("the destination of the copied link has another file already"))
        }
        other => other.op("symlink"),
    }
}

/// Whether anything can be created in a filesystem of this type.
fn can_create(new: &Filesystem) -> bool {
    !matches!(new.fs.to_bytes(), b"proc" | b"sysfs" | b"devpts" | b"mqueue")
}

/// Returns what a new filesystem can cover.
pub fn kind_for_new(new: &Filesystem) -> MountPointKind {
    match new.fs.to_bytes() {
        b"proc" | b"sysfs" => MountPointKind::PlainDirectory,
        _ => MountPointKind::Directory,
    }
}

/// Whether the kernel compares the new mount with those of the filesystem that this mount
/// namespace has. In a user namespace, it refuses (EPERM) a mount that would be writable
/// where all others are read-only.
fn is_compared(new: &Filesystem) -> bool {
    matches!(new.fs.to_bytes(), b"proc" | b"sysfs")
}

/// Creates the filesystem to attach at `point`. It is still writable (see
/// [`make_readonly`]), unless the kernel compares it. `host` is the root of the host's tree in this mount namespace.
pub fn filesystem_for(
    plan: &Plan,
    entry: &Mount,
    new: &Filesystem,
    point: &MountPoint,
    host: &OwnedFd,
    source: &Source,
) -> Result<OwnedFd> {
    let mut options = with_mode(new, point)?;
    let label = plan.mount_label.as_ref();
    if let Some(label) = label.filter(|_| takes_label(new)) {
        options.get_or_insert_with(|| new.options.clone()).push(label.clone());
    }
    let options = options.as_deref().unwrap_or(&new.options);
    let readonly = (entry.attr.set | entry.recursive_attr.set) & MOUNT_ATTR_RDONLY;
    let attrs = entry.attr.set & !MOUNT_ATTR_RDONLY | if is_compared(new) { readonly } else { 0 };
    let tree = filesystem::create_detached(new, options, attrs, host)?;
    if let Some((_, Some(label))) = label.filter(|_| new.fs.as_c_str() == c"mqueue") {
        set_label(&tree, label)?;
    }
    if new.copy_up && !point.made {
        copy_up::copy(&point.at, &tree, &new.options)?;
    }
    if let (Source::UserNamespace(users), Some(idmap)) = (source, &entry.idmap) {
        sources::map_ids(&tree, users.as_fd(), idmap.recursive)?;
    }
    let below = entry.recursive_attr;
    let below = MountAttr { set: below.set & !MOUNT_ATTR_RDONLY, ..below };
    attributes::finish(entry, &tree, MountAttr::default(), below)?;
    Ok(tree)
}

/// Makes a mount read-only, but not the mounts below it.
pub fn make_readonly(tree: &OwnedFd) -> Result<()> {
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount::set_attr(tree, attr, false).op("mount_setattr read-only")
}

/// Whether the plan's SELinux label applies to the filesystem. The policy labels procfs
/// and sysfs, an attribute labels mqueue. An option with a context takes precedence over
/// the plan.
fn takes_label(new: &Filesystem) -> bool {
    !matches!(new.fs.to_bytes(), b"proc" | b"sysfs" | b"mqueue")
        && !new.options.iter().any(|(key, _)| key.to_bytes().ends_with(b"context"))
}

fn set_label(tree: &OwnedFd, label: &CStr) -> Result<()> {
    let root = openat(tree, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let set = root.and_then(|root| xattr::set(&root, c"security.selinux", label.to_bytes()));
    set.op("set the attribute security.selinux").map_err(|e| e.at("/linux/mountLabel"))
}

/// Adds the mode of the directory that a tmpfs covers, as runc does. Returns `None` if
/// the options stay as they are.
fn with_mode(new: &Filesystem, point: &MountPoint) -> Result<Option<Vec<FsOption>>> {
    let given = |(key, _): &FsOption| key.as_bytes() == b"mode";
    if new.fs.to_bytes() != b"tmpfs" || point.made || new.options.iter().any(given) {
        return Ok(None);
    }
    let mode = fstat(&point.at).op("fstat the mount point")?.st_mode & 0o7777;
    let mode = CString::new(format!("{mode:o}")).map_err(|_| Error::msg("mode"))?;
    Ok(Some([&[(c"mode".into(), Some(mode))], new.options.as_slice()].concat()))
}

fn nothing_there(error: Error) -> Error {
    if error.is(Errno::EINVAL) {
        error.hint("check that something is mounted at the destination")
    } else {
        error
    }
}

/// Adds a hint with the usual cause of the kernel's errno.
pub fn explain(error: Error, entry: &Mount) -> Error {
    let MountKind::Filesystem(new) = &entry.kind else { return error };
    let hint = match (new.fs.to_bytes(), error.errno.map(Errno::from_raw)) {
        (b"mqueue", Some(Errno::EPERM)) => {
            "give the container an ipc namespace of its own, which mqueue needs"
        }
        (b"sysfs", Some(Errno::EPERM)) => {
            "give the container a network namespace of its own, which sysfs needs, or bind-mount /sys. \
             If the runtime's own /sys is read-only, the container's must have the option ro"
        }
        (b"proc", Some(Errno::EPERM)) => {
            "bind-mount /proc, or give the container a pid namespace of its own. If the runtime is \
             in a container itself, no part of its own /proc may be masked"
        }
        (b"devpts", Some(Errno::EINVAL)) if new.options.iter().any(|(key, _)| key.to_bytes() == b"gid") => {
            "map the gid= of devpts in the container's user namespace"
        }
        (_, Some(Errno::ENODEV)) => {
            "correct the type, or load the filesystem's module: the kernel does not know the type"
        }
        _ => "",
    };
    error.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_label() {
        let new = |fs: &CStr, options: Vec<FsOption>| Filesystem {
            fs: fs.into(),
            source: fs.into(),
            options,
            mount2_flags: 0,
            copy_up: false,
        };
        for fs in [c"tmpfs", c"devpts", c"overlay", c"ext4"] {
            assert!(takes_label(&new(fs, Vec::new())), "{fs:?}");
        }
        for fs in [c"proc", c"sysfs", c"mqueue"] {
            assert!(!takes_label(&new(fs, Vec::new())), "{fs:?}");
        }
        let own = vec![(c"rootcontext".into(), Some(c"a:b".into()))];
        assert!(!takes_label(&new(c"tmpfs", own)));
    }
}
