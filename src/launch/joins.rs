//! Namespaces that are joined by path. The runtime opens them, and init enters them.

use crate::error::{Context, Error, Result};
use crate::spec::plan::{Namespaces, Ns, NsKind, Plan};
use crate::sys::clone::{self, Forked};
use crate::sys::fd::open;
use crate::sys::namespaces::NsFlags;
use crate::sys::pidfd::{self, Exit};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, fstat, stat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Descriptors of the namespaces to join, in the order in which init enters them.
#[derive(Default)]
pub struct Joins(Vec<Join>);

struct Join {
    kind: NsKind,
    fd: OwnedFd,
    at: String,
    path: String,
}

impl Joins {
    /// Returns only the user namespace of the process `pid`.
    pub fn user_of(pid: i32) -> Result<Joins> {
        let path = crate::sys::proc_pid::path_in_proc(pid, "ns/user");
        Ok(Joins(vec![Join::open(NsKind::User, &path, "").map_err(|e| e.on(path.clone()))?]))
    }

    /// Opens every namespace path of the plan, and checks that the file is a namespace of
    /// the right kind. setns(2) would only return EINVAL for a wrong kind. No process can
    /// enter its own user namespace again. So if the user namespace is the runtime's own,
    /// the plan inherits it from then on.
    pub fn open(plan: &mut Plan) -> Result<Joins> {
        let mut out = Vec::new();
        for kind in NsKind::ALL {
            if let Ns::Join { path, at } = plan.namespaces.get(kind) {
                let path = path.display().to_string();
                out.push(Join::open(kind, &path, at).map_err(|e| e.at(at.clone()).on(path))?);
            }
        }
        let mut joins = Joins(out);
        if joins.is_own(NsKind::User)? {
            joins.0.retain(|join| join.kind != NsKind::User);
            plan.namespaces.set(NsKind::User, Ns::Inherit);
        }
        joins.check_sysctl(plan)?;
        Ok(joins)
    }

    /// Refuses a sysctl of a joined namespace that is the host's own.
    fn check_sysctl(&self, plan: &Plan) -> Result<()> {
        for sysctl in &plan.sysctl {
            if self.is_own(sysctl.kind)? {
                let what = format!("would change the host's own {} namespace", sysctl.kind.name());
                return Err(Error::config(sysctl.at.clone(), what));
            }
        }
        Ok(())
    }

    fn find(&self, kind: NsKind) -> Option<&Join> {
        self.0.iter().find(|join| join.kind == kind)
    }

    /// Returns the open namespace of this kind. `None` if none of this kind is joined.
    pub fn get(&self, kind: NsKind) -> Option<&OwnedFd> {
        self.find(kind).map(|join| &join.fd)
    }

    /// Whether a namespace of this kind is joined and is the one that the runtime is in.
    pub fn is_own(&self, kind: NsKind) -> Result<bool> {
        let Some(join) = self.find(kind) else { return Ok(false) };
        let path = format!("/proc/self/ns/{}", kind.file());
        let (joined, own) = (fstat(&join.fd).op("fstat")?, stat(path.as_str()).op_on("stat", &path)?);
        Ok((joined.st_dev, joined.st_ino) == (own.st_dev, own.st_ino))
    }

    /// Enters the joined pid namespace, if there is one, for the next child. If this
    /// process lacks the rights, init enters the namespace later, with the rights of the
    /// joined user namespace.
    pub fn enter_pid_for_child(&self) -> Result<ChildPidNamespace> {
        let Some(join) = self.find(NsKind::Pid) else { return Ok(ChildPidNamespace::Own) };
        // Root of a user namespace may leave the host's pid namespace, but can't come
        // back, because it is not root there. So this process tries the way back first.
        if setns(&open_own_pid_namespace()?, CloneFlags::CLONE_NEWPID) == Err(Errno::EPERM) {
            return Ok(ChildPidNamespace::Denied);
        }
        match enter_pid_namespace_for_child(&join.fd) {
            Ok(home) => Ok(ChildPidNamespace::Entered(home)),
            Err(e) if e.is(Errno::EPERM) && self.find(NsKind::User).is_some() => {
                Ok(ChildPidNamespace::Denied)
            }
            Err(e) => Err(join.explain(e)),
        }
    }

    /// Enters those joined namespaces for which the host's rights suffice, except the
    /// user and the pid namespace. Afterwards init has only the rights of a user
    /// namespace. They may not suffice for these namespaces, but they suffice for the
    /// others.
    pub fn enter_with_hosts_rights(&mut self) -> Result<()> {
        let mut left = Vec::new();
        for join in std::mem::take(&mut self.0) {
            match join.is_separate() {
                true => left.push(join),
                false => match join.enter() {
                    Err(e) if e.is(Errno::EPERM) => left.push(join),
                    other => other?,
                },
            }
        }
        self.0 = left;
        Ok(())
    }

    /// Enters the user namespace, if one is joined.
    pub fn enter_user(&self) -> Result<()> {
        self.find(NsKind::User).map_or(Ok(()), Join::enter)
    }

    /// Puts the next child into the joined pid namespace, if there is one.
    pub fn enter_pid(&self) -> Result<()> {
        self.find(NsKind::Pid).map_or(Ok(()), Join::enter)
    }

    /// Enters all remaining namespaces except the user and the pid namespace. The mount
    /// namespace comes last, because it takes the host's paths away.
    pub fn enter_rest(&self) -> Result<()> {
        self.0.iter().filter(|join| !join.is_separate()).try_for_each(Join::enter)
    }
}

impl Join {
    fn open(kind: NsKind, path: &str, at: &str) -> Result<Join> {
        let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let fd = fd.op("open the namespace to join")?;
        check_kind(&fd, kind)?;
        Ok(Join { kind, fd, at: at.into(), path: path.into() })
    }

    fn enter(&self) -> Result<()> {
        setns(&self.fd, self.kind.flag().for_setns())
            .op(&format!("setns {}", self.kind.name()))
            .map_err(|e| self.explain(e))
    }

    fn explain(&self, error: Error) -> Error {
        let hint = match error.errno.map(Errno::from_raw) {
            Some(Errno::EPERM) => "call the runtime as root of the user namespace that owns this namespace",
            _ => "",
        };
        error.at(self.at.clone()).on(self.path.clone()).hint(hint)
    }

    /// Whether init enters this namespace separately, after the others.
    fn is_separate(&self) -> bool {
        matches!(self.kind, NsKind::User | NsKind::Pid)
    }
}

/// Unmounts `path` in the mount namespace whose file is `namespace`, unless that file is
/// gone. A child does the unmount: the way back from another mount namespace would not
/// lead to this process's root directory.
pub fn unmount_in(namespace: &Path, path: &Path) -> Result<()> {
    let name = |e: Error| e.on(path.display().to_string());
    let Ok(ns) = open(namespace, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) else { return Ok(()) };
    let pidfd = match clone::fork(NsFlags::NONE, None).op("clone3")? {
        Forked::Parent { pidfd, .. } => pidfd,
        Forked::Child => {
            let done = setns(&ns, CloneFlags::CLONE_NEWNS)
                .and_then(|()| umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW));
            clone::exit(done.map_or_else(|errno| errno as i32, |()| 0))
        }
    };
    match pidfd::reap(&pidfd).op("wait for the unmount")? {
        None => Err(name(Error::msg("the unmount in the joined mount namespace does not end"))),
        Some(exit) => explain_unmount(exit).map_err(name),
    }
}

fn explain_unmount(exit: Exit) -> Result<()> {
    match exit {
        // `path` is no mount point, or it does not exist: the mount is gone already.
        Exit::Code(0 | libc::EINVAL | libc::ENOENT) => Ok(()),
        Exit::Code(errno) => {
            Err(Error::os("umount the rootfs in the joined mount namespace", Errno::from_raw(errno)))
        }
        Exit::Signal(_) => Err(Error::msg("the unmount was killed")),
    }
}

/// The pid namespace of the next child.
pub enum ChildPidNamespace {
    /// It is the caller's own.
    Own,
    /// It is another one. The descriptor is the way back.
    Entered(OwnedFd),
    /// It should be another one, but the caller may not enter that.
    Denied,
}

/// Puts the next child into a pid namespace. `pid` is a file of that namespace, or the
/// pidfd of a process in it. Returns the caller's own pid namespace, which is the way
/// back.
pub fn enter_pid_namespace_for_child(pid: impl AsFd) -> Result<OwnedFd> {
    let home = open_own_pid_namespace()?;
    setns(pid, CloneFlags::CLONE_NEWPID).op("setns pid")?;
    Ok(home)
}

fn open_own_pid_namespace() -> Result<OwnedFd> {
    let path = "/proc/self/ns/pid";
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path)
}

/// Calls `clone` once. Then puts the next child back into the pid namespace `home`, so
/// that hooks stay on the host.
pub fn fork_and_return(home: Option<OwnedFd>, clone: impl FnOnce() -> Result<Forked>) -> Result<Forked> {
    let forked = clone();
    match (&forked, home) {
        (Ok(Forked::Child), _) | (_, None) => {}
        (_, Some(home)) => match setns(&home, CloneFlags::CLONE_NEWPID) {
            // Root of a user namespace may not come back. Only an exec has such rights
            // here, and an exec clones nothing more.
            Ok(()) | Err(Errno::EPERM) => {}
            Err(errno) => return Err(Error::os("setns pid", errno)),
        },
    }
    forked
}

fn check_kind(fd: &OwnedFd, kind: NsKind) -> Result<()> {
    match crate::sys::fd::namespace_type(fd) {
        Ok(flag) if NsFlags::new(flag) == kind.flag() => Ok(()),
        _ => Err(Error::msg(format!("is not a {} namespace", kind.name()))
            .hint("give the path of a file like /proc/PID/ns/net")),
    }
}

/// The namespaces of a running container that `exec` has to enter.
pub fn private_flags(namespaces: &Namespaces) -> NsFlags {
    NsKind::ALL.into_iter().filter(|kind| namespaces.is_not_inherited(*kind)).map(NsKind::flag).collect()
}
