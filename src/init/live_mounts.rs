//! The child of `mounts add` and `mounts remove`. It makes all changes to the mounts of a
//! running container, or none.
//!
//! The child has the rights of the container's root. It has its own mount namespace, a
//! copy of the host's, in which it looks up paths and creates filesystems. No path and no
//! /proc of the container is used there. The child enters the container's mount namespace
//! only for the system calls that attach or detach a tree. The container's root is a
//! descriptor, and every lookup in the container starts there.

use super::attributes;
use super::{double_fork::double_fork, mismatch, mounts, readonly, rootfs::Root};
use crate::error::{Context, Error, Result};
use crate::launch::joins::Joins;
use crate::launch::messages::{FromMounter, LiveMounts, ToMounter};
use crate::launch::namespace_handout::NamespaceEntry;
use crate::launch::sources::{self, ELOOP_HINT, Source};
use crate::launch::sync::ChildEnd;
use crate::launch::target::{self, CreatedFile, MountPointKind};
use crate::spec::plan::{Mount, MountKind, NsKind, Plan, Unmount};
use crate::spec::proc_paths::{self, PathClass};
use crate::steps;
use crate::sys::clone::exit;
use crate::sys::fd::open;
use crate::sys::namespaces::NsFlags;
use crate::sys::{mount, openat2, process};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, umask};
use std::os::fd::{AsRawFd, OwnedFd};

/// The change to make.
pub enum Change {
    /// Adds the mounts of this plan.
    Add(Box<Plan>),
    /// Removes these mounts, the last one first.
    Remove(Vec<Unmount>),
}

/// Everything that the runtime prepared for the child.
pub struct LiveContext {
    pub sync: ChildEnd<LiveMounts>,
    /// The way into the container's namespaces.
    pub entry: NamespaceEntry,
    /// The namespaces of the container that are not the runtime's.
    pub namespaces: NsFlags,
    /// The root directory of init, if it is not the root of init's mount namespace.
    pub root: Option<OwnedFd>,
    pub joins: Joins,
    /// `None` if the caller may not open the sources. The child opens them then.
    pub sources: Option<Vec<Source>>,
}

/// Runs the child. Sends the result to the runtime and calls `_exit`. Rolls the changes
/// back if the runtime does not confirm them.
///
/// SIGPIPE stays ignored, as in the runtime: if the runtime has died, a message to it must
/// fail and not end the child before the rollback.
pub fn run_mount_changes(change: &Change, context: LiveContext) -> ! {
    steps::begin_child("in the container");
    let done = enter(&context).and_then(|()| {
        steps::done("entered the container's namespaces");
        apply(change, &context)
    });
    match done {
        Ok(work) => {
            steps::done("changed the mounts");
            let sync = &context.sync;
            let confirmed =
                sync.send(FromMounter::MountsChanged).and_then(|()| sync.expect(ToMounter::Commit));
            if let Err(error) = confirmed {
                let _ = work.roll_back();
                // The runtime may know of a failure already, or may have died.
                sync.fail(error);
            }
        }
        Err(error) => context.sync.fail(error),
    }
    exit(0)
}

/// Takes the rights of the container's root, and enters the namespaces that decide what a
/// new filesystem shows. A pid namespace applies only to children, so the child clones
/// once more.
fn enter(context: &LiveContext) -> Result<()> {
    steps::across_clocks(|| context.entry.enter(context.namespaces.without(NsKind::Mount.flag())))?;
    double_fork(&context.sync, NsFlags::NONE, None).map_err(|e| e.on("the container's pid namespace"))?;
    // The runtime now knows which process to end if a process of the container stops this
    // one.
    context.sync.expect(ToMounter::SecondCloneKnown)?;
    if context.namespaces.has(NsKind::User.flag()) {
        process::set_ids(0, 0).op("setresuid 0 in the user namespace")?;
    }
    unshare(CloneFlags::CLONE_NEWNS).op("unshare the mount namespace")
}

fn apply<'a>(change: &Change, context: &'a LiveContext) -> Result<Work<'a>> {
    let opened = match (change, &context.sources) {
        (Change::Add(plan), None) => sources::open_mounts(plan, &context.joins)?,
        _ => Vec::new(),
    };
    mount::propagate_all(mount::MS_PRIVATE).op("cut the mounts off from the host's")?;
    let mut work = Work::begin(context)?;
    // Files and directories get exactly the mode that the code gives, whatever the
    // caller's umask.
    umask(Mode::empty());
    let done = match change {
        Change::Add(plan) => {
            let sources = context.sources.as_ref().unwrap_or(&opened);
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
    match done {
        Ok(()) => Ok(work),
        Err(error) => match work.roll_back() {
            Ok(()) => Err(error),
            Err(other) => {
                Err(Error { op: format!("{} (and the rollback failed: {other})", error.op), ..error })
            }
        },
    }
}

/// What came of work in the container's mount namespace.
struct Visit<T> {
    work: Result<T>,
    /// Whether this process could return to its own mount namespace. The work may be done
    /// although it could not.
    way_back: Result<()>,
}

impl<T> Visit<T> {
    /// The result of the work, and the first error of the two.
    fn result(self) -> Result<T> {
        let done = self.work?;
        self.way_back.map(|()| done)
    }
}

/// A step that can be rolled back.
enum Step {
    Created(CreatedFile),
    /// The tree that was attached.
    Attached(OwnedFd),
    /// A copy of the tree that was detached, and where it was.
    Detached(OwnedFd, Unmount),
}

struct Work<'a> {
    /// The container's root, and the host's.
    root: Root,
    entry: &'a NamespaceEntry,
    /// The mount namespace of this process.
    own: OwnedFd,
    /// /proc/self/fd of this process, in the host's procfs.
    fds: OwnedFd,
    steps: Vec<Step>,
}

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Work<'_> {
    fn begin(context: &LiveContext) -> Result<Work<'_>> {
        let dir = |path: &str| open(path, DIRECTORY, Mode::empty()).op_on("open", path);
        let path = "/proc/self/ns/mnt";
        let own = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path)?;
        let (fds, hosts) = (dir("/proc/self/fd")?, dir("/")?);
        let mut work = Work {
            root: Root { tree: dir("/")?, host: hosts },
            entry: &context.entry,
            own,
            fds,
            steps: Vec::new(),
        };
        work.root.tree = match &context.root {
            Some(root) => root.try_clone().op("dup")?,
            None => {
                let open_root = || open("/", DIRECTORY, Mode::empty()).op("open the container's root");
                work.in_container(open_root).result()?
            }
        };
        Ok(work)
    }

    /// Calls `act` in the container's mount namespace.
    fn in_container<T>(&self, act: impl FnOnce() -> Result<T>) -> Visit<T> {
        if let Err(error) = self.entry.enter(NsKind::Mount.flag()) {
            return Visit { work: Err(error), way_back: Ok(()) };
        }
        let work = act();
        let way_back = setns(&self.own, CloneFlags::CLONE_NEWNS).op("setns back from the container's mounts");
        Visit { work, way_back }
    }

    fn add(&mut self, plan: &Plan, entry: &Mount, source: &Source) -> Result<()> {
        let kind = match (&entry.kind, source) {
            (MountKind::Bind { .. }, Source::Tree(tree)) => mounts::kind_for(entry, tree)?,
            (MountKind::Filesystem(new), _) => mounts::kind_for_new(new),
            _ => return Err(Error::msg("can't be mounted in a running container")),
        };
        let mut made = Vec::new();
        let prepared = self.prepare(plan, entry, source, kind, &mut made);
        self.steps.extend(made.into_iter().map(Step::Created));
        let explain = |error| mismatch::explain(error, &self.root.tree, entry, kind);
        let (tree, point) = prepared.map_err(explain)?;
        let visit = self.attach(&tree, &point);
        if visit.work.is_ok() {
            self.steps.push(Step::Attached(tree));
        }
        visit.result().map_err(explain)
    }

    /// Returns the tree to attach and its mount point. Adds the files and directories
    /// that it creates to `made`.
    fn prepare(
        &self,
        plan: &Plan,
        entry: &Mount,
        source: &Source,
        kind: MountPointKind,
        made: &mut Vec<CreatedFile>,
    ) -> Result<(OwnedFd, OwnedFd)> {
        let (root, path) = (&self.root.tree, &entry.target);
        match (&entry.kind, source) {
            (MountKind::Bind { .. }, Source::Tree(tree)) => {
                let check = |class| mounts::check_bind(entry, tree, class);
                let point = target::open_mount_point_recording(root, path, kind, check, made)?;
                if let Some(locked) = attributes::set_bind_attributes(entry, tree)? {
                    return Err(Error::msg(locked));
                }
                Ok((tree.try_clone().op("dup")?, point.at))
            }
            (MountKind::Filesystem(new), source) => {
                let check = |class| proc_paths::refuse_mount(class, &entry.kind);
                let point = target::open_mount_point_recording(root, path, kind, check, made)?;
                let tree = mounts::filesystem_for(plan, entry, new, &point, &self.root.host, source)?;
                if readonly::is_wanted(entry) {
                    mounts::make_readonly(&tree)?;
                }
                Ok((tree, point.at))
            }
            _ => Err(Error::msg("can't be mounted in a running container")),
        }
    }

    fn attach(&self, tree: &OwnedFd, point: &OwnedFd) -> Visit<()> {
        let explain = |e: Error| match e.errno.map(Errno::from_raw) {
            Some(Errno::ELOOP) => e.hint(ELOOP_HINT),
            Some(Errno::EINVAL) => e.hint(
                "attach it below a mount that is not shared: an unbindable mount can't be attached \
                     below a shared one",
            ),
            _ => e,
        };
        self.in_container(|| mount::attach(tree, point).op("move_mount").map_err(explain))
    }

    fn open_mount(&self, unmount: &Unmount) -> Result<OwnedFd> {
        let nofollow = if unmount.nofollow { libc::O_NOFOLLOW } else { 0 };
        let path = target::c_path(&unmount.path)?;
        openat2::open_in_root(&self.root.tree, &path, libc::O_PATH | nofollow).op("open the mount")
    }

    fn remove(&mut self, unmount: &Unmount) -> Result<()> {
        let there = self.open_mount(unmount)?;
        match target::class_in_container(&self.root.tree, &there)? {
            PathClass::Root => return Err(Error::msg("the container's root can't be unmounted")),
            PathClass::InProc => {
                return Err(Error::msg("a mount that hides a file of /proc can't be unmounted"));
            }
            PathClass::Proc | PathClass::Elsewhere => {}
        }
        let clone = || mount::clone_tree(&there, c"", true, false).op("open_tree");
        let copy = self.in_container(clone).result()?;
        let visit = self.detach(&there);
        if visit.work.is_ok() {
            let Unmount { at, path, nofollow } = unmount;
            let mounted = Unmount { at: at.clone(), path: path.clone(), nofollow: *nofollow };
            self.steps.push(Step::Detached(copy, mounted));
        }
        visit.result()
    }

    /// Unmounts `there`. umount(2) takes a path, so the path is the number of the
    /// descriptor in `fds`, a directory that no other process has.
    fn detach(&self, there: &OwnedFd) -> Visit<()> {
        let umount = || {
            nix::unistd::fchdir(&self.fds).op("fchdir")?;
            umount2(there.as_raw_fd().to_string().as_str(), MntFlags::MNT_DETACH).op("umount")
        };
        let explain = |e: Error| {
            let is_no_mount = e.is(Errno::EINVAL);
            if is_no_mount {
                e.hint("check the destination: either nothing is mounted there, or the container must not unmount it")
            } else {
                e
            }
        };
        self.in_container(|| umount().map_err(explain))
    }

    /// Rolls all steps back, the last one first.
    fn roll_back(mut self) -> Result<()> {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Attached(tree) => self.detach(&tree).result()?,
                Step::Detached(tree, mounted) => {
                    self.attach(&tree, &self.open_mount(&mounted)?).result()?;
                }
                // The container may have put something there meanwhile.
                Step::Created(made) => match made.remove() {
                    Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EBUSY) => {}
                    Err(errno) => return Err(Error::os("remove the mount point", errno)),
                },
            }
        }
        Ok(())
    }
}
