//! Id mappings of user namespaces (config-linux.md "User namespace mappings"). The runtime
//! writes the mappings of a new user namespace from outside. It compares those of a joined
//! one with the configuration. And it creates user namespaces that serve only for their
//! mappings.
//!
//! The kernel lets an unprivileged user map only his own id. For other ids the runtime
//! calls newuidmap(1) and newgidmap(1), which are set-user-ID and look into /etc/subuid
//! and /etc/subgid.

use crate::error::{Context, Error, Result, without_engines_words};
use crate::spec::plan::{IdMap, IdMaps, NsKind, Plan};
use crate::sys::clone::{self, Forked};
use crate::sys::command::output;
use crate::sys::fd::open;
use crate::sys::proc_pid::{number_in_proc, path_in_proc};
use crate::sys::process::read_file;
use crate::sys::{caps, pidfd, scm};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, access, getegid, geteuid, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;

/// How the runtime writes a map.
#[derive(Debug)]
enum Writer {
    /// The runtime itself, with CAP_SETUID or CAP_SETGID.
    Privileged,
    /// The runtime itself, without privilege: the map has only the caller's own id.
    Own,
    /// The set-user-ID program at this path.
    Helper(PathBuf),
}

/// How the runtime writes the two maps of a new user namespace.
#[derive(Debug)]
pub struct Writers {
    uid: Writer,
    gid: Writer,
    at: String,
}

fn choose_writer(maps: &[IdMap], may: bool, own: u32, helper: &str) -> Result<Writer> {
    let size = format_lines(maps).len();
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    if i64::try_from(size).is_ok_and(|size| size >= page) {
        return Err(Error::msg(format!("the map has {size} bytes, and the kernel takes less than {page}")));
    }
    if may {
        return Ok(Writer::Privileged);
    }
    if let [IdMap { host, size: 1, .. }] = maps
        && *host == own
    {
        return Ok(Writer::Own);
    }
    find_in_path(helper).map(Writer::Helper).ok_or_else(|| {
        Error::msg(format!("{helper} is not in $PATH; without it a user can map only their own id")).hint(
            format!(
                "install {helper} (package uidmap or shadow-utils), or map one id to {own} with a size of 1"
            ),
        )
    })
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let absolute = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    absolute.map(|dir| dir.join(program)).find(|file| access(file, AccessFlags::X_OK).is_ok())
}

impl Writers {
    /// Decides how to write the maps, before anything is created. `at` is the JSON
    /// pointer of the object that has the mappings.
    pub fn choose(maps: &IdMaps, at: &str) -> Result<Writers> {
        let effective = caps::get().op("capget")?.effective;
        let may = |cap: u32| effective >> cap & 1 == 1;
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let (uid_at, gid_at) = (format!("{at}/uidMappings"), format!("{at}/gidMappings"));
        Ok(Writers {
            uid: choose_writer(&maps.uid, may(CAP_SETUID), uid, "newuidmap").map_err(|e| e.at(uid_at))?,
            gid: choose_writer(&maps.gid, may(CAP_SETGID), gid, "newgidmap").map_err(|e| e.at(gid_at))?,
            at: at.into(),
        })
    }

    /// Maps the ids of the process `pid`, which waits in its new user namespace.
    pub fn write(&self, pid: i32, maps: &IdMaps) -> Result<()> {
        // Without privilege the kernel wants setgroups denied before it takes a gid map:
        // a process must not be able to drop a group that denies it something.
        if matches!(self.gid, Writer::Own) {
            write_proc_file(pid, "setgroups", "deny")?;
        }
        self.uid.write(pid, "uid_map", &maps.uid).map_err(|e| e.at(format!("{}/uidMappings", self.at)))?;
        self.gid.write(pid, "gid_map", &maps.gid).map_err(|e| e.at(format!("{}/gidMappings", self.at)))
    }
}

impl Writer {
    fn write(&self, pid: i32, file: &str, maps: &[IdMap]) -> Result<()> {
        match self {
            Writer::Privileged | Writer::Own => {
                write_proc_file(pid, file, &format_lines(maps)).map_err(|e| {
                    let not_ours = e.is(Errno::EPERM);
                    if not_ours {
                        e.hint("map only host ids that the runtime's own user namespace has")
                    } else {
                        e
                    }
                })
            }
            Writer::Helper(program) => run_helper(program, pid, maps),
        }
    }
}

/// User namespaces for idmapped mounts. Mounts with equal mappings share one.
#[derive(Default)]
pub struct Mappings(Vec<(IdMaps, OwnedFd)>);

impl Mappings {
    /// Returns the user namespace with the mappings `maps`. `at` is the mount's JSON
    /// pointer.
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

/// Creates a user namespace with the mappings `maps`. A child enters the new namespace
/// and sends a descriptor of it. The runtime can't open the namespace itself: the child
/// is not dumpable, just as the runtime is not, and only a process with CAP_SYS_PTRACE
/// can open the namespaces of such a process. The child then waits until its maps are
/// written, and ends. The descriptor keeps the namespace.
fn mapped_namespace(maps: &IdMaps, at: &str) -> Result<OwnedFd> {
    let (here, there) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .op("socketpair")?;
    match clone::fork(NsKind::User.flag(), None).op("clone3 a user namespace for an idmapped mount")? {
        Forked::Child => {
            drop(here);
            let own = open(c"/proc/self/ns/user", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
            if own.is_ok_and(|own| scm::send_fd(&there, &[0], own.as_fd()).is_ok()) {
                // The read ends when the runtime closes its end of the socket, or when
                // the runtime is killed.
                let _ = read(&there, &mut [0]);
            }
            clone::exit(0)
        }
        Forked::Parent { pid, pidfd } => {
            drop(there);
            let made = Writers::choose(maps, at)
                .and_then(|writers| writers.write(pid, maps))
                .and_then(|()| scm::recv_fd(&here, &mut [0]).op("receive the user namespace"))
                .and_then(|(_, own)| own.ok_or_else(|| Error::msg("/proc/self/ns/user can't be opened")));
            drop(here);
            pidfd::wait(&pidfd).op("wait for the process that creates a user namespace")?;
            made
        }
    }
}

fn format_lines(maps: &[IdMap]) -> String {
    maps.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect()
}

/// Writes `text` in one write, because the kernel takes a map whole or not at all.
fn write_proc_file(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = path_in_proc(pid, file);
    let fd = open(path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", &path)?;
    write(fd, text.as_bytes()).op_on("write", &path).map(drop)
}

/// Executes `newuidmap PID CONTAINER HOST SIZE…`.
fn run_helper(program: &Path, pid: i32, maps: &[IdMap]) -> Result<()> {
    let numbers = maps.iter().flat_map(|m| [m.container, m.host, m.size]);
    let mut command = Command::new(program);
    let pid = number_in_proc(pid).op("find the process in /proc")?;
    command.arg(pid.to_string()).args(numbers.map(|n| n.to_string()));
    let out = output(&mut command).op_on("execute", program.display())?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(Error::msg(format!("{}: {}", out.status, without_engines_words(said.trim())))
        .on(program.display().to_string())
        .hint(
            "map only the caller's ranges in /etc/subuid and /etc/subgid. Root needs CAP_SETUID and \
               CAP_SETGID instead",
        ))
}

/// Checks that a joined user namespace has the mappings that the configuration gives, as
/// containerd's configurations do. `pid` is a process in that namespace.
pub fn check_joined(pid: i32, plan: &Plan) -> Result<()> {
    let Some(maps) = &plan.joined_maps else { return Ok(()) };
    for (file, said, at) in
        [("uid_map", &maps.uid, "/linux/uidMappings"), ("gid_map", &maps.gid, "/linux/gidMappings")]
    {
        let path = path_in_proc(pid, file);
        let text = read_file(path.as_str()).op_on("read", &path)?;
        let has = parse_lines(&String::from_utf8_lossy(&text));
        if normalize(said) != normalize(&has) {
            let has: Vec<_> = format_lines(&has).lines().map(str::to_owned).collect();
            return Err(Error::config(at, "the joined user namespace has other mappings")
                .on(has.join(", "))
                .hint("leave out the mappings: the joined namespace has its own"));
        }
    }
    Ok(())
}

/// Returns the payload's uid in the runtime's user namespace. `None` if the container's
/// user namespace doesn't map that uid. `init` is the pid of a process in the container's
/// user namespace. The kernel translates the ids in uid_map for the process that reads
/// it.
pub fn host_uid(init: i32, plan: &Plan) -> Result<Option<u32>> {
    let uid = plan.process.uid;
    if !plan.namespaces.is_not_inherited(NsKind::User) {
        return Ok(Some(uid));
    }
    let path = path_in_proc(init, "uid_map");
    let text = read_file(path.as_str()).op_on("read", &path)?;
    let maps = parse_lines(&String::from_utf8_lossy(&text));
    Ok(maps.iter().find_map(|map| {
        let offset = uid.checked_sub(map.container).filter(|offset| *offset < map.size)?;
        map.host.checked_add(offset)
    }))
}

fn parse_lines(text: &str) -> Vec<IdMap> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|n| n.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(IdMap { container: next()?, host: next()?, size: next()? })
    };
    text.lines().filter_map(line).collect()
}

/// Sorts the mappings by the container's ids and unites adjacent ranges, because the same
/// ids can be mapped in many ways.
fn normalize(maps: &[IdMap]) -> Vec<IdMap> {
    let mut maps = maps.to_vec();
    maps.sort_by_key(|m| m.container);
    let mut out: Vec<IdMap> = Vec::new();
    for map in maps {
        match out.last_mut() {
            Some(last)
                if last.container.checked_add(last.size) == Some(map.container)
                    && last.host.checked_add(last.size) == Some(map.host) =>
            {
                last.size += map.size;
            }
            _ => out.push(map),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container: u32, host: u32, size: u32) -> IdMap {
        IdMap { container, host, size }
    }

    #[test]
    fn the_kernels_lines_are_read_back() {
        assert_eq!(
            parse_lines("         0     100000      65536\n   70000 5 1\n"),
            [map(0, 100_000, 65536), map(70_000, 5, 1)]
        );
        assert_eq!(format_lines(&[map(0, 1, 2)]), "0 1 2\n");
    }

    #[test]
    fn the_same_ids_are_the_same_mappings() {
        let split = [map(10, 20, 5), map(0, 10, 10)];
        assert_eq!(normalize(&split), [map(0, 10, 15)]);
        assert_ne!(normalize(&split), normalize(&[map(0, 10, 10), map(10, 30, 5)]));
    }

    #[test]
    fn the_own_id_needs_no_helper() {
        assert!(matches!(choose_writer(&[map(0, 1000, 1)], false, 1000, "-"), Ok(Writer::Own)));
        assert!(matches!(choose_writer(&[map(0, 5, 9)], true, 1000, "-"), Ok(Writer::Privileged)));
        for maps in [&[map(0, 1000, 2)][..], &[map(0, 1001, 1)], &[map(0, 1000, 1), map(1, 2000, 1)]] {
            let error = choose_writer(maps, false, 1000, "no-such-helper").expect_err("needs help");
            assert!(error.to_string().contains("no-such-helper is not in $PATH"), "{error}");
        }
    }

    #[test]
    fn a_map_of_a_page_is_refused() {
        let maps: Vec<_> = (0..340).map(|n| map(n, 4_000_000_000 + n, 1)).collect();
        assert!(choose_writer(&maps, true, 0, "-").is_err());
        assert!(choose_writer(&maps[..200], true, 0, "-").is_ok());
    }
}
