//! Who the payload is: ids, capabilities, no_new_privs, working directory.

use crate::error::{Context, Error, Result};
use crate::launch::sync::Lacking;
use crate::spec::plan::{Capabilities, Process};
use crate::sys::{caps, process as sys};
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use std::ffi::CStr;

/// The kernel's last capability is below this.
const CAP_LIMIT: u8 = 63;

/// Changes directory as root; did it work? A directory that only the user may
/// enter (a home on a filesystem that squashes root) is left to [`enter_cwd`].
pub fn enter_cwd_early(process: &Process) -> Result<bool> {
    match nix::unistd::chdir(process.cwd.as_c_str()) {
        Ok(()) => Ok(true),
        Err(Errno::EACCES | Errno::EPERM) => Ok(false),
        Err(errno) => Err(cwd_error(errno, &process.cwd)),
    }
}

/// Makes sure, as the user, that the working directory is the right one and
/// lies inside the container (CVE-2024-21626: a leaked descriptor of a host's
/// directory, reached as /proc/self/fd/N, is one that getcwd can't reach).
pub fn enter_cwd(process: &Process, entered: bool) -> Result<()> {
    if !entered {
        nix::unistd::chdir(process.cwd.as_c_str()).map_err(|errno| cwd_error(errno, &process.cwd))?;
    }
    match nix::unistd::getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err(Error::msg("the current working directory is outside of the container's root")
            .at("/process/cwd")
            .on(process.cwd.to_string_lossy())),
    }
}

/// The directory is the payload's own affair: engines match runc's words.
fn cwd_error(errno: Errno, cwd: &CStr) -> Error {
    let error = match errno {
        Errno::EACCES => Error::msg("chdir: permission denied"),
        Errno::ENOENT => Error::msg("chdir: no such file or directory"),
        other => Error::os("chdir", other),
    };
    error.at("/process/cwd").on(cwd.to_string_lossy())
}

/// Ids and groups. Capabilities are kept over the change, for [`limit`] to cut.
pub fn become_user(process: &Process) -> Result<()> {
    umask(Mode::from_bits_truncate(process.umask));
    drop_bounding(process.capabilities.bounding)?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 1).op("prctl PR_SET_KEEPCAPS")?;
    set_groups(process)?;
    sys::set_ids(process.uid, process.gid).op("setresuid").map_err(|e| {
        e.at("/process/user")
            .on(format!("{}:{}", process.uid, process.gid))
            .hint("in a user namespace the ids must be mapped")
    })
}

fn set_groups(process: &Process) -> Result<()> {
    if process.keep_groups {
        return Ok(());
    }
    match sys::set_groups(&process.additional_gids) {
        Ok(()) => Ok(()),
        // setgroups is denied where a user maps his own id alone; then the
        // groups are his own already.
        Err(Errno::EPERM) if process.additional_gids.is_empty() => Ok(()),
        Err(errno) => Err(Error::os("setgroups", errno)
            .at("/process/user/additionalGids")
            .hint("in a user namespace groups must be mapped, and setgroups not denied")),
    }
}

fn drop_bounding(keep: u64) -> Result<()> {
    for cap in 0..=CAP_LIMIT {
        if keep >> cap & 1 == 1 {
            continue;
        }
        match caps::bounding_drop(cap) {
            // Beyond the last capability that the kernel knows.
            Err(Errno::EINVAL) => break,
            other => other.op("prctl PR_CAPBSET_DROP").map_err(|e| e.at("/process/capabilities/bounding"))?,
        }
    }
    Ok(())
}

/// Capabilities that are held beyond the payload's own, for as long as this is.
#[must_use = "the payload must not have them"]
pub struct Extra {
    /// The payload's own, where there are more.
    own: Option<caps::Sets>,
    /// Those that the payload was to have, and has not.
    pub lacking: Lacking,
}

impl Extra {
    /// Leaves the payload's own.
    pub fn give_up(self) -> Result<()> {
        self.own.map_or(Ok(()), |own| caps::set(own).op("capset").map_err(|e| e.at("/process/capabilities")))
    }
}

/// Capabilities and no_new_privs: from here on there is no way back, but for
/// the capabilities in `extra`.
pub fn limit(process: &Process, extra: u64) -> Result<Extra> {
    let extra = set_capabilities(&process.capabilities, extra)?;
    if process.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().op("prctl PR_SET_NO_NEW_PRIVS")?;
    }
    Ok(extra)
}

fn set_capabilities(wanted: &Capabilities, extra: u64) -> Result<Extra> {
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
        // Not a failure, says the specification: what can be granted is.
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
    Ok(Extra { own: (with_extra(own) != own).then_some(own), lacking })
}

/// Raises these, which are permitted and inheritable; returns those that are
/// ambient now. The secure bits of the caller may forbid it.
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

/// What of `wanted` may be set by a process that has `have`.
fn common(wanted: caps::Sets, have: caps::Sets) -> caps::Sets {
    caps::Sets {
        effective: wanted.effective & have.permitted,
        permitted: wanted.permitted & have.permitted,
        inheritable: wanted.inheritable & (have.inheritable | have.permitted),
    }
}

/// Those of `wanted` that the running kernel knows: a name of a newer one is
/// not an error. They are numbered without gaps, so the highest tells for all.
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
