//! The lock of a verb that changes a container.
//!
//! The lock is a record lock (fcntl(2)) on the container's config.json, a file that exists
//! from the claim to the end and is never replaced. A record lock belongs to one process: it
//! ends with that process, whatever children the process leaves ([`crate::sys::lock`]). If
//! the process closes any other descriptor of the file, the kernel releases the lock. So
//! the process reads the configuration through the lock's descriptor.
//!
//! Every wait for the lock has a bound. `delete` and the rollback of `create` release the
//! lock while they wait for a killed process to end (`delete.rs`).

use crate::cgroup::unkillable;
use crate::error::{Context, Error, Result};
use crate::sys::fd::{read_from_start, write_all};
use crate::sys::lock;
use crate::sys::pidfd::PATIENCE;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;

pub struct Lock(OwnedFd);

/// Which byte of the file is locked.
#[derive(Debug, Clone, Copy)]
pub enum LockKind {
    /// For every verb that changes a container.
    Writer = 0,
    /// For a `start` that waits for the payload's execve while other verbs work.
    Start = 1,
}

impl Lock {
    /// Opens the file for the lock. `None`: the directory is gone, or the file is missing and
    /// `flags` lack O_CREAT.
    pub fn open(dir: &OwnedFd, name: &str, flags: OFlag) -> Result<Option<Lock>> {
        Lock::open_as(dir, name, flags | OFlag::O_RDWR)
    }

    /// Creates the file. `None`: the file exists, or the directory is gone.
    pub fn create(dir: &OwnedFd, name: &str) -> Result<Option<Lock>> {
        match Lock::open(dir, name, OFlag::O_CREAT | OFlag::O_EXCL) {
            Err(error) if error.is(Errno::EEXIST) => Ok(None),
            other => other,
        }
    }

    /// Opens the file only to ask who holds the lock.
    pub fn look_at(dir: &OwnedFd, name: &str) -> Result<Option<Lock>> {
        Lock::open_as(dir, name, OFlag::O_RDONLY)
    }

    fn open_as(dir: &OwnedFd, name: &str, flags: OFlag) -> Result<Option<Lock>> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        match openat(dir, name, flags, Mode::from_bits_truncate(0o600)) {
            Err(Errno::ENOENT) => Ok(None),
            other => other.op_on("open", name).map(|file| Some(Lock(file))),
        }
    }

    /// Takes the lock. `id` names the container in the error.
    pub fn take(&self, kind: LockKind, id: &str) -> Result<()> {
        if lock::lock(&self.0, kind as i64, PATIENCE).op_on("lock the container", id)? {
            return Ok(());
        }
        let who =
            self.holder(kind, id)?.map_or_else(|| "another command".to_owned(), unkillable::describe_process);
        Err(Error::msg(format!("the container is busy: {who} has held its lock for {PATIENCE:?}"))
            .on(id)
            .hint("wait until that command ends, or kill it"))
    }

    /// Waits until no other process holds the lock, at most as long as [`Lock::take`]. A
    /// timeout is no error.
    pub fn wait_until_free(&self, kind: LockKind, id: &str) -> Result<()> {
        if self.take(kind, id).is_ok() { self.release(kind, id) } else { Ok(()) }
    }

    pub fn release(&self, kind: LockKind, id: &str) -> Result<()> {
        lock::unlock(&self.0, kind as i64).op_on("unlock the container", id)
    }

    /// Returns the pid of another process that holds the lock.
    pub fn holder(&self, kind: LockKind, id: &str) -> Result<Option<i32>> {
        lock::holder(&self.0, kind as i64).op_on("look at the lock", id)
    }

    /// Reads the file.
    pub fn read(&self, id: &str) -> Result<Vec<u8>> {
        let mut text = Vec::with_capacity(16384);
        read_from_start(&self.0, &mut text).op_on("read config.json", id)?;
        Ok(text)
    }

    /// Writes the content of a new file.
    pub fn write(&self, text: &[u8]) -> Result<()> {
        write_all(&self.0, text).op("write config.json")
    }
}
