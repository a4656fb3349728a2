//! The verbs: what each needs before, and how to see that it has worked.

use super::tracer;
use super::tracer::{Ended, Output};
use super::world::{BOUND, PAYLOAD, Variant, World};

/// The container that a verb finds.
#[derive(Clone, Copy, PartialEq)]
pub enum Before {
    None,
    Created,
    Running,
    Paused,
    Stopped,
    /// Running, with the mounts of `mounts add`.
    Mounted,
    /// Gone, with images of a checkpoint.
    Checkpointed,
}

pub struct Verb {
    pub name: &'static str,
    pub before: Before,
    pub words: fn(&World) -> Vec<String>,
    /// Whether the verb has succeeded, by its exit status.
    pub succeeded: fn(i32) -> bool,
    /// What is wrong although the verb has succeeded.
    pub check: fn(&World, i32, &Ended, &Output) -> Result<(), String>,
    pub variants: &'static [Variant],
    /// What is wrong after the verb has failed because of an errno, beside what it leaves.
    pub check_failed: fn(&World, i32) -> Result<(), String>,
    /// What the container's init has to do with this verb.
    pub init: InitRole,
    /// What is wrong with the container after the verb was killed.
    pub check_killed: fn(&World, i32) -> Result<(), String>,
    /// What this machine lacks for the verb.
    pub lacking: fn() -> Option<String>,
}

/// What the container's init has to do with a verb.
#[derive(Clone, Copy, PartialEq)]
pub enum InitRole {
    None,
    /// Init makes calls for the verb, so it is traced, too.
    Traced,
    /// The verb waits for init's end. Init is killed when the verb polls.
    KilledAtPoll,
}

/// A verb without special needs.
pub const USUAL: Verb = Verb {
    name: "",
    before: Before::None,
    words: |_| Vec::new(),
    succeeded: is_zero,
    check: |_, _, _, _| Ok(()),
    variants: &[],
    check_failed: |_, _| Ok(()),
    check_killed: |_, _| Ok(()),
    init: InitRole::None,
    lacking: || None,
};

impl Verb {
    pub fn words(&self, world: &World) -> Vec<String> {
        (self.words)(world)
    }

    /// Whether the verb creates a container, and leaves nothing if it fails.
    pub fn creates(&self) -> bool {
        matches!(self.before, Before::None | Before::Checkpointed) && self.name != "list"
    }

    /// Prepares the container. Returns the pid of its init, or 0.
    pub fn prepare(&self, world: &World) -> Result<(i32, Option<Output>), String> {
        world.fresh()?;
        match self.before {
            Before::None => Ok((0, None)),
            Before::Checkpointed => world.have_images().map(|()| (0, None)),
            Before::Created => world.create(&world.brief).map(|(pid, output)| (pid, Some(output))),
            Before::Stopped => {
                let (pid, output) = world.create(&world.brief)?;
                world.finish(pid, &output)?;
                Ok((pid, None))
            }
            Before::Running | Before::Paused | Before::Mounted => {
                let (pid, output) = world.create(&world.pausing)?;
                world.ok(&["start", &world.id])?;
                match self.before {
                    Before::Paused => drop(world.ok(&["pause", &world.id])?),
                    Before::Mounted => drop(world.ok(&world.mounts("add"))?),
                    _ => {}
                }
                Ok((pid, Some(output)))
            }
        }
    }
}

pub fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn is_zero(code: i32) -> bool {
    code == 0
}

pub fn is_running(world: &World, pid: i32, _: &Ended, _: &Output) -> Result<(), String> {
    let (ended, _) = world.ok(&["state", &world.id])?;
    let alive = std::path::Path::new(&format!("/proc/{pid}")).exists();
    if alive && ended.stdout.contains("\"running\"") {
        Ok(())
    } else {
        Err(format!("no longer runs: {}", ended.stdout))
    }
}

/// `kill` has sent SIGKILL to init.
fn is_killed(_: &World, pid: i32, _: &Ended, _: &Output) -> Result<(), String> {
    match tracer::exit_code(pid, BOUND) {
        Some(137) => Ok(()),
        other => Err(format!("init: {other:?}")),
    }
}

pub fn is_gone(world: &World, _: i32, _: &Ended, _: &Output) -> Result<(), String> {
    let left = world.left();
    if left.is_empty() { Ok(()) } else { Err(format!("left by a successful delete: {left:?}")) }
}

pub fn freezer(world: &World, pid: i32) -> String {
    let v1 = world.cgroup_file(pid, "freezer", "freezer.state");
    v1.or_else(|| world.cgroup_file(pid, "", "cgroup.freeze")).unwrap_or_default()
}

const ALL: &[Variant] = &Variant::ALL;
const MOST: &[Variant] = &[
    Variant::Plain,
    Variant::UserNamespace,
    Variant::Hooks,
    Variant::Seccomp,
    Variant::NetDevices,
    Variant::Rdt,
];
pub const SOME: &[Variant] = &[Variant::Plain, Variant::UserNamespace, Variant::Seccomp, Variant::Rdt];
pub const PLAIN: &[Variant] = &[Variant::Plain];

/// The verbs of both `make torture` and `make privilege`.
pub fn all() -> Vec<Verb> {
    let looks =
        |name, before, words, variants| Verb { name, before, words, check: is_running, variants, ..USUAL };
    vec![
        Verb {
            name: "create",
            before: Before::None,
            words: |world| owned(&world.creating(&["create"], &world.brief)),
            check: |world, _, _, output| world.finish(world.pid()?, output),
            variants: ALL,
            ..USUAL
        },
        Verb {
            name: "start",
            before: Before::Created,
            words: |world| owned(&["start", &world.id]),
            check: |world, pid, _, output| world.has_worked(pid, output),
            variants: ALL,
            init: InitRole::Traced,
            ..USUAL
        },
        Verb {
            name: "run",
            before: Before::None,
            words: |world| owned(&world.creating(&["run"], &world.brief)),
            succeeded: |code| code == 7,
            check: |world, pid, ended, output| {
                if ended.stdout != "ok\n" {
                    return Err(format!("the payload says {:?}", ended.stdout));
                }
                is_gone(world, pid, ended, output)
            },
            variants: MOST,
            ..USUAL
        },
        Verb {
            name: "run -d",
            before: Before::None,
            words: |world| owned(&world.creating(&["run", "--detach"], &world.brief)),
            check: |world, _, _, output| world.has_worked(world.pid()?, output),
            variants: &[Variant::Plain, Variant::Terminal],
            ..USUAL
        },
        Verb {
            name: "exec",
            before: Before::Running,
            words: |world| owned(&["exec", &world.id, "sh", "-c", PAYLOAD]),
            succeeded: |code| code == 7,
            check: |world, pid, ended, output| {
                if ended.stdout != "ok\n" {
                    return Err(format!("the exec process says {:?}", ended.stdout));
                }
                is_running(world, pid, ended, output)
            },
            variants: SOME,
            ..USUAL
        },
        Verb {
            name: "exec -d -t",
            before: Before::Running,
            words: |world| {
                let console = world.console.as_ref().map_or("", |console| &console.path);
                let pid_file = world.pid_file.to_str().expect("UTF-8");
                let flags =
                    ["exec", "--detach", "--tty", "--console-socket", console, "--pid-file", pid_file];
                owned(&[&flags[..], &[&world.id, "sh", "-c", PAYLOAD]].concat())
            },
            check: |world, _, _, output| world.has_worked(world.pid()?, output),
            variants: &[Variant::Terminal],
            ..USUAL
        },
        Verb {
            name: "kill",
            before: Before::Running,
            words: |world| owned(&["kill", &world.id, "KILL"]),
            check: is_killed,
            variants: PLAIN,
            ..USUAL
        },
        Verb {
            name: "kill --all",
            before: Before::Running,
            words: |world| owned(&["kill", "--all", &world.id, "KILL"]),
            check: is_killed,
            variants: PLAIN,
            ..USUAL
        },
        Verb {
            name: "pause",
            before: Before::Running,
            words: |world| owned(&["pause", &world.id]),
            check: |world, pid, _, _| match freezer(world, pid).as_str() {
                "FROZEN" | "1" => Ok(()),
                other => Err(format!("the freezer is {other:?}")),
            },
            variants: PLAIN,
            ..USUAL
        },
        Verb {
            name: "resume",
            before: Before::Paused,
            words: |world| owned(&["resume", &world.id]),
            check: is_running,
            variants: PLAIN,
            ..USUAL
        },
        Verb {
            name: "update",
            before: Before::Running,
            words: |world| owned(&["update", "--memory", "128M", "--pids-limit", "77", &world.id]),
            check: |world, pid, _, _| match world.cgroup_file(pid, "pids", "pids.max") {
                Some(limit) if limit != "77" => Err(format!("pids.max is {limit}")),
                _ => Ok(()),
            },
            variants: PLAIN,
            ..USUAL
        },
        Verb {
            name: "delete",
            before: Before::Stopped,
            words: |world| owned(&["delete", &world.id]),
            check: is_gone,
            variants: MOST,
            ..USUAL
        },
        Verb {
            name: "delete --force",
            before: Before::Running,
            words: |world| owned(&["delete", "--force", &world.id]),
            check: is_gone,
            variants: MOST,
            ..USUAL
        },
        looks("state", Before::Running, |world| owned(&["state", &world.id]), PLAIN),
        looks("list", Before::Running, |_| owned(&["list"]), PLAIN),
        looks("ps", Before::Running, |world| owned(&["ps", &world.id]), PLAIN),
        looks("events", Before::Running, |world| owned(&["events", "--stats", &world.id]), PLAIN),
    ]
}
