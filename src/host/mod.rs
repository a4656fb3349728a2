//! Finds out what this machine lets the caller do, by doing it: `features --host`.

mod cgroups;
mod mounts;
mod namespaces;

use crate::criu::{Criu, messages::Features};
use crate::error::{Context, Error, Result};
use crate::spec::memory_policy;
use crate::sys::clone::{self, Forked};
use crate::sys::namespaces::NsFlags;
use crate::sys::pidfd::{self, Exit};
use crate::sys::process::read_file;
use crate::sys::{landlock, sched, seccomp};
use nix::errno::Errno;
use serde_json::{Value, json};

/// Returns the whole report. Each part is `{"enabled": true}`, or `{"enabled": false}`
/// with the reason under `why`.
pub fn report() -> Value {
    let kernel = nix::sys::utsname::uname();
    json!({
        "kernel": kernel.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default(),
        "privileged": crate::launch::sources::may_clone(),
        "mountApi": mounts::api(),
        "idmap": mounts::idmap(),
        "namespaces": namespaces::kinds(),
        "idMappings": namespaces::mappings(),
        "cgroup": cgroups::report(),
        "seccomp": seccomp(),
        "landlock": landlock(),
        "pidfdExitStatus": verdict(exit_status()),
        "memoryPolicy": memory_policy(),
        "checkpoint": verdict(Criu::find(Features::default()).map(drop)),
        "apparmor": enabled_if(crate::init::apparmor_is_enabled(), "AppArmor is off, or /sys is not mounted"),
        "selinux": enabled_if(crate::init::selinux_is_enabled(), "SELinux has no policy: /sys/fs/selinux is not mounted"),
        "intelRdt": verdict(crate::rdt::find().map(drop)),
    })
}

/// Returns the part of the report for something that was tried.
fn verdict(tried: Result<()>) -> Value {
    match tried {
        Ok(()) => json!({ "enabled": true }),
        Err(error) => json!({ "enabled": false, "why": error.to_string() }),
    }
}

fn enabled_if(is: bool, why_not: &str) -> Value {
    verdict(if is { Ok(()) } else { Err(Error::msg(why_not)) })
}

/// Calls `act` in a child that is cloned into new namespaces. The child's errno comes
/// back as the error.
fn in_child(flags: NsFlags, act: impl FnOnce() -> nix::Result<()>) -> nix::Result<()> {
    match clone::fork(flags, None)? {
        Forked::Child => clone::exit(act().map_or_else(|errno| errno as i32, |()| 0)),
        Forked::Parent { pidfd, .. } => match pidfd::wait(&pidfd)? {
            Exit::Code(0) => Ok(()),
            Exit::Code(errno) => Err(Errno::from_raw(errno)),
            Exit::Signal(_) => Err(Errno::EINTR),
        },
    }
}

/// Reports what seccomp filters can do: the actions, the flags, and whether an agent can
/// be asked.
fn seccomp() -> Value {
    let actions = [
        ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
        ("SCMP_ACT_KILL_THREAD", 0),
        ("SCMP_ACT_TRAP", 0x0003_0000),
        ("SCMP_ACT_ERRNO", 0x0005_0000),
        ("SCMP_ACT_NOTIFY", 0x7fc0_0000),
        ("SCMP_ACT_TRACE", 0x7ff0_0000),
        ("SCMP_ACT_LOG", 0x7ffc_0000),
        ("SCMP_ACT_ALLOW", 0x7fff_0000),
    ];
    let has = |(_, action): &(&str, u32)| seccomp::has_action(*action).is_ok();
    json!({
        "enabled": seccomp::knows_flags(0),
        "actions": actions.iter().filter(|action| has(action)).map(|(name, _)| *name).collect::<Vec<_>>(),
        "supportedFlags": crate::seccomp::supported_flags(),
        "notify": verdict(seccomp::has_action(actions[4].1).op("seccomp SECCOMP_GET_ACTION_AVAIL")),
    })
}

/// Reports the version of Landlock's ABI, as a program in a container would find it.
fn landlock() -> Value {
    match landlock::abi() {
        Ok(version) => json!({ "enabled": true, "abi": version }),
        Err(Errno::EOPNOTSUPP) => {
            json!({ "enabled": false, "why": "the kernel was booted without this security module" })
        }
        Err(Errno::ENOSYS) => json!({ "enabled": false, "why": "the kernel was built without Landlock" }),
        Err(errno) => verdict(Err(Error::os("landlock_create_ruleset", errno))),
    }
}

/// Tests whether the kernel keeps the exit status of a process that another process has
/// reaped. `wait` and `delete` get the exit status that way.
fn exit_status() -> Result<()> {
    match clone::fork(NsFlags::NONE, None).op("clone3")? {
        Forked::Child => clone::exit(7),
        Forked::Parent { pidfd, .. } => {
            pidfd::wait(&pidfd).op("waitid")?;
            match pidfd::exit_of_reaped(&pidfd).op("ioctl PIDFD_GET_INFO") {
                Ok(Some(Exit::Code(7))) => Ok(()),
                Ok(_) => Err(Error::msg("the kernel does not report the exit status of a reaped process")
                    .hint("use Linux 6.15 or later")),
                Err(error) => Err(error.hint("use Linux 6.15 or later")),
            }
        }
    }
}

/// Reports the modes that the kernel accepts for NUMA node 0.
fn memory_policy() -> Value {
    let takes = |mode: i32| {
        let nodes: &[u64] = if matches!(mode, 0 | 4) { &[] } else { &[1] };
        in_child(NsFlags::NONE, || sched::set_memory_policy(mode, nodes))
    };
    if let Err(errno) = takes(0) {
        return verdict(Err(Error::os("set_mempolicy", errno)));
    }
    let modes = memory_policy::MODES.iter().filter(|(_, mode)| takes(*mode).is_ok());
    json!({ "enabled": true, "modes": modes.map(|(name, _)| *name).collect::<Vec<_>>() })
}

/// Returns the text of a file. Empty if it can't be read.
fn read_text(path: &str) -> String {
    read_file(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}
