//! The host's trees that init attaches but can't open itself.
//!
//! The runtime clones them, as detached mounts, because root of a user namespace may not
//! be allowed to walk to them. An unprivileged runtime can't clone mounts of the host.
//! Then init, which is root over its own mount namespace, calls the same function.

use super::idmap::Mappings;
use super::inside_rootfs;
use super::joins::Joins;
use super::nodes::Nodes;
use crate::error::{Context, Error, Result};
use crate::spec::plan::{
    Device, DeviceKind, Idmap, IdmapUsers, Mount, MountKind, NsKind, Plan, Propagation, SourceLink,
};
use crate::sys::mount::{
    self, MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MS_PRIVATE, MountAttr,
};
use crate::sys::openat2;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, readlinkat};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{fstat, makedev, stat};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The detached trees of a plan.
pub struct Sources {
    pub rootfs: OwnedFd,
    /// The sources of the mounts, by the mount's index.
    pub mounts: Vec<Source>,
    /// The host's device nodes by the device's index, if the container can create none of
    /// its own.
    pub devices: Vec<Option<OwnedFd>>,
    /// The device nodes that the host lacks and that the runtime created.
    pub made: Option<Nodes>,
}

/// What a mount takes from the host.
pub enum Source {
    /// The mount takes nothing.
    None,
    /// The tree of a bind mount.
    Tree(OwnedFd),
    /// The target of a symbolic link that is to be copied.
    Link(OsString),
    /// The user namespace through which a new filesystem shows the owners of its files.
    UserNamespace(OwnedFd),
    /// What is at this path below the container's root when the mount's turn comes.
    BelowRootfs(PathBuf),
    /// The tree of a bind mount that is opened when the mount's turn comes.
    Late,
}

impl Sources {
    /// Opens the sources if this process may. `None` if it may not; init opens them then.
    pub fn open_if_allowed(plan: &Plan, joins: &Joins) -> Result<Option<Sources>> {
        open_if_allowed(plan, || Sources::open(plan, joins))
    }

    /// Clones the rootfs and every bind source.
    ///
    /// If the limit of open files is low, this opens only some of them, see [`late`](super::late).
    pub fn open(plan: &Plan, joins: &Joins) -> Result<Sources> {
        let rootfs = clone_tree(&plan.rootfs, true).map_err(|e| rootfs_error(e, &plan.rootfs))?;
        // Unless the root is private, mounts that the host makes below the rootfs appear
        // in the container. Mounts of the container never appear on the host.
        set_propagation(&rootfs, initial_root_propagation(plan), true)?;
        let mut budget = budget(&rootfs);
        let (mut devices, mut made) = (Vec::new(), None);
        // Init opens for itself the devices that are not opened here.
        if plan.namespaces.is_not_inherited(NsKind::User) && plan.devices.len() < budget {
            (devices, made) = open_nodes(plan);
            budget -= devices.len() + usize::from(made.is_some());
        }
        let mut opener = Opener::new(plan, joins);
        let mounts = plan.mounts.iter().map(|mount| opener.open_early(mount, &mut budget));
        Ok(Sources { rootfs, mounts: mounts.collect::<Result<_>>()?, devices, made })
    }
}

/// Opens the host's nodes, and creates those that the host lacks if this process may.
/// Init reports a device that is in neither list.
fn open_nodes(plan: &Plan) -> (Vec<Option<OwnedFd>>, Option<Nodes>) {
    let mut made = None;
    let mut find = |(index, device)| match (open_device_node(device), &plan.id_maps) {
        (Ok(node), _) => Some(node),
        (Err(error), Some(maps)) if error.is(Errno::ENOENT) => {
            made = made.take().or_else(|| Nodes::new().ok());
            if let Some(nodes) = &mut made {
                let _ = nodes.add(index, device, maps);
            }
            None
        }
        (Err(_), _) => None,
    };
    let devices = plan.devices.iter().enumerate().map(&mut find).collect();
    (devices, made.filter(|nodes| !nodes.is_empty()))
}

/// Opens what the mounts of a plan take from the host, by the mount's index, for a
/// container that runs already. Nothing is opened later.
pub fn open_mounts(plan: &Plan, joins: &Joins) -> Result<Vec<Source>> {
    let mut opener = Opener::new(plan, joins);
    plan.mounts.iter().map(|mount| opener.open_now(mount)).collect()
}

/// Calls `open` if this process may clone the host's mounts. `None` if it may not; then a
/// process with its own mount namespace has to open them.
pub fn open_if_allowed<T>(plan: &Plan, open: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    if may_clone() {
        return open().map(Some);
    }
    match plan.mounts.iter().find(|mount| mount.idmap.is_some()) {
        Some(mount) => Err(Error::config(&mount.at, "an idmapped mount needs CAP_SYS_ADMIN on the host")),
        None => Ok(None),
    }
}

/// Whether this process may clone the host's mounts (CAP_SYS_ADMIN).
pub fn may_clone() -> bool {
    crate::sys::caps::get().is_ok_and(|sets| sets.effective >> 21 & 1 == 1)
}

/// Whether the container's root must not receive mounts of the host.
fn is_root_private(plan: &Plan) -> bool {
    matches!(plan.root_propagation, Some((Propagation::Private | Propagation::Unbindable, _)))
}

/// Returns the propagation of the root's tree until the container's own is set.
pub fn initial_root_propagation(plan: &Plan) -> Propagation {
    if is_root_private(plan) { Propagation::Private } else { Propagation::Slave }
}

/// Returns the propagation of all the host's mounts in init's mount namespace, so that no
/// mount of init reaches the host. The host's mounts must be slaves there if a mount of
/// the container is to receive mounts from the host: init may have to clone the source of
/// that mount once more (see [`attach_or_clone_again`]).
pub fn initial_namespace_propagation(plan: &Plan) -> Propagation {
    let listens = |mount: &Mount| {
        matches!(mount.kind, MountKind::Bind { recursive: true, .. })
            && matches!(mount.propagation, Some((Propagation::Slave | Propagation::Shared, _)))
    };
    if plan.mounts.iter().any(listens) { Propagation::Slave } else { Propagation::Private }
}

/// Opens the sources of a plan's mounts.
pub struct Opener<'a> {
    plan: &'a Plan,
    joins: &'a Joins,
    mappings: Mappings,
}

impl<'a> Opener<'a> {
    pub fn new(plan: &'a Plan, joins: &'a Joins) -> Opener<'a> {
        Opener { plan, joins, mappings: Mappings::default() }
    }

    /// Opens what a mount needs before the fork. `budget` is the number of descriptors
    /// that may stay open for the mounts.
    fn open_early(&mut self, entry: &Mount, budget: &mut usize) -> Result<Source> {
        if let MountKind::Bind { source, .. } = &entry.kind
            && let Some(path) = inside_rootfs::path_below_rootfs(self.plan, source)
        {
            return Ok(Source::BelowRootfs(path));
        }
        let opened = match self.open_source(entry, *budget == 0) {
            Err(error) if error.is(Errno::ENOENT) || error.is(Errno::ENOTDIR) => match &entry.kind {
                MountKind::Bind { source, .. } => {
                    inside_rootfs::path_below_rootfs_by_realpath(self.plan, source)
                        .map(Source::BelowRootfs)
                        .ok_or(error)
                }
                _ => Err(error),
            },
            other => other,
        }?;
        *budget =
            budget.saturating_sub(usize::from(matches!(opened, Source::Tree(_) | Source::UserNamespace(_))));
        Ok(opened)
    }

    fn open_now(&mut self, entry: &Mount) -> Result<Source> {
        self.open_source(entry, false)
    }

    fn open_source(&mut self, entry: &Mount, later: bool) -> Result<Source> {
        match &entry.kind {
            MountKind::Bind { source, link, .. } => {
                if *link == SourceLink::Copy
                    && let Some(target) = read_link(source).map_err(|e| with_source(e, entry))?
                {
                    return Ok(Source::Link(target));
                }
                if later {
                    return Ok(Source::Late);
                }
                self.tree(entry).map(Source::Tree).map_err(|e| with_source(e, entry))
            }
            MountKind::Filesystem(_) => match &entry.idmap {
                Some(idmap) => {
                    let users = self.user_namespace(entry, idmap)?.try_clone_to_owned();
                    users.op("dup the user namespace").map(Source::UserNamespace)
                }
                None => Ok(Source::None),
            },
            MountKind::Cgroup { .. } | MountKind::Remount { .. } => Ok(Source::None),
        }
    }

    /// Opens the tree of a bind mount, and sets everything but its attributes.
    pub fn tree(&mut self, entry: &Mount) -> Result<OwnedFd> {
        let MountKind::Bind { source, recursive, link } = &entry.kind else {
            return Err(Error::msg("is not a bind mount"));
        };
        let nofollow = *link == SourceLink::Itself;
        // The path is looked up as it is on the host, not in the container: a link of the
        // image must not lead out of the rootfs.
        let tree = match inside_rootfs::path_below_rootfs(self.plan, source) {
            Some(path) => {
                let flags = libc::O_PATH | libc::O_DIRECTORY;
                let rootfs =
                    openat2::open_host_path(&c_path(&self.plan.rootfs)?, flags).op("open the rootfs")?;
                let file = inside_rootfs::open_below_rootfs(&rootfs, &path, *link)
                    .op("open the source in the rootfs")?;
                mount::clone_tree(&file, c"", *recursive, nofollow).op("open_tree")
            }
            None => mount::clone_tree(AT_FDCWD, &c_path(source)?, *recursive, nofollow).op("open_tree"),
        };
        let tree = tree.map_err(|e| clone_hint(e, *recursive))?;
        self.map_ids(entry, &tree)?;
        set_bind_propagation(self.plan, entry, &tree)?;
        Ok(tree)
    }

    /// Maps the ids of a detached tree as `entry` asks for.
    pub fn map_ids(&mut self, entry: &Mount, tree: &OwnedFd) -> Result<()> {
        match &entry.idmap {
            Some(idmap) => map_ids(tree, self.user_namespace(entry, idmap)?, idmap.recursive),
            None => Ok(()),
        }
    }

    /// Returns the user namespace with the mappings of `idmap`.
    fn user_namespace(&mut self, entry: &Mount, idmap: &Idmap) -> Result<BorrowedFd<'_>> {
        match &idmap.users {
            IdmapUsers::Maps(maps) => self.mappings.namespace(maps, &entry.at),
            IdmapUsers::Joined => {
                let joined = self.joins.get(NsKind::User).map(AsFd::as_fd);
                joined.ok_or_else(|| Error::msg("the container joins no user namespace"))
            }
        }
    }
}

/// Returns where the link at `path` leads. `None` if it is no link.
fn read_link(path: &Path) -> Result<Option<OsString>> {
    match readlinkat(AT_FDCWD, path) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::EINVAL) => Ok(None),
        Err(errno) => Err(Error::os("readlink", errno)),
    }
}

/// Sets the propagation of a bind mount's tree, which is a peer of the host's mount so
/// far.
///
/// The result is as if the tree were bound in a namespace where every mount has the
/// propagation of the container's root, or slave if the configuration does not give it.
/// So only a container with a shared root takes part in the host's peer groups.
pub fn set_bind_propagation(plan: &Plan, entry: &Mount, tree: &OwnedFd) -> Result<()> {
    let own = entry.propagation;
    let base = match (plan.root_propagation, own) {
        (Some((Propagation::Shared, _)), _) => None,
        // A mount that leaves the peer group for good needs no step in between.
        (_, Some((Propagation::Private | Propagation::Slave | Propagation::Unbindable, true))) => None,
        // A mount that is to be a slave needs a master, so it can't be private first.
        (_, Some((Propagation::Slave, false))) => Some(Propagation::Slave),
        _ => Some(initial_root_propagation(plan)),
    };
    base.into_iter()
        .map(|base| (base, true))
        .chain(own)
        .try_for_each(|(propagation, recursive)| set_propagation(tree, propagation, recursive))
}

/// Sets the propagation of a mount, or of its whole tree if `recursive`.
pub fn set_propagation(tree: &OwnedFd, propagation: Propagation, recursive: bool) -> Result<()> {
    let attr = MountAttr { propagation: propagation.flag(), ..MountAttr::default() };
    mount::set_attr(tree, attr, recursive).op("mount_setattr propagation")
}

/// Shows the owners of the files of a detached `tree` through the user namespace `users`.
pub fn map_ids(tree: &OwnedFd, users: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let userns_fd = u64::from(users.as_raw_fd().unsigned_abs());
    let attr = MountAttr { set: MOUNT_ATTR_IDMAP, userns_fd, ..MountAttr::default() };
    mount::set_attr(tree, attr, recursive)
        .op("mount_setattr idmap")
        .map_err(|e| explain_idmap(e, tree, recursive))
}

/// Adds a hint, because the kernel's EINVAL says only that some mount of the tree can't
/// be idmapped.
fn explain_idmap(error: Error, tree: &OwnedFd, recursive: bool) -> Error {
    if error.is(Errno::EPERM) {
        return error
            .hint("call the runtime as root of the user namespace in which the filesystem was mounted");
    }
    if !error.is(Errno::EINVAL) {
        return error;
    }
    let fs = filesystem_type(tree).unwrap_or_else(|| "this filesystem".into());
    let below = if recursive { " or of a mount below it" } else { "" };
    error.hint(format!(
        "use another filesystem, or no idmap: this kernel may not map the ids of {fs}{below}, \
         or the ids are mapped already"
    ))
}

/// Returns the type of the filesystem that mountinfo has for the same device.
fn filesystem_type(tree: &OwnedFd) -> Option<String> {
    let device = fstat(tree).ok()?.st_dev;
    let text = crate::sys::process::read_file("/proc/self/mountinfo").ok()?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let (number, (_, tail)) = (line.split(' ').nth(2)?, line.split_once(" - ")?);
        let (first, second) = number.split_once(':')?;
        let same = makedev(first.parse().ok()?, second.parse().ok()?) == device;
        same.then(|| tail.split(' ').next().unwrap_or_default().to_owned())
    })
}

/// Attaches `tree`, a recursive clone of `path`, and returns the tree that was attached.
///
/// The kernel refuses to move a tree to a newer mount namespace if the file of a mount
/// namespace is mounted in the tree: ELOOP. snapd keeps such mounts in /run. The kernel
/// has left such mounts out of this namespace's own copy of the host's mounts. So this
/// function clones the tree once more, here, and calls `prepare` for the clone. Without
/// `path`, a path of the host, ELOOP is an error.
pub fn attach_or_clone_again(
    tree: OwnedFd,
    target: &OwnedFd,
    path: Option<&Path>,
    prepare: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<OwnedFd> {
    match mount::attach(&tree, target) {
        Ok(()) => return Ok(tree),
        Err(Errno::ELOOP) => {}
        Err(errno) => return Err(Error::os("move_mount", errno)),
    }
    let path = path.ok_or_else(|| Error::os("move_mount", Errno::ELOOP).hint(ELOOP_HINT))?;
    let own = clone_tree(path, true).map_err(|e| e.hint(ELOOP_HINT))?;
    let (before, now) = (fstat(&tree).op("fstat")?, fstat(&own).op("fstat")?);
    if (before.st_dev, before.st_ino) != (now.st_dev, now.st_ino) {
        return Err(Error::os("move_mount", Errno::ELOOP).hint(ELOOP_HINT));
    }
    prepare(&own)?;
    mount::attach(&own, target).op("move_mount").map_err(|e| e.hint(ELOOP_HINT))?;
    Ok(own)
}

/// The hint for ELOOP of move_mount(2).
pub const ELOOP_HINT: &str = "unmount the file of an older mount namespace that is mounted in the source";

/// Opens the host's node of a device: at the path that the node is to have, or among the
/// links that udev keeps by number. Accepts only the very device, whatever lies at a
/// path.
pub fn open_device_node(device: &Device) -> Result<OwnedFd> {
    let (major, minor) = (device.major, device.minor);
    let by_number = match device.kind {
        DeviceKind::Char => format!("/dev/char/{major}:{minor}"),
        DeviceKind::Block => format!("/dev/block/{major}:{minor}"),
        DeviceKind::Fifo => return Err(Error::msg("a FIFO can't be bound")),
    };
    open_node_at(&device.path, device)
        .or_else(|error| open_node_at(Path::new(&by_number), device).map_err(|_| error))
}

/// Returns a warning for each device of the configuration that a /dev bound from the host
/// lacks.
pub fn missing_devices(plan: &Plan) -> Vec<String> {
    let Some(dev) = plan.bound_dev() else { return Vec::new() };
    let lacks = |device: &&Device| {
        let below = device.path.strip_prefix("/dev").ok().filter(|_| !device.at.is_empty());
        below.is_some_and(|below| !stat(&dev.join(below)).is_ok_and(|stat| device.matches_stat(&stat)))
    };
    let warn =
        |device: &Device| format!("{}: the /dev that is bound lacks {}", device.at, device.path.display());
    plan.devices.iter().filter(lacks).map(warn).collect()
}

fn open_node_at(path: &Path, device: &Device) -> Result<OwnedFd> {
    let tree = clone_tree(path, false).map_err(|e| {
        e.hint(
            "create the device on the host, which the runtime binds in a user namespace or without \
             CAP_MKNOD",
        )
    })?;
    let stat = fstat(&tree).op("fstat")?;
    if !device.matches_stat(&stat) {
        return Err(Error::msg("the host has another file at this path")
            .hint("create the device at this path of the host: in a user namespace the runtime binds it"));
    }
    // The clone is a peer of the host's /dev. A mount of the container on it would cover
    // the host's node, too. Like crun, this allows neither set-id bits nor mappings of
    // executable pages.
    let set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
    let attr = MountAttr { set, propagation: MS_PRIVATE, ..MountAttr::default() };
    mount::set_attr(&tree, attr, false).op("mount_setattr the device")?;
    Ok(tree)
}

/// Clones the tree at `path`, with all mounts below it if `recursive`.
pub fn clone_tree(path: &Path, recursive: bool) -> Result<OwnedFd> {
    mount::clone_tree(AT_FDCWD, &c_path(path)?, recursive, false).op("open_tree")
}

/// Adds a hint for EINVAL: mounts that came from a more privileged namespace can't be
/// lifted off what they cover.
fn clone_hint(error: Error, recursive: bool) -> Error {
    if error.is(Errno::EINVAL) && !recursive {
        return error.hint("use rbind: the mounts below it are locked in this user namespace");
    }
    error
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::msg("NUL in a path"))
}

fn rootfs_error(error: Error, path: &Path) -> Error {
    let missing = error.is(Errno::ENOENT);
    let error = error.at("/root/path").on(path.display().to_string());
    if missing { error.hint("create the rootfs; a relative path counts from the bundle") } else { error }
}

/// The number of descriptors that `create` and init need for other things: cgroups (up to
/// a dozen on version 1), sockets, the start gate, and files that are open only for a
/// moment.
const RESERVE: usize = 32;

/// Returns how many descriptors may stay open until the container's mounts are made.
/// `newest` was just opened, so all numbers below it are in use.
pub fn budget(newest: &OwnedFd) -> usize {
    let used = usize::try_from(newest.as_raw_fd()).unwrap_or(0) + 1;
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(used + RESERVE)
}

/// Names the source in an error.
pub fn with_source(error: Error, entry: &Mount) -> Error {
    match &entry.kind {
        MountKind::Bind { source, .. } => {
            error.at(format!("{}/source", entry.at)).on(source.display().to_string())
        }
        _ => error,
    }
}
