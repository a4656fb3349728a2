//! Finds where a container's cgroups belong. Creates nothing.

use super::pids;
use super::{Cgroup, Driver, Hierarchy, Host, is_root, systemd, v1, v2};
use crate::error::{Context, Error, Result};
use crate::launch::cgroup_view::CgroupView;
use crate::spec::plan::{Ns, NsKind, Plan};
use crate::sys::proc_pid::path_in_proc;
use crate::sys::process::read_file;
use std::path::{Path, PathBuf};

impl Cgroup {
    /// Returns the cgroups of the container `id`, by `linux.cgroupsPath`
    /// (config-linux.md, "Cgroups Path") or, without that field, by its id. Creates
    /// nothing.
    pub fn locate(plan: &Plan, id: &str, host: &Host, driver: Driver) -> Result<Cgroup> {
        match driver {
            Driver::Cgroupfs => {}
            Driver::Systemd => return locate_unit(plan, id, host),
            Driver::Disabled => return Ok(Cgroup::None),
        }
        let path = plan.cgroups_path.as_deref().unwrap_or(id);
        match host {
            Host::None => Ok(Cgroup::None),
            Host::V2 { mount, own } => Ok(Cgroup::V2 { path: v2::place(mount, own, path) }),
            Host::V1 { mounts, unified } => Ok(Cgroup::V1 {
                hierarchies: mounts
                    .iter()
                    .map(|m| Hierarchy { controllers: m.controllers.clone(), path: m.place.resolve(path) })
                    .collect(),
                unified: unified.as_ref().map(|place| place.resolve(path)),
            }),
        }
    }

    /// Returns a warning if the cgroupfs driver gets a `cgroupsPath` in the systemd
    /// driver's form, `slice:prefix:name`. Like runc and crun, corten takes such a path
    /// as the name of a directory. A node sends such paths if its kubelet is set to
    /// systemd and its containerd to cgroupfs, and its pods must start.
    pub fn warning_for_systemd_path(cgroups_path: Option<&str>, driver: Driver) -> Option<String> {
        let path = cgroups_path.filter(|path| path.matches(':').count() == 2 && !path.contains('/'))?;
        (driver == Driver::Cgroupfs).then(|| {
            format!(
                "/linux/cgroupsPath ({path}): without --systemd-cgroup, slice:prefix:name is the name \
                 of a directory; hint: set the same cgroup driver for the engine and the runtime \
                 (containerd: SystemdCgroup = true)"
            )
        })
    }

    /// Refuses a cgroup that contains processes, as runc does. The limits would apply to
    /// these processes, and the runtime would kill them with the container. With the
    /// systemd driver, systemd itself refuses a unit that exists. `asked` is
    /// `linux.cgroupsPath`, for the error.
    pub fn check_unused(&self, asked: Option<&str>) -> Result<()> {
        let used = match self {
            Cgroup::None | Cgroup::Systemd { .. } => 0,
            // A user's cgroup may exist in only some of the hierarchies, so look into all
            // of them.
            Cgroup::V1 { hierarchies, unified } if !is_root() => {
                let paths = hierarchies.iter().map(|h| h.path.as_path()).chain(unified.as_deref());
                let used = paths.map(|path| pids::list_pids(path).map(|pids| pids.len()));
                used.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0)
            }
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
        .hint("give each container a cgroupsPath of its own"))
    }

    /// Returns whether process `pid` is in the container's cgroup, or below it, in every
    /// hierarchy. False if the container has no cgroup of its own.
    pub fn contains_everywhere(&self, pid: i32) -> Result<bool> {
        let own: Vec<&Path> = match self {
            Cgroup::None => return Ok(false),
            Cgroup::V2 { path } => vec![path],
            Cgroup::V1 { hierarchies, unified } => {
                hierarchies.iter().map(|h| h.path.as_path()).chain(unified.as_deref()).collect()
            }
            Cgroup::Systemd { place, .. } => return place.contains_everywhere(pid),
        };
        let file = path_in_proc(pid, "cgroup");
        let text = read_file(file.as_str()).op_on("read", file)?;
        Ok(is_below(&String::from_utf8_lossy(&text), &own))
    }

    /// Returns the cgroup's path in each hierarchy, with the hierarchy's name as in
    /// /proc/PID/cgroup (empty for version 2). `host` is the one that [`Cgroup::locate`]
    /// used.
    pub fn in_hierarchies(&self, host: &Host) -> Vec<(String, PathBuf)> {
        let below = |path: &Path, mount: &Path| Path::new("/").join(path.strip_prefix(mount).unwrap_or(path));
        match (self, host) {
            (Cgroup::V2 { path }, Host::V2 { mount, .. }) => vec![(String::new(), below(path, mount))],
            (Cgroup::V1 { hierarchies, unified }, Host::V1 { mounts, unified: beside }) => {
                let v1 = mounts.iter().filter_map(|m| Some((m, m.find_cgroup(hierarchies)?))).flat_map(
                    |(m, h)| {
                        let name =
                            |name: &String| if m.named { format!("name={name}") } else { name.clone() };
                        m.controllers.iter().map(move |c| (name(c), below(&h.path, &m.place.mount)))
                    },
                );
                let v2 = unified.iter().zip(beside).map(|(path, p)| (String::new(), below(path, &p.mount)));
                v1.chain(v2).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns what a mount of type `cgroup` shows in the container.
    pub fn build_view(&self, plan: &Plan, host: &Host) -> CgroupView {
        let namespaced = *plan.namespaces.get(NsKind::Cgroup) != Ns::Inherit;
        match (self, host) {
            (Cgroup::Systemd { place, .. }, _) => place.build_view(plan, host),
            (_, Host::None) => CgroupView::None,
            (Cgroup::V2 { path }, Host::V2 { mount, .. }) => {
                CgroupView::V2 { mount: mount.clone(), own: path.clone(), namespaced }
            }
            // A container without cgroups of its own is in the caller's cgroup.
            (_, Host::V2 { mount, own }) => {
                let own = v2::dir_of(mount, own);
                CgroupView::V2 { mount: mount.clone(), own, namespaced }
            }
            (Cgroup::V1 { hierarchies, .. }, Host::V1 { mounts, .. }) => CgroupView::V1 {
                namespaced,
                hierarchies: mounts
                    .iter()
                    // In a hierarchy that is not delegated, the container is in the
                    // caller's cgroup.
                    .map(|m| v1::build_view(m, m.find_cgroup(hierarchies).map_or(&m.place.own, |h| &h.path)))
                    .collect(),
            },
            (_, Host::V1 { mounts, .. }) => CgroupView::V1 {
                namespaced,
                hierarchies: mounts.iter().map(|m| v1::build_view(m, &m.place.own)).collect(),
            },
        }
    }
}

/// Returns the cgroup of the container's unit, in all hierarchies of the host.
fn locate_unit(plan: &Plan, id: &str, host: &Host) -> Result<Cgroup> {
    let located = systemd::locate(plan, id)?;
    let below = located.cgroup.trim_start_matches('/');
    let place = match host {
        Host::None => return Err(Error::msg("--systemd-cgroup: the host has no cgroup mounts")),
        Host::V2 { mount, .. } => Cgroup::V2 { path: mount.join(below) },
        Host::V1 { .. } if located.unit.is_users() => {
            return Err(Error::msg("cannot use rootless systemd cgroups manager on cgroup v1")
                .hint("use cgroup v2: systemd can't delegate cgroup v1 to a user"));
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

/// Returns whether every line of /proc/PID/cgroup names one of the directories `own`, or
/// a directory below one of them.
fn is_below(lines: &str, own: &[&Path]) -> bool {
    let is_own = |path: &Path| {
        let below = path.strip_prefix("/").unwrap_or(path);
        !below.as_os_str().is_empty() && own.iter().any(|dir| dir.ends_with(below))
    };
    let mut paths = lines.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.all(|path| Path::new(path).ancestors().any(is_own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_of_others_is_seen() {
        let own = [Path::new("/sys/fs/cgroup/pids/a/x"), Path::new("/sys/fs/cgroup/unified/a/x")];
        assert!(is_below("2:pids:/a/x\n0::/a/x\n", &own));
        assert!(is_below("2:pids:/a/x/below\n0::/a/x\n", &own));
        assert!(!is_below("2:pids:/\n0::/a/x\n", &own));
        assert!(!is_below("2:pids:/b\n0::/a/x\n", &own));
        assert!(!is_below("2:pids:/a\n0::/a/x\n", &own));
    }
}
