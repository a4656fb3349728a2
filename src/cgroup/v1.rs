//! Version 1: one tree per controller, or per co-mounted set of them.

use super::host::V1Mount;
use super::{Entrance, Hierarchy, Rules, Setting, tree, v1_table};
use crate::error::{Context, Error, Result};
use crate::init::cgroup_mount;
use crate::spec::plan::{DeviceKind, DeviceRule};
use nix::unistd::write;
use crate::spec::config::Resources;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What a container sees of one hierarchy.
pub fn shown(mount: &V1Mount, own: &Hierarchy) -> cgroup_mount::V1 {
    let text = |s: &str| CString::new(s).unwrap_or_default();
    let options = if mount.named {
        vec![(text("none"), None), (text("name"), Some(text(&mount.controllers.join(","))))]
    } else {
        mount.controllers.iter().map(|c| (text(c), None)).collect()
    };
    let name = mount.place.mount.file_name().unwrap_or_default().to_string_lossy().into_owned();
    cgroup_mount::V1 { name, options, path: own.path.clone() }
}

/// Makes the directories, sets the limits, and opens the ways in.
pub fn create(
    hierarchies: &[Hierarchy],
    unified: Option<&Path>,
    resources: &Resources,
    rules: Rules,
) -> Result<Entrance> {
    let settings = v1_table::settings(resources)?;
    let missing = settings.iter().find(|s| hierarchies.iter().all(|h| !h.has(s.controller)));
    if let Some(setting) = missing {
        return Err(Error::config(
            format!("/linux/resources/{}", setting.at),
            format!("the host has no {} controller", setting.controller),
        ));
    }
    let tasks = hierarchies.iter().map(|h| one(h, &settings, rules)).collect::<Result<_>>()?;
    if let Some(path) = unified {
        tree::make(path, &mut |_| Ok(()))?;
    }
    Ok(Entrance { clone: unified.map(tree::open).transpose()?, tasks })
}

fn one(hierarchy: &Hierarchy, settings: &[Setting], rules: Rules) -> Result<OwnedFd> {
    let is_cpuset = hierarchy.has("cpuset");
    tree::make(&hierarchy.path, &mut |dir| if is_cpuset { inherit_cpuset(dir) } else { Ok(()) })?;
    let dir = tree::open(&hierarchy.path)?;
    for setting in settings.iter().filter(|s| hierarchy.has(s.controller)) {
        setting.apply(&dir)?;
    }
    if hierarchy.has("devices") {
        set_devices(&dir, rules)?;
    }
    open_tasks(&dir, hierarchy)
}

fn open_tasks(dir: &OwnedFd, hierarchy: &Hierarchy) -> Result<OwnedFd> {
    tree::open_file(dir, "tasks", libc::O_WRONLY).map_err(|e| e.on(hierarchy.path.display().to_string()))
}

/// The ways into existing cgroups.
pub fn entrance(hierarchies: &[Hierarchy], unified: Option<&Path>) -> Result<Entrance> {
    let tasks = hierarchies.iter().map(|h| open_tasks(&tree::open(&h.path)?, h)).collect::<Result<_>>()?;
    Ok(Entrance { clone: unified.map(tree::open).transpose()?, tasks })
}

/// A cpuset without CPUs or memory nodes takes no process: what its parent has
/// is copied down.
fn inherit_cpuset(dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    let fd = tree::open(dir)?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if tree::read(&dir.join(file))?.is_empty() {
            tree::write(&fd, file, &tree::read(&parent.join(file))?)?;
        }
    }
    Ok(())
}

/// Applies the rules in their order. The controller takes one a write.
fn set_devices(dir: &OwnedFd, rules: Rules) -> Result<()> {
    let allow = tree::open_file(dir, "devices.allow", libc::O_WRONLY)?;
    let deny = tree::open_file(dir, "devices.deny", libc::O_WRONLY)?;
    rules.iter().try_for_each(|rule| {
        let file = if rule.allow { &allow } else { &deny };
        let line = device_line(rule);
        write(file, line.as_bytes())
            .op("write the device rule")
            .map_err(|e| e.at("/linux/resources/devices").on(line))
            .map(drop)
    })
}

/// `c 1:3 rwm`, as the controller reads it.
fn device_line(rule: &DeviceRule) -> String {
    let kind = match rule.kind {
        None => 'a',
        Some(DeviceKind::Block) => 'b',
        Some(DeviceKind::Char | DeviceKind::Fifo) => 'c',
    };
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let mut line = format!("{kind} {}:{} ", number(rule.major), number(rule.minor));
    line.extend([(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')].iter().filter(|(on, _)| *on).map(|(_, c)| c));
    line
}

pub fn is_frozen(hierarchies: &[Hierarchy]) -> bool {
    let freezer = hierarchies.iter().find(|h| h.has("freezer"));
    freezer.is_some_and(|h| tree::read(&h.path.join("freezer.state")).is_ok_and(|state| state != "THAWED"))
}

/// Any hierarchy lists the processes; one of a controller that nobody leaves.
pub fn process_dir(hierarchies: &[Hierarchy]) -> Option<PathBuf> {
    let preferred = ["devices", "freezer", "memory"];
    let found = preferred.iter().find_map(|name| hierarchies.iter().find(|h| h.has(name)));
    found.or(hierarchies.first()).map(|h| h.path.clone())
}

impl Hierarchy {
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
}
