//! The id mappings of a new user namespace, written from outside; and user
//! namespaces that are nothing but their mappings.

use crate::error::{Context, Error, Result};
use crate::spec::plan::{IdMap, IdMaps, NsKind};
use crate::sys::clone::{self, Forked};
use crate::sys::pidfd;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Maps the ids of the process `pid`, which waits in its new user namespace.
/// `at` is the pointer of the object that has the mappings.
pub fn write_maps(pid: i32, maps: &IdMaps, at: &str) -> Result<()> {
    // Without privilege the kernel wants setgroups off before it takes a gid
    // map: a group that denies something must not be droppable.
    if !geteuid().is_root() {
        put(pid, "setgroups", "deny")?;
    }
    put(pid, "uid_map", &lines(&maps.uid)).map_err(|e| explain(e, at, "uidMappings"))?;
    put(pid, "gid_map", &lines(&maps.gid)).map_err(|e| explain(e, at, "gidMappings"))
}

/// User namespaces for idmapped mounts: one for all mounts of equal mappings.
#[derive(Default)]
pub struct Mappings(Vec<(IdMaps, OwnedFd)>);

impl Mappings {
    /// The namespace of `maps`, which were found at `at`.
    pub fn namespace(&mut self, maps: &IdMaps, at: &str) -> Result<BorrowedFd<'_>> {
        let known = self.0.iter().position(|(other, _)| other == maps);
        let i = match known {
            Some(i) => i,
            None => {
                self.0.push((maps.clone(), mapped_namespace(maps, at)?));
                self.0.len() - 1
            }
        };
        Ok(self.0[i].1.as_fd())
    }
}

/// A user namespace is made by a process that enters it. This one then waits
/// until its maps are written, and ends; the descriptor keeps the namespace.
fn mapped_namespace(maps: &IdMaps, at: &str) -> Result<OwnedFd> {
    let (gone, here) = pipe2(OFlag::O_CLOEXEC).op("pipe2")?;
    match clone::fork(NsKind::User.flag(), None).op("clone3 a user namespace for an idmapped mount")? {
        Forked::Child => {
            drop(here);
            // Ends with our end of the pipe, be it that we were killed.
            let _ = read(&gone, &mut [0]);
            clone::exit(0)
        }
        Forked::Parent { pid, pidfd } => {
            let path = format!("/proc/{pid}/ns/user");
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let made = write_maps(pid, maps, at)
                .and_then(|()| open(path.as_str(), flags, Mode::empty()).op_on("open", &path));
            drop(here);
            pidfd::wait(&pidfd).op("wait for the maker of a user namespace")?;
            made
        }
    }
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect()
}

/// One write: the kernel takes a map whole or not at all.
fn put(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    let fd = open(path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", &path)?;
    write(fd, text.as_bytes()).op_on("write", &path).map(drop)
}

fn explain(error: Error, at: &str, field: &str) -> Error {
    let hint = match error.errno.map(Errno::from_raw) {
        Some(Errno::EPERM) => "an unprivileged user may map its own id alone",
        Some(Errno::EINVAL) => "ranges may not overlap, and the kernel takes at most 340 of them",
        _ => "",
    };
    error.at(format!("{at}/{field}")).hint(hint)
}
