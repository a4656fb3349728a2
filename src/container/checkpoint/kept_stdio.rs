//! Files of the host that a container's processes have open: its stdio.
//!
//! The runtime tells CRIU the name of every open file that is not in the container's
//! mounts. A restore replaces those that were stdin, stdout or stderr. No record says which
//! files these were: a checkpoint finds them among the descriptors of all processes. A
//! shell keeps init's stdio under another number while a command with a redirection runs.

use super::external::points;
use crate::container::state::State;
use crate::criu::messages::{Options, Text};
use crate::criu::service;
use crate::error::{Context, Result};
use crate::sys::mountinfo::MountInfo;
use crate::sys::process;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlink};
use nix::sys::stat::{SFlag, major, stat};
use std::os::fd::OwnedFd;

/// The beginnings of CRIU's names for a pipe, a file and a terminal. Numbers follow.
const PIPE: &str = "pipe:[";
const FILE: &str = "file[";
const TTY: &str = "tty[";

/// An open file of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OpenFile {
    number: i32,
    /// CRIU's name for it.
    name: String,
    reads: bool,
    writes: bool,
    /// Whether the file is in a mount that is not the container's.
    foreign: bool,
}

impl OpenFile {
    fn is_pipe(&self) -> bool {
        self.name.starts_with(PIPE)
    }
}

/// Tells CRIU the names of the host's files. Returns the names of stdin, stdout and stderr
/// (runc's `descriptors.json`). Refuses a terminal of the host without `shell_job`.
pub fn name_stdio(state: &State, shell_job: bool, options: &mut Options) -> Result<Vec<String>> {
    let inside = points(&state.pid().to_string())?;
    let mut pids = state.cgroup.pids()?;
    pids.sort_unstable_by_key(|pid| (*pid != state.pid(), *pid));
    if pids.first() != Some(&state.pid()) {
        pids.insert(0, state.pid());
    }
    let mut all = Vec::new();
    for pid in pids {
        all.push(open_files(pid, &inside)?);
    }
    let mut foreign: Vec<&str> =
        all.iter().flatten().filter(|open| open.foreign).map(|open| &*open.name).collect();
    foreign.sort_unstable();
    foreign.dedup();
    foreign.iter().filter(|name| shell_job || !name.starts_with(TTY)).for_each(|name| {
        options.text(Text::External, name);
    });
    Ok(stdio(&all))
}

/// Returns the names of init's original descriptors 0, 1 and 2. `all` has the open files of
/// each process, init's first.
fn stdio(all: &[Vec<OpenFile>]) -> Vec<String> {
    let outside: Vec<&OpenFile> = all.iter().flatten().filter(|open| is_outside(open, all)).collect();
    let mut names: Vec<Option<&str>> = vec![None; 3];
    // First search by descriptor number: in init, then in the other processes, which may
    // still have the original file.
    for (number, name) in (0..).zip(&mut names) {
        *name = outside.iter().find(|open| open.number == number).map(|open| &*open.name);
    }
    // Then assign the files that a shell has moved to a higher number.
    for open in outside.iter().filter(|open| open.number > 2) {
        if names.contains(&Some(&open.name)) {
            continue;
        }
        let mut places = (0..)
            .zip(&mut names)
            .filter(|(number, name)| name.is_none() && if *number == 0 { open.reads } else { open.writes });
        if let Some((_, place)) = places.next() {
            *place = Some(&open.name);
        }
    }
    let init = all.first().map_or(&[][..], Vec::as_slice);
    let as_it_is = |number| init.iter().find(|open| open.number == number).map(|open| &*open.name);
    (0..).zip(names).map(|(number, name)| name.or(as_it_is(number)).unwrap_or_default().into()).collect()
}

/// Whether the file belongs to the host. A pipe belongs to the host if its other end is
/// outside of the container.
fn is_outside(open: &OpenFile, all: &[Vec<OpenFile>]) -> bool {
    let same = || all.iter().flatten().filter(|other| other.name == open.name);
    open.foreign || (open.is_pipe() && !(same().any(|o| o.reads) && same().any(|o| o.writes)))
}

fn open_files(pid: i32, inside: &[MountInfo]) -> Result<Vec<OpenFile>> {
    let dir = format!("/proc/{pid}/fd");
    let entries = match std::fs::read_dir(&dir) {
        // The process has just ended.
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => return Ok(Vec::new()),
        other => other.op_on("read", &dir)?,
    };
    let mut out = Vec::new();
    for entry in entries {
        let Some(number) = entry.op_on("read", &dir)?.file_name().to_str().and_then(|name| name.parse().ok())
        else {
            continue;
        };
        match open_file(pid, number, inside) {
            Ok(found) => out.extend(found),
            // The process has just closed the file, or ended.
            Err(error) if error.is(Errno::ENOENT) || error.is(Errno::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    out.sort_unstable_by_key(|open| open.number);
    Ok(out)
}

/// Looks at an open file. `None`: /proc tells about it in another form than expected.
///
/// # Errors
/// ENOENT and ESRCH: the process has just closed it.
fn open_file(pid: i32, number: i32, inside: &[MountInfo]) -> Result<Option<OpenFile>> {
    let path = format!("/proc/{pid}/fd/{number}");
    let target = readlink(path.as_str()).op_on("readlink", &path)?.to_string_lossy().into_owned();
    let info_path = format!("/proc/{pid}/fdinfo/{number}");
    let info = process::read_file(info_path.as_str()).op_on("read", &info_path)?;
    let info = String::from_utf8_lossy(&info);
    let Some((flags, mount)) = flags_and_mount(&info) else { return Ok(None) };
    let mode = flags & OFlag::O_ACCMODE;
    let is_path = target.starts_with('/') && !flags.contains(OFlag::O_PATH);
    let foreign = is_path && inside.iter().all(|point| point.id != mount);
    let name = if foreign {
        let file = stat(path.as_str()).op_on("stat", &path)?;
        match is_terminal(&file) {
            true => format!("{TTY}{:x}:{:x}]", file.st_rdev, file.st_dev),
            false => format!("{FILE}{mount:x}:{:x}]", file.st_ino),
        }
    } else {
        target
    };
    let (reads, writes) = (mode != OFlag::O_WRONLY, mode != OFlag::O_RDONLY);
    Ok(Some(OpenFile { number, name, reads, writes, foreign }))
}

/// Returns the flags of an open file and the id of its mount, from its fdinfo.
fn flags_and_mount(info: &str) -> Option<(OFlag, u64)> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let flags = OFlag::from_bits_truncate(i32::from_str_radix(field("flags:")?, 8).ok()?);
    Some((flags, field("mnt_id:")?.parse().ok()?))
}

/// Whether the file is a pseudo-terminal or a console.
fn is_terminal(file: &nix::sys::stat::FileStat) -> bool {
    let kind = SFlag::from_bits_truncate(file.st_mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFCHR && matches!(major(file.st_rdev), 4 | 5 | 136..=143)
}

/// Tells CRIU to replace init's former stdio by `stdio`, files of this process.
pub fn give_stdio(descriptors: &[String], stdio: &[OwnedFd], options: &mut Options) {
    for (file, name) in stdio.iter().zip(descriptors) {
        if [PIPE, FILE, TTY].iter().any(|kind| name.starts_with(kind)) {
            options.inherit_fd(name, service::descriptor_number(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::makedev;

    fn open(number: i32, name: &str, mode: &str) -> OpenFile {
        OpenFile {
            number,
            name: name.into(),
            reads: mode.contains('r'),
            writes: mode.contains('w'),
            foreign: name.starts_with("file["),
        }
    }

    #[test]
    fn stdio_is_what_init_has() {
        let init = vec![open(0, "pipe:[1]", "r"), open(1, "pipe:[2]", "w"), open(2, "/dev/null", "rw")];
        assert_eq!(stdio(&[init]), ["pipe:[1]", "pipe:[2]", "/dev/null"]);
        assert_eq!(stdio(&[Vec::new()]), ["", "", ""]);
    }

    #[test]
    fn stdio_is_found_where_a_shell_keeps_it() {
        // A shell executes `a 2>/dev/null`: until `a` ends, the shell keeps its stderr as
        // descriptor 10.
        let init = vec![open(0, "file[1:1]", "r"), open(2, "/dev/null", "w"), open(10, "pipe:[3]", "w")];
        assert_eq!(stdio(std::slice::from_ref(&init)), ["file[1:1]", "pipe:[3]", "/dev/null"]);
        // Another process has the pipe as descriptor 2, so the pipe is stderr and not
        // stdout.
        let other = vec![open(2, "pipe:[3]", "w"), open(1, "pipe:[2]", "w")];
        assert_eq!(stdio(&[init, other]), ["file[1:1]", "pipe:[2]", "pipe:[3]"]);
    }

    #[test]
    fn a_pipe_within_the_container_is_its_own() {
        let left = vec![open(0, "pipe:[1]", "r"), open(1, "pipe:[9]", "w")];
        let right = vec![open(0, "pipe:[9]", "r"), open(1, "pipe:[2]", "w")];
        let shell = vec![open(0, "pipe:[1]", "r"), open(1, "pipe:[2]", "w"), open(2, "pipe:[2]", "w")];
        assert_eq!(stdio(&[shell, left, right]), ["pipe:[1]", "pipe:[2]", "pipe:[2]"]);
    }

    #[test]
    fn a_terminal_is_not_a_file() {
        let device = |kind: SFlag, major, minor| {
            // Take the stat of an existing file and replace its type and device number.
            let mut file = stat("/dev/null").expect("stat");
            file.st_mode = kind.bits();
            file.st_rdev = makedev(major, minor);
            file
        };
        for (major, minor) in [(136, 3), (5, 1), (4, 64)] {
            assert!(is_terminal(&device(SFlag::S_IFCHR, major, minor)), "{major}:{minor}");
        }
        assert!(!is_terminal(&device(SFlag::S_IFCHR, 1, 3)));
        assert!(!is_terminal(&device(SFlag::S_IFBLK, 136, 3)));
    }
}
