//! The mount option `tmpcopyup`: a tmpfs starts with a copy of the directory that it
//! covers.
//!
//! The image is not trusted, and a volume in it can change during the copy. So this code
//! follows no symbolic link and enters no mount. It looks at a file by name, opens it,
//! and checks that it opened the same file. The copy is in a detached mount, so no other
//! process can change names in it.

use crate::error::{Context, Error, Result};
use crate::spec::plan::FsOption;
use crate::sys::{openat2, xattr};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, fstatat, futimens,
    mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, fchown, fchownat, linkat, symlinkat};
use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Copies the content of the directory `covered` to the detached tmpfs `tree`. The tmpfs
/// gets the owner of `covered`, unless `options` has `uid` or `gid`.
pub fn copy(covered: &OwnedFd, tree: &OwnedFd, options: &[FsOption]) -> Result<()> {
    let from = openat(covered, c".", READ_DIR, Mode::empty()).op("open the directory to copy up")?;
    let stat = fstat(&from).op("fstat the directory to copy up")?;
    let to = openat(tree, c".", READ_DIR, Mode::empty()).op("open the tmpfs")?;
    Copy { tree, links: HashMap::new() }.copy_content(&from, &to, Path::new(""))?;
    let owned = options.iter().any(|(key, _)| matches!(key.as_bytes(), b"uid" | b"gid"));
    if !owned {
        fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
            .op("tmpcopyup: chown")?;
    }
    copy_attributes(&from, &to, &stat)
}

const READ_DIR: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

struct Copy<'a> {
    tree: &'a OwnedFd,
    /// The path in the tmpfs of each copied file that has several names, by device and
    /// inode.
    links: HashMap<(u64, u64), PathBuf>,
}

/// A directory entry to copy from one open directory to another.
struct Item<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    name: &'a CStr,
    /// The path of the copy in the tmpfs.
    path: PathBuf,
    stat: FileStat,
}

impl Copy<'_> {
    /// Copies all entries of `from` to `to`. `path` is the path of `to` in the tmpfs.
    fn copy_content(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path) -> Result<()> {
        let mut dir = Dir::from_fd(from.try_clone().op("dup")?).op("tmpcopyup: read the directory")?;
        for entry in dir.iter() {
            let entry = entry.op("tmpcopyup: read the directory")?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            let shown = path.display().to_string();
            self.copy_entry(from, to, name, path).map_err(|e| explain(e).on(shown))?;
        }
        Ok(())
    }

    fn copy_entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, path: PathBuf) -> Result<()> {
        let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).op("tmpcopyup: stat")?;
        let item = Item { from, to, name, path, stat };
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR => self.copy_directory(&item),
            SFlag::S_IFREG => self.copy_file(&item),
            SFlag::S_IFLNK => item.copy_link(),
            kind => item.copy_node(kind),
        }
    }

    fn copy_directory(&mut self, item: &Item) -> Result<()> {
        mkdirat(item.to, item.name, Mode::S_IRWXU).op("tmpcopyup: mkdir")?;
        let to = openat(item.to, item.name, READ_DIR, Mode::empty()).op("tmpcopyup: open")?;
        let Some(from) = item.open(libc::O_DIRECTORY)? else {
            return item.finish(None, &to);
        };
        self.copy_content(&from, &to, &item.path)?;
        item.finish(Some(&from), &to)
    }

    fn copy_file(&mut self, item: &Item) -> Result<()> {
        let id = (item.stat.st_dev, item.stat.st_ino);
        if item.stat.st_nlink > 1
            && let Some(first) = self.links.get(&id)
        {
            return linkat(self.tree, first, item.to, item.name, LinkatFlags::empty()).op("tmpcopyup: link");
        }
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let to = openat(item.to, item.name, flags, Mode::S_IRUSR | Mode::S_IWUSR).op("tmpcopyup: create")?;
        let Some(from) = item.open(libc::O_NONBLOCK)? else {
            return item.finish(None, &to);
        };
        let (mut reader, mut writer) = (File::from(from), File::from(to));
        std::io::copy(&mut reader, &mut writer).op("tmpcopyup: copy")?;
        if item.stat.st_nlink > 1 {
            self.links.insert(id, item.path.clone());
        }
        item.finish(Some(&reader.into()), &writer.into())
    }
}

impl Item<'_> {
    /// Opens the entry and checks that it is the file that `stat` describes. Returns
    /// `None` if something is mounted on the entry, because a mount is not part of the
    /// image.
    fn open(&self, flags: i32) -> Result<Option<OwnedFd>> {
        let file = match openat2::open_beneath(self.from, self.name, flags) {
            Err(Errno::EXDEV) => return Ok(None),
            other => other.op("tmpcopyup: open")?,
        };
        let now = fstat(&file).op("tmpcopyup: fstat")?;
        if (now.st_dev, now.st_ino, now.st_mode) != (self.stat.st_dev, self.stat.st_ino, self.stat.st_mode) {
            return Err(Error::msg("tmpcopyup: the file was replaced while init copied it"));
        }
        Ok(Some(file))
    }

    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.stat.st_uid)), Some(Gid::from_raw(self.stat.st_gid)))
    }

    fn mode(&self) -> Mode {
        Mode::from_bits_truncate(self.stat.st_mode & 0o7777)
    }

    /// Sets owner, mode, attributes and times of the copy `to`. The owner comes first,
    /// because a change of owner clears set-id bits and capabilities.
    fn finish(&self, from: Option<&OwnedFd>, to: &OwnedFd) -> Result<()> {
        let (uid, gid) = self.owner();
        fchown(to, uid, gid).op("tmpcopyup: chown")?;
        fchmod(to, self.mode()).op("tmpcopyup: chmod")?;
        match from {
            Some(from) => copy_attributes(from, to, &self.stat),
            None => Ok(()),
        }
    }

    fn copy_link(&self) -> Result<()> {
        let target = readlinkat(self.from, self.name).op("tmpcopyup: readlink")?;
        symlinkat(target.as_os_str(), self.to, self.name).op("tmpcopyup: symlink")?;
        self.set_owner_and_times()
    }

    fn copy_node(&self, kind: SFlag) -> Result<()> {
        mknodat(self.to, self.name, kind, Mode::empty(), self.stat.st_rdev).op("tmpcopyup: mknod")?;
        self.set_owner_and_times()?;
        fchmodat(self.to, self.name, self.mode(), FchmodatFlags::FollowSymlink).op("tmpcopyup: chmod")
    }

    /// Sets owner and times of a copy that can't be opened.
    fn set_owner_and_times(&self) -> Result<()> {
        let (uid, gid) = self.owner();
        fchownat(self.to, self.name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).op("tmpcopyup: chown")?;
        let (access, change) = times(&self.stat);
        let flag = UtimensatFlags::NoFollowSymlink;
        utimensat(self.to, self.name, &access, &change, flag).op("tmpcopyup: set the times")
    }
}

/// Copies the times and the extended attributes. Skips attributes that a tmpfs refuses.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd, stat: &FileStat) -> Result<()> {
    for name in xattr::list(from).op("tmpcopyup: list the attributes")? {
        // SELinux derives the label of a file from the mount that the file is in.
        if name.as_c_str() == c"security.selinux" {
            continue;
        }
        let value = xattr::get(from, &name).op("tmpcopyup: read an attribute")?;
        match xattr::set(to, &name, &value) {
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => {
                return Err(Error::os(format!("tmpcopyup: set {}", name.to_string_lossy()), errno));
            }
        }
    }
    let (access, change) = times(stat);
    futimens(to, &access, &change).op("tmpcopyup: set the times")
}

fn times(stat: &FileStat) -> (TimeSpec, TimeSpec) {
    (TimeSpec::new(stat.st_atime, stat.st_atime_nsec), TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec))
}

fn explain(error: Error) -> Error {
    let hint = match error.errno.map(Errno::from_raw) {
        Some(Errno::ENOSPC) => "raise size= and nr_inodes=: the tmpfs is too small for the image's files",
        Some(Errno::EINVAL) => "map the file's owner in the container's user namespace",
        Some(Errno::EPERM) => "remove the device node from the image: in a user namespace init can't copy it",
        _ => "",
    };
    error.hint(hint)
}
