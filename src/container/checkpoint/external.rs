//! Parts of the host that a checkpoint leaves out: the sources of bind mounts, and joined
//! namespaces. At a checkpoint, the runtime tells CRIU a name for each of them. At a restore,
//! it gives CRIU a replacement for each name.
//!
//! The names are runc's, so that corten and runc can restore each other's images. A mount
//! is named by its path in the container. A masked path is named /dev/null.

use crate::criu::messages::{Options, Text};
use crate::criu::service;
use crate::error::{Context, Error, Result};
use crate::launch::cgroup_view::CgroupView;
use crate::launch::joins::Joins;
use crate::launch::sources;
use crate::launch::target::{self, MountPointKind};
use crate::spec::plan::{MountKind, Ns, NsKind, Plan, SourceLink};
use crate::sys::fd::open;
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MS_SLAVE, MountAttr};
use crate::sys::mountinfo::{self, MountInfo};
use crate::sys::openat2;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fstat, stat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const NULL: &[u8] = b"/dev/null";

/// Namespaces that CRIU can leave out, with runc's names for them.
const NAMESPACES: [(NsKind, &str, &str); 2] =
    [(NsKind::Network, "net", "extRootNetNS"), (NsKind::Pid, "pid", "extRootPidNS")];

/// Namespaces that CRIU can put restored processes into, with CRIU's names for them.
const JOINED: [(NsKind, &str); 3] = [(NsKind::Ipc, "ipc"), (NsKind::Uts, "uts"), (NsKind::Time, "time")];

/// Refuses a container with a feature that a restore would lose.
pub fn check(plan: &Plan) -> Result<()> {
    for kind in [NsKind::Mount, NsKind::Cgroup, NsKind::User] {
        if let Ns::Join { path, at } = plan.namespaces.get(kind) {
            let what = format!("criu can't restore into a joined {} namespace", kind.name());
            return Err(Error::config(at.clone(), what).on(path.display().to_string()));
        }
    }
    if let Some(mount) = plan.mounts.iter().find(|mount| mount.idmap.is_some()) {
        return Err(Error::config(mount.at.clone(), "criu can't restore an idmapped mount")
            .on(mount.target.display().to_string()));
    }
    if plan.seccomp.as_ref().is_some_and(|profile| profile.listener.is_some()) {
        return Err(Error::config("/linux/seccomp/listenerPath", "criu can't restore a seccomp listener"));
    }
    Ok(())
}

/// Returns the mounts of a process: a pid, or `self`.
pub fn points(process: &str) -> Result<Vec<MountInfo>> {
    mountinfo::read_mounts(process).op_on("read", format!("/proc/{process}/mountinfo"))
}

/// Where a mount of the configuration comes from.
enum Origin<'a> {
    Host {
        source: &'a Path,
        recursive: bool,
    },
    Cgroup,
    /// A filesystem of the container, which CRIU restores.
    Own,
    Mask,
    Device,
}

/// Tells CRIU the names of the container's mounts whose source is on the host.
pub fn name_mounts(plan: &Plan, init: i32, options: &mut Options) -> Result<()> {
    let (inside, host) = (points(&init.to_string())?, points("self")?);
    let origins = origins(plan, init, &inside)?;
    let namespaced = plan.namespaces.is_not_inherited(NsKind::Cgroup);
    for point in inside.iter().filter(|point| point.path != Path::new("/")) {
        let above = origins.iter().filter(|(path, _)| point.path.starts_with(path));
        // If several mounts have the same path, the last mount covers the earlier mounts.
        let Some((path, origin)) = above.max_by_key(|(path, _)| path.components().count()) else { continue };
        let is_there = *path == point.path;
        let key = point.path.as_os_str().as_bytes();
        match origin {
            Origin::Mask if is_there && is_null(point) => {
                options.external_mount(key, NULL);
            }
            Origin::Host { .. } | Origin::Device if is_there => {
                options.external_mount(key, key);
            }
            Origin::Host { source, recursive: true } if came_along(point, path, source, &host) => {
                options.external_mount(key, key);
            }
            Origin::Cgroup if point.fs == b"cgroup" && !namespaced => {
                options.external_mount(key, key);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the mount below a recursive bind is also on the host. Otherwise the payload mounted
/// it.
fn came_along(point: &MountInfo, path: &Path, source: &Path, host: &[MountInfo]) -> bool {
    let below = point.path.strip_prefix(path).unwrap_or(&point.path);
    let on_the_host = source.join(below);
    let is_it = |other: &MountInfo| {
        other.path == on_the_host && other.device == point.device && other.root == point.root
    };
    host.iter().any(is_it)
}

fn is_null(point: &MountInfo) -> bool {
    point.root.file_name().is_some_and(|name| name == "null")
}

/// Returns the paths in the container at which the configuration mounts something.
fn origins<'a>(plan: &'a Plan, init: i32, inside: &[MountInfo]) -> Result<Vec<(PathBuf, Origin<'a>)>> {
    let root = format!("/proc/{init}/root");
    let root = open(root.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .op_on("open", root)?;
    let place = |path: &Path, follow: bool| match inside.iter().any(|point| point.path == path) {
        true => path.to_path_buf(),
        false => resolved(&root, path, follow).unwrap_or_else(|| path.to_path_buf()),
    };
    let rootfs = Origin::Host { source: &plan.rootfs, recursive: true };
    let mut out = vec![(PathBuf::from("/"), rootfs)];
    for entry in &plan.mounts {
        let origin = match &entry.kind {
            MountKind::Bind { link: SourceLink::Copy, source, .. } if is_link(source) => continue,
            MountKind::Bind { source, recursive, .. } => Origin::Host { source, recursive: *recursive },
            MountKind::Cgroup { .. } => Origin::Cgroup,
            MountKind::Filesystem(_) => Origin::Own,
            MountKind::Remount { .. } => continue,
        };
        out.push((place(&entry.target, !entry.target_nofollow), origin));
    }
    if plan.namespaces.is_not_inherited(NsKind::User) {
        out.extend(plan.devices.iter().map(|device| (place(&device.path, false), Origin::Device)));
    }
    out.extend(plan.masked.iter().map(|path| (place(path, true), Origin::Mask)));
    Ok(out)
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

/// Resolves a path in the container. `None`: the path can't be opened.
fn resolved(root: &OwnedFd, path: &Path, follow: bool) -> Option<PathBuf> {
    let flags = if follow { libc::O_PATH } else { libc::O_PATH | libc::O_NOFOLLOW };
    let file = openat2::open_in_root(root, &target::c_path(path).ok()?, flags).ok()?;
    target::path_in_container(root, &file).ok()
}

/// Tells CRIU the names of the namespaces that the container joined.
pub fn name_namespaces(plan: &Plan, init: i32, options: &mut Options) -> Result<()> {
    for (kind, word, key) in NAMESPACES {
        if plan.namespaces.is_joined(kind) {
            let path = format!("/proc/{init}/ns/{}", kind.file());
            let inode = stat(path.as_str()).op_on("stat", path)?.st_ino;
            options.text(Text::External, format!("{word}[{inode}]:{key}"));
        }
    }
    Ok(())
}

/// Tells CRIU which namespaces the restored processes join: [`JOINED`] by path,
/// [`NAMESPACES`] by descriptor. Returns these descriptors, which CRIU must inherit.
pub fn give_namespaces<'a>(plan: &Plan, joins: &'a Joins, options: &mut Options) -> Vec<BorrowedFd<'a>> {
    for (kind, word) in JOINED {
        if let Ns::Join { path, .. } = plan.namespaces.get(kind) {
            options.join_namespace(word, path.as_os_str().as_bytes());
        }
    }
    let mut kept_fds = Vec::new();
    for (kind, _, key) in NAMESPACES {
        if let Some(namespace) = joins.get(kind) {
            options.inherit_fd(key, service::descriptor_number(namespace));
            kept_fds.push(namespace.as_fd());
        }
    }
    kept_fds
}

/// Whether the container joins a namespace that only a newer CRIU can restore into
/// ([`crate::criu::VERSION_FOR_NAMESPACES_AND_LSM`]).
pub fn joins_more(plan: &Plan) -> bool {
    JOINED.iter().any(|(kind, _)| plan.namespaces.is_joined(*kind))
}

/// Creates a mount namespace for this process, which then executes CRIU. Binds the rootfs
/// at `at`, and creates the mount points that the rootfs or a bind mount lacks. Returns
/// the sources of the host's mounts.
///
/// CRIU needs a root that is a mount point and is not covered by another mount. CRIU
/// itself restores the mount points inside a tmpfs. All others must exist. To create them
/// as `create` does, this function attaches the rootfs and every bind mount, and then
/// detaches all of them. At the end, it attaches the bare rootfs again.
pub fn lay_out(plan: &Plan, view: &CgroupView, at: &Path) -> Result<Options> {
    unshare(CloneFlags::CLONE_NEWNS).op("unshare mount")?;
    mount::propagate_all(MS_SLAVE).op("cut the mounts off from the host's")?;
    let host = points("self")?;
    let mut options = Options::default();
    give_below(Path::new("/"), &plan.rootfs, &host, &mut options);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let place = open(at, flags, Mode::empty()).op_on("open", at.display())?;
    let rootfs = |recursive| {
        let tree = sources::clone_tree(&plan.rootfs, recursive);
        tree.map_err(|e| e.at("/root/path").on(plan.rootfs.display().to_string()))
    };
    let root = rootfs(true)?;
    mount::attach(&root, &place).op("move_mount the rootfs")?;
    for (index, entry) in plan.mounts.iter().enumerate() {
        give_mount(plan, index, &root, view, &host, &mut options)
            .map_err(|e| e.at(entry.at.clone()).on(entry.target.display().to_string()))?;
    }
    umount2(at, MntFlags::MNT_DETACH).op("umount the rootfs")?;
    let root = rootfs(false)?;
    if plan.root_readonly {
        // Set read-only here: CRIU bind-mounts this mount, and a bind mount keeps the attributes.
        let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        mount::set_attr(&root, attr, false)
            .op("mount_setattr read-only")
            .map_err(|e| e.at("/root/readonly"))?;
    }
    mount::attach(root, &place).op("move_mount the rootfs")?;
    if !plan.masked.is_empty() {
        options.external_mount(NULL, NULL);
    }
    if plan.namespaces.is_not_inherited(NsKind::User) {
        for device in &plan.devices {
            let path = device.path.as_os_str().as_bytes();
            options.external_mount(path, path);
        }
    }
    Ok(options)
}

fn give_mount(
    plan: &Plan,
    index: usize,
    root: &OwnedFd,
    view: &CgroupView,
    host: &[MountInfo],
    options: &mut Options,
) -> Result<()> {
    let entry = &plan.mounts[index];
    match &entry.kind {
        MountKind::Remount { .. } => Ok(()),
        MountKind::Bind { link: SourceLink::Copy, source, .. } if is_link(source) => Ok(()),
        MountKind::Cgroup { .. } => {
            if is_on_the_rootfs(plan, index) {
                target::open_or_create_directory(root, &entry.target)?;
            }
            give_cgroups(&entry.target, view, options);
            Ok(())
        }
        MountKind::Filesystem(_) if is_on_the_rootfs(plan, index) => {
            target::open_or_create_directory(root, &entry.target).map(drop)
        }
        MountKind::Filesystem(_) => Ok(()),
        MountKind::Bind { source, recursive, link } => {
            let nofollow = *link != SourceLink::Follow;
            let c_source = target::c_path(source)?;
            let tree = mount::clone_tree(nix::fcntl::AT_FDCWD, &c_source, *recursive, nofollow)
                .op_on("open_tree", source.display())?;
            let mut place = entry.target.clone();
            if is_on_the_rootfs(plan, index) {
                let is_directory = target::is_directory(&fstat(&tree).op("fstat the source")?);
                let kind = match (entry.target_nofollow, is_directory) {
                    (true, _) => MountPointKind::Link,
                    (false, true) => MountPointKind::Directory,
                    (false, false) => MountPointKind::File,
                };
                let point = target::open_mount_point(root, &entry.target, kind, |_| Ok(()))?;
                place = target::path_in_container(root, &point.at)?;
                mount::attach(&tree, &point.at).op("move_mount the source")?;
            }
            options.external_mount(place.as_os_str().as_bytes(), source.as_os_str().as_bytes());
            if *recursive {
                give_below(&place, source, host, options);
            }
            Ok(())
        }
    }
}

/// Tells CRIU the source of each mount below the source of a recursive bind.
fn give_below(place: &Path, source: &Path, host: &[MountInfo], options: &mut Options) {
    for point in host.iter().filter(|point| point.path != source) {
        if let Ok(below) = point.path.strip_prefix(source) {
            let key = place.join(below);
            options.external_mount(key.as_os_str().as_bytes(), point.path.as_os_str().as_bytes());
        }
    }
}

/// Tells CRIU the sources of the cgroup mounts, laid out as in `init/cgroup_mount.rs`.
fn give_cgroups(place: &Path, view: &CgroupView, options: &mut Options) {
    let mut give = |key: &Path, source: &Path| {
        options.external_mount(key.as_os_str().as_bytes(), source.as_os_str().as_bytes());
    };
    match view {
        CgroupView::None => {}
        CgroupView::V2 { mount, own, namespaced } => give(place, if *namespaced { own } else { mount }),
        CgroupView::V1 { hierarchies, .. } => {
            hierarchies.iter().for_each(|h| give(&place.join(&h.name), &h.path))
        }
    }
}

/// Whether a mount point lies in the rootfs or in a mount of the host. Such a mount point
/// may not exist yet. A mount point in a tmpfs is in the images.
fn is_on_the_rootfs(plan: &Plan, index: usize) -> bool {
    let (before, entry) = (&plan.mounts[..index], &plan.mounts[index]);
    let below = |path: &Path| entry.target != path && entry.target.starts_with(path);
    let nearest =
        before.iter().filter(|other| below(&other.target)).max_by_key(|o| o.target.components().count());
    nearest.is_none_or(|other| matches!(other.kind, MountKind::Bind { .. } | MountKind::Remount { .. }))
}
