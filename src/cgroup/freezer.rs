//! Freezing: the freezer controller of version 1, and cgroup.freeze of version 2.
//!
//! On version 2, cgroup.events reports when every process has stopped.
//!
//! Version 1 has no such event. The runtime reads freezer.state until it is FROZEN.
//! Before each look it writes FROZEN again, because new processes may have come in
//! meanwhile. If processes fork fast enough, that never succeeds. So the runtime thaws
//! the cgroup for a moment after every `LOOKS_BEFORE_THAW` looks, and the new processes
//! can settle.
//!
//! Both waits have a time limit, because a process that hangs in the kernel does not
//! freeze.

use super::host::ROOT;
use super::{Cgroup, tree};
use crate::error::{Error, Result};
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The time limit for freezing. A running system needs milliseconds.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// The number of looks at freezer.state after which the runtime thaws a v1 cgroup for a
/// moment.
const LOOKS_BEFORE_THAW: u32 = 64;

/// The interface that freezes a container's cgroup, with the cgroup's directory.
pub enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

impl Cgroup {
    /// Returns whether somebody froze this cgroup itself. A frozen cgroup above it does
    /// not count. False if there is no freezer, or no cgroup any more.
    pub fn is_frozen(&self) -> Result<bool> {
        self.freezer().map_or(Ok(false), |freezer| freezer.is_frozen())
    }

    /// Refuses a cgroup that is frozen or below a frozen one. A new process would stop
    /// there at once and never report. The cgroup need not exist yet.
    pub fn check_not_frozen(&self) -> Result<()> {
        match self.freezer().and_then(|freezer| freezer.find_frozen()) {
            None => Ok(()),
            Some(path) => Err(Error::config("/linux/cgroupsPath", "container's cgroup unexpectedly frozen")
                .on(path.display().to_string())
                .hint("thaw that cgroup first: a process that is created in it stops at once")),
        }
    }

    /// Freezes every process in the cgroup, and returns when all have stopped.
    ///
    /// # Errors
    /// There is no freezer, or a process did not stop within 10 seconds. The cgroup is
    /// thawed again in the second case.
    pub fn freeze(&self) -> Result<()> {
        self.freezer().ok_or_else(no_freezer)?.freeze()
    }

    /// Returns the directory by which another program can freeze the cgroup. `None` if
    /// there is no freezer.
    pub fn freezer_path(&self) -> Option<&Path> {
        self.freezer().map(|freezer| match freezer {
            Freezer::V1(path) | Freezer::V2(path) => path,
        })
    }

    /// Thaws the cgroup. Returns false if a cgroup above it is frozen: then no process
    /// runs.
    pub fn thaw(&self) -> Result<bool> {
        self.freezer().ok_or_else(no_freezer)?.thaw()
    }

    /// Lets processes die that were sent SIGKILL. On version 1 a frozen process does not
    /// die, so this thaws the cgroup. On version 2 it does nothing.
    pub fn thaw_to_die(&self) -> Result<()> {
        match self.freezer() {
            Some(Freezer::V1(path)) => thaw_all(path),
            Some(Freezer::V2(_)) | None => Ok(()),
        }
    }

    /// Returns the v1 freezer if the container has that controller, else the v2 cgroup.
    /// `None` if it has neither.
    fn freezer(&self) -> Option<Freezer<'_>> {
        match self {
            Cgroup::None => None,
            Cgroup::V2 { path } => Some(Freezer::V2(path)),
            Cgroup::V1 { hierarchies, unified } => match hierarchies.iter().find(|h| h.has("freezer")) {
                Some(hierarchy) => Some(Freezer::V1(&hierarchy.path)),
                None => unified.as_deref().map(Freezer::V2),
            },
            Cgroup::Systemd { place, .. } => place.freezer(),
        }
    }
}

fn no_freezer() -> Error {
    Error::msg("the container has no cgroup that the caller can freeze")
        .hint("create the container in a cgroup v2, or in the freezer hierarchy of cgroup v1")
}

impl<'a> Freezer<'a> {
    /// Returns whether somebody froze this cgroup itself, whatever the state of the
    /// cgroups above it. False if it doesn't exist any more.
    pub fn is_frozen(&self) -> Result<bool> {
        let file = match self {
            Freezer::V1(path) => path.join("freezer.self_freezing"),
            Freezer::V2(path) => path.join("cgroup.freeze"),
        };
        match tree::read(&file) {
            Err(error) if error.is(Errno::ENOENT) || error.is(Errno::ENODEV) => Ok(false),
            state => state.map(|state| state == "1"),
        }
    }

    /// Returns the cgroup that would stop a new process in this one. On version 1,
    /// freezer.state also reports a frozen cgroup above, and a new cgroup takes the state
    /// of its parent. So the lowest cgroup that exists decides there.
    fn find_frozen(&self) -> Option<&'a Path> {
        match self {
            Freezer::V1(path) => {
                let state = |dir: &Path| tree::read(&dir.join("freezer.state")).ok();
                let there = ancestors_in_cgroupfs(path).find_map(|dir| Some((dir, state(dir)?)));
                there.filter(|(_, state)| state != "THAWED").map(|(dir, _)| dir)
            }
            Freezer::V2(path) => {
                ancestors_in_cgroupfs(path).find(|dir| Freezer::V2(dir).is_frozen().unwrap_or(false))
            }
        }
    }

    /// Freezes the cgroup. Thaws it again if that fails.
    pub fn freeze(&self) -> Result<()> {
        let deadline = Instant::now() + FREEZE_LIMIT;
        let (path, frozen) = match self {
            Freezer::V1(path) => (path, freeze_v1(&tree::open(path)?, path, deadline)),
            Freezer::V2(path) => (path, freeze_v2(&tree::open(path)?, deadline)),
        };
        match frozen {
            Ok(true) => Ok(()),
            failed => {
                let thawed = self.thaw();
                failed?;
                thawed?;
                Err(not_frozen(path))
            }
        }
    }

    /// Thaws the cgroup. Returns false if a cgroup above it is frozen, because this one
    /// is frozen with it.
    pub fn thaw(&self) -> Result<bool> {
        match self {
            Freezer::V1(path) => {
                tree::write(tree::open(path)?, "freezer.state", "THAWED")?;
                Ok(tree::read(&path.join("freezer.parent_freezing"))? != "1")
            }
            Freezer::V2(path) => {
                tree::write(tree::open(path)?, "cgroup.freeze", "0")?;
                Ok(path.ancestors().skip(1).all(|above| !Freezer::V2(above).is_frozen().unwrap_or(false)))
            }
        }
    }
}

fn ancestors_in_cgroupfs(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().take_while(|dir| dir.starts_with(ROOT))
}

fn freeze_v1(dir: &OwnedFd, path: &Path, deadline: Instant) -> Result<bool> {
    let state = path.join("freezer.state");
    for round in 1.. {
        tree::write(dir, "freezer.state", "FROZEN")?;
        if tree::read(&state)? == "FROZEN" {
            return Ok(true);
        }
        if Instant::now() > deadline {
            break;
        }
        if round % LOOKS_BEFORE_THAW == 0 {
            tree::write(dir, "freezer.state", "THAWED")?;
        }
        // On a machine with one processor, this lets the processes run that are to stop.
        std::thread::yield_now();
    }
    Ok(false)
}

fn freeze_v2(dir: &OwnedFd, deadline: Instant) -> Result<bool> {
    tree::write(dir, "cgroup.freeze", "1")?;
    tree::wait_for_event(dir, "frozen 1", deadline)
}

fn not_frozen(path: &Path) -> Error {
    Error::msg(format!("the cgroup did not freeze within {} s", FREEZE_LIMIT.as_secs()))
        .on(path.display().to_string())
        .hint(
            "end the processes in state D (see ps): they hang in the kernel and can't be frozen. \
             The runtime has thawed the cgroup again",
        )
}

/// Thaws a v1 cgroup and all cgroups below it, because the payload may have frozen one of
/// its own.
///
/// # Errors
/// A cgroup above is frozen, or a write fails.
pub fn thaw_all(path: &Path) -> Result<()> {
    let state = |dir: &Path| tree::read(&dir.join("freezer.state")).unwrap_or_else(|_| "THAWED".into());
    let dirs = tree::list_subtree(path);
    if dirs.iter().all(|dir| state(dir) == "THAWED") {
        return Ok(());
    }
    for dir in &dirs {
        match tree::open(dir).and_then(|dir| tree::write(dir, "freezer.state", "THAWED")) {
            // The cgroup is being removed, so no process is in it.
            Err(e) if e.is(Errno::ENOENT) || e.is(Errno::ENODEV) => {}
            other => other?,
        }
    }
    // A concurrent `pause` sees that init is being killed, and thaws the cgroup itself.
    if !tree::read(&path.join("freezer.parent_freezing")).is_ok_and(|frozen| frozen == "1") {
        return Ok(());
    }
    Err(Error::msg("a cgroup above is frozen: a killed process does not end before that cgroup is thawed")
        .on(path.display().to_string())
        .hint("write THAWED to the freezer.state of the frozen cgroup"))
}
