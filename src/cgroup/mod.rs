//! Control groups: where a container's are, made, limited, watched and removed.
//!
//! The set of kinds is closed, so it is an enum. What is clever here stands in
//! pure tables (`v1_table`, `v2_table`, `device_program`), which are tested
//! without a kernel; the rest opens, writes and removes.

mod device_program;
mod freezer;
mod host;
mod oom;
mod setting;
mod stats;
mod systemd;
mod tree;
mod undo;
mod v1;
mod v1_stats;
mod v1_table;
mod v2;
mod v2_stats;
mod v2_table;

pub use host::{Host, V1Mount};
pub use oom::Watch as OomWatch;
pub use stats::Stats;
pub use systemd::Name as UnitName;
pub use systemd::{Starting, Unit, attach, traffic as bus_traffic};
pub use v2::place;

use freezer::Freezer;
use setting::Setting;

use crate::error::{Error, Result};
use crate::init::cgroup_mount::View;
use crate::log::Log;
use crate::spec::config::{Memory, Rdma, Resources};
use crate::spec::plan::{DeviceRule, Ns, NsKind, Plan};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use systemd::Version;

/// Who makes the cgroups of a new container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Driver {
    /// The runtime, by files.
    #[default]
    Cgroupfs,
    /// systemd, as units.
    Systemd,
    /// Nobody: the container stays in the cgroup of its caller.
    Disabled,
}

/// A container's cgroups: names, not handles, so that it can be written to the
/// state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroup {
    /// The caller may not make cgroups, and nothing was asked of them.
    None,
    V2 {
        path: PathBuf,
    },
    V1 {
        hierarchies: Vec<Hierarchy>,
        /// The one in the v2 hierarchy beside them, where the host has one.
        unified: Option<PathBuf>,
    },
    /// Those of a unit of systemd; `place` is either of the two above.
    Systemd {
        unit: Unit,
        place: Box<Cgroup>,
    },
}

/// A container's cgroup in one hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// `cpu`, or all of a co-mounted set, or the name of a named hierarchy.
    pub controllers: Vec<String>,
    pub path: PathBuf,
}

/// How a new process gets into its cgroups.
#[derive(Default)]
pub struct Entrance {
    /// The cgroup of version 2 that clone3 puts it into.
    pub clone: Option<OwnedFd>,
    /// The `tasks` files of version 1 by which it moves itself.
    pub tasks: Vec<OwnedFd>,
}

impl Cgroup {
    /// Where the container `id` belongs. Nothing is made yet.
    pub fn locate(plan: &Plan, id: &str, host: &Host, driver: Driver) -> Result<Cgroup> {
        match driver {
            Driver::Cgroupfs => {}
            Driver::Systemd => return locate_unit(plan, id, host),
            Driver::Disabled => return Ok(Cgroup::None),
        }
        let path = plan.cgroups_path.as_deref().unwrap_or(id);
        if path.matches(':').count() == 2 && !path.contains('/') {
            return Err(Error::config(
                "/linux/cgroupsPath",
                "slice:prefix:name is the systemd driver's form",
            )
            .on(path)
            .hint("without --systemd-cgroup the path is that of a directory"));
        }
        match host {
            Host::None => Ok(Cgroup::None),
            Host::V2 { mount, own } => Ok(Cgroup::V2 { path: v2::place(mount, own, path) }),
            Host::V1 { mounts, unified } => Ok(Cgroup::V1 {
                hierarchies: mounts
                    .iter()
                    .map(|m| Hierarchy { controllers: m.controllers.clone(), path: m.place.of(path) })
                    .collect(),
                unified: unified.as_ref().map(|place| place.of(path)),
            }),
        }
    }

    /// Finds what can't be set here, before anything is made.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        let resources = &plan.resources;
        match self {
            Cgroup::None => none_asked(resources),
            Cgroup::V2 { path } => {
                v2_table::settings(resources)?;
                v2::check_memory(path, &resources.memory)
            }
            Cgroup::V1 { hierarchies, .. } => v1::check(hierarchies, resources, &plan.device_rules),
            Cgroup::Systemd { place, .. } => {
                systemd::check(resources, place.version())?;
                place.check(plan)
            }
        }
    }

    /// Refuses a cgroup with processes in it, as runc does: they would come under
    /// these limits, and be killed when the container is. systemd refuses a
    /// unit that is there by itself.
    pub fn check_unused(&self, asked: Option<&str>) -> Result<()> {
        let used = match self {
            Cgroup::None | Cgroup::Systemd { .. } => 0,
            Cgroup::V1 { .. } | Cgroup::V2 { .. } => self.pids()?.len(),
        };
        if used == 0 {
            return Ok(());
        }
        Err(Error::config(
            "/linux/cgroupsPath",
            format!("container's cgroup is not empty: {used} process(es) found"),
        )
        .on(asked.unwrap_or_default())
        .hint("give each container a cgroup of its own"))
    }

    /// What is ignored here, and told: limits that Linux itself has given up.
    pub fn warnings(&self, resources: &Resources) -> Vec<String> {
        let (kernel, tcp) = (resources.memory.kernel, resources.memory.kernel_tcp);
        let place = if let Cgroup::Systemd { place, .. } = self { place } else { self };
        let tcp = tcp.filter(|_| !matches!(place, Cgroup::V1 { .. }));
        [("kernel", kernel), ("kernelTCP", tcp)]
            .iter()
            .filter(|(_, limit)| limit.is_some())
            .map(|(field, _)| format!("/linux/resources/memory/{field}: is deprecated, and ignored"))
            .collect()
    }

    /// Pointers to the limits that are asked for, device rules aside.
    fn limits(&self, resources: &Resources) -> Result<Vec<String>> {
        let settings = match self {
            Cgroup::None => Vec::new(),
            Cgroup::V2 { .. } => v2_table::settings(resources)?,
            Cgroup::V1 { .. } => v1_table::settings(resources)?,
            Cgroup::Systemd { place, .. } => return place.limits(resources),
        };
        let mut pointers: Vec<_> = settings.iter().map(|s| format!("/linux/resources/{}", s.at)).collect();
        // Two files may take one field.
        pointers.dedup();
        Ok(pointers)
    }

    /// Makes the cgroups. Where the caller is `rootless` (by itself: anybody but
    /// the host's root) and may not, there are none, and the log says which
    /// limits that costs.
    pub fn make(&mut self, plan: &Plan, rootless: Option<bool>, log: &Log) -> Result<Entrance> {
        let made = match &*self {
            Cgroup::None => return Ok(Entrance::default()),
            Cgroup::V2 { path } => v2::make(path).map(|dir| Entrance { clone: Some(dir), tasks: Vec::new() }),
            Cgroup::V1 { hierarchies, unified } => {
                v1::make(hierarchies, unified.as_deref(), &plan.device_rules)
            }
            Cgroup::Systemd { .. } => return Ok(Entrance::default()),
        };
        match made {
            Err(e) if is_denied(&e) && rootless.unwrap_or_else(|| !is_root()) => {
                let lost = self.limits(&plan.resources)?;
                if !lost.is_empty() {
                    log.warn(format!(
                        "{e}: not applied: {}; hint: limits need a delegated cgroup",
                        lost.join(", ")
                    ));
                }
                // Some hierarchies may be the caller's.
                let _ = self.remove();
                *self = Cgroup::None;
                Ok(Entrance::default())
            }
            other => other,
        }
    }

    /// Sets the limits, the device rules among them. Init is there already and
    /// works on its mounts: the two go on side by side, and init waits for its
    /// `Commit` before it lets the payload in. `dir` is the cgroup that clone3 used.
    pub fn limit(&self, plan: &Plan, dir: Option<&OwnedFd>) -> Result<()> {
        match self {
            Cgroup::None => Ok(()),
            Cgroup::V2 { path } => {
                let dir = dir.ok_or_else(|| Error::msg("the cgroup is not open"))?;
                let limited = v2::limit(path, dir, &plan.resources, &plan.device_rules);
                limited.map_err(|e| if is_root() { e } else { not_delegated(e) })
            }
            Cgroup::V1 { hierarchies, .. } => v1::limit(hierarchies, &plan.resources),
            Cgroup::Systemd { unit, place } => {
                let dir = match &**place {
                    Cgroup::V2 { path } => Some(tree::open(path)?),
                    _ => None,
                };
                let limited = place.limit(plan, dir.as_ref());
                limited.map_err(|e| if unit.is_users() { not_delegated(e) } else { e })
            }
        }
    }

    /// What is to be undone if it comes to nothing: with systemd, nothing. The
    /// unit may be another container's, and a new one ends with its processes.
    pub fn intent(&self) -> Cgroup {
        if let Cgroup::Systemd { .. } = self { Cgroup::None } else { self.clone() }
    }

    /// Gets ready to ask systemd for the unit, where this is one of its.
    pub fn prepare_unit(&self, plan: &Plan, id: &str) -> Result<Option<Starting>> {
        let Cgroup::Systemd { unit, place } = self else { return Ok(None) };
        Starting::prepare(unit, plan, id, place.version()).map(Some)
    }

    /// systemd has moved init: where to, the kernel knows best. An init that has
    /// ended is not moved: it is still where the caller is, and all that runs
    /// there would be killed for it.
    pub fn joined(&mut self, init: i32, plan: &Plan) -> Result<()> {
        let Cgroup::Systemd { unit, place } = self else { return Ok(()) };
        match &mut **place {
            Cgroup::V2 { path } => match v2::of_process(init) {
                Some(found) if found.file_name() == Some(unit.name.as_ref()) => {
                    *path = found;
                    Ok(())
                }
                _ => Err(Error::msg("systemd has not moved init into the unit").on(unit.name.clone())),
            },
            Cgroup::V1 { hierarchies, .. } => v1::join_beside_systemd(hierarchies, init, &plan.device_rules),
            Cgroup::None | Cgroup::Systemd { .. } => Ok(()),
        }
    }

    fn version(&self) -> Version {
        if let Cgroup::V1 { .. } = self { Version::V1 } else { Version::V2 }
    }

    /// Sets of `resources` what `asked` names and what follows from it, then
    /// does `commit`. If that fails, or it, all is as before. The device rules
    /// stay as they are: others add to them.
    pub fn update(
        &self,
        resources: &Resources,
        asked: &Value,
        commit: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let chosen = |settings: Vec<Setting>| -> Vec<Setting> {
            settings.into_iter().filter(|setting| setting.is_asked(asked)).collect()
        };
        match self {
            Cgroup::None if is_empty(asked) => commit(),
            Cgroup::None => Err(no_cgroup()),
            Cgroup::V2 { path } => {
                let settings = chosen(v2_table::settings(resources)?);
                v2::update(path, &settings, commit)
            }
            Cgroup::V1 { hierarchies, .. } => {
                v1::update(hierarchies, &chosen(v1_table::settings(resources)?), commit)
            }
            // To `commit` belongs that systemd is told, which then writes what it
            // made of the values: they are written once more.
            Cgroup::Systemd { unit, place } => {
                let mut again = || {
                    commit()?;
                    place.update(resources, asked, &mut || Ok(()))
                };
                let updated = place.update(resources, asked, &mut again);
                updated.map_err(|e| if unit.is_users() { not_delegated(e) } else { e })
            }
        }
    }

    /// Is memory asked for that is used already? Only where the container's
    /// resources want that looked at, and on version 2, whose kernel doesn't.
    pub fn check_memory(&self, memory: &Memory) -> Result<()> {
        match self {
            Cgroup::V2 { path } => v2::check_memory(path, memory),
            Cgroup::Systemd { place, .. } => place.check_memory(memory),
            Cgroup::None | Cgroup::V1 { .. } => Ok(()),
        }
    }

    /// Tells systemd of these limits, where the cgroup is one of its: it would
    /// set the old ones again. Returns the names of what it has no property for.
    pub fn tell_systemd(&self, resources: &Resources) -> Result<Vec<String>> {
        match self {
            Cgroup::Systemd { unit, place } => systemd::update(unit, resources, place.version()),
            Cgroup::None | Cgroup::V1 { .. } | Cgroup::V2 { .. } => Ok(Vec::new()),
        }
    }

    /// The way in for another process of the container.
    pub fn entrance(&self) -> Result<Entrance> {
        match self {
            Cgroup::None => Ok(Entrance::default()),
            Cgroup::V2 { path } => Ok(Entrance { clone: Some(tree::open(path)?), tasks: Vec::new() }),
            Cgroup::V1 { hierarchies, unified } => v1::entrance(hierarchies, unified.as_deref()),
            Cgroup::Systemd { place, .. } => place.entrance(),
        }
    }

    /// What the kernel means when it lets no process in.
    pub fn explain_entry(&self, error: Error) -> Error {
        match self {
            Cgroup::V2 { path } if error.is(nix::errno::Errno::EOPNOTSUPP) => {
                let kind = tree::read(&path.join("cgroup.type")).unwrap_or_default();
                error.at("/linux/cgroupsPath").on(path.display().to_string()).hint(format!(
                    "its cgroup.type is {kind:?}: below a threaded cgroup there can be no container"
                ))
            }
            _ => error,
        }
    }

    /// The same where that is a parent of others by now, and takes no process:
    /// a payload that is an init itself has moved below, and there one may follow.
    pub fn entrance_below(&self, init: i32) -> Result<Option<OwnedFd>> {
        match self {
            Cgroup::V2 { .. } => v2::of_process(init).map(|path| tree::open(&path)).transpose(),
            Cgroup::Systemd { place, .. } => place.entrance_below(init),
            Cgroup::None | Cgroup::V1 { .. } => Ok(None),
        }
    }

    /// The user's systemd, if it is to move processes that the user may not.
    pub fn mover(&self) -> Option<&Unit> {
        match self {
            Cgroup::Systemd { unit, .. } if unit.is_users() => Some(unit),
            _ => None,
        }
    }

    /// What a mount of type `cgroup` shows.
    pub fn view(&self, plan: &Plan, host: &Host) -> View {
        let namespaced = *plan.namespaces.get(NsKind::Cgroup) != Ns::Inherit;
        match (self, host) {
            (Cgroup::Systemd { place, .. }, _) => place.view(plan, host),
            (_, Host::None) => View::None,
            (Cgroup::V2 { path }, Host::V2 { mount, .. }) => {
                View::V2 { mount: mount.clone(), own: path.clone(), namespaced }
            }
            // Without cgroups of its own it is in the caller's.
            (_, Host::V2 { mount, own }) => {
                let own = mount.join(own.strip_prefix("/").unwrap_or(own));
                View::V2 { mount: mount.clone(), own, namespaced }
            }
            (Cgroup::V1 { hierarchies, .. }, Host::V1 { mounts, .. }) => View::V1 {
                namespaced,
                hierarchies: mounts.iter().zip(hierarchies).map(|(m, h)| v1::shown(m, &h.path)).collect(),
            },
            (_, Host::V1 { mounts, .. }) => View::V1 {
                namespaced,
                hierarchies: mounts.iter().map(|m| v1::shown(m, &m.place.own)).collect(),
            },
        }
    }

    /// Has it been frozen? That a cgroup above is frozen doesn't count.
    pub fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(|freezer| freezer.is_frozen())
    }

    /// Stops everything in it, and returns when all have stopped.
    pub fn freeze(&self) -> Result<()> {
        self.freezer().ok_or_else(no_freezer)?.freeze()
    }

    /// The directory by which another program can freeze it.
    pub fn freezer_path(&self) -> Option<&std::path::Path> {
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
            Some(Freezer::V1(path)) => freezer::thaw_all(path),
            Some(Freezer::V2(_)) | None => Ok(()),
        }
    }

    /// What is used of everything that is counted.
    pub fn stats(&self) -> Result<Stats> {
        match self {
            Cgroup::None => Err(Error::msg("there is no cgroup that counts what the container uses")),
            Cgroup::V2 { path } => v2_stats::read(path),
            Cgroup::V1 { hierarchies, .. } => v1_stats::read(hierarchies),
            Cgroup::Systemd { place, .. } => place.stats(),
        }
    }

    /// Hears of a lack of memory, where there is a memory controller.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        let watch = match self {
            Cgroup::None => return Ok(None),
            Cgroup::V2 { path } => OomWatch::v2(path),
            Cgroup::V1 { hierarchies, .. } => match hierarchies.iter().find(|h| h.has("memory")) {
                Some(hierarchy) => OomWatch::v1(&hierarchy.path),
                None => return Ok(None),
            },
            Cgroup::Systemd { place, .. } => return place.watch_oom(),
        };
        match watch {
            Err(e) if e.is(nix::errno::Errno::ENOENT) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The same for whoever looks once the container has ended: systemd removes
    /// a cgroup with its last process. `None` where it stays.
    pub fn watch_oom_until_the_end(&self) -> Option<OomWatch> {
        let Cgroup::Systemd { .. } = self else { return None };
        self.watch_oom().ok().flatten()
    }

    /// How many of its processes were killed for want of memory; `None` where
    /// nobody counts.
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        let killed = match self {
            Cgroup::None => return Ok(None),
            Cgroup::V2 { path } => oom::kills(path, "memory.events"),
            Cgroup::V1 { hierarchies, .. } => match hierarchies.iter().find(|h| h.has("memory")) {
                Some(hierarchy) => oom::kills(&hierarchy.path, "memory.oom_control"),
                None => return Ok(None),
            },
            Cgroup::Systemd { place, .. } => return place.oom_kills(),
        };
        match killed {
            Err(e) if e.is(nix::errno::Errno::ENOENT) => Ok(None),
            other => other.map(Some),
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

    /// The pids in it, as this process sees them, those below included.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match self.process_dir() {
            None => Ok(Vec::new()),
            Some(path) => tree::pids(&path),
        }
    }

    /// Handles on the processes in it, those below included.
    pub fn handles(&self) -> Result<Vec<OwnedFd>> {
        self.process_dir().map_or(Ok(Vec::new()), |path| tree::handles(&path))
    }

    /// The same cgroups, with the sub-cgroups of `exec --cgroup` in the place of
    /// those that they name.
    pub fn sub(&self, wanted: &SubCgroups) -> Result<Cgroup> {
        match (self, wanted) {
            (Cgroup::None, _) => Err(Error::msg("--cgroup: the container has no cgroup of its own")),
            (Cgroup::Systemd { unit, place }, _) => {
                Ok(Cgroup::Systemd { unit: unit.clone(), place: Box::new(place.sub(wanted)?) })
            }
            (Cgroup::V2 { path }, SubCgroups::Everywhere(sub)) => Ok(Cgroup::V2 { path: below(path, sub)? }),
            (Cgroup::V2 { .. }, SubCgroups::By(list)) => {
                let controller = list.first().map_or("", |(controller, _)| controller);
                Err(Error::msg(format!("--cgroup: unknown controller {controller}"))
                    .hint("on cgroup v2 there is one tree: give a path alone"))
            }
            (Cgroup::V1 { hierarchies, unified }, wanted) => {
                let hierarchies = v1::sub(hierarchies, wanted)?;
                let unified = match (unified, wanted) {
                    // It is beside the tree of every controller, and need not have the same children.
                    (Some(path), SubCgroups::Everywhere(sub)) => {
                        Some(below(path, sub).ok().filter(|sub| sub.exists()).unwrap_or_else(|| path.clone()))
                    }
                    (unified, _) => unified.clone(),
                };
                Ok(Cgroup::V1 { hierarchies, unified })
            }
        }
    }

    /// Sends SIGKILL to everything in it and waits until it is empty.
    pub fn kill_all(&self) -> Result<()> {
        match self {
            Cgroup::None => Ok(()),
            Cgroup::V2 { path } | Cgroup::V1 { unified: Some(path), .. } => {
                v2::kill_all(path, || self.let_die())
            }
            Cgroup::Systemd { place, .. } => place.kill_all(),
            Cgroup::V1 { .. } => match self.process_dir() {
                None => Ok(()),
                Some(path) => tree::kill_each(&path, || self.let_die()),
            },
        }
    }

    /// Removes it and what was made below it. What is gone is no error.
    pub fn remove(&self) -> Result<()> {
        match self {
            Cgroup::None => Ok(()),
            Cgroup::V2 { path } => tree::remove(path),
            Cgroup::V1 { hierarchies, unified } => {
                // All are tried; the first failure is told.
                let paths = hierarchies.iter().map(|h| h.path.as_path()).chain(unified.as_deref());
                let results: Vec<_> = paths.map(tree::remove).collect();
                results.into_iter().collect()
            }
            Cgroup::Systemd { unit, place } => {
                if !place.exists() && !systemd::outlives_its_cgroup(unit) {
                    return Ok(());
                }
                // What still runs would be asked to end first, and be given time.
                place.kill_all()?;
                let stopped = systemd::stop(unit);
                // systemd leaves what isn't its own: cgroups that the payload
                // made, and other hierarchies. If it doesn't answer, a unit
                // ends with its cgroup all the same.
                place.remove().map_err(|error| stopped.err().unwrap_or(error))
            }
        }
    }

    /// Is any of its directories there?
    fn exists(&self) -> bool {
        match self {
            Cgroup::None => false,
            Cgroup::V2 { path } => path.exists(),
            Cgroup::V1 { hierarchies, .. } => hierarchies.iter().any(|h| h.path.exists()),
            Cgroup::Systemd { place, .. } => place.exists(),
        }
    }

    /// A directory whose cgroup.procs lists the container's processes.
    fn process_dir(&self) -> Option<PathBuf> {
        match self {
            Cgroup::None => None,
            Cgroup::V2 { path } | Cgroup::V1 { unified: Some(path), .. } => Some(path.clone()),
            Cgroup::V1 { hierarchies, .. } => v1::process_dir(hierarchies),
            Cgroup::Systemd { place, .. } => place.process_dir(),
        }
    }
}

/// Existing cgroups below a container's, as `exec --cgroup` names them.
#[derive(Debug, PartialEq, Eq)]
pub enum SubCgroups {
    /// In the trees of all controllers.
    Everywhere(String),
    /// Controller and path.
    By(Vec<(String, String)>),
}

impl SubCgroups {
    /// `PATH` alone, or any number of `CONTROLLER[,CONTROLLER]:PATH`.
    pub fn parse(flags: &[String]) -> Result<SubCgroups> {
        let mut list: Vec<(String, String)> = Vec::new();
        for flag in flags {
            let wrong =
                |why: String| Error::msg(format!("invalid --cgroup argument: {why}")).on(flag.clone());
            let Some((controllers, path)) = flag.split_once(':') else {
                if flags.len() > 1 {
                    return Err(wrong("missing <controller>: prefix".into()));
                }
                return Ok(SubCgroups::Everywhere(flag.clone()));
            };
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(wrong("empty <controller> prefix".into()));
                }
                if list.iter().any(|(other, _)| other == controller) {
                    return Err(wrong(format!("controller {controller} specified multiple times")));
                }
                list.push((controller.into(), path.into()));
            }
        }
        Ok(SubCgroups::By(list))
    }
}

/// The path `sub` counts from `path`, and must not lead out of it.
fn below(path: &std::path::Path, sub: &str) -> Result<PathBuf> {
    use std::path::Component;
    let sub = std::path::Path::new(sub);
    if sub.components().any(|part| part == Component::ParentDir) {
        return Err(Error::msg("--cgroup: is not a sub cgroup path").on(sub.display().to_string()));
    }
    Ok(sub
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .fold(path.into(), |path: PathBuf, part| path.join(part)))
}

fn no_freezer() -> Error {
    Error::msg("there is no cgroup that could be frozen")
        .hint("the container was made without cgroups, or the host has no freezer")
}

/// The cgroup of a unit, in whatever hierarchies the host has.
fn locate_unit(plan: &Plan, id: &str, host: &Host) -> Result<Cgroup> {
    let located = systemd::locate(plan, id)?;
    let below = located.cgroup.trim_start_matches('/');
    let place = match host {
        Host::None => return Err(Error::msg("--systemd-cgroup: the host has no cgroup mounts")),
        Host::V2 { mount, .. } => Cgroup::V2 { path: mount.join(below) },
        Host::V1 { .. } if located.unit.is_users() => {
            return Err(Error::msg("cannot use rootless systemd cgroups manager on cgroup v1")
                .hint("version 1 can't be delegated to a user"));
        }
        Host::V1 { mounts, unified } => Cgroup::V1 {
            hierarchies: mounts
                .iter()
                .map(|m| Hierarchy { controllers: m.controllers.clone(), path: m.place.mount.join(below) })
                .collect(),
            unified: unified.as_ref().map(|place| place.mount.join(below)),
        },
    };
    Ok(Cgroup::Systemd { unit: located.unit, place: Box::new(place) })
}

/// A user's limits are for the controllers that the user was given.
fn not_delegated(error: Error) -> Error {
    match error.errno {
        None => error.hint("the controller is not delegated to the user: see Delegate= of user@.service"),
        Some(_) => error,
    }
}

/// Is the caller the host's root, or only that of a user namespace, as the
/// runtime is under rootless engines?
fn is_root() -> bool {
    nix::unistd::geteuid().is_root() && !crate::sys::process::in_user_namespace()
}

fn is_denied(error: &Error) -> bool {
    use nix::errno::Errno;
    [Errno::EACCES, Errno::EPERM, Errno::EROFS].into_iter().any(|errno| error.is(errno))
}

/// Refuses limits that would be dropped in silence.
fn none_asked(resources: &Resources) -> Result<()> {
    if *resources == Resources::default() {
        return Ok(());
    }
    Err(no_cgroup())
}

fn no_cgroup() -> Error {
    Error::config("/linux/resources", "there is no cgroup in which the limits could be set")
        .hint("the caller may not make cgroups; remove the limits, or run with a delegated cgroup")
}

/// Does nothing in there have a value?
fn is_empty(asked: &Value) -> bool {
    match asked {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// `limit`, `swap` and `reservation`, where 0 is "not set" in what engines send.
fn memory_limits(memory: &Memory) -> [Option<i64>; 3] {
    [memory.limit, memory.swap, memory.reservation].map(|value| value.filter(|value| *value != 0))
}

/// No limit is none with swap either, if that has none of its own. There may be
/// no swap to count.
fn unlimited_swap(memory: &Memory, file: &str, value: &str) -> Option<Setting> {
    match memory_limits(memory) {
        [Some(-1), None, _] => {
            Some(Setting::new("memory", file, value, "memory/swap").follows(&["memory/limit"]).if_there())
        }
        _ => None,
    }
}

/// `linux.resources.rdma`, which is alike in both versions: a line a device.
fn rdma(devices: &BTreeMap<String, Rdma>, out: &mut Vec<Setting>) -> Result<()> {
    for (device, limits) in devices {
        let at = format!("rdma/{}", device.replace('~', "~0").replace('/', "~1"));
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(refused(&at, "is not the name of a device"));
        }
        let pairs = [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)];
        let pairs: Vec<_> =
            pairs.iter().filter_map(|(key, limit)| Some(format!("{key}={}", (*limit)?))).collect();
        if pairs.is_empty() {
            return Err(refused(&at, "needs hcaHandles or hcaObjects"));
        }
        out.push(Setting::new("rdma", "rdma.max", format!("{device} {}", pairs.join(" ")), at));
    }
    Ok(())
}

/// A field that this version of cgroups, or of corten, does not have.
fn refused(at: &str, why: &str) -> Error {
    Error::config(format!("/linux/resources/{at}"), why)
}

/// Rules for the device controller, or none where all is allowed.
type Rules<'a> = &'a [DeviceRule];
