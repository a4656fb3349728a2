//! Mount points in the container, by descriptor. Every lookup starts at the rootfs and
//! can't leave it, whatever links the image holds (CVE-2018-15664, CVE-2021-30465 and a
//! dozen others of that class).

use crate::error::{Context, Error, Result};
use crate::spec::proc_paths::{self, PathClass};
use crate::sys::openat2;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlink, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

const DIR_MODE: u32 = 0o755;

/// Opens the directory `path`. Creates it and its parents if they are missing.
pub fn open_or_create_directory(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let path = &*remove_missing_names(root, path)?;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    match openat2::open_in_root(root, &c_path(path)?, flags) {
        Err(Errno::ENOENT) => create_through_links(root, path, MountPointKind::Directory, LINKS),
        other => other.op_on("open the directory", path.display()),
    }
}

/// An open mount point.
pub struct MountPoint {
    pub at: OwnedFd,
    /// Whether it was created for the mount.
    pub made: bool,
}

/// The kind of file that a mount can cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountPointKind {
    Directory,
    /// A directory that is reached without any link, for procfs and sysfs
    /// (CVE-2019-19921, CVE-2023-27561).
    PlainDirectory,
    /// Anything but a directory.
    File,
    /// The link itself, if there is one.
    Link,
}

impl MountPointKind {
    fn flags(self) -> i32 {
        match self {
            MountPointKind::Directory | MountPointKind::PlainDirectory => libc::O_PATH | libc::O_DIRECTORY,
            MountPointKind::File => libc::O_PATH,
            MountPointKind::Link => libc::O_PATH | libc::O_NOFOLLOW,
        }
    }
}

/// Opens the mount point `path`. Creates it and its parents if they are missing. If the
/// path itself does not tell where it leads, calls `check` with the place to which it
/// led.
pub fn open_mount_point(
    root: &OwnedFd,
    path: &Path,
    kind: MountPointKind,
    check: impl Fn(PathClass) -> Result<()>,
) -> Result<MountPoint> {
    let path = &*remove_missing_names(root, path)?;
    let c_path = c_path(path)?;
    let plain = if proc_paths::has_no_dotdot(path) {
        openat2::open_in_root_without_links(root, &c_path, kind.flags())
    } else {
        Err(Errno::ELOOP)
    };
    let (at, made) = match plain {
        Ok(at) => return Ok(MountPoint { at, made: false }),
        Err(Errno::ELOOP | Errno::ENOTDIR) if kind == MountPointKind::PlainDirectory => {
            return Err(Error::msg("must be mounted on ordinary directory").on(path.display().to_string()));
        }
        Err(Errno::ELOOP) => match openat2::open_in_root(root, &c_path, kind.flags()) {
            Err(Errno::ENOENT) => (create_through_links(root, path, kind, LINKS)?, true),
            other => (other.op_on("open the mount point", path.display())?, false),
        },
        Err(Errno::ENOENT) => match create_plainly(root, path, kind) {
            Ok(at) => return Ok(MountPoint { at, made: true }),
            // A link has appeared meanwhile.
            Err(Errno::ELOOP | Errno::ENOTDIR | Errno::EEXIST) => {
                (create_through_links(root, path, kind, LINKS)?, true)
            }
            Err(errno) => return Err(errno).op_on("create the mount point", path.display()),
        },
        Err(errno) => return Err(errno).op_on("open the mount point", path.display()),
    };
    let found = path_in_container(root, &at)?;
    check(proc_paths::classify_path(&found)).map_err(|e| e.on(found.display().to_string()))?;
    Ok(MountPoint { at, made })
}

/// Creates the file or directory `path` and its parents. Follows no link, so the result
/// is where the path says.
fn create_plainly(root: &OwnedFd, path: &Path, kind: MountPointKind) -> nix::Result<OwnedFd> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::ENOENT) };
    let [parent_path, name] =
        [parent.as_os_str(), name].map(|name| CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL));
    let parent =
        match openat2::open_in_root_without_links(root, &parent_path?, MountPointKind::Directory.flags()) {
            Err(Errno::ENOENT) => create_plainly(root, parent, MountPointKind::Directory)?,
            other => other?,
        };
    match kind {
        MountPointKind::Directory | MountPointKind::PlainDirectory => create_directory(&parent, &name?),
        MountPointKind::File | MountPointKind::Link => create_file(&parent, &name?),
    }
}

/// Creates the file or directory `path` and its parents. If `path` is a link that leads
/// nowhere, creates the target of the link, as other runtimes do. Follows at most `links`
/// such links.
fn create_through_links(root: &OwnedFd, path: &Path, kind: MountPointKind, links: u32) -> Result<OwnedFd> {
    let (parent, name) = parent_of(root, path)?;
    let made = match kind {
        MountPointKind::Directory | MountPointKind::PlainDirectory => create_directory(&parent, &name),
        MountPointKind::File | MountPointKind::Link => create_file(&parent, &name),
    };
    let errno = match made {
        Err(errno @ (Errno::ELOOP | Errno::ENOTDIR | Errno::EEXIST)) => errno,
        other => return other.op_on("create the mount point", path.display()),
    };
    match readlinkat(&parent, name.as_c_str()) {
        Ok(to) if links > 0 && kind != MountPointKind::PlainDirectory => {
            let to = path.parent().unwrap_or(Path::new("/")).join(to);
            match openat2::open_in_root(root, &c_path(&to)?, kind.flags()) {
                Err(Errno::ENOENT) => create_through_links(root, &to, kind, links - 1),
                other => other.op_on("open the mount point", path.display()),
            }
        }
        _ => Err(errno).op_on("create the mount point", path.display()),
    }
}

/// A file or directory that was created for a mount. It is removed if the mount fails.
pub struct CreatedFile {
    parent: OwnedFd,
    name: CString,
    flag: UnlinkatFlags,
}

impl CreatedFile {
    /// Removes the file or directory. A directory stays if a process has put something
    /// into it.
    pub fn remove(&self) -> nix::Result<()> {
        unlinkat(&self.parent, self.name.as_c_str(), self.flag)
    }
}

/// Opens a mount point like [`open_mount_point`], in a container that runs already. Adds
/// everything that it creates to `made`, in the order of creation. Creates nothing behind
/// a link that leads nowhere. Calls `check` for every path, whatever the path says.
pub fn open_mount_point_recording(
    root: &OwnedFd,
    path: &Path,
    kind: MountPointKind,
    check: impl Fn(PathClass) -> Result<()>,
    made: &mut Vec<CreatedFile>,
) -> Result<MountPoint> {
    let path = &*remove_missing_names(root, path)?;
    let c_path = c_path(path)?;
    let there = match kind {
        MountPointKind::PlainDirectory => openat2::open_in_root_without_links(root, &c_path, kind.flags()),
        _ => openat2::open_in_root(root, &c_path, kind.flags()),
    };
    let point = match there {
        Ok(at) => MountPoint { at, made: false },
        Err(Errno::ENOENT) => MountPoint { at: create_noting(root, path, kind, made)?, made: true },
        Err(Errno::ELOOP | Errno::ENOTDIR) if kind == MountPointKind::PlainDirectory => {
            return Err(Error::msg("must be mounted on ordinary directory").on(path.display().to_string()));
        }
        Err(errno) => return Err(errno).op_on("open the mount point", path.display()),
    };
    check(class_in_container(root, &point.at)?).map_err(|e| e.on(path.display().to_string()))?;
    Ok(point)
}

fn create_noting(
    root: &OwnedFd,
    path: &Path,
    kind: MountPointKind,
    made: &mut Vec<CreatedFile>,
) -> Result<OwnedFd> {
    let above = path.parent().unwrap_or(Path::new("/"));
    let parent = match openat2::open_in_root(root, &c_path(above)?, MountPointKind::Directory.flags()) {
        Err(Errno::ENOENT) => create_noting(root, above, MountPointKind::Directory, made)?,
        other => other.op_on("open the directory", above.display())?,
    };
    let name = c_name(path)?;
    let explain = |errno| {
        let error = Error::os("create the mount point", errno).on(path.display().to_string());
        if errno == Errno::EEXIST {
            error.hint("remove the symbolic link at the destination: it leads nowhere")
        } else {
            error
        }
    };
    let keep = parent.try_clone().op("dup")?;
    let flag = match kind {
        MountPointKind::Directory | MountPointKind::PlainDirectory => {
            mkdirat(&parent, name.as_c_str(), Mode::from_bits_truncate(DIR_MODE)).map_err(explain)?;
            UnlinkatFlags::RemoveDir
        }
        MountPointKind::File | MountPointKind::Link => {
            create_file(&parent, &name).map_err(explain)?;
            UnlinkatFlags::NoRemoveDir
        }
    };
    made.push(CreatedFile { parent: keep, name: name.clone(), flag });
    openat2::open_beneath(&parent, &name, kind.flags() | libc::O_NOFOLLOW).map_err(explain)
}

/// Returns where in the container an open file is.
pub fn class_in_container(root: &OwnedFd, file: &OwnedFd) -> Result<PathClass> {
    Ok(proc_paths::classify_path(&path_in_container(root, file)?))
}

/// How many links the kernel follows.
const LINKS: u32 = 40;

/// Returns `path` without each name that doesn't exist and is followed by `..`, and
/// without that `..`. The kernel can't look such a path up, and init must not create the
/// name. runc leaves both out, too.
fn remove_missing_names<'a>(root: &OwnedFd, path: &'a Path) -> Result<Cow<'a, Path>> {
    if proc_paths::has_no_dotdot(path) {
        return Ok(Cow::Borrowed(path));
    }
    let mut kept = PathBuf::new();
    for part in path.components() {
        let is_missing = |kept: &Path| -> Result<bool> {
            // A link that leads nowhere exists, too.
            let found = openat2::open_in_root(root, &c_path(kept)?, libc::O_PATH | libc::O_NOFOLLOW);
            Ok(matches!(found, Err(Errno::ENOENT)))
        };
        if part == Component::ParentDir && is_missing(&kept)? {
            kept.pop();
        } else {
            kept.push(part);
        }
    }
    Ok(Cow::Owned(kept))
}

/// Returns whether `path` leads to a directory; `None` if it leads nowhere.
pub fn leads_to_directory(root: &OwnedFd, path: &Path) -> Option<bool> {
    let path = remove_missing_names(root, path).ok()?;
    let found = openat2::open_in_root(root, &c_path(&path).ok()?, libc::O_PATH).ok()?;
    fstat(&found).ok().map(|stat| is_directory(&stat))
}

/// Opens the file `path` itself, and refuses a link in its place. Creates an empty file
/// if there is none.
pub fn open_or_create_file(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let (parent, name) = parent_of(root, path)?;
    let file = match openat2::open_entry(&parent, &name, libc::O_PATH) {
        Err(Errno::ENOENT) => {
            return create_file(&parent, &name).op_on("create the mount point", path.display());
        }
        other => other.op_on("open the file", path.display())?,
    };
    match fstat(&file).op("fstat")?.st_mode & SFlag::S_IFMT.bits() {
        libc::S_IFLNK => {
            Err(Error::msg("the image has a symbolic link at this path").on(path.display().to_string()))
        }
        _ => Ok(file),
    }
}

/// Returns the path of an open file in the container. Use this path only to look at it,
/// never to follow it.
pub fn path_in_container(root: &OwnedFd, file: &OwnedFd) -> Result<PathBuf> {
    let name = |fd: &OwnedFd| {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        readlink(link.as_str()).op_on("readlink", link).map(PathBuf::from)
    };
    let (root, file) = (name(root)?, name(file)?);
    let below =
        file.strip_prefix(&root).map_err(|_| Error::msg("the mount point is no longer below the rootfs"))?;
    Ok(Path::new("/").join(below))
}

/// Creates an empty file. Never follows a link that lies there.
fn create_file(parent: &OwnedFd, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::from_bits_truncate(0o644))
}

/// Creates a directory. If the name has appeared meanwhile, accepts it if it is a
/// directory and no link.
fn create_directory(parent: &OwnedFd, name: &CStr) -> nix::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_bits_truncate(DIR_MODE)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    openat2::open_beneath(parent, name, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
}

/// Creates the working directory if it is missing, as runc and crun do. Ignores errors:
/// on a read-only image, for example, the later chdir reports the error.
pub fn make_cwd(root: &OwnedFd, cwd: &CStr) {
    let _ = open_or_create_directory(root, Path::new(OsStr::from_bytes(cwd.to_bytes())));
}

/// Opens the parent directory of `path`, and creates it if it is missing. Returns it with
/// the last name of `path`.
pub fn parent_of(root: &OwnedFd, path: &Path) -> Result<(OwnedFd, CString)> {
    let parent = open_or_create_directory(root, path.parent().unwrap_or(Path::new("/")))?;
    Ok((parent, c_name(path)?))
}

pub fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR
}

/// Returns the path for a system call. Fails if the path contains a NUL byte.
pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| nul_error(path))
}

fn c_name(path: &Path) -> Result<CString> {
    let name = path.file_name().ok_or_else(|| Error::msg("names no file").on(path.display().to_string()))?;
    CString::new(name.as_bytes()).map_err(|_| nul_error(path))
}

fn nul_error(path: &Path) -> Error {
    Error::msg("contains a NUL byte").on(path.display().to_string())
}
