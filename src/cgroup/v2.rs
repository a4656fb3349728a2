//! Version 2: one hierarchy for all controllers.

use super::host::ROOT;
use super::rollback;
use super::setting::{self, Setting, Target, Write};
use super::{Rules, device_program, tree, unkillable};
use crate::error::{Context, Error, Result};
use crate::spec::plan::{Limit, Memory};
use crate::sys::bpf;
use crate::sys::pidfd::PATIENCE;
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Returns the directory of a cgroup. `own` is its path in the hierarchy that is mounted
/// at `mount`.
pub fn dir_of(mount: &Path, own: &Path) -> PathBuf {
    mount.join(own.strip_prefix("/").unwrap_or(own))
}

/// Returns the directory of the cgroup `path`. An absolute path starts at the mount. Any
/// other path starts at the parent of the runtime's own cgroup. The runtime's cgroup
/// contains processes, so no controller can be enabled for cgroups below it.
pub fn place(mount: &Path, own: &Path, path: &str) -> PathBuf {
    match path.strip_prefix('/') {
        Some(path) => mount.join(path.trim_start_matches('/')),
        None => {
            let parent = own.parent().unwrap_or(Path::new("/"));
            dir_of(mount, parent).join(path)
        }
    }
}

/// Refuses a memory limit that is not above the current usage, if
/// `memory.checkBeforeUpdate` is set. The kernel itself accepts any memory.max, and kills
/// processes until the usage fits.
pub fn check_memory(path: &Path, memory: &Memory) -> Result<()> {
    if memory.check_before_update != Some(true) {
        return Ok(());
    }
    // A cgroup that does not exist uses no memory.
    let usage = tree::read(&path.join("memory.current")).ok().and_then(|text| text.parse::<u64>().ok());
    let Some(usage) = usage else { return Ok(()) };
    for (field, limit) in [("swap", memory.swap), ("limit", memory.limit)] {
        if let Some(Limit::Max(limit)) = limit
            && limit <= usage
        {
            let at = format!("/linux/resources/memory/{field}");
            let kind = if field == "swap" { "memory+swap" } else { "memory" };
            return Err(Error::config(at, format!("rejecting {kind} limit {limit} <= usage {usage}"))
                .hint("remove /linux/resources/memory/checkBeforeUpdate, or set a limit above the usage"));
        }
    }
    Ok(())
}

/// Creates the cgroup, and returns its descriptor for clone3.
pub fn create(path: &Path) -> Result<OwnedFd> {
    tree::create(path, &mut |_| Ok(()))?;
    tree::open(path)
}

/// Enables the controllers, then sets the limits and the device rules.
pub fn set_limits(path: &Path, dir: &OwnedFd, writes: &[Write], rules: Rules) -> Result<()> {
    enable_controllers(Path::new(ROOT), path)?;
    let targets: Vec<Target> = writes.iter().map(|(_, setting)| (dir.as_fd(), setting)).collect();
    setting::apply_all(&targets)?;
    limit_devices(dir, rules)
}

/// Sets the limits, then calls `commit`. If either fails, restores the old values.
pub fn update_limits(
    path: &Path,
    settings: &[&Setting],
    commit: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let dir = tree::open(path)?;
    let targets: Vec<Target> = settings.iter().map(|setting| (dir.as_fd(), *setting)).collect();
    rollback::update_all(&targets, commit)
}

/// Enables every controller that `root` has in each cgroup above `path`, so that limits
/// can be set and usage can be read in `path`.
pub fn enable_controllers(root: &Path, path: &Path) -> Result<()> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).collect();
    above.reverse();
    if above.is_empty() {
        return Ok(());
    }
    let offered = tree::read(&root.join("cgroup.controllers"))?;
    for dir in above {
        let enabled = tree::read(&dir.join("cgroup.subtree_control"))?;
        let missing = offered.split(' ').filter(|c| !c.is_empty() && !enabled.split(' ').any(|e| e == *c));
        let missing: Vec<String> = missing.map(|c| format!("+{c}")).collect();
        if missing.is_empty() {
            continue;
        }
        let fd = tree::open(dir)?;
        if tree::write(&fd, "cgroup.subtree_control", &missing.join(" ")).is_err() {
            // A controller that can't be enabled here must not keep the others disabled.
            // A limit that needs it fails later, and the error names it.
            for controller in &missing {
                let _ = tree::write(&fd, "cgroup.subtree_control", controller);
            }
        }
    }
    Ok(())
}

/// Attaches the device rules. Version 2's device controller is a BPF program.
pub fn limit_devices(dir: &OwnedFd, rules: Rules) -> Result<()> {
    let program = device_program::compile(rules)?;
    let explain = |e: Error| {
        e.at("/linux/resources/devices")
            .hint("call the runtime with CAP_BPF, which device rules on cgroup v2 need")
    };
    let loaded = match bpf::load_device_program(&program) {
        // As in runc and crun: a user may not load a program. The container gives users
        // no device that they can't reach without it.
        Err(Errno::EPERM) if !super::is_root() => return Ok(()),
        other => other.op("bpf: load the device program").map_err(explain)?,
    };
    bpf::attach_device_program(dir, &loaded).op("bpf: attach the device program").map_err(explain)
}

/// Kills every process, frozen or not, by one write to cgroup.kill (Linux 5.14). Then
/// calls `killed`, and waits until cgroup.events reports that no process is left.
///
/// # Errors
/// A process still runs after [`PATIENCE`]. A cgroup that does not exist is no error.
pub fn kill_all(path: &Path, killed: impl FnOnce() -> Result<()>) -> Result<()> {
    match kill_and_wait(path, killed) {
        // systemd removes its cgroups as soon as they are empty.
        Err(e) if e.is(Errno::ENOENT) || e.is(Errno::ENODEV) => Ok(()),
        other => other,
    }
}

fn kill_and_wait(path: &Path, killed: impl FnOnce() -> Result<()>) -> Result<()> {
    let dir = tree::open(path)?;
    tree::write(&dir, "cgroup.kill", "1").map_err(|e| e.on(path.display().to_string()))?;
    killed()?;
    if tree::wait_for_event(&dir, "populated 0", Instant::now() + PATIENCE)? {
        return Ok(());
    }
    Err(unkillable::cgroup_still_running_error(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_placed_beside_the_runtimes_own() {
        let mount = Path::new("/sys/fs/cgroup");
        let own = Path::new("/user.slice/session.scope");
        assert_eq!(place(mount, own, "box"), mount.join("user.slice/box"));
        assert_eq!(place(mount, Path::new("/"), "box"), mount.join("box"));
        assert_eq!(place(mount, own, "/kubepods/pod1/c"), mount.join("kubepods/pod1/c"));
    }
}
