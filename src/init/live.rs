//! The child of `mounts add` and `mounts remove`: a process that changes what is
//! mounted in a running container, all of it or nothing.
//!
//! It has the rights of the container's root and a mount namespace of its own, a
//! copy of the host's, in which it looks things up and makes filesystems: there
//! no path, and no /proc, is the container's. It enters the container's mount
//! namespace for the calls alone that attach a tree or detach one. The root of
//! the container is a descriptor, and everything is found from there.

use super::{hop::hop, mismatch, mounts, readonly, rootfs::Root};
use crate::error::{Context, Error, Result};
use crate::launch::entry::Entry;
use crate::launch::joins::Joins;
use crate::launch::sources::{self, LOOP, Source};
use crate::launch::sync::{FromInit, InitEnd, ToInit};
use crate::launch::target::{self, Kind, Made};
use crate::spec::plan::{Mount, MountKind, Mounted, NsKind, Plan};
use crate::spec::proc_paths::{self, Place};
use crate::steps;
use crate::sys::clone::exit;
use crate::sys::namespaces::NsFlags;
use crate::sys::{mount, openat2, process};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, umask};
use std::os::fd::{AsRawFd, OwnedFd};

/// What is to change.
pub enum Change {
    /// The mounts of this plan are added.
    Add(Box<Plan>),
    /// These are removed, the last one first.
    Remove(Vec<Mounted>),
}

/// What the host side opened.
pub struct Inherited {
    pub sync: InitEnd,
    /// The way into the container's namespaces.
    pub entry: Entry,
    /// The container's own namespaces.
    pub namespaces: NsFlags,
    /// The root of init, where it is not that of its mount namespace.
    pub root: Option<OwnedFd>,
    pub joins: Joins,
    /// `None`: the caller may not open them.
    pub sources: Option<Vec<Source>>,
}

/// Ends by `_exit`, when it has told how it went.
pub fn run(change: &Change, host: Inherited) -> ! {
    steps::begin_child("in the container");
    let done = enter(&host).and_then(|()| {
        steps::done("entered the container's namespaces");
        apply(change, &host)
    });
    if done.is_ok() {
        steps::done("changed the mounts");
    }
    let word = done.map_or_else(FromInit::Failed, |()| FromInit::Ready);
    // If nobody listens any more there is nobody left to tell.
    let _ = host.sync.send(&word);
    exit(0)
}

/// Takes on the container's rights, and those namespaces that decide what a new
/// filesystem shows. A pid namespace holds for children only.
fn enter(host: &Inherited) -> Result<()> {
    process::default_signals();
    steps::across_clocks(|| host.entry.enter(host.namespaces.without(NsKind::Mount.flag())))?;
    hop(&host.sync, NsFlags::NONE, None).map_err(|e| e.on("the container's pid namespace"))?;
    // Now the host side knows whom to end, if a process of the container stops this one.
    host.sync.expect(|m| (m == ToInit::Go).then_some(()))?;
    if host.namespaces.has(NsKind::User.flag()) {
        process::set_ids(0, 0).op("setresuid 0 in the user namespace")?;
    }
    unshare(CloneFlags::CLONE_NEWNS).op("unshare the mount namespace")
}

fn apply(change: &Change, host: &Inherited) -> Result<()> {
    let opened = match (change, &host.sources) {
        (Change::Add(plan), None) => sources::open_mounts(plan, &host.joins)?,
        _ => Vec::new(),
    };
    mount::propagate_all(mount::MS_PRIVATE).op("cut the mounts off from the host's")?;
    let mut work = Work::begin(host)?;
    // What is made has the mode that is given, whatever the caller's umask.
    umask(Mode::empty());
    let done = match change {
        Change::Add(plan) => {
            let sources = host.sources.as_ref().unwrap_or(&opened);
            plan.mounts.iter().zip(sources).try_for_each(|(entry, source)| {
                work.add(plan, entry, source).map_err(|e| {
                    let target = entry.target.display().to_string();
                    mounts::explain(e, entry).at(entry.at.clone()).on(target)
                })
            })
        }
        Change::Remove(all) => all.iter().rev().try_for_each(|mounted| {
            work.remove(mounted).map_err(|e| e.at(mounted.at.clone()).on(mounted.path.display().to_string()))
        }),
    };
    done.map_err(|error| match work.undo() {
        Ok(()) => error,
        Err(other) => Error { op: format!("{} (and undoing it failed: {other})", error.op), ..error },
    })
}

/// A step that can be undone.
enum Step {
    Made(Made),
    /// This tree.
    Attached(OwnedFd),
    /// This copy of what was here.
    Detached(OwnedFd, Mounted),
}

struct Work<'a> {
    /// The container's root, and the host's.
    root: Root,
    entry: &'a Entry,
    /// This process's own mount namespace.
    own: OwnedFd,
    /// Its own descriptors, as the host's procfs has them.
    fds: OwnedFd,
    steps: Vec<Step>,
}

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Work<'_> {
    fn begin(host: &Inherited) -> Result<Work<'_>> {
        let dir = |path: &str| open(path, DIRECTORY, Mode::empty()).op_on("open", path);
        let path = "/proc/self/ns/mnt";
        let own = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path)?;
        let (fds, hosts) = (dir("/proc/self/fd")?, dir("/")?);
        let mut work = Work {
            root: Root { tree: dir("/")?, host: hosts },
            entry: &host.entry,
            own,
            fds,
            steps: Vec::new(),
        };
        work.root.tree = match &host.root {
            Some(root) => root.try_clone().op("dup")?,
            None => {
                work.in_container(|| open("/", DIRECTORY, Mode::empty()).op("open the container's root"))?
            }
        };
        Ok(work)
    }

    /// Does something in the container's mount namespace.
    fn in_container<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.entry.enter(NsKind::Mount.flag())?;
        let done = act();
        setns(&self.own, CloneFlags::CLONE_NEWNS).op("setns back from the container's mounts")?;
        done
    }

    fn add(&mut self, plan: &Plan, entry: &Mount, source: &Source) -> Result<()> {
        let kind = match (&entry.kind, source) {
            (MountKind::Bind { .. }, Source::Tree(tree)) => mounts::kind_for(entry, tree)?,
            (MountKind::Filesystem(new), _) => mounts::kind_for_new(new),
            _ => return Err(Error::msg("can't be mounted in a running container")),
        };
        let mut made = Vec::new();
        let prepared = self.prepare(plan, entry, source, kind, &mut made);
        self.steps.extend(made.into_iter().map(Step::Made));
        let explain = |error| mismatch::explain(error, &self.root.tree, entry, kind);
        let (tree, point) = prepared.map_err(explain)?;
        self.attach(&tree, &point).map_err(explain)?;
        self.steps.push(Step::Attached(tree));
        Ok(())
    }

    /// What is to be attached, and where.
    fn prepare(
        &self,
        plan: &Plan,
        entry: &Mount,
        source: &Source,
        kind: Kind,
        made: &mut Vec<Made>,
    ) -> Result<(OwnedFd, OwnedFd)> {
        let (root, path) = (&self.root.tree, &entry.target);
        match (&entry.kind, source) {
            (MountKind::Bind { .. }, Source::Tree(tree)) => {
                let check = |place| mounts::check_bind(entry, tree, place);
                let point = target::mount_point_noting(root, path, kind, check, made)?;
                if let Some(locked) = mounts::set_bind_attributes(entry, tree)? {
                    return Err(Error::msg(locked));
                }
                Ok((tree.try_clone().op("dup")?, point.at))
            }
            (MountKind::Filesystem(new), source) => {
                let check = |place| proc_paths::refuse(place, &entry.kind);
                let point = target::mount_point_noting(root, path, kind, check, made)?;
                let tree = mounts::filesystem_for(plan, entry, new, &point, &self.root.host, source)?;
                if readonly::is_wanted(entry) {
                    mounts::make_readonly(&tree)?;
                }
                Ok((tree, point.at))
            }
            _ => Err(Error::msg("can't be mounted in a running container")),
        }
    }

    fn attach(&self, tree: &OwnedFd, point: &OwnedFd) -> Result<()> {
        self.in_container(|| mount::attach(tree, point).op("move_mount")).map_err(|e| {
            match e.errno.map(Errno::from_raw) {
                Some(Errno::ELOOP) => e.hint(LOOP),
                Some(Errno::EINVAL) => e.hint("an unbindable mount can't be attached below a shared one"),
                _ => e,
            }
        })
    }

    fn find(&self, mounted: &Mounted) -> Result<OwnedFd> {
        let nofollow = if mounted.nofollow { libc::O_NOFOLLOW } else { 0 };
        let path = target::c_path(&mounted.path)?;
        openat2::in_root(&self.root.tree, &path, libc::O_PATH | nofollow).op("open the mount")
    }

    fn remove(&mut self, mounted: &Mounted) -> Result<()> {
        let there = self.find(mounted)?;
        match target::place_of(&self.root.tree, &there)? {
            Place::Root => return Err(Error::msg("the container's root can't be unmounted")),
            Place::InProc => return Err(Error::msg("what hides a file of /proc can't be unmounted")),
            Place::Proc | Place::Elsewhere => {}
        }
        let copy = self.in_container(|| mount::clone_tree(&there, c"", true, false).op("open_tree"))?;
        self.detach(&there)?;
        let Mounted { at, path, nofollow } = mounted;
        let mounted = Mounted { at: at.clone(), path: path.clone(), nofollow: *nofollow };
        self.steps.push(Step::Detached(copy, mounted));
        Ok(())
    }

    /// umount(2) takes a path: the name of the descriptor, in a directory that
    /// nobody else has.
    fn detach(&self, there: &OwnedFd) -> Result<()> {
        let umount = || {
            nix::unistd::fchdir(&self.fds).op("fchdir")?;
            umount2(there.as_raw_fd().to_string().as_str(), MntFlags::MNT_DETACH).op("umount")
        };
        self.in_container(umount).map_err(|e| {
            let nothing = e.is(Errno::EINVAL);
            if nothing {
                e.hint("nothing is mounted there, or it is not the container's to unmount")
            } else {
                e
            }
        })
    }

    /// The last step first.
    fn undo(mut self) -> Result<()> {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Attached(tree) => self.detach(&tree)?,
                Step::Detached(tree, mounted) => self.attach(&tree, &self.find(&mounted)?)?,
                // The container may have put something there by now.
                Step::Made(made) => match made.remove() {
                    Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EBUSY) => {}
                    Err(errno) => return Err(Error::os("remove the mount point", errno)),
                },
            }
        }
        Ok(())
    }
}
