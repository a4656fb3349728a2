//! Paths of cgroups below a container's.

use crate::error::{Error, Result};
use std::path::{Component, Path, PathBuf};

/// The cgroups below the container's that `exec --cgroup` names. They must exist already.
#[derive(Debug, PartialEq, Eq)]
pub enum SubCgroups {
    /// One path, in the hierarchies of all controllers.
    All(String),
    /// Pairs of a controller and its path.
    ByController(Vec<(String, String)>),
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
                return Ok(SubCgroups::All(flag.clone()));
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
        Ok(SubCgroups::ByController(list))
    }
}

/// Returns the path `sub`, relative to `path`.
///
/// # Errors
/// `sub` contains `..`, so it could lead out of `path`.
pub(super) fn resolve_below(path: &Path, sub: &str) -> Result<PathBuf> {
    let sub = Path::new(sub);
    if sub.components().any(|part| part == Component::ParentDir) {
        return Err(Error::msg("--cgroup: bad sub cgroup path: it must not contain `..`")
            .on(sub.display().to_string()));
    }
    Ok(sub
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .fold(path.into(), |path: PathBuf, part| path.join(part)))
}
