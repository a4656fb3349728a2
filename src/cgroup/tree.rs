//! Directories of a cgroup filesystem of either version.

use crate::error::{Context, Error, Result};
use crate::sys::fd::open as open_path;
use crate::sys::openat2;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Opens the directory of a cgroup.
pub fn open(path: &Path) -> Result<OwnedFd> {
    open_path(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .op_on("open the cgroup", path.display())
}

/// Creates `path` and the missing directories above it. Calls `on_created` for every
/// directory that it has created, from the top down.
///
/// # Errors
/// - A directory is missing because its hierarchy is not mounted.
/// - The kernel refuses to create a directory.
pub fn create(path: &Path, on_created: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    loop {
        match nix::unistd::mkdir(path, Mode::from_bits_truncate(0o755)) {
            Ok(()) => return on_created(path),
            Err(Errno::EEXIST) => return Ok(()),
            Err(Errno::ENOENT) => {
                check_hierarchy(path)?;
                create(path.parent().unwrap_or(path), on_created)?;
            }
            Err(errno) => return Err(errno).op_on("create the cgroup", path.display()),
        }
    }
}

/// Writes a whole value to a file, in one write.
pub fn write(dir: impl AsFd, file: &str, value: &str) -> Result<()> {
    let fd = open_file(dir, file, libc::O_WRONLY)?;
    nix::unistd::write(&fd, value.as_bytes()).op(&format!("write {file}")).map(drop)
}

/// Opens a file of a cgroup. Follows no link, and does not leave `dir`.
pub fn open_file(dir: impl AsFd, file: &str, flags: i32) -> Result<OwnedFd> {
    let name = CString::new(file).map_err(|_| Error::msg("NUL in the name of a cgroup file"))?;
    openat2::open_beneath(dir, &name, flags).op(&format!("open {file}"))
}

/// Returns the whole content of a file of an open cgroup, without white space at its end.
pub fn read_at(dir: impl AsFd, file: &str) -> Result<String> {
    let fd = open_file(dir, file, libc::O_RDONLY)?;
    let mut text = Vec::new();
    std::fs::File::from(fd).read_to_end(&mut text).op(&format!("read {file}"))?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// Returns the first 4096 bytes of a file, without white space at its end.
pub fn read(path: &Path) -> Result<String> {
    let fd =
        open_path(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path.display())?;
    let mut buf = [0u8; 4096];
    let len = nix::unistd::read(&fd, &mut buf).op_on("read", path.display())?;
    Ok(String::from_utf8_lossy(&buf[..len]).trim_end().to_owned())
}

/// Returns the directory and all directories below it, parents first.
pub fn list_subtree(path: &Path) -> Vec<PathBuf> {
    let mut out = vec![path.to_path_buf()];
    let mut next = 0;
    while next < out.len() {
        if has_no_directories(&out[next]) {
            next += 1;
            continue;
        }
        let entries = std::fs::read_dir(&out[next]).into_iter().flatten().flatten();
        let dirs: Vec<_> =
            entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
        out.extend(dirs);
        next += 1;
    }
    out
}

/// Whether the link count says that there is no directory in a directory. One call replaces
/// the ten that reading the directory takes.
fn has_no_directories(path: &Path) -> bool {
    // A directory has two links, and one more for each directory in it. Filesystems that don't
    // count links report 1.
    nix::sys::stat::stat(path).is_ok_and(|stat| stat.st_nlink == 2)
}

/// Waits until cgroup.events contains `line`. Returns false if the deadline passes first.
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
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        crate::sys::poll_until(&mut fds, deadline).op("poll cgroup.events")?;
    }
}

/// Removes the directory and all directories below it. A directory that does not exist is
/// no error.
///
/// # Errors
/// - The kernel refuses to remove a directory.
/// - The directory is missing because its hierarchy is not mounted: the cgroup may exist.
pub fn remove(path: &Path) -> Result<()> {
    if remove_visible(path)? { Ok(()) } else { check_hierarchy(path) }
}

/// Removes the directory and all directories below it. Returns false if the directory does
/// not exist.
pub fn remove_visible(path: &Path) -> Result<bool> {
    match rmdir(path) {
        Ok(()) => return Ok(true),
        // The payload may have created cgroups below this one.
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
        Err(Errno::ENOENT) => return Ok(false),
        // On a read-only filesystem the kernel reports EROFS before it looks whether the
        // directory exists.
        Err(Errno::EROFS) if !path.exists() => return Ok(false),
        Err(errno) => return Err(errno).op_on("remove the cgroup", path.display()),
    }
    for dir in list_subtree(path).iter().rev() {
        match rmdir(dir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            other => other.op_on("remove the cgroup", dir.display())?,
        }
    }
    Ok(true)
}

/// Checks that a cgroup filesystem would show the cgroup `path` if it existed.
fn check_hierarchy(path: &Path) -> Result<()> {
    let above = path.ancestors().skip(1).find_map(|dir| statfs(dir).ok());
    if above.is_some_and(|fs| [CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC].contains(&fs.filesystem_type())) {
        return Ok(());
    }
    Err(Error::msg("the cgroup's hierarchy is not mounted here")
        .on(path.display().to_string())
        .hint("mount the hierarchy at the same place, and repeat the command"))
}

fn rmdir(path: &Path) -> nix::Result<()> {
    let c_path =
        CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())).map_err(|_| Errno::EINVAL)?;
    nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, c_path.as_c_str(), nix::unistd::UnlinkatFlags::RemoveDir)
}
