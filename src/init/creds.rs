//! The payload's ids, capabilities, no_new_privs and working directory.

use crate::error::{Context, Error, Result};
use crate::launch::messages::Lacking;
use crate::spec::plan::{Capabilities, Process};
use crate::sys::{caps, process as sys};
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use std::ffi::CStr;

/// An upper bound for the number of the kernel's last capability.
const CAP_LIMIT: u8 = 63;

/// Changes to the working directory as root and returns whether that worked. Returns
/// `false` if only the payload's user may enter the directory, for example a home
/// directory on a filesystem that squashes root. [`enter_cwd`] enters such a directory.
pub fn enter_cwd_early(process: &Process) -> Result<bool> {
    match nix::unistd::chdir(process.cwd.as_c_str()) {
        Ok(()) => Ok(true),
        Err(Errno::EACCES | Errno::EPERM) => Ok(false),
        Err(errno) => Err(cwd_error(errno, &process.cwd)),
    }
}

/// Changes to the working directory as the payload's user, unless `entered`. Then checks
/// that the directory lies inside the container. CVE-2024-21626: /proc/self/fd/N of a
/// leaked descriptor leads to a directory of the host. getcwd(2) returns no absolute path
/// for it.
pub fn enter_cwd(process: &Process, entered: bool) -> Result<()> {
    if !entered {
        nix::unistd::chdir(process.cwd.as_c_str()).map_err(|errno| cwd_error(errno, &process.cwd))?;
    }
    match nix::unistd::getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        Err(errno) if errno != Errno::ENOENT => {
            Err(Error::os("getcwd", errno).at("/process/cwd").on(process.cwd.to_string_lossy()))
        }
        _ => Err(Error::msg("the current working directory is outside of the container's root")
            .at("/process/cwd")
            .on(process.cwd.to_string_lossy())),
    }
}

/// Returns the error of a failed chdir in runc's words, because engines match them.
fn cwd_error(errno: Errno, cwd: &CStr) -> Error {
    let error = match errno {
        Errno::EACCES => Error::msg("chdir: permission denied"),
        Errno::ENOENT => Error::msg("chdir: no such file or directory"),
        other => Error::os("chdir", other).in_kernels_words(),
    };
    error.at("/process/cwd").on(cwd.to_string_lossy())
}

/// Takes the payload's ids and groups. Keeps the capabilities, so that
/// [`drop_privileges`] can reduce them.
pub fn become_user(process: &Process) -> Result<()> {
    umask(Mode::from_bits_truncate(process.umask));
    drop_bounding(process.capabilities.bounding)?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 1).op("prctl PR_SET_KEEPCAPS")?;
    set_groups(process)?;
    sys::set_ids(process.uid, process.gid).op("setresuid").map_err(|e| {
        e.at("/process/user")
            .on(format!("{}:{}", process.uid, process.gid))
            .hint("map the ids in the container's user namespace")
    })
}

fn set_groups(process: &Process) -> Result<()> {
    if process.keep_groups {
        return Ok(());
    }
    match sys::set_groups(&process.additional_gids) {
        Ok(()) => Ok(()),
        // The kernel denies setgroups if a user maps only his own id. The groups are then
        // the user's own already.
        Err(Errno::EPERM) if process.additional_gids.is_empty() => Ok(()),
        Err(errno) => Err(Error::os("setgroups", errno)
            .at("/process/user/additionalGids")
            .hint("map the groups in the container's user namespace, and allow setgroups there")),
    }
}

fn drop_bounding(keep: u64) -> Result<()> {
    for cap in 0..=CAP_LIMIT {
        if keep >> cap & 1 == 1 {
            continue;
        }
        match caps::bounding_drop(cap) {
            // The kernel doesn't know this capability, nor any with a higher number.
            Err(Errno::EINVAL) => break,
            other => other.op("prctl PR_CAPBSET_DROP").map_err(|e| e.at("/process/capabilities/bounding"))?,
        }
    }
    Ok(())
}

/// Capabilities that init holds beyond the payload's, until [`ExtraCapabilities::give_up`].
#[must_use = "the payload must not have them"]
pub struct ExtraCapabilities {
    /// The payload's own capabilities. `None` if init holds no others.
    own: Option<caps::Sets>,
    /// Capabilities that the payload should have and does not get.
    pub lacking: Lacking,
}

impl ExtraCapabilities {
    /// Reduces the capabilities to the payload's own.
    pub fn give_up(self) -> Result<()> {
        self.own.map_or(Ok(()), |own| caps::set(own).op("capset").map_err(|e| e.at("/process/capabilities")))
    }
}

/// Reduces the capabilities to the payload's and `extra` (a bit each), and sets
/// no_new_privs. The process can't get back what it gives up here.
pub fn drop_privileges(process: &Process, extra: u64) -> Result<ExtraCapabilities> {
    let extra = set_capabilities(&process.capabilities, extra)?;
    if process.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().op("prctl PR_SET_NO_NEW_PRIVS")?;
    }
    Ok(extra)
}

fn set_capabilities(wanted: &Capabilities, extra: u64) -> Result<ExtraCapabilities> {
    let known = known_capabilities(wanted.permitted | wanted.inheritable)?;
    let wanted = Capabilities {
        effective: wanted.effective & known,
        permitted: wanted.permitted & known,
        inheritable: wanted.inheritable & known,
        ..*wanted
    };
    let own = caps::Sets {
        effective: wanted.effective,
        permitted: wanted.permitted,
        inheritable: wanted.inheritable,
    };
    let with_extra = |own: caps::Sets| caps::Sets {
        effective: own.effective | extra,
        permitted: own.permitted | extra,
        ..own
    };
    let (own, lacking) = match caps::set(with_extra(own)) {
        // Not a failure: the runtime grants the capabilities that it can (config.md
        // "Linux Process").
        Err(Errno::EPERM) => {
            let have = caps::get().op("capget")?;
            let granted = common(own, have);
            caps::set(common(with_extra(granted), have)).map(|()| (granted, own.permitted & !have.permitted))
        }
        other => other.map(|()| (own, 0)),
    }
    .op("capset")
    .map_err(|e| e.at("/process/capabilities"))?;
    caps::ambient_clear().op("prctl PR_CAP_AMBIENT_CLEAR_ALL")?;
    let ambient = wanted.ambient & known_capabilities(wanted.ambient)?;
    let raised = raise_ambient(ambient & own.permitted & own.inheritable)?;
    let lacking = Lacking { of_runtime: lacking, ambient: ambient & !raised & !lacking };
    Ok(ExtraCapabilities { own: (with_extra(own) != own).then_some(own), lacking })
}

/// Adds `capabilities`, which are permitted and inheritable, to the ambient set. Returns
/// those that are ambient now. The caller's secure bits may forbid it.
fn raise_ambient(capabilities: u64) -> Result<u64> {
    let mut raised = 0;
    for cap in (0..=CAP_LIMIT).filter(|cap| capabilities >> cap & 1 == 1) {
        match caps::ambient_raise(cap) {
            Ok(()) => raised |= 1 << cap,
            Err(Errno::EPERM) => {}
            Err(errno) => {
                return Err(
                    Error::os("prctl PR_CAP_AMBIENT_RAISE", errno).at("/process/capabilities/ambient")
                );
            }
        }
    }
    Ok(raised)
}

/// Returns the part of `wanted` that a process with the sets `have` may set.
fn common(wanted: caps::Sets, have: caps::Sets) -> caps::Sets {
    caps::Sets {
        effective: wanted.effective & have.permitted,
        permitted: wanted.permitted & have.permitted,
        inheritable: wanted.inheritable & (have.inheritable | have.permitted),
    }
}

/// Returns the capabilities of `wanted` that the running kernel knows. A capability of a
/// newer kernel is not an error. Capability numbers have no gaps, so the kernel knows
/// all capabilities below the highest one that it knows.
fn known_capabilities(wanted: u64) -> Result<u64> {
    let mut known = wanted;
    while let Some(highest) = known.checked_ilog2() {
        let number = u8::try_from(highest).map_err(|_| Error::msg("capability number"))?;
        match caps::bounding_has(number) {
            Err(Errno::EINVAL) => known &= !(1 << highest),
            other => return other.op("prctl PR_CAPBSET_READ").map(|_| known),
        }
    }
    Ok(known)
}
