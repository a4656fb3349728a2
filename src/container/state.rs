//! The state directory: `ROOT/<id>/{state.json, config.json, gate, result}`.
//!
//! Writers hold a lock on the directory and check that it is still there;
//! readers never lock, as files are replaced by rename. The status is derived
//! from what lives, never stored. The first state.json is the record of the
//! intent, written before the first side effect: it names the cgroups, so that
//! `delete --force` can clear up after a runtime that was killed.

use super::exit::Ending;
use super::identity::Identity;
use super::sd_notify;
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::hooks::{Status, Subject};
use crate::rdt::Group;
use crate::spec::inherit::Fields;
use crate::spec::plan::{Ns, NsKind};
use crate::sys::regex::Regex;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, mkfifoat, unlinkat, write};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
const STATE_NEW: &str = "state.json.new";
const CONFIG: &str = "config.json";
pub const GATE: &str = "gate";
/// The gate of a container that was paused before it was started.
const GATE_PAUSED: &str = "gate.paused";
pub const RESULT: &str = "result";
/// Where CRIU finds the rootfs while it restores.
pub const CRIU_ROOT: &str = "criu-root";
const VERSION: u32 = 1;

/// The directory that holds all containers' state.
pub struct Root(pub PathBuf);

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    pub id: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// The uid that made it.
    pub owner: u32,
    pub annotations: BTreeMap<String, String>,
    pub cgroup: Cgroup,
    pub rdt: Option<Group>,
    /// CLONE_NEW… bits of the namespaces that are not the host's.
    pub namespaces: u64,
    /// The keyring that an exec joins.
    pub keyring: bool,
    /// Is there a profile in the configuration that an exec is held to?
    pub seccomp: bool,
    /// `linux.resources` as `update` left them; `None`: as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<serde_json::Value>,
    /// What an exec can take over from the configuration.
    pub inheritable: Fields,
    /// The mount namespace that it joined, where its root is mounted; it is
    /// others', too, and lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_namespace: Option<PathBuf>,
    /// `None` while it is being made.
    pub init: Option<Identity>,
    /// How it ended, once somebody has heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

impl State {
    /// A container of which nothing exists yet.
    pub fn new(id: &str, plan: &crate::spec::Plan, cgroup: Cgroup, keyring: bool) -> State {
        State {
            version: VERSION,
            id: id.into(),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.clone(),
            created: crate::log::now(),
            owner: nix::unistd::geteuid().as_raw(),
            annotations: plan.annotations.clone(),
            cgroup,
            rdt: None,
            namespaces: crate::launch::joins::private_flags(&plan.namespaces),
            keyring,
            seccomp: plan.seccomp.is_some(),
            resources: None,
            inheritable: plan.inheritable,
            mount_namespace: match plan.namespaces.get(NsKind::Mount) {
                Ns::Join { path, .. } => Some(path.clone()),
                Ns::New | Ns::Inherit => None,
            },
            init: None,
            ending: None,
        }
    }

    pub fn subject(&self) -> Subject {
        Subject {
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
            output: Default::default(),
        }
    }

    /// The hooks of the configuration as it was at create. Most have none of
    /// this kind, which a look at the text tells without a parse.
    pub fn hooks(&self, dir: &Dir, kind: &str) -> Result<crate::spec::plan::Hooks> {
        let text = dir.config()?;
        if !text.windows(kind.len()).any(|word| word == kind.as_bytes()) {
            return Ok(Default::default());
        }
        let config = crate::spec::parse_config(&text, &mut Vec::new())?;
        Ok(crate::spec::resolve(&config, &self.bundle, &mut Vec::new())?.hooks)
    }

    /// Takes the root out of a mount namespace that was joined, once nothing runs in it.
    pub fn unmount_joined(&self) -> Result<()> {
        match &self.mount_namespace {
            Some(namespace) => crate::launch::joins::unmount_in(namespace, &self.rootfs),
            None => Ok(()),
        }
    }

    /// The pid, or 0.
    pub fn pid(&self) -> i32 {
        self.init.map_or(0, |init| init.pid)
    }
}

impl Root {
    fn open(&self) -> Result<Option<OwnedFd>> {
        match open(&self.0, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            other => other.op_on("open the state directory", self.0.display()).map(Some),
        }
    }

    /// Claims an id. The directory is the claim: making it is the check.
    pub fn claim(&self, id: &str) -> Result<Dir> {
        super::id::check(id)?;
        let root = match self.open()? {
            Some(root) => root,
            None => {
                make_all(&self.0)?;
                self.open()?.ok_or_else(|| Error::msg("vanished").on(self.0.display().to_string()))?
            }
        };
        match mkdirat(&root, id, Mode::from_bits_truncate(0o700)) {
            Err(Errno::EEXIST) => return Err(exists(id)),
            other => other.op_on("make the container's state directory", id)?,
        }
        Dir::at(root, id)?.ok_or_else(|| does_not_exist(id))?.locked()
    }

    /// An early look; only the claim is certain.
    pub fn refuse_existing(&self, id: &str) -> Result<()> {
        if self.find(id).is_ok() { Err(exists(id)) } else { Ok(()) }
    }

    /// The directory of an existing container, for reading.
    pub fn find(&self, id: &str) -> Result<Dir> {
        super::id::check(id)?;
        let Some(root) = self.open()? else { return Err(does_not_exist(id)) };
        Dir::at(root, id)?.ok_or_else(|| does_not_exist(id))
    }

    /// The ids in which the POSIX extended regular expression `pattern` matches.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>> {
        let wrong = |why: String| Error::msg(format!("is no regular expression: {why}")).on(pattern);
        let text = CString::new(pattern).map_err(|_| wrong("it has a NUL".into()))?;
        let regex = Regex::new(&text).map_err(wrong)?;
        Ok(self.ids()?.into_iter().filter(|id| regex.is_match(id)).collect())
    }

    /// All ids, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.op_on("read the state directory", self.0.display())?,
        };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|id| super::id::check(id).is_ok())
            .collect();
        ids.sort();
        Ok(ids)
    }
}

fn make_all(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path);
    made.op_on("make the state directory", path.display())
}

fn exists(id: &str) -> Error {
    Error::msg("container with given ID already exists").on(id)
}

fn does_not_exist(id: &str) -> Error {
    Error::msg("container does not exist").on(id)
}

/// One container's directory.
pub struct Dir {
    root: OwnedFd,
    id: String,
    dir: OwnedFd,
}

impl Dir {
    fn at(root: OwnedFd, id: &str) -> Result<Option<Dir>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&root, id, flags, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            other => {
                let dir = other.op_on("open the container's state directory", id)?;
                Ok(Some(Dir { root, id: id.into(), dir }))
            }
        }
    }

    /// Takes the writers' lock, which lasts as long as the descriptor. Whoever
    /// held it may have deleted the container.
    pub fn locked(self) -> Result<Dir> {
        if self.lock()? { Ok(self) } else { Err(does_not_exist(&self.id)) }
    }

    /// The same for one that was [unlocked](Dir::unlock). False: the container has
    /// been deleted meanwhile.
    pub fn lock(&self) -> Result<bool> {
        crate::sys::fd::lock(&self.dir).op_on("flock the state directory", &self.id)?;
        let ours = fstat(&self.dir).op("fstat the state directory")?;
        let there = fstatat(&self.root, self.id.as_str(), nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW);
        Ok(there.is_ok_and(|there| there.st_ino == ours.st_ino))
    }

    /// Lets other writers in, while this process only waits.
    pub fn unlock(&self) -> Result<()> {
        crate::sys::fd::unlock(&self.dir).op_on("unlock the state directory", &self.id)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The state, or `None` while (or after) its maker didn't get that far.
    pub fn state(&self) -> Result<Option<State>> {
        self.state_in(STATE)
    }

    /// What a maker that was killed knew of init, and didn't get to publish.
    pub fn unpublished_state(&self) -> Option<State> {
        // It may have been killed while it wrote.
        self.state_in(STATE_NEW).unwrap_or_default().filter(|state| state.init.is_some())
    }

    fn state_in(&self, name: &str) -> Result<Option<State>> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        let state: State = serde_json::from_slice(&text)
            .map_err(|e| Error::msg(format!("state.json can't be read: {e}")).on(self.id.clone()))?;
        if state.version != VERSION {
            return Err(Error::msg(format!("state.json is of version {}", state.version)).on(self.id.clone()));
        }
        Ok(Some(state))
    }

    /// The state of a container whose making got as far as init.
    pub fn made_state(&self) -> Result<State> {
        self.state()?.filter(|state| state.init.is_some()).ok_or_else(|| {
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

    /// The configuration as it was at create.
    pub fn config(&self) -> Result<Vec<u8>> {
        self.read(CONFIG)?.ok_or_else(|| Error::msg("its config.json is missing").on(self.id.clone()))
    }

    pub fn save_config(&self, text: &[u8]) -> Result<()> {
        self.write(CONFIG, text)
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
        let mut rest = text;
        while !rest.is_empty() {
            let len = write(&file, rest).op_on("write", name)?;
            rest = &rest[len..];
        }
        Ok(())
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
    pub fn make_gate(&self) -> Result<crate::init::GateEnds> {
        Ok(crate::init::GateEnds { gate: self.make_fifo(GATE)?, result: self.make_fifo(RESULT)? })
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
        fstatat(&self.dir, GATE, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
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

    /// Removes the directory: the container is no more.
    pub fn remove(&self) -> Result<()> {
        [GATE, RESULT, CONFIG, STATE_NEW, STATE].iter().try_for_each(|name| self.remove_file(name))?;
        let remove = || unlinkat(&self.root, self.id.as_str(), UnlinkatFlags::RemoveDir);
        match remove() {
            Err(Errno::ENOTEMPTY) => {
                self.remove_file(GATE_PAUSED)?;
                self.remove_notify()?;
                self.remove_dir(CRIU_ROOT)?;
                remove()
            }
            other => other,
        }
        .op_on("remove the state directory", &self.id)
    }

    /// Removes an empty directory, if it is there.
    pub fn remove_dir(&self, name: &str) -> Result<()> {
        match unlinkat(&self.dir, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).op_on("remove", name),
        }
    }

    fn remove_notify(&self) -> Result<()> {
        let Some(dir) = self.open_dir(sd_notify::DIR)? else { return Ok(()) };
        match unlinkat(&dir, sd_notify::SOCKET, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).op_on("remove", sd_notify::SOCKET),
        }
        unlinkat(&self.dir, sd_notify::DIR, UnlinkatFlags::RemoveDir).op_on("remove", sd_notify::DIR)
    }

    fn remove_file(&self, name: &str) -> Result<()> {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).op_on("remove", name),
        }
    }

    /// What the container is doing now.
    pub fn status(&self, state: Option<&State>) -> Result<Status> {
        let Some(state) = state else { return Ok(Status::Creating) };
        match state.init {
            // Its maker holds the lock; if nobody does, it died over it.
            None if crate::sys::fd::is_locked(&self.dir).op("flock the state directory")? => {
                Ok(Status::Creating)
            }
            None => Ok(Status::Stopped),
            Some(init) if !init.is_alive()? => Ok(Status::Stopped),
            Some(_) if self.has_gate() => Ok(Status::Created),
            Some(_) if state.cgroup.is_frozen() => Ok(Status::Paused),
            Some(_) => Ok(Status::Running),
        }
    }
}

/// A pid file: digits and nothing else, complete from the moment it exists.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
    let file = openat(AT_FDCWD, &new, flags, Mode::from_bits_truncate(0o666))
        .op_on("open the pid file", path.display())?;
    write(file.as_fd(), pid.to_string().as_bytes()).op_on("write the pid file", path.display())?;
    renameat(AT_FDCWD, &new, AT_FDCWD, path).op_on("rename the pid file", path.display())
}
