//! The state directory: `ROOT/<id>/{state.json, config.json, gate, result}`.
//!
//! Writers hold a lock ([`super::lock`]) and check that the directory is still
//! there; readers never lock, as files are replaced by rename. The status is derived
//! from what lives, never stored. The first state.json is the record of the
//! intent, written before the first side effect: it names the cgroups, so that
//! `delete --force` can clear up after a runtime that was killed.
//!
//! A directory is a container's if it has that record, or the mode that `mkdir`
//! gave it: a sticky bit says that the record is still to come. Whatever else
//! lies in ROOT (`lost+found`, another program's) is not corten's.

use super::lock::{Lock, Of};
use super::state::{self, State};
use crate::error::{Context, Error, Result};
use crate::init::GateEnds;
use crate::spec;
use crate::spec::plan::Hooks;
use crate::spec::state::Status;
use crate::steps;
use crate::sys::fd::write_all;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, mkfifoat, unlinkat};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

const STATE: &str = "state.json";
const STATE_NEW: &str = "state.json.new";
const CONFIG: &str = "config.json";
pub const GATE: &str = "gate";
/// The gate of a container that was paused before it was started.
const GATE_PAUSED: &str = "gate.paused";
pub const RESULT: &str = "result";
/// The directory of the payload's notify socket (`sd_notify.rs`), and the socket.
pub const NOTIFY_DIR: &str = "notify";
pub const NOTIFY_SOCKET: &str = "notify.sock";
/// Where CRIU finds the rootfs while it restores.
pub const CRIU_ROOT: &str = "criu-root";
/// The mode of a directory from the moment it is made: the owner's alone, and a sticky bit,
/// which tells it from others' directories.
pub(super) const CLAIMED: u32 = 0o1700;

fn locked(root: &OwnedFd, id: &str) -> Result<Option<(OwnedFd, Lock)>> {
    let Some(dir) = open_dir(root, id)? else { return Ok(None) };
    let Some(lock) = Lock::create(&dir, CONFIG)? else { return Ok(None) };
    match lock.take(Of::Writer, id).and_then(|()| is_there(root, id, &dir)) {
        Ok(is_there) => Ok(is_there.then_some((dir, lock))),
        Err(error) => {
            let _ = unlinkat(&dir, CONFIG, UnlinkatFlags::NoRemoveDir);
            Err(error)
        }
    }
}

fn open_dir(root: &OwnedFd, id: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(root, id, flags, Mode::empty()) {
        Err(Errno::ENOENT) => Ok(None),
        other => other.op_on("open the container's state directory", id).map(Some),
    }
}

/// Whether the directory still has its name. Whoever held the lock may have
/// deleted the container.
fn is_there(root: &OwnedFd, id: &str, dir: &OwnedFd) -> Result<bool> {
    let ours = fstat(dir).op("fstat the state directory")?;
    match fstatat(root, id, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(false),
        other => Ok(other.op_on("fstatat the state directory", id)?.st_ino == ours.st_ino),
    }
}

pub(super) fn is_container(root: &OwnedFd, id: &str) -> bool {
    let stat = |path: &str| fstatat(root, path, AtFlags::AT_SYMLINK_NOFOLLOW);
    stat(&format!("{id}/{STATE}")).is_ok() || stat(id).is_ok_and(|stat| is_claimed(&stat))
}

fn is_claimed(stat: &nix::sys::stat::FileStat) -> bool {
    stat.st_mode & libc::S_ISVTX != 0
}

pub(super) fn does_not_exist(id: &str) -> Error {
    Error::msg("container does not exist").on(id)
}

/// One container's directory.
pub struct Dir {
    root: OwnedFd,
    id: String,
    dir: OwnedFd,
    /// Once it has been taken.
    lock: Option<Lock>,
}

impl Dir {
    /// Opens what was claimed and takes the lock. `None`: it has been removed, and what has
    /// its name now may be another's claim. The lock's file says whose: it is new. A failure
    /// gives the claim up.
    pub(super) fn take(root: OwnedFd, id: &str) -> Result<Option<Dir>> {
        match locked(&root, id) {
            Ok(Some((dir, lock))) => Ok(Some(Dir { root, id: id.into(), dir, lock: Some(lock) })),
            Ok(None) => Ok(None),
            Err(error) => {
                // Only what is empty goes, so never what has become another's.
                let _ = unlinkat(&root, id, UnlinkatFlags::RemoveDir);
                Err(error)
            }
        }
    }

    pub(super) fn at(root: OwnedFd, id: &str) -> Result<Option<Dir>> {
        let dir = open_dir(&root, id)?;
        Ok(dir.map(|dir| Dir { root, id: id.into(), dir, lock: None }))
    }

    /// Takes the writers' lock, which lasts until it is [given up](Dir::unlock) or
    /// this process ends. Whoever held it may have deleted the container.
    ///
    /// # Errors
    /// Whoever holds it doesn't give it up within [`PATIENCE`](crate::sys::pidfd::PATIENCE):
    /// the error names that process.
    pub fn locked(self) -> Result<Dir> {
        let dir = self.with_lock()?;
        if dir.lock()? { Ok(dir) } else { Err(does_not_exist(&dir.id)) }
    }

    /// Opens the lock's file.
    fn with_lock(mut self) -> Result<Dir> {
        let lock = match Lock::open(&self.dir, CONFIG, OFlag::empty())? {
            // Somebody took the file away from a container that goes on.
            None if self.has(STATE) => Lock::open(&self.dir, CONFIG, OFlag::O_CREAT)?,
            other => other,
        };
        let Some(lock) = lock else { return Err(self.without_a_record()) };
        self.lock = Some(lock);
        Ok(self)
    }

    /// A claim whose maker was killed at once, or goes on: then it claims again. The file
    /// of the lock is its maker's to make. Another's directory stays as it is.
    fn without_a_record(&self) -> Error {
        if self.is_claimed() {
            let _ = unlinkat(&self.root, self.id.as_str(), UnlinkatFlags::RemoveDir);
        }
        does_not_exist(&self.id)
    }

    /// The same for one that was [unlocked](Dir::unlock). False: the container has
    /// been deleted meanwhile.
    pub fn lock(&self) -> Result<bool> {
        let Some(lock) = &self.lock else { return Err(Error::msg("the lock was never taken").on(&self.id)) };
        lock.take(Of::Writer, &self.id)?;
        steps::done("took the lock");
        is_there(&self.root, &self.id, &self.dir)
    }

    /// Lets other writers in, while this process only waits.
    pub fn unlock(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.give_up(Of::Writer, &self.id))
    }

    /// Says that this process waits for the payload's execve; [`Dir::started`] says
    /// that it has heard of it. The writers' lock must have been taken.
    pub fn starts(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.take(Of::Start, &self.id))
    }

    pub fn started(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.give_up(Of::Start, &self.id))
    }

    /// As [`Dir::locked`], but after a `start` that waits for the payload's execve:
    /// its record of a failure comes first, unless that takes too long.
    pub fn locked_after_start(self) -> Result<Dir> {
        let dir = self.with_lock()?;
        if dir.starts().is_ok() {
            dir.started()?;
        }
        if dir.lock()? { Ok(dir) } else { Err(does_not_exist(&dir.id)) }
    }

    /// Whether another process holds the lock. Once this one has taken it, no file
    /// may be opened for that: closing it would give up the lock.
    fn is_busy(&self) -> Result<bool> {
        if self.lock.is_some() {
            return Ok(false);
        }
        let lock = Lock::look_at(&self.dir, CONFIG)?;
        let holder = lock.map_or(Ok(None), |lock| lock.holder(Of::Writer, &self.id))?;
        Ok(holder.is_some() || self.is_being_made_by_an_older_one()?)
    }

    /// Until November 2026 the lock was that of the directory itself.
    pub fn is_being_made_by_an_older_one(&self) -> Result<bool> {
        crate::sys::fd::is_locked(&self.dir).op_on("flock the state directory", &self.id)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The state, or `None` while (or after) its maker didn't get that far.
    ///
    /// # Errors
    /// The record can't be read, or is of a version that this corten doesn't know;
    /// or the directory is no container's.
    pub fn state(&self) -> Result<Option<State>> {
        match self.read(STATE)? {
            Some(text) => {
                let state = state::parse(&text, &self.id)?;
                steps::done("read the state");
                Ok(Some(state))
            }
            None if self.is_claimed() => Ok(None),
            None => Err(does_not_exist(&self.id)),
        }
    }

    /// The same, with what is understood of a newer version's record: enough to
    /// show the container, to signal and to delete it.
    pub fn known(&self) -> Result<Option<State>> {
        self.state().or_else(|error| {
            let text = self.read(STATE).ok().flatten().unwrap_or_default();
            state::of_newer(&text, &self.id).map(Some).ok_or(error)
        })
    }

    /// What can be made out of a container whose record is unreadable. `None`: it
    /// isn't one of corten's.
    pub fn remains(&self) -> Option<state::Remains> {
        let config = self.config().ok()?;
        Some(state::Remains::of(&self.read(STATE).ok().flatten().unwrap_or_default(), &config, &self.id))
    }

    /// What a maker that was killed knew of init, and didn't get to publish.
    pub fn unpublished_state(&self) -> Option<State> {
        // It may have been killed while it wrote.
        let text = self.read(STATE_NEW).ok().flatten()?;
        state::parse(&text, &self.id).ok().filter(|state| state.init.is_some())
    }

    /// When it was claimed, or last changed.
    pub fn time(&self) -> SystemTime {
        let seconds = fstat(&self.dir).map_or(0, |stat| stat.st_mtime);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
    }

    /// The state of a container whose making got as far as init.
    pub fn made_state(&self) -> Result<State> {
        self.made(self.state()?)
    }

    /// The same, of a newer version's container, too: see [`Dir::known`].
    pub fn known_made_state(&self) -> Result<State> {
        self.made(self.known()?)
    }

    fn made(&self, state: Option<State>) -> Result<State> {
        state.filter(|state| state.init.is_some()).ok_or_else(|| {
            Error::msg("the container is still being created")
                .on(self.id.clone())
                .hint("if its runtime was killed, delete --force clears up")
        })
    }

    pub fn save(&self, state: &State) -> Result<()> {
        self.save_unpublished(state)?;
        self.publish()
    }

    /// Writes a state that readers don't see before [`Dir::publish`].
    pub fn save_unpublished(&self, state: &State) -> Result<()> {
        let text = serde_json::to_vec(state).map_err(|e| Error::msg(format!("state.json: {e}")))?;
        self.write(STATE_NEW, &text)
    }

    pub fn publish(&self) -> Result<()> {
        renameat(&self.dir, STATE_NEW, &self.dir, STATE).op_on("rename the state", &self.id)
    }

    /// The configuration as it was at create. It is also the lock's file: see [`Lock`].
    pub fn config(&self) -> Result<Vec<u8>> {
        let text = match &self.lock {
            Some(lock) => Some(lock.read(&self.id)?),
            None => self.read(CONFIG)?,
        };
        text.filter(|text| !text.is_empty()).ok_or_else(|| match self.has(STATE) {
            true => Error::msg("its config.json is missing").on(self.id.clone()),
            // It has been deleted since its record was read.
            false => does_not_exist(&self.id),
        })
    }

    /// Writes it, in the directory that this process has claimed.
    /// The hooks of the configuration as it was at create. Most have none of
    /// this kind, which a look at the text tells without a parse.
    pub fn hooks(&self, state: &State, kind: &str) -> Result<Hooks> {
        let text = self.config()?;
        if !text.windows(kind.len()).any(|word| word == kind.as_bytes()) {
            return Ok(Hooks::default());
        }
        let config = spec::parse_config(&text, &mut Vec::new())?;
        Ok(spec::resolve(&config, &state.bundle, &mut Vec::new())?.hooks)
    }

    pub fn save_config(&self, text: &[u8]) -> Result<()> {
        let Some(lock) = &self.lock else { return Err(Error::msg("the lock was never taken").on(&self.id)) };
        lock.write(text)
    }

    fn is_claimed(&self) -> bool {
        fstat(&self.dir).is_ok_and(|stat| is_claimed(&stat))
    }

    fn has(&self, name: &str) -> bool {
        fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let file = match openat(&self.dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other.op_on("open", name)?,
        };
        let mut text = Vec::new();
        File::from(file).read_to_end(&mut text).op_on("read", name)?;
        Ok(Some(text))
    }

    fn write(&self, name: &str, text: &[u8]) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, name, flags, Mode::from_bits_truncate(0o600)).op_on("open", name)?;
        write_all(&file, text).op_on("write", name)
    }

    /// Makes a directory that others may enter, were they let in here.
    pub fn make_dir(&self, name: &str) -> Result<()> {
        mkdirat(&self.dir, name, Mode::from_bits_truncate(0o755)).op_on("make the directory", name)?;
        // Whatever the caller's umask is.
        let mode = Mode::from_bits_truncate(0o755);
        nix::sys::stat::fchmodat(&self.dir, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
            .op_on("chmod", name)
    }

    /// Opens it, if it is there.
    pub fn open_dir(&self, name: &str) -> Result<Option<OwnedFd>> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&self.dir, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            other => other.op_on("open", name).map(Some),
        }
    }

    /// Makes the two FIFOs and opens init's ends.
    pub fn make_gate(&self) -> Result<GateEnds> {
        Ok(GateEnds { gate: self.make_fifo(GATE)?, result: self.make_fifo(RESULT)?, handout: None })
    }

    fn make_fifo(&self, name: &str) -> Result<OwnedFd> {
        mkfifoat(&self.dir, name, Mode::from_bits_truncate(0o600)).op_on("mkfifo", name)?;
        openat(&self.dir, name, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", name)
    }

    /// Opens one end of a FIFO without waiting for the other.
    pub fn open_fifo(&self, name: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        openat(&self.dir, name, flags | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())
    }

    pub fn has_gate(&self) -> bool {
        self.has(GATE)
    }

    pub fn remove_gate(&self) {
        for name in [GATE, RESULT] {
            let _ = unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Takes the gate away while its init is frozen: `start` would wait for an
    /// answer as long as that. It need not look whether the container is paused.
    pub fn lock_gate(&self) -> Result<()> {
        self.rename_gate(GATE, GATE_PAUSED)
    }

    /// Puts it back.
    pub fn unlock_gate(&self) -> Result<()> {
        self.rename_gate(GATE_PAUSED, GATE)
    }

    /// A container that has been started has none.
    fn rename_gate(&self, from: &str, to: &str) -> Result<()> {
        match renameat(&self.dir, from, &self.dir, to) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).op_on("rename the gate", &self.id),
        }
    }

    /// Removes the directory: the container is no more. The lock's file goes last.
    pub fn remove(&self) -> Result<()> {
        [GATE, RESULT, STATE_NEW, STATE, CONFIG].iter().try_for_each(|name| self.remove_file(name))?;
        let remove = || match unlinkat(&self.root, self.id.as_str(), UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        };
        let mut result = remove();
        if result == Err(Errno::ENOTEMPTY) {
            self.remove_file(GATE_PAUSED)?;
            self.remove_notify()?;
            self.remove_dir(CRIU_ROOT)?;
            result = remove();
        }
        match result {
            // The name is another's by now: what was ours is gone.
            Err(Errno::ENOTEMPTY) if !is_there(&self.root, &self.id, &self.dir)? => Ok(()),
            other => other.op_on("remove the state directory", &self.id),
        }
    }

    /// Removes an empty directory, if it is there.
    pub fn remove_dir(&self, name: &str) -> Result<()> {
        match unlinkat(&self.dir, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).op_on("remove", name),
        }
    }

    fn remove_notify(&self) -> Result<()> {
        let Some(dir) = self.open_dir(NOTIFY_DIR)? else { return Ok(()) };
        match unlinkat(&dir, NOTIFY_SOCKET, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).op_on("remove", NOTIFY_SOCKET),
        }
        unlinkat(&self.dir, NOTIFY_DIR, UnlinkatFlags::RemoveDir).op_on("remove", NOTIFY_DIR)
    }

    fn remove_file(&self, name: &str) -> Result<()> {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).op_on("remove", name),
        }
    }

    /// What the container is doing now.
    pub fn status(&self, state: Option<&State>) -> Result<Status> {
        match state.and_then(|state| Some((state, state.init?))) {
            // Its maker holds the lock; if nobody does, it died over it.
            None if self.is_busy()? => Ok(Status::Creating),
            None => Ok(Status::Stopped),
            Some((_, init)) if !init.is_alive()? => Ok(Status::Stopped),
            Some(_) if self.has_gate() => Ok(Status::Created),
            Some((state, _)) if state.cgroup.is_frozen() => Ok(Status::Paused),
            Some(_) => Ok(Status::Running),
        }
    }
}
