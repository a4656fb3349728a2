//! The verbs that only `make torture` tries: `make privilege` does not measure them.

use super::cases::{Before, InitRole, PLAIN, USUAL, Verb, freezer, is_gone, is_running, owned};
use super::criu;
use super::tracer::Ended;
use super::world::{Variant, World};
use crate::harness;

pub fn all() -> Vec<Verb> {
    vec![
        Verb {
            name: "mounts add",
            before: Before::Running,
            words: |world| owned(&world.mounts("add")),
            check: |world, pid, ended, output| {
                has_mounts(world, pid, true)?;
                is_running(world, pid, ended, output)
            },
            check_failed: |world, pid| {
                has_mounts(world, pid, false)?;
                match world.new_mount_points().as_slice() {
                    [] => Ok(()),
                    left => Err(format!("mount points are left: {left:?}")),
                }
            },
            variants: &[Variant::Plain, Variant::UserNamespace],
            ..USUAL
        },
        Verb {
            name: "mounts remove",
            before: Before::Mounted,
            words: |world| owned(&world.mounts("remove")),
            check: |world, pid, ended, output| {
                has_mounts(world, pid, false)?;
                is_running(world, pid, ended, output)
            },
            check_failed: |world, pid| has_mounts(world, pid, true),
            variants: &[Variant::Plain, Variant::UserNamespace],
            ..USUAL
        },
        Verb {
            name: "wait",
            before: Before::Running,
            words: |world| owned(&["wait", &world.id]),
            succeeded: |code| code == KILLED,
            check: |world, _, ended, _| has_recorded(world, ended),
            init: InitRole::KilledAtPoll,
            lacking: || {
                let keeps_exit_status = harness::linux() >= (6, 15);
                (!keeps_exit_status).then(|| "the kernel forgets how a reaped process ended".to_owned())
            },
            variants: PLAIN,
            ..USUAL
        },
        Verb {
            name: "checkpoint",
            before: Before::Running,
            words: |world| {
                let images = world.images.to_str().expect("UTF-8");
                owned(&["checkpoint", "--image-path", images, &world.id])
            },
            check: |world, pid, ended, output| {
                if !world.images.join("descriptors.json").exists() {
                    return Err("there are no images".to_owned());
                }
                is_gone(world, pid, ended, output)
            },
            check_failed: still_runs,
            check_killed: |world, pid| {
                // CRIU goes on by itself, and notices at its next notification.
                if !world.helpers_end(pid) {
                    return Err("criu does not end".to_owned());
                }
                if is_alive(pid) { is_not_stopped(world, pid) } else { Ok(()) }
            },
            lacking: criu::missing,
            variants: &[Variant::Plain, Variant::UserNamespace],
            ..USUAL
        },
        Verb {
            name: "restore",
            before: Before::Checkpointed,
            words: World::restoring,
            check: |world, _, ended, output| is_running(world, world.pid()?, ended, output),
            lacking: criu::missing,
            // The output is a file in memory, whose owner CRIU can't restore in a user namespace.
            variants: PLAIN,
            ..USUAL
        },
    ]
}

/// The exit status of a container that SIGKILL has ended.
const KILLED: i32 = 128 + libc::SIGKILL;

/// Whether the container has all mounts of the list, or none of them.
fn has_mounts(world: &World, pid: i32, wanted: bool) -> Result<(), String> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).map_err(|error| error.to_string())?;
    let is_there = |path: &&str| text.lines().any(|line| line.split(' ').nth(4) == Some(path));
    let wrong: Vec<_> = world.added().iter().copied().filter(|path| is_there(path) != wanted).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("mounted is {}: {wrong:?}", !wanted)) }
}

/// `wait` has printed the exit status, and the state has it or a warning says why not.
fn has_recorded(world: &World, ended: &Ended) -> Result<(), String> {
    let (state, _) = world.ok(&["state", &world.id])?;
    let is_recorded = state.stdout.replace([' ', '\n'], "").contains(&format!("\"status\":{KILLED}"));
    let says_why_not = ended.stderr.contains("the exit status is not recorded");
    if ended.stdout == format!("{KILLED}\n") && (is_recorded || says_why_not) {
        return Ok(());
    }
    Err(format!("wait prints {:?}, and the state is {}", ended.stdout, state.stdout))
}

/// The state letter of a process. A zombie is Z.
fn letter(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

fn is_alive(pid: i32) -> bool {
    letter(pid).is_some_and(|letter| letter != 'Z')
}

/// Neither the freezer nor a tracer stops init.
fn is_not_stopped(world: &World, pid: i32) -> Result<(), String> {
    let (letter, freezer) = (letter(pid).unwrap_or('-'), freezer(world, pid));
    if ['t', 'T'].contains(&letter) || !["THAWED", "0"].contains(&freezer.as_str()) {
        return Err(format!("init is stopped: its state is {letter}, the freezer is {freezer:?}"));
    }
    Ok(())
}

/// A failed `checkpoint` leaves the container running, unless CRIU has written everything and
/// ended the container, and only its removal has failed.
fn still_runs(world: &World, pid: i32) -> Result<(), String> {
    if !is_alive(pid) {
        let is_complete = world.images.join("inventory.img").exists();
        return if is_complete { Ok(()) } else { Err("init has ended without images".to_owned()) };
    }
    is_not_stopped(world, pid)
}
