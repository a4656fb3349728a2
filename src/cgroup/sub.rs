//! Cgroups below a container's cgroup, for `exec --cgroup`.

use super::{Cgroup, v1};
use crate::error::{Error, Result};
use nix::errno::Errno;
use std::path::PathBuf;

/// The cgroups below the container's that `exec --cgroup` names. They must exist already.
#[derive(Debug, PartialEq, Eq)]
pub enum SubCgroups {
    /// One path, in the hierarchies of all controllers.
    Everywhere(String),
    /// Pairs of a controller and its path.
    By(Vec<(String, String)>),
}

impl SubCgroups {
    /// Parses the values of `--cgroup`: one `PATH`, or any number of
    /// `CONTROLLER[,CONTROLLER]:PATH`.
    ///
    /// # Errors
    /// A value has no controller, or a controller occurs twice.
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

impl Cgroup {
    /// Returns these cgroups, with those that `wanted` names replaced by their
    /// sub-cgroups.
    pub fn sub(&self, wanted: &SubCgroups) -> Result<Cgroup> {
        match (self, wanted) {
            (Cgroup::None, _) => Err(Error::msg("--cgroup: the container has no cgroup of its own")),
            (Cgroup::Systemd { unit, place }, _) => {
                Ok(Cgroup::Systemd { unit: unit.clone(), place: Box::new(place.sub(wanted)?) })
            }
            (Cgroup::V2 { path }, SubCgroups::Everywhere(sub)) => {
                Ok(Cgroup::V2 { path: resolve_below(path, sub)? })
            }
            (Cgroup::V2 { .. }, SubCgroups::By(list)) => {
                let controller = list.first().map_or("", |(controller, _)| controller);
                Err(Error::msg(format!("--cgroup: unknown controller {controller}"))
                    .hint("on cgroup v2 there is one tree: give a path alone"))
            }
            (Cgroup::V1 { hierarchies, unified }, wanted) => {
                let hierarchies = v1::select_sub_cgroups(hierarchies, wanted)?;
                let unified = match (unified, wanted) {
                    // The unified hierarchy is beside the controllers' hierarchies and
                    // may lack the sub-cgroup. The process stays in the
                    // container's own cgroup there.
                    (Some(path), SubCgroups::Everywhere(sub)) => Some(
                        resolve_below(path, sub)
                            .ok()
                            .filter(|sub| sub.exists())
                            .unwrap_or_else(|| path.clone()),
                    ),
                    (unified, _) => unified.clone(),
                };
                Ok(Cgroup::V1 { hierarchies, unified })
            }
        }
    }
}

/// Explains, in runc's words, why the new process can't be in the cgroup of `exec
/// --cgroup`. Engines take these words for a missing executable, but no engine uses this
/// flag.
pub fn explain_sub(error: Error) -> Error {
    let op = format!("error adding pid of the new process to cgroups: {}", error.op);
    match error.is(Errno::ENOENT) {
        true => Error { op: format!("{op}: no such file or directory"), errno: None, ..error },
        false => Error { op, ..error },
    }
}

/// Returns the path `sub`, relative to `path`.
///
/// # Errors
/// `sub` contains `..`, so it could lead out of `path`.
pub(super) fn resolve_below(path: &std::path::Path, sub: &str) -> Result<PathBuf> {
    use std::path::Component;
    let sub = std::path::Path::new(sub);
    if sub.components().any(|part| part == Component::ParentDir) {
        return Err(Error::msg("--cgroup: bad sub cgroup path: is not a sub cgroup path of the container's")
            .on(sub.display().to_string()));
    }
    Ok(sub
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .fold(path.into(), |path: PathBuf, part| path.join(part)))
}
