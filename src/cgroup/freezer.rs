//! Freezing: the freezer controller of version 1, cgroup.freeze of version 2.
//!
//! Version 2 tells by cgroup.events when everything has stopped. Version 1
//! tells nobody: its state has to be read until it is FROZEN, and with each
//! look it is asked again, for what has come in meanwhile. Under a storm of
//! newcomers it may never get there; now and then it is thawed to let them
//! settle. There is an end to both: a process that hangs in the kernel doesn't
//! freeze.

use super::host::ROOT;
use super::{Cgroup, tree};
use crate::error::{Error, Result};
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long freezing may take; a running system needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many looks at version 1's state before newcomers are let through.
const ROUNDS: u32 = 64;

/// What freezes a container's cgroup, and where.
pub enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

impl Cgroup {
    /// Has it been frozen? That a cgroup above is frozen doesn't count.
    pub fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(|freezer| freezer.is_frozen())
    }

    /// Refuses a cgroup in which a new process would stop at once and never report:
    /// it is frozen, or one above is. It need not be there yet.
    pub fn check_not_frozen(&self) -> Result<()> {
        match self.freezer().and_then(|freezer| freezer.stopped_by()) {
            None => Ok(()),
            Some(path) => Err(Error::config("/linux/cgroupsPath", "container's cgroup unexpectedly frozen")
                .on(path.display().to_string())
                .hint("a process would stop in there before it does anything: thaw that cgroup first")),
        }
    }

    /// Stops everything in it, and returns when all have stopped.
    pub fn freeze(&self) -> Result<()> {
        self.freezer().ok_or_else(no_freezer)?.freeze()
    }

    /// The directory by which another program can freeze it.
    pub fn freezer_path(&self) -> Option<&Path> {
        self.freezer().map(|freezer| match freezer {
            Freezer::V1(path) | Freezer::V2(path) => path,
        })
    }

    /// Undoes `freeze`. False: a cgroup above is frozen, and so nothing runs.
    pub fn thaw(&self) -> Result<bool> {
        self.freezer().ok_or_else(no_freezer)?.thaw()
    }

    /// Lets what has been killed die, which on version 1 it doesn't while it
    /// is frozen.
    pub fn let_die(&self) -> Result<()> {
        match self.freezer() {
            Some(Freezer::V1(path)) => thaw_all(path),
            Some(Freezer::V2(_)) | None => Ok(()),
        }
    }

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
    Error::msg("there is no cgroup that could be frozen")
        .hint("the container was made without cgroups, or there is no freezer, or none for the caller")
}

impl<'a> Freezer<'a> {
    /// Has it been asked to freeze, whatever is above?
    pub fn is_frozen(&self) -> bool {
        let file = match self {
            Freezer::V1(path) => path.join("freezer.self_freezing"),
            Freezer::V2(path) => path.join("cgroup.freeze"),
        };
        tree::read(&file).is_ok_and(|state| state == "1")
    }

    /// The cgroup that stops what comes into this one. On version 1 a cgroup tells
    /// of those above, too, and one that is still to be made will be as its parent.
    fn stopped_by(&self) -> Option<&'a Path> {
        match self {
            Freezer::V1(path) => {
                let state = |dir: &Path| tree::read(&dir.join("freezer.state")).ok();
                let there = from_here_up(path).find_map(|dir| Some((dir, state(dir)?)));
                there.filter(|(_, state)| state != "THAWED").map(|(dir, _)| dir)
            }
            Freezer::V2(path) => from_here_up(path).find(|dir| Freezer::V2(dir).is_frozen()),
        }
    }

    /// Freezes; what can't be frozen is thawed again.
    pub fn freeze(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
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

    /// Thaws. False: a cgroup above is frozen, and with it this one.
    pub fn thaw(&self) -> Result<bool> {
        match self {
            Freezer::V1(path) => {
                tree::write(tree::open(path)?, "freezer.state", "THAWED")?;
                Ok(tree::read(&path.join("freezer.parent_freezing"))? != "1")
            }
            Freezer::V2(path) => {
                tree::write(tree::open(path)?, "cgroup.freeze", "0")?;
                Ok(path.ancestors().skip(1).all(|above| !Freezer::V2(above).is_frozen()))
            }
        }
    }
}

fn from_here_up(path: &Path) -> impl Iterator<Item = &Path> {
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
        if round % ROUNDS == 0 {
            tree::write(dir, "freezer.state", "THAWED")?;
        }
        // For those that are to stop, on a machine with one processor.
        std::thread::yield_now();
    }
    Ok(false)
}

fn freeze_v2(dir: &OwnedFd, deadline: Instant) -> Result<bool> {
    tree::write(dir, "cgroup.freeze", "1")?;
    tree::wait_for_event(dir, "frozen 1", deadline)
}

fn not_frozen(path: &Path) -> Error {
    Error::msg(format!("the cgroup did not freeze within {} s", PATIENCE.as_secs()))
        .on(path.display().to_string())
        .hint("a process that hangs in the kernel (state D in ps) can't be frozen; it has been thawed")
}

/// Thaws a cgroup of version 1 and, as a payload may freeze its own, all below.
pub fn thaw_all(path: &Path) -> Result<()> {
    let state = |dir: &Path| tree::read(&dir.join("freezer.state")).unwrap_or_else(|_| "THAWED".into());
    let dirs = tree::with_children(path);
    if dirs.iter().all(|dir| state(dir) == "THAWED") {
        return Ok(());
    }
    for dir in &dirs {
        match tree::open(dir).and_then(|dir| tree::write(dir, "freezer.state", "THAWED")) {
            // It is being removed: nothing is in there any more.
            Err(e) if e.is(Errno::ENOENT) || e.is(Errno::ENODEV) => {}
            other => other?,
        }
    }
    // A `pause` at the same moment sees that init is being killed, and thaws by itself.
    if !tree::read(&path.join("freezer.parent_freezing")).is_ok_and(|frozen| frozen == "1") {
        return Ok(());
    }
    Err(Error::msg("a cgroup above is frozen, and what is killed in here does not die before it is thawed")
        .on(path.display().to_string())
        .hint("write THAWED to the freezer.state of the one that is frozen"))
}
