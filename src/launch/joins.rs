//! Namespaces that are joined by path: opened on the host, entered by init.

use crate::error::{Context, Error, Result};
use crate::spec::plan::{Namespaces, Ns, NsKind, Plan};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, fstat, stat};
use std::os::fd::OwnedFd;

/// Open descriptors of the namespaces to join, in the order of entering.
pub struct Joins(Vec<(NsKind, OwnedFd)>);

impl Joins {
    /// Opens every path of the plan and checks that it is a namespace of the
    /// right kind, which setns would only say by EINVAL.
    pub fn open(plan: &Plan) -> Result<Joins> {
        let mut out = Vec::new();
        for kind in NsKind::ALL {
            if let Ns::Join(path) = plan.namespaces.get(kind) {
                let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
                let fd = fd
                    .op_on("open the namespace to join", path.display())
                    .map_err(|e| e.at("/linux/namespaces"))?;
                check_kind(&fd, kind).map_err(|e| e.on(path.display().to_string()))?;
                out.push((kind, fd));
            }
        }
        let joins = Joins(out);
        joins.check_sysctl(plan)?;
        Ok(joins)
    }

    /// A joined network namespace that is the host's own must not be tuned.
    fn check_sysctl(&self, plan: &Plan) -> Result<()> {
        let Some(sysctl) = plan.sysctl.iter().find(|s| s.path.to_bytes().starts_with(b"net/")) else {
            return Ok(());
        };
        let Some(net) = self.get(NsKind::Network) else { return Ok(()) };
        let joined = fstat(net).op("fstat")?;
        let own = stat("/proc/self/ns/net").op_on("stat", "/proc/self/ns/net")?;
        if (joined.st_dev, joined.st_ino) == (own.st_dev, own.st_ino) {
            return Err(Error::config("/linux/sysctl", "would change the host's own network namespace")
                .on(sysctl.key.clone()));
        }
        Ok(())
    }

    /// The open namespace of this kind, if one is joined.
    pub fn get(&self, kind: NsKind) -> Option<&OwnedFd> {
        self.0.iter().find(|(other, _)| *other == kind).map(|(_, fd)| fd)
    }

    /// Puts the next child into the joined pid namespace, if there is one, and
    /// returns the way back.
    pub fn enter_pid(&self) -> Result<Option<OwnedFd>> {
        let Some(fd) = self.get(NsKind::Pid) else { return Ok(None) };
        let home = open("/proc/self/ns/pid", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .op_on("open", "/proc/self/ns/pid")?;
        setns(fd, CloneFlags::CLONE_NEWPID).op("setns pid")?;
        Ok(Some(home))
    }

    /// Enters the user namespace.
    pub fn enter_user(&self) -> Result<bool> {
        let Some(fd) = self.get(NsKind::User) else { return Ok(false) };
        setns(fd, CloneFlags::CLONE_NEWUSER).op("setns user")?;
        Ok(true)
    }

    /// Enters all but the user and the pid namespace.
    pub fn enter_rest(&self) -> Result<()> {
        for (kind, fd) in &self.0 {
            if !matches!(kind, NsKind::User | NsKind::Pid) {
                setns(fd, clone_flag(*kind)).op(&format!("setns {}", kind.name()))?;
            }
        }
        Ok(())
    }
}

/// Back to the pid namespace that [`Joins::enter_pid`] came from.
pub fn return_to(home: &OwnedFd) -> Result<()> {
    setns(home, CloneFlags::CLONE_NEWPID).op("setns pid")
}

fn clone_flag(kind: NsKind) -> CloneFlags {
    CloneFlags::from_bits_retain(i32::try_from(kind.flag()).unwrap_or(0))
}

fn check_kind(fd: &OwnedFd, kind: NsKind) -> Result<()> {
    let wrong = || {
        Error::config("/linux/namespaces", format!("is not a {} namespace", kind.name()))
            .hint("the path must be that of a file like /proc/PID/ns/net")
    };
    match crate::sys::fd::namespace_type(fd) {
        Ok(flag) if u64::from(flag.unsigned_abs()) == kind.flag() => Ok(()),
        _ => Err(wrong()),
    }
}

/// The namespaces of a running container that `exec` has to enter.
pub fn private_flags(namespaces: &Namespaces) -> u64 {
    NsKind::ALL.into_iter().filter(|k| namespaces.is_private(*k)).fold(0, |flags, k| flags | k.flag())
}
