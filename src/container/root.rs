//! The state root: the directory that has one directory for each container.

use super::dir::{CLAIMED, Dir, Reader, is_container};
use super::state::Shown;
use crate::error::{Context, Error, Result};
use crate::spec::state::Status;
use crate::steps;
use crate::sys::fd::open;
use crate::sys::regex::Regex;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use rustix::fs::{FileType, RawDir};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The directory that holds all containers' state.
pub struct Root(pub PathBuf);

impl Root {
    fn open(&self) -> Result<Option<OwnedFd>> {
        match open(&self.0, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            other => other.op_on("open the state directory", self.0.display()).map(Some).map_err(denied),
        }
    }

    /// Claims an id: creates its directory, and takes the lock. Fails if the id is taken. A
    /// failure leaves nothing behind.
    pub fn claim(&self, id: &str) -> Result<Dir> {
        super::id::check(id)?;
        loop {
            let root = self.open_or_create()?;
            match mkdirat(&root, id, Mode::from_bits_truncate(CLAIMED)) {
                Err(Errno::EEXIST) if is_container(&root, id) => return Err(exists(id)),
                Err(Errno::EEXIST) => {
                    return Err(exists(id)
                        .hint("choose another id, or remove the directory: corten did not create it"));
                }
                other => other.op_on("create the container's state directory", id)?,
            }
            // `None`: a `delete --force` has removed the claim, so claim the id again.
            if let Some(dir) = Dir::take(root, id)? {
                return Ok(dir);
            }
        }
    }

    fn open_or_create(&self) -> Result<OwnedFd> {
        if let Some(root) = self.open()? {
            return Ok(root);
        }
        create_with_parents(&self.0)?;
        self.open()?.ok_or_else(|| Error::msg("vanished").on(self.0.display().to_string()))
    }

    /// Refuses an id that is taken. The check is early: until [`Root::claim`], another runtime
    /// may take the id.
    pub fn refuse_existing(&self, id: &str) -> Result<()> {
        match self.open()? {
            Some(root) if is_container(&root, id) => Err(exists(id)),
            _ => Ok(()),
        }
    }

    /// Opens the directory of an existing container, without the lock.
    pub fn find(&self, id: &str) -> Result<Dir> {
        super::id::check(id)?;
        let Some(root) = self.open()? else { return Err(Error::no_container(id)) };
        let dir = Dir::at(root, id)?.ok_or_else(|| Error::no_container(id))?;
        steps::done_with(|| format!("found the state directory of {id}"));
        Ok(dir)
    }

    /// Returns the ids that the POSIX extended regular expression `pattern` matches, sorted.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>> {
        let wrong = |why: String| Error::msg(format!("is not a regular expression: {why}")).on(pattern);
        let text = CString::new(pattern).map_err(|_| wrong("it contains a NUL byte".into()))?;
        let regex = Regex::new(&text).map_err(wrong)?;
        Ok(self.ids()?.into_iter().filter(|id| regex.is_match(id)).collect())
    }

    /// Returns the ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let Some(root) = self.open()? else { return Ok(Vec::new()) };
        let mut ids = self.names(&root)?;
        ids.retain(|id| is_container(&root, id));
        Ok(ids)
    }

    /// Calls `show` for each container, in the order of their ids. `show` gets the state and
    /// the status or, if they can't be had in the short way, the container's directory. Skips
    /// a container that is deleted meanwhile.
    pub fn survey(&self, mut show: impl FnMut(Survey)) -> Result<()> {
        let Some(root) = self.open()? else { return Ok(()) };
        let names = self.names(&root)?;
        let mut reader = Reader::new(root);
        for id in names {
            match reader.read(&id) {
                Some((shown, status)) => show(Survey::Seen(shown, status)),
                None if !is_container(&reader.root, &id) => {}
                None => show(Survey::Unclear(self.find(&id))),
            }
        }
        Ok(())
    }

    /// Returns the names in the state root that may be a container's, sorted.
    fn names(&self, root: &OwnedFd) -> Result<Vec<String>> {
        let mut names = Vec::new();
        // musl reads 2 KiB of entries at a time.
        let mut buffer = [const { MaybeUninit::uninit() }; 32768];
        let mut entries = RawDir::new(root, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry.map_err(|e| Errno::from_raw(e.raw_os_error())) {
                // The state root was removed meanwhile.
                Err(Errno::ENOENT) => break,
                other => other.op_on("read the state directory", self.0.display())?,
            };
            if let (FileType::Directory | FileType::Unknown, Ok(name)) =
                (entry.file_type(), entry.file_name().to_str())
                && super::id::check(name).is_ok()
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// What [`Root::survey`] finds out about one container.
pub enum Survey {
    Seen(Shown, Status),
    /// The record is missing, can't be read or names no init.
    Unclear(Result<Dir>),
}

fn create_with_parents(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path);
    made.op_on("create the state directory", path.display()).map_err(denied)
}

/// Adds a hint for a user who may not write to the default state root.
fn denied(error: Error) -> Error {
    match error.is(Errno::EACCES) && !nix::unistd::geteuid().is_root() {
        true => error.hint("name a directory of your own with --root, or set XDG_RUNTIME_DIR"),
        false => error,
    }
}

fn exists(id: &str) -> Error {
    Error::msg("container with given ID already exists").on(id)
}
