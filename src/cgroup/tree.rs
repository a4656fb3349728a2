//! Directories of a cgroup filesystem, whatever its version.

use super::stuck;
use crate::error::{Context, Error, Result};
use crate::sys::openat2;
use crate::sys::pidfd::{self, PATIENCE};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_path};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub fn open(path: &Path) -> Result<OwnedFd> {
    open_path(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .op_on("open the cgroup", path.display())
}

/// Makes `path` and what is missing above it. `each` is called for every
/// directory that was made, from the top down.
pub fn make(path: &Path, each: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    loop {
        match nix::unistd::mkdir(path, Mode::from_bits_truncate(0o755)) {
            Ok(()) => return each(path),
            Err(Errno::EEXIST) => return Ok(()),
            Err(Errno::ENOENT) => match path.parent() {
                Some(parent) => make(parent, each)?,
                None => return Err(Error::msg("no such cgroup").on(path.display().to_string())),
            },
            Err(errno) => return Err(errno).op_on("make the cgroup", path.display()),
        }
    }
}

/// One write of a whole value to one file.
pub fn write(dir: impl AsFd, file: &str, value: &str) -> Result<()> {
    let fd = open_file(dir, file, libc::O_WRONLY)?;
    nix::unistd::write(&fd, value.as_bytes()).op(&format!("write {file}")).map(drop)
}

pub fn open_file(dir: impl AsFd, file: &str, flags: i32) -> Result<OwnedFd> {
    let name = CString::new(file).map_err(|_| Error::msg("NUL in the name of a cgroup file"))?;
    openat2::beneath(dir, &name, flags).op(&format!("open {file}"))
}

/// The whole content of a file of an open cgroup, without its last newline.
pub fn read_at(dir: impl AsFd, file: &str) -> Result<String> {
    let fd = open_file(dir, file, libc::O_RDONLY)?;
    let mut text = Vec::new();
    std::fs::File::from(fd).read_to_end(&mut text).op(&format!("read {file}"))?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// The content of a small file, without its newline.
pub fn read(path: &Path) -> Result<String> {
    let fd =
        open_path(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path.display())?;
    let mut buf = [0u8; 4096];
    let len = nix::unistd::read(&fd, &mut buf).op_on("read", path.display())?;
    Ok(String::from_utf8_lossy(&buf[..len]).trim_end().to_owned())
}

/// The processes of the cgroup and of those below it.
pub fn pids(path: &Path) -> Result<Vec<i32>> {
    let mut out = Vec::new();
    for dir in with_children(path) {
        let procs = dir.join("cgroup.procs");
        match std::fs::read_to_string(&procs) {
            // 0 is a process of a pid namespace that we can't see into.
            Ok(text) => {
                out.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0))
            }
            // Removed in the meantime, or threaded.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) => {}
            Err(e) => return Err(e).op_on("read", procs.display()),
        }
    }
    Ok(out)
}

/// Handles on the processes of the cgroup and of those below it. A pid may go to
/// another process between the list and the handle; who is listed again after
/// the handle was opened is either the one that it stands for, or that one is
/// dead and takes no signal.
pub fn handles(path: &Path) -> Result<Vec<OwnedFd>> {
    let opened = pids(path)?.into_iter().filter_map(|pid| Some((pid, pidfd::open(pid).ok()?)));
    let opened: Vec<_> = opened.collect();
    if opened.is_empty() {
        return Ok(Vec::new());
    }
    let still = pids(path)?;
    Ok(opened.into_iter().filter(|(pid, _)| still.contains(pid)).map(|(_, handle)| handle).collect())
}

/// The directory and all below it, parents first.
pub fn with_children(path: &Path) -> Vec<PathBuf> {
    let mut out = vec![path.to_path_buf()];
    let mut next = 0;
    while next < out.len() {
        let entries = std::fs::read_dir(&out[next]).into_iter().flatten().flatten();
        let dirs: Vec<_> =
            entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
        out.extend(dirs);
        next += 1;
    }
    out
}

/// Waits until cgroup.events has this line. False: the deadline came first.
pub fn wait_for_event(dir: &OwnedFd, line: &str, deadline: Instant) -> Result<bool> {
    let events = open_file(dir, "cgroup.events", libc::O_RDONLY)?;
    loop {
        let mut buf = [0u8; 256];
        let len = nix::sys::uio::pread(&events, &mut buf, 0).op("read cgroup.events")?;
        if String::from_utf8_lossy(&buf[..len]).lines().any(|have| have == line) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        let timeout = crate::sys::timeout_until(deadline);
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).op("poll cgroup.events"),
        }
    }
}

/// Kills every process, by pidfd, until none is left. A process that forks
/// meanwhile is found by the next look. `killed` is called after each round,
/// before its end is waited for.
///
/// # Errors
/// A process is still there after [`PATIENCE`].
pub fn kill_each(path: &Path, killed: impl Fn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let targets = handles(path)?;
        // Whoever ended in between was no reason to go on; an empty list is the end.
        if targets.is_empty() && pids(path)?.is_empty() {
            return Ok(());
        }
        for target in &targets {
            match pidfd::send_signal(target, libc::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).op_on("kill a process of", path.display()),
            }
        }
        killed()?;
        for target in &targets {
            let left = deadline.saturating_duration_since(Instant::now());
            if !pidfd::ends_within(target, left).op("poll a pidfd")? {
                return Err(stuck::in_cgroup(path));
            }
        }
    }
}

/// Removes the directory and all below it.
pub fn remove(path: &Path) -> Result<()> {
    match rmdir(path) {
        // A payload may have made cgroups of its own below.
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
        // Where none could be made the kernel doesn't look whether there is one.
        Err(Errno::EROFS) if !path.exists() => return Ok(()),
        other => return other.op_on("remove the cgroup", path.display()),
    }
    for dir in with_children(path).iter().rev() {
        rmdir(dir).op_on("remove the cgroup", dir.display())?;
    }
    Ok(())
}

fn rmdir(path: &Path) -> nix::Result<()> {
    let c_path =
        CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())).map_err(|_| Errno::EINVAL)?;
    match nix::unistd::unlinkat(
        nix::fcntl::AT_FDCWD,
        c_path.as_c_str(),
        nix::unistd::UnlinkatFlags::RemoveDir,
    ) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}
