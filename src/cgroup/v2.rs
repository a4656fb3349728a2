//! Version 2: one tree for all controllers.

use super::host::ROOT;
use super::setting::{self, Setting, Target};
use super::{Rules, device_program, stuck, tree, v2_table};
use crate::error::{Context, Error, Result};
use crate::spec::config::{Memory, Resources};
use crate::sys::bpf;
use crate::sys::pidfd::PATIENCE;
use crate::sys::process::{path_in_proc, read_file};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The directory of the cgroup `own`, a path of the hierarchy that is mounted at `mount`.
pub fn dir_of(mount: &Path, own: &Path) -> PathBuf {
    mount.join(own.strip_prefix("/").unwrap_or(own))
}

/// An absolute path counts from the mount, any other from beside the cgroup of
/// the runtime itself: that one holds processes, so no controller can be
/// enabled below it.
pub fn place(mount: &Path, own: &Path, path: &str) -> PathBuf {
    match path.strip_prefix('/') {
        Some(path) => mount.join(path.trim_start_matches('/')),
        None => {
            let parent = own.parent().unwrap_or(Path::new("/"));
            dir_of(mount, parent).join(path)
        }
    }
}

/// memory.max takes any value and kills what is above it. A cgroup that is used
/// already can be asked to be spared.
pub fn check_memory(path: &Path, memory: &Memory) -> Result<()> {
    if !memory.check_before_update {
        return Ok(());
    }
    // No cgroup, no usage.
    let usage = tree::read(&path.join("memory.current")).ok().and_then(|text| text.parse::<i64>().ok());
    let Some(usage) = usage else { return Ok(()) };
    for (field, limit) in [("swap", memory.swap), ("limit", memory.limit)] {
        if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit <= usage) {
            let at = format!("/linux/resources/memory/{field}");
            let kind = if field == "swap" { "memory+swap" } else { "memory" };
            return Err(Error::config(at, format!("rejecting {kind} limit {limit} <= usage {usage}"))
                .hint("/linux/resources/memory/checkBeforeUpdate asks for this check"));
        }
    }
    Ok(())
}

/// Where a process is.
pub fn of_process(pid: i32) -> Option<PathBuf> {
    let own = read_file(path_in_proc(pid, "cgroup").as_str()).ok()?;
    let path = own.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/"))?;
    Some(Path::new(super::host::ROOT).join(std::ffi::OsStr::from_bytes(path)))
}

/// Makes the cgroup; the handle is for clone3.
pub fn make(path: &Path) -> Result<OwnedFd> {
    tree::make(path, &mut |_| Ok(()))?;
    tree::open(path)
}

/// Sets the limits.
pub fn limit(path: &Path, dir: &OwnedFd, resources: &Resources, rules: Rules) -> Result<()> {
    let settings = v2_table::settings(resources)?;
    enable_controllers(Path::new(ROOT), path)?;
    let targets: Vec<Target> = settings.iter().map(|setting| (dir.as_fd(), setting)).collect();
    setting::apply(&targets)?;
    limit_devices(dir, rules)
}

/// Sets these, and then does `commit`, or undoes it all.
pub fn update(path: &Path, settings: &[Setting], commit: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let dir = tree::open(path)?;
    let targets: Vec<Target> = settings.iter().map(|setting| (dir.as_fd(), setting)).collect();
    setting::update(&targets, commit)
}

/// Enables every controller that the root offers all the way down to `path`,
/// so that limits can be set and usage be read.
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
            // One that can't be enabled here must not keep the others off; a
            // limit that needs it then fails by its own name.
            for controller in &missing {
                let _ = tree::write(&fd, "cgroup.subtree_control", controller);
            }
        }
    }
    Ok(())
}

/// The device controller of version 2 is a program.
pub fn limit_devices(dir: &OwnedFd, rules: Rules) -> Result<()> {
    let program = device_program::compile(rules);
    let explain = |e: Error| e.at("/linux/resources/devices").hint("device rules on cgroup v2 need CAP_BPF");
    let loaded = match bpf::load_device_program(&program) {
        // As in runc and crun: a user may load no program, and reaches no
        // device through the container that he doesn't reach without it.
        Err(Errno::EPERM) if !super::is_root() => return Ok(()),
        other => other.op("bpf: load the device program").map_err(explain)?,
    };
    bpf::attach_device_program(dir, &loaded).op("bpf: attach the device program").map_err(explain)
}

/// One write kills all (Linux 5.14), frozen or not; cgroup.events tells when
/// they are gone. `killed` is called in between.
pub fn kill_all(path: &Path, killed: impl FnOnce() -> Result<()>) -> Result<()> {
    match kill_and_wait(path, killed) {
        // Gone, or going: systemd removes a cgroup of its own once it is empty.
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
    Err(stuck::in_cgroup(path))
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
