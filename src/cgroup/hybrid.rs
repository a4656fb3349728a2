//! Version 1 with a `unified` hierarchy (version 2) beside it. A controller is in one of
//! the two. If version 1 lacks a controller, the runtime sets its limits and reads its
//! counters in the unified hierarchy, by the files of version 2.

use super::setting::{Setting, Write};
use super::{Hierarchy, Stats, Version, tree, v1_stats, v1_table, v2, v2_stats, v2_table};
use crate::error::{Error, Result};
use crate::spec::plan::{Cpu, Resources};
use std::path::Path;

/// The directory of a cgroup, and a limit for it.
pub type Placed<'a> = (&'a Path, &'a Setting);

/// Returns the limits as writes. Those of controllers that only the unified hierarchy has
/// are for version 2.
///
/// # Errors
/// A version has no such limit.
pub fn translate(
    hierarchies: &[Hierarchy],
    unified: Option<&Path>,
    resources: &Resources,
) -> Result<Vec<Write>> {
    let mut of_v1 = v1_table::settings(resources)?;
    let mut of_v2 = Vec::new();
    let mut beside: Vec<&str> =
        of_v1.iter().map(|s| s.controller).filter(|c| lacks(hierarchies, c)).collect();
    if let (Some(unified), false) = (unified, beside.is_empty()) {
        let offered = read_offered(unified);
        beside.retain(|controller| offered.split(' ').any(|name| name == name_in_v2(controller)));
        of_v2 = v2_table::settings(&select_controllers(resources, &beside))?;
        of_v1.retain(|setting| !beside.contains(&setting.controller));
    }
    let of_v1 = of_v1.into_iter().map(|setting| (Version::V1, setting));
    Ok(of_v1.chain(of_v2.into_iter().map(|setting| (Version::V2, setting))).collect())
}

/// Returns the directory of each write.
///
/// # Errors
/// The controller of a limit is in neither version.
pub fn place_all<'a>(
    hierarchies: &'a [Hierarchy],
    unified: Option<&'a Path>,
    writes: &'a [Write],
) -> Result<Vec<Placed<'a>>> {
    writes.iter().map(|write| place(hierarchies, unified, write)).collect()
}

/// Returns the directory of each write whose controller is there. Drops the others:
/// `create` has refused them already, or named them in the log.
pub fn place_available<'a>(
    hierarchies: &'a [Hierarchy],
    unified: Option<&'a Path>,
    writes: &'a [Write],
) -> Vec<Placed<'a>> {
    writes.iter().flat_map(|write| place(hierarchies, unified, write)).collect()
}

fn place<'a>(
    hierarchies: &'a [Hierarchy],
    unified: Option<&'a Path>,
    (version, setting): &'a Write,
) -> Result<Placed<'a>> {
    let hierarchy = hierarchies.iter().find(|h| h.has(setting.controller)).map(|h| &*h.path);
    let dir = match version {
        Version::V1 => hierarchy,
        Version::V2 => unified,
    };
    match dir {
        Some(dir) => Ok((dir, setting)),
        None if super::is_root() => Err(Error::config(
            setting.pointer(),
            format!("the host has no {} controller", setting.controller),
        )),
        None => {
            let text = format!("the container has no {} controller", setting.controller);
            Err(Error::config(setting.pointer(), text)
                .hint("mount the controller on the host, or delegate it to the caller"))
        }
    }
}

fn lacks(hierarchies: &[Hierarchy], controller: &str) -> bool {
    hierarchies.iter().all(|hierarchy| !hierarchy.has(controller))
}

/// Returns the name of a controller in version 2. Only blkio has another name there: io.
fn name_in_v2(controller: &str) -> &str {
    if controller == "blkio" { "io" } else { controller }
}

/// Returns the controllers of the unified hierarchy's root, separated by spaces. The
/// cgroup `unified` need not exist yet.
fn read_offered(unified: &Path) -> String {
    find_root(unified).and_then(|root| tree::read(&root.join("cgroup.controllers")).ok()).unwrap_or_default()
}

/// Returns the root of the unified hierarchy: the topmost directory with a
/// cgroup.controllers.
fn find_root(unified: &Path) -> Option<&Path> {
    unified.ancestors().filter(|dir| dir.join("cgroup.controllers").exists()).last()
}

/// Enables the controllers for the cgroup `unified`, so that limits can be set in it.
pub fn enable_controllers(unified: &Path) -> Result<()> {
    find_root(unified).map_or(Ok(()), |root| v2::enable_controllers(root, unified))
}

/// Returns the part of `resources` that belongs to `controllers`.
fn select_controllers(resources: &Resources, controllers: &[&str]) -> Resources {
    let has = |controller: &str| controllers.contains(&controller);
    let all = resources.clone();
    let mut out = Resources::default();
    if has("memory") {
        out.memory = all.memory;
    }
    if has("cpu") {
        out.cpu = Cpu { cpus: None, mems: None, ..all.cpu };
    }
    if has("cpuset") {
        (out.cpu.cpus, out.cpu.mems) = (resources.cpu.cpus.clone(), resources.cpu.mems.clone());
    }
    if has("pids") {
        out.pids = all.pids;
    }
    if has("blkio") {
        out.block_io = all.block_io;
    }
    if has("hugetlb") {
        out.hugepage_limits = all.hugepage_limits;
    }
    if has("rdma") {
        out.rdma = all.rdma;
    }
    out
}

/// Reads the usage of every controller, from the version that has it.
pub fn stats(hierarchies: &[Hierarchy], unified: Option<&Path>) -> Result<Stats> {
    let mut stats = v1_stats::read(hierarchies)?;
    let lacks = |controller| lacks(hierarchies, controller);
    let counted = ["memory", "cpuacct", "cpu", "pids", "blkio", "hugetlb"];
    let Some(unified) = unified.filter(|_| counted.into_iter().any(lacks)) else { return Ok(stats) };
    let beside = v2_stats::read(unified)?;
    if lacks("memory") {
        stats.memory = beside.memory;
    }
    if lacks("cpuacct") {
        stats.cpu.usage = beside.cpu.usage;
    }
    if lacks("cpu") {
        stats.cpu.throttling = beside.cpu.throttling;
    }
    if lacks("pids") {
        stats.pids = beside.pids;
    }
    if lacks("blkio") {
        stats.blkio = beside.blkio;
    }
    if lacks("hugetlb") {
        stats.hugetlb = beside.hugetlb;
    }
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::plan::Limit;
    use crate::spec::resolved_resources as resolved;
    use std::num::NonZero;

    #[test]
    fn a_part_of_the_resources_is_that_of_its_controllers() {
        let text = r#"{"cpu": {"shares": 5, "cpus": "0"}, "pids": {"limit": 7}, "memory": {"limit": 9}}"#;
        let all = resolved(text);
        let shares = NonZero::new(5);
        let cpuset = select_controllers(&all, &["cpuset"]);
        assert_eq!((cpuset.cpu.cpus.as_deref(), cpuset.cpu.shares), (Some("0"), None));
        let cpu = select_controllers(&all, &["cpu", "pids"]);
        assert_eq!(
            (cpu.cpu.cpus.as_deref(), cpu.cpu.shares, cpu.pids.limit),
            (None, shares, Some(Limit::Max(7)))
        );
        assert_eq!(cpu.memory.limit, None);
    }
}
