//! Version 1: one hierarchy for each controller, or for each set of co-mounted
//! controllers.

use super::host::V1Mount;
use super::hybrid::{self, Placed};
use super::rollback;
use super::setting::{self, Target, Write};
use super::sub_path::resolve_below;
use super::{EntryFds, Hierarchy, Rules, SubCgroups, entry_fds, tree};
use crate::error::{Context, Error, Result};
use crate::launch::cgroup_view;
use crate::spec::plan::{DeviceKind, DeviceRule};
use crate::sys::fd::open;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Returns what a container with the cgroup `own` sees of a hierarchy.
pub fn build_view(mount: &V1Mount, own: &Path) -> cgroup_view::HierarchyV1 {
    let controllers = mount.controllers.join(",");
    let options = if mount.named { format!("none,name={controllers}") } else { controllers };
    let name = mount.place.mount.file_name().unwrap_or_default().to_string_lossy().into_owned();
    cgroup_view::HierarchyV1 { name, options, path: own.into() }
}

/// Creates the cgroups, and opens the descriptors to enter them. Sets the device rules
/// now and not with the other limits: the controller takes them one by one, beginning
/// with "nothing is allowed", and init must not create device nodes during that time.
pub fn create_all(hierarchies: &[Hierarchy], unified: Option<&Path>, rules: Rules) -> Result<EntryFds> {
    hierarchies.iter().try_for_each(create_in)?;
    if let Some(path) = unified {
        tree::create(path, &mut |_| Ok(()))?;
    }
    if hierarchies.iter().any(|h| h.has("devices")) {
        limit_devices(hierarchies, rules)?;
    } else {
        limit_devices_in_unified(unified, rules)?;
    }
    open_entry(hierarchies, unified)
}

/// Creates the cgroup in each hierarchy in which the caller may. Returns these
/// hierarchies.
pub fn create_where_allowed(all: &[Hierarchy]) -> Result<Vec<Hierarchy>> {
    let mut kept = Vec::new();
    for hierarchy in all {
        match create_in(hierarchy).and_then(|()| open_tasks(hierarchy)) {
            Ok(_) => kept.push(hierarchy.clone()),
            Err(e) if entry_fds::is_denied(&e) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

fn create_in(hierarchy: &Hierarchy) -> Result<()> {
    if !hierarchy.has("cpuset") {
        return tree::create(&hierarchy.path, &mut |_| Ok(()));
    }
    let mut is_new = false;
    tree::create(&hierarchy.path, &mut |dir| {
        is_new = true;
        copy_parent_cpuset(dir)
    })?;
    // The cgroup existed already, and whoever created it left its cpuset empty.
    let is_empty = |file: &str| tree::read(&hierarchy.path.join(file)).is_ok_and(|list| list.is_empty());
    if !is_new && (is_empty("cpuset.cpus") || is_empty("cpuset.mems")) {
        return copy_parent_cpuset(&hierarchy.path);
    }
    Ok(())
}

/// Sets the device rules by version 2's program, if version 1's controller is not
/// mounted.
///
/// # Errors
/// There is no unified hierarchy either, and the caller is root: the rules would not
/// apply.
fn limit_devices_in_unified(unified: Option<&Path>, rules: Rules) -> Result<()> {
    match unified {
        Some(path) => super::v2::limit_devices(&tree::open(path)?, rules),
        None if !super::is_root() => Ok(()),
        None => Err(Error::config("/linux/resources/devices", "the host has no devices controller")
            .hint("mount that hierarchy, or cgroup2 below /sys/fs/cgroup")),
    }
}

/// Moves init into the unit's cgroup in the hierarchies that systemd does not manage.
/// Replaces systemd's device rules by the container's.
pub fn move_beside_systemd(hierarchies: &[Hierarchy], init: i32, rules: Rules) -> Result<()> {
    for hierarchy in hierarchies.iter().filter(|h| !h.has("systemd")) {
        create_in(hierarchy)?;
        tree::write(tree::open(&hierarchy.path)?, "cgroup.procs", &init.to_string())
            .map_err(|e| e.on(hierarchy.path.display().to_string()))?;
    }
    limit_devices(hierarchies, rules)
}

/// Sets the device rules, if the host has the controller.
fn limit_devices(hierarchies: &[Hierarchy], rules: Rules) -> Result<()> {
    match hierarchies.iter().find(|h| h.has("devices")) {
        Some(hierarchy) => match write_device_rules(&tree::open(&hierarchy.path)?, rules) {
            // As on version 2: if callers may not set rules, the container gives them no
            // device that they can't reach without it.
            Err(e) if e.is(Errno::EPERM) && !super::is_root() => Ok(()),
            other => other,
        },
        None => Ok(()),
    }
}

/// Sets the limits. `create_all` has set the device rules already.
pub fn set_limits(hierarchies: &[Hierarchy], unified: Option<&Path>, writes: &[Write]) -> Result<()> {
    let limits = hybrid::place_available(hierarchies, unified, writes);
    if let Some(unified) = unified.filter(|unified| limits.iter().any(|(path, _)| path == unified)) {
        hybrid::enable_controllers(unified)?;
    }
    with_open_dirs(&limits, setting::apply_all)
}

/// Sets the limits, then calls `commit`. If either fails, restores the old values.
pub fn update_limits(limits: &[Placed], commit: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    with_open_dirs(limits, |targets| rollback::update_all(targets, commit))
}

/// Opens each directory of `limits` once, and calls `act`.
fn with_open_dirs(limits: &[Placed], act: impl FnOnce(&[Target]) -> Result<()>) -> Result<()> {
    let mut dirs: Vec<(&Path, OwnedFd)> = Vec::new();
    for (path, _) in limits {
        if dirs.iter().all(|(open, _)| open != path) {
            dirs.push((path, tree::open(path)?));
        }
    }
    let target = |(path, setting)| {
        let dir = dirs.iter().find(|(open, _)| *open == path);
        dir.map(|(_, dir)| (dir.as_fd(), setting)).ok_or_else(|| Error::msg("the cgroup is not open"))
    };
    act(&limits.iter().copied().map(target).collect::<Result<Vec<_>>>()?)
}

/// Opens the `tasks` file, by which a process moves itself into the cgroup.
fn open_tasks(hierarchy: &Hierarchy) -> Result<OwnedFd> {
    let path = hierarchy.path.join("tasks");
    open(&path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path.display())
}

/// Opens the descriptors to enter existing cgroups.
pub fn open_entry(hierarchies: &[Hierarchy], unified: Option<&Path>) -> Result<EntryFds> {
    let tasks = hierarchies.iter().map(open_tasks).collect::<Result<_>>()?;
    Ok(EntryFds { clone: unified.map(tree::open).transpose()?, tasks })
}

/// Returns the hierarchies with the sub-cgroups of `exec --cgroup`.
pub fn select_sub_cgroups(hierarchies: &[Hierarchy], wanted: &SubCgroups) -> Result<Vec<Hierarchy>> {
    let mut out = hierarchies.to_vec();
    match wanted {
        SubCgroups::All(path) => {
            for hierarchy in &mut out {
                hierarchy.path = resolve_below(&hierarchy.path, path)?;
            }
        }
        SubCgroups::ByController(list) => {
            for (controller, path) in list {
                let name = controller.strip_prefix("name=").unwrap_or(controller);
                let unknown = || Error::msg(format!("--cgroup: unknown controller {controller}"));
                let at = hierarchies.iter().position(|h| h.has(name)).ok_or_else(unknown)?;
                let path = resolve_below(&hierarchies[at].path, path)?;
                // The caller may have named several controllers that share this
                // hierarchy.
                if out[at].path != hierarchies[at].path && out[at].path != path {
                    let names = hierarchies[at].controllers.join(",");
                    return Err(Error::msg(format!(
                        "--cgroup: {names} are in one tree, and need the same path"
                    )));
                }
                out[at].path = path;
            }
        }
    }
    Ok(out)
}

/// Copies the CPUs and memory nodes of the parent cgroup. A new cpuset has none, and then
/// takes no process. If somebody created the parent and left it empty, fills the parent
/// first.
fn copy_parent_cpuset(dir: &Path) -> Result<()> {
    let parent = dir.parent().ok_or_else(|| Error::msg("no such cgroup").on(dir.display().to_string()))?;
    let fd = tree::open(dir)?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut list = tree::read(&parent.join(file))?;
        if list.is_empty() {
            copy_parent_cpuset(parent)?;
            list = tree::read(&parent.join(file))?;
        }
        tree::write(&fd, file, &list)?;
    }
    Ok(())
}

/// Writes the rules in order. The controller takes one rule in a write.
fn write_device_rules(dir: &OwnedFd, rules: Rules) -> Result<()> {
    let allow = tree::open_file(dir, "devices.allow", libc::O_WRONLY)?;
    let deny = tree::open_file(dir, "devices.deny", libc::O_WRONLY)?;
    split_by_kind(rules).iter().try_for_each(|rule| {
        let file = if rule.allow { &allow } else { &deny };
        let line = device_line(rule);
        write(file, line.as_bytes())
            .op("write the device rule")
            .map_err(|e| e.at("/linux/resources/devices").on(line))
            .map(drop)
    })
}

/// Splits a rule for both types of device into two rules, unless it is for every access
/// to every device. If the type is `a`, the controller ignores the rule's numbers and
/// access.
fn split_by_kind(rules: Rules) -> Vec<DeviceRule> {
    let kinds = |rule: &DeviceRule| match rule.kind {
        None if !is_total(rule) => vec![Some(DeviceKind::Char), Some(DeviceKind::Block)],
        kind => vec![kind],
    };
    rules.iter().flat_map(|rule| kinds(rule).into_iter().map(|kind| DeviceRule { kind, ..*rule })).collect()
}

fn is_total(rule: &DeviceRule) -> bool {
    (rule.kind, rule.major, rule.minor) == (None, None, None) && rule.read && rule.write && rule.mknod
}

/// Refuses rules that the controller would silently ignore. A rule that denies takes
/// effect only if an allowing rule has the same numbers. The controller ignores it if it
/// denies a part of an allowing rule, or more than it.
pub fn check_devices(rules: Rules) -> Result<()> {
    let mut allowed: Vec<DeviceRule> = Vec::new();
    let mut denied_by_default = false;
    for rule in split_by_kind(rules) {
        if is_total(&rule) {
            denied_by_default = !rule.allow;
            allowed.clear();
        } else if denied_by_default && rule.allow {
            allowed.push(rule);
        } else if denied_by_default {
            for other in &mut allowed {
                if (other.kind, other.major, other.minor) == (rule.kind, rule.major, rule.minor) {
                    other.read &= !rule.read;
                    other.write &= !rule.write;
                    other.mknod &= !rule.mknod;
                }
            }
            if let Some(other) = allowed.iter().find(|other| rules_overlap(other, &rule)) {
                let text = format!(
                    "cgroup v1 can't deny a part of what another rule allows ({})",
                    device_line(other)
                );
                return Err(Error::config("/linux/resources/devices", text).on(device_line(&rule)));
            }
        }
    }
    Ok(())
}

fn rules_overlap(a: &DeviceRule, b: &DeviceRule) -> bool {
    let numbers = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    let access = a.read && b.read || a.write && b.write || a.mknod && b.mknod;
    a.kind == b.kind && numbers(a.major, b.major) && numbers(a.minor, b.minor) && access
}

/// Formats a rule as the controller reads it: `c 1:3 rwm`.
fn device_line(rule: &DeviceRule) -> String {
    let kind = match rule.kind {
        None => 'a',
        Some(DeviceKind::Block) => 'b',
        Some(DeviceKind::Char | DeviceKind::Fifo) => 'c',
    };
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let mut line = format!("{kind} {}:{} ", number(rule.major), number(rule.minor));
    line.extend(
        [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')].iter().filter(|(on, _)| *on).map(|(_, c)| c),
    );
    line
}

/// Returns a directory that lists the container's processes. Every hierarchy lists them;
/// this prefers a controller whose cgroup processes do not leave.
pub fn process_dir(hierarchies: &[Hierarchy]) -> Option<PathBuf> {
    let preferred = ["devices", "freezer", "memory"];
    let found = preferred.iter().find_map(|name| hierarchies.iter().find(|h| h.has(name)));
    found.or(hierarchies.first()).map(|h| h.path.clone())
}

/// The controllers that `linux.resources` has limits for.
const LIMIT_CONTROLLERS: [&str; 9] =
    ["blkio", "cpu", "cpuset", "hugetlb", "memory", "net_cls", "net_prio", "pids", "rdma"];

impl Hierarchy {
    /// Returns whether the hierarchy has a controller that `linux.resources` has limits
    /// for.
    pub fn takes_limits(&self) -> bool {
        LIMIT_CONTROLLERS.into_iter().any(|name| self.has(name))
    }

    /// Returns whether the hierarchy has `controller`, or is the named hierarchy of that
    /// name.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_rules_as_the_controller_reads_them() {
        let mut rule = DeviceRule {
            allow: true,
            kind: Some(DeviceKind::Char),
            major: Some(136),
            minor: None,
            read: true,
            write: true,
            mknod: false,
        };
        assert_eq!(device_line(&rule), "c 136:* rw");
        rule = DeviceRule { kind: None, major: None, mknod: true, ..rule };
        assert_eq!(device_line(&rule), "a *:* rwm");
    }

    fn rule(
        allow: bool,
        kind: Option<DeviceKind>,
        numbers: (Option<u32>, Option<u32>),
        access: &str,
    ) -> DeviceRule {
        let has = |letter| access.contains(letter);
        let (major, minor) = numbers;
        DeviceRule { allow, kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') }
    }

    #[test]
    fn a_rule_for_both_kinds_is_two_unless_it_is_for_all() {
        let lines = |rule: DeviceRule| split_by_kind(&[rule]).iter().map(device_line).collect::<Vec<_>>();
        assert_eq!(lines(rule(true, None, (None, None), "rwm")), ["a *:* rwm"]);
        assert_eq!(lines(rule(true, None, (None, None), "m")), ["c *:* m", "b *:* m"]);
        assert_eq!(lines(rule(true, None, (Some(5), Some(1)), "rwm")), ["c 5:1 rwm", "b 5:1 rwm"]);
    }

    #[test]
    fn what_the_controller_would_ignore_is_refused() {
        let block = Some(DeviceKind::Block);
        let none = rule(false, None, (None, None), "rwm");
        let disk = |allow, minor, access| rule(allow, block, (Some(8), minor), access);
        let all = rule(true, None, (None, None), "rwm");
        for good in [
            vec![none, disk(true, Some(1), "rwm"), disk(false, Some(1), "w")],
            vec![none, disk(true, Some(1), "rwm"), disk(false, Some(2), "rwm")],
            vec![none, disk(true, None, "m"), disk(false, Some(1), "rw")],
            vec![all, disk(false, Some(1), "rwm")],
            vec![none, disk(true, None, "rwm"), none, disk(false, Some(1), "rwm")],
        ] {
            assert_eq!(check_devices(&good), Ok(()), "{good:?}");
        }
        for bad in [
            vec![none, disk(true, None, "rwm"), disk(false, Some(1), "w")],
            vec![none, disk(true, Some(1), "rwm"), disk(false, None, "w")],
            vec![none, disk(true, None, "rwm"), rule(false, None, (Some(8), Some(1)), "r")],
        ] {
            assert_eq!(
                check_devices(&bad).map_err(|e| e.at),
                Err("/linux/resources/devices".into()),
                "{bad:?}"
            );
        }
        assert_eq!(check_devices(&crate::spec::default_rules()), Ok(()));
    }
}
