//! The state directory: `ROOT/<id>/{state.json, config.json, gate, result}`.
//!
//! A verb that changes a container holds the lock ([`super::lock`]) and checks that the
//! directory is still there. A verb that only reads takes no lock, because files are
//! replaced by rename. The status is never stored. The runtime derives the status from
//! the processes that are alive. The first state.json is a record of the intent, which
//! `create` writes before its first side effect. The record names the cgroups, so that
//! `delete --force` can clean up after a runtime that was killed.
//!
//! A directory with a state.json belongs to a container. So does a directory with the
//! sticky bit: `mkdir` sets the sticky bit, and `create` has not written the record yet. Once
//! the record is there, the directory also has the set-group-ID bit, until `delete` removes
//! the record. So a record that something else has removed is an error, and no claim.
//! Any other entry of ROOT (`lost+found`, a directory of another program) is not
//! corten's.

use super::identity::Identity;
use super::lock::{Lock, LockKind};
use super::state::{self, Shown, State};
use crate::error::{Context, Error, Result};
use crate::init::GateEnds;
use crate::spec;
use crate::spec::plan::Hooks;
use crate::spec::state::Status;
use crate::steps;
use crate::sys::fd::{read_from_start, write_all};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, mkfifoat, unlinkat};
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
/// The mode of a new state directory: only the owner has access. The sticky bit marks the
/// directory as corten's.
pub(super) const CLAIMED: u32 = 0o1700;
/// The mode of a state directory whose record was written.
const RECORDED: u32 = 0o3700;

/// Opens the claimed directory and takes its lock; see [`Dir::take`].
fn lock_claim(root: &OwnedFd, id: &str) -> Result<Option<(OwnedFd, Lock)>> {
    let Some(dir) = open_dir(root, id)? else { return Ok(None) };
    let Some(lock) = Lock::create(&dir, CONFIG)? else { return Ok(None) };
    match lock.take(LockKind::Writer, id).and_then(|()| is_there(root, id, &dir)) {
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

/// Whether the directory still has its name. The last holder of the lock may have deleted
/// the container.
fn is_there(root: &OwnedFd, id: &str, dir: &OwnedFd) -> Result<bool> {
    let opened = fstat(dir).op("fstat the state directory")?;
    match fstatat(root, id, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(false),
        other => Ok(other.op_on("fstatat the state directory", id)?.st_ino == opened.st_ino),
    }
}

pub(super) fn is_container(root: &OwnedFd, id: &str) -> bool {
    let stat = |path: &str| fstatat(root, path, AtFlags::AT_SYMLINK_NOFOLLOW);
    stat(&format!("{id}/{STATE}")).is_ok() || stat(id).is_ok_and(|stat| is_claimed(&stat))
}

fn is_claimed(stat: &nix::sys::stat::FileStat) -> bool {
    stat.st_mode & libc::S_ISVTX != 0
}

/// One container's directory.
pub struct Dir {
    root: OwnedFd,
    id: String,
    dir: OwnedFd,
    /// `None` until the lock's file is open.
    lock: Option<Lock>,
}

impl Dir {
    /// Opens the claimed directory, creates the lock's file in it and takes the lock.
    /// `None`: another process removed the directory meanwhile. The name may already
    /// belong to a new claim. This function does not touch the lock file of that claim.
    /// Removes the claimed directory if an error occurs.
    pub(super) fn take(root: OwnedFd, id: &str) -> Result<Option<Dir>> {
        match lock_claim(&root, id) {
            Ok(Some((dir, lock))) => Ok(Some(Dir { root, id: id.into(), dir, lock: Some(lock) })),
            Ok(None) => Ok(None),
            Err(error) => {
                // rmdir removes only an empty directory, so never the claim of another runtime.
                let _ = unlinkat(&root, id, UnlinkatFlags::RemoveDir);
                Err(error)
            }
        }
    }

    pub(super) fn at(root: OwnedFd, id: &str) -> Result<Option<Dir>> {
        let dir = open_dir(&root, id)?;
        Ok(dir.map(|dir| Dir { root, id: id.into(), dir, lock: None }))
    }

    /// Takes the writers' lock, which lasts until [`Dir::unlock`] or the end of this process.
    ///
    /// # Errors
    /// The container was deleted while this process waited. Another process keeps the lock
    /// for longer than [`PATIENCE`](crate::sys::pidfd::PATIENCE): the error names that process.
    pub fn locked(self) -> Result<Dir> {
        let dir = self.with_lock()?;
        if dir.lock()? { Ok(dir) } else { Err(Error::no_container(&dir.id)) }
    }

    /// Opens the lock's file.
    fn with_lock(mut self) -> Result<Dir> {
        let lock = match Lock::open(&self.dir, CONFIG, OFlag::empty())? {
            // Another program has removed the file of an existing container.
            None if self.has(STATE) => Lock::open(&self.dir, CONFIG, OFlag::O_CREAT)?,
            other => other,
        };
        let Some(lock) = lock else { return Err(self.without_a_record()) };
        self.lock = Some(lock);
        Ok(self)
    }

    /// Removes a claim that has no record and no lock file, and returns the error "no
    /// container". If the runtime that created the claim still runs, that runtime claims
    /// the id again. Only that runtime creates the lock file, so this verb must not. A
    /// directory of another program stays.
    fn without_a_record(&self) -> Error {
        if self.is_claimed() {
            let _ = unlinkat(&self.root, self.id.as_str(), UnlinkatFlags::RemoveDir);
        }
        Error::no_container(&self.id)
    }

    /// Takes the lock again after [`Dir::unlock`]. False: the container was deleted meanwhile.
    pub fn lock(&self) -> Result<bool> {
        let Some(lock) = &self.lock else { return Err(Error::msg("the lock was never taken").on(&self.id)) };
        lock.take(LockKind::Writer, &self.id)?;
        steps::done("took the lock");
        is_there(&self.root, &self.id, &self.dir)
    }

    /// Releases the lock, so that other verbs can work while this process waits.
    pub fn unlock(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.release(LockKind::Writer, &self.id))
    }

    /// Takes the lock of a `start` that waits for the payload's execve. [`Dir::started`]
    /// releases it. The caller holds the writers' lock.
    pub fn starts(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.take(LockKind::Start, &self.id))
    }

    pub fn started(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.release(LockKind::Start, &self.id))
    }

    /// Whether a `start` waits for the payload's execve, or is about to open the start
    /// gate. This process must not hold the writers' lock.
    pub fn is_starting(&self) -> Result<bool> {
        Ok(self.lock_holder(LockKind::Start)?.is_some())
    }

    /// Returns the pid of another process that holds the lock. Closes the lock's file, so this
    /// process must not hold the lock itself.
    fn lock_holder(&self, kind: LockKind) -> Result<Option<i32>> {
        let lock = Lock::look_at(&self.dir, CONFIG)?;
        lock.map_or(Ok(None), |lock| lock.holder(kind, &self.id))
    }

    /// Waits until no `start` waits for the payload's execve, at most
    /// [`PATIENCE`](crate::sys::pidfd::PATIENCE). This process must not hold the writers' lock.
    pub fn await_start(&self) {
        if let Ok(Some(lock)) = Lock::open(&self.dir, CONFIG, OFlag::empty()) {
            // Dropping `lock` closes the file, and so releases the lock.
            let _ = lock.wait_until_free(LockKind::Start, &self.id);
        }
    }

    /// Does [`Dir::await_start`], so that a failed `start` writes its record first. Then takes
    /// the lock as [`Dir::locked`] does.
    pub fn locked_after_start(self) -> Result<Dir> {
        let dir = self.with_lock()?;
        dir.lock.as_ref().map_or(Ok(()), |lock| lock.wait_until_free(LockKind::Start, &dir.id))?;
        if dir.lock()? { Ok(dir) } else { Err(Error::no_container(&dir.id)) }
    }

    /// Whether another process holds the lock. Does not open the lock's file if this process
    /// has the lock: to close the file would release the lock.
    fn is_busy(&self) -> Result<bool> {
        if self.lock.is_some() {
            return Ok(false);
        }
        Ok(self.lock_holder(LockKind::Writer)?.is_some() || self.is_locked_by_an_older_create()?)
    }

    /// Whether a corten from before November 2026 is creating the container. Such a corten
    /// locks the directory.
    pub fn is_locked_by_an_older_create(&self) -> Result<bool> {
        crate::sys::fd::is_locked(&self.dir).op_on("flock the state directory", &self.id)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the state. `None`: `create` has not written it yet, or was killed before it
    /// did.
    ///
    /// # Errors
    /// The record is missing, can't be read, or has a version that this corten doesn't know. The
    /// directory belongs to no container.
    pub fn state(&self) -> Result<Option<State>> {
        // If the directory says that there is a record, `create` may just have written it.
        let text = match self.read(STATE)? {
            None if self.is_recorded() => self.read(STATE)?,
            other => other,
        };
        match text {
            Some(text) => {
                let state = state::parse(&text, &self.id)?;
                steps::done("read the state");
                Ok(Some(state))
            }
            None if self.is_recorded() => Err(state::unreadable("it is missing", &self.id)),
            None if self.is_claimed() => Ok(None),
            None => Err(Error::no_container(&self.id)),
        }
    }

    /// Returns the state, and for a record of a newer version the part that this corten
    /// understands: enough to show, signal and delete the container.
    pub fn known(&self) -> Result<Option<State>> {
        self.state().or_else(|error| {
            let text = self.read(STATE).ok().flatten().unwrap_or_default();
            state::of_newer(&text, &self.id).map(Some).ok_or(error)
        })
    }

    /// Returns the state of a container whose record can't be read, as far as it is known.
    /// `None`: config.json is missing, empty or can't be read, the record names no init, and the
    /// directory has no mark of corten. It may be another runtime's.
    pub fn partial_record(&self) -> Option<state::PartialRecord> {
        let config = self.config().unwrap_or_default();
        let text = self.read(STATE).ok().flatten().unwrap_or_default();
        let partial = state::PartialRecord::read(&text, &config, &self.id);
        (!config.is_empty() || partial.state.init.is_some() || self.is_recorded()).then_some(partial)
    }

    /// Returns the state that a killed `create` had saved but not published.
    pub fn unpublished_state(&self) -> Option<State> {
        // The file is torn if the runtime was killed while it wrote.
        let text = self.read(STATE_NEW).ok().flatten()?;
        state::parse(&text, &self.id).ok().filter(|state| state.init.is_some())
    }

    /// Returns when the directory was claimed or last changed.
    pub fn time(&self) -> SystemTime {
        let seconds = fstat(&self.dir).map_or(0, |stat| stat.st_mtime);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
    }

    /// Returns the state of a container that has an init.
    pub fn created_state(&self) -> Result<State> {
        self.require_init(self.state()?)
    }

    /// Returns the state of a container that has an init, also of a container of a newer
    /// version: see [`Dir::known`].
    pub fn known_created_state(&self) -> Result<State> {
        self.require_init(self.known()?)
    }

    fn require_init(&self, state: Option<State>) -> Result<State> {
        state.filter(|state| state.init.is_some()).ok_or_else(|| {
            Error::msg("the container is still being created")
                .on(self.id.clone())
                .hint("wait; if its runtime was killed, run delete --force")
        })
    }

    pub fn save(&self, state: &State) -> Result<()> {
        self.save_unpublished(state)?;
        self.publish()
    }

    /// Saves a state that other processes don't see before [`Dir::publish`].
    pub fn save_unpublished(&self, state: &State) -> Result<()> {
        let text = serde_json::to_vec(state).map_err(|e| Error::msg(format!("state.json: {e}")))?;
        self.write(STATE_NEW, &text)
    }

    /// Saves the first record of a container, and marks the directory.
    pub fn save_first(&self, state: &State) -> Result<()> {
        self.save(state)?;
        self.set_mode(RECORDED)
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        fchmod(&self.dir, Mode::from_bits_truncate(mode)).op_on("fchmod the state directory", &self.id)
    }

    pub fn publish(&self) -> Result<()> {
        renameat(&self.dir, STATE_NEW, &self.dir, STATE).op_on("rename the state", &self.id)
    }

    /// Returns the configuration as it was at `create`. The lock is on the same file, so this
    /// reads through the lock's descriptor: see [`Lock`].
    pub fn config(&self) -> Result<Vec<u8>> {
        let text = match &self.lock {
            Some(lock) => Some(lock.read(&self.id)?),
            None => self.read(CONFIG)?,
        };
        text.filter(|text| !text.is_empty()).ok_or_else(|| match self.has(STATE) {
            true => Error::msg("its config.json is missing").on(self.id.clone()),
            // The container was deleted after its record was read.
            false => Error::no_container(&self.id),
        })
    }

    /// Returns the hooks of the configuration as it was at `create`. Most containers have
    /// no hook of this kind. A search in the text finds that out without parsing the
    /// JSON.
    pub fn hooks(&self, state: &State, kind: &str) -> Result<Hooks> {
        let text = self.config()?;
        // `str::contains` skips most bytes. Text that is not UTF-8 goes to the parser, which
        // reports it.
        if std::str::from_utf8(&text).is_ok_and(|text| !text.contains(kind)) {
            return Ok(Hooks::default());
        }
        let config = spec::parse_config(&text, &mut Vec::new())?;
        Ok(spec::resolve(&config, &state.bundle, &mut Vec::new())?.hooks)
    }

    /// Writes the configuration into the directory that this process has claimed.
    pub fn save_config(&self, text: &[u8]) -> Result<()> {
        let Some(lock) = &self.lock else { return Err(Error::msg("the lock was never taken").on(&self.id)) };
        lock.write(text)
    }

    fn is_claimed(&self) -> bool {
        fstat(&self.dir).is_ok_and(|stat| is_claimed(&stat))
    }

    /// Whether a record was written that no `delete` has removed.
    fn is_recorded(&self) -> bool {
        fstat(&self.dir).is_ok_and(|stat| stat.st_mode & libc::S_ISGID != 0)
    }

    fn has(&self, name: &str) -> bool {
        fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let file = match openat(&self.dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other.op_on("open", name)?,
        };
        let mut text = Vec::with_capacity(4096);
        read_from_start(file, &mut text).op_on("read", name)?;
        Ok(Some(text))
    }

    fn write(&self, name: &str, text: &[u8]) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, name, flags, Mode::from_bits_truncate(0o600)).op_on("open", name)?;
        write_all(&file, text).op_on("write", name)
    }

    /// Creates a directory of mode 0755. Only the state directory around it keeps other users
    /// out.
    pub fn create_dir(&self, name: &str) -> Result<()> {
        mkdirat(&self.dir, name, Mode::from_bits_truncate(0o755)).op_on("create the directory", name)?;
        // mkdir subtracts the caller's umask.
        let mode = Mode::from_bits_truncate(0o755);
        nix::sys::stat::fchmodat(&self.dir, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
            .op_on("chmod", name)
    }

    /// Opens a directory. `None`: the directory does not exist.
    pub fn open_dir(&self, name: &str) -> Result<Option<OwnedFd>> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&self.dir, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            other => other.op_on("open", name).map(Some),
        }
    }

    /// Creates the two FIFOs of the start gate and opens init's ends.
    pub fn create_gate(&self) -> Result<GateEnds> {
        Ok(GateEnds { gate: self.create_fifo(GATE)?, result: self.create_fifo(RESULT)?, handout: None })
    }

    fn create_fifo(&self, name: &str) -> Result<OwnedFd> {
        mkfifoat(&self.dir, name, Mode::from_bits_truncate(0o600)).op_on("mkfifo", name)?;
        openat(&self.dir, name, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", name)
    }

    /// Opens one end of a FIFO without a wait for the other end.
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

    /// Hides the start gate while init is frozen: `start` would wait until `resume`.
    pub fn lock_gate(&self) -> Result<()> {
        self.rename_gate(GATE, GATE_PAUSED)
    }

    /// Shows the start gate again.
    pub fn unlock_gate(&self) -> Result<()> {
        self.rename_gate(GATE_PAUSED, GATE)
    }

    /// Renames the gate. A container that was started has none, which is no error.
    fn rename_gate(&self, from: &str, to: &str) -> Result<()> {
        match renameat(&self.dir, from, &self.dir, to) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).op_on("rename the start gate", &self.id),
        }
    }

    /// Removes the directory, and with it the container. The lock's file goes last.
    pub fn remove(&self) -> Result<()> {
        self.set_mode(CLAIMED)?;
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
            // The directory is already removed, and the name belongs to a new container.
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

    /// Derives the status (runtime.md "State") from the processes that are alive now.
    pub fn status(&self, state: Option<&State>) -> Result<Status> {
        match state.and_then(|state| Some((state, state.init?))) {
            // A runtime that is creating the container holds the lock. If no process
            // holds the lock, that runtime was killed.
            None if self.is_busy()? => Ok(Status::Creating),
            None => Ok(Status::Stopped),
            Some((_, init)) if !init.is_alive()? => Ok(Status::Stopped),
            Some(_) if self.has_gate() => Ok(Status::Created),
            Some((state, _)) if state.cgroup.is_frozen()? => Ok(Status::Paused),
            Some(_) => Ok(Status::Running),
        }
    }
}

/// What is needed to read many containers as [`Dir`] does, but without opening a state
/// directory.
pub(super) struct Reader {
    pub root: OwnedFd,
    /// Whether no record is from before the last boot.
    records_are_of_this_boot: bool,
    /// Memory for a record.
    text: Vec<u8>,
}

impl Reader {
    pub fn new(root: OwnedFd) -> Reader {
        let is_tmpfs = fstatfs(&root).is_ok_and(|stat| stat.filesystem_type() == TMPFS_MAGIC);
        Reader { root, records_are_of_this_boot: is_tmpfs, text: Vec::with_capacity(16384) }
    }

    /// Reads what is shown of the container `id`, and derives the status. `None`: the record is
    /// missing, can't be read or names no init, or something else failed. Then [`Dir`] tells why.
    pub fn read(&mut self, id: &str) -> Option<(Shown, Status)> {
        let path = format!("{id}/{STATE}");
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let record = openat(&self.root, path.as_str(), flags, Mode::empty()).ok()?;
        read_from_start(record, &mut self.text).ok()?;
        let shown = Shown::parse(&self.text)?;
        steps::done("read the state");
        let status = self.status(id, shown.init?)?;
        Some((shown, status))
    }

    /// Does what [`Dir::status`] does.
    fn status(&self, id: &str, init: Identity) -> Option<Status> {
        let is_alive = match self.records_are_of_this_boot {
            true => init.is_alive_since_this_boot(),
            false => init.is_alive(),
        };
        if !is_alive.ok()? {
            return Some(Status::Stopped);
        }
        let gate = format!("{id}/{GATE}");
        if fstatat(&self.root, gate.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
            return Some(Status::Created);
        }
        let is_frozen = state::cgroup_in(&self.text)?.is_frozen().ok()?;
        Some(if is_frozen { Status::Paused } else { Status::Running })
    }
}
