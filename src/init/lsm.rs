//! Labels of AppArmor and SELinux that the kernel applies at the payload's execve (config.md
//! "Linux Process", `apparmorProfile` and `selinuxLabel`).
//!
//! Init sets a label by a write to a file below /proc/self/attr. A container can put
//! anything at /proc, and a write to any other file sets no label (CVE-2019-19921,
//! CVE-2025-52881). So init writes through the host's procfs. Init opens that procfs
//! before it enters the namespaces, and checks its type.

use crate::error::{Context, Error, Result};
use crate::spec::plan::Process;
use crate::sys::fd::open;
use crate::sys::openat2;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, SELINUX_MAGIC, fstatfs, statfs};
use nix::unistd::{read, write};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

const APPARMOR: &str = "/process/apparmorProfile";
const SELINUX: &str = "/process/selinuxLabel";

/// The AppArmor profile that allows everything.
const UNCONFINED: &str = "unconfined";

/// Refuses a label that this host can't apply, before anything is created. The error
/// texts are runc's. Without AppArmor every process is unconfined already, so this
/// function drops a request for `unconfined`.
pub fn check_labels(process: &mut Process) -> Result<()> {
    if let Some(profile) = &process.apparmor
        && !apparmor_is_enabled()
    {
        if profile != UNCONFINED {
            return Err(Error::config(APPARMOR, "apparmor: config provided but apparmor not supported")
                .on(profile.clone())
                .hint("enable AppArmor on this host, mount /sys, or remove the profile"));
        }
        process.apparmor = None;
    }
    if let Some(label) = &process.selinux
        && !selinux_is_enabled()
    {
        let text = "selinux label is specified in config, but selinux is disabled or not supported";
        return Err(Error::config(SELINUX, text).on(label.clone()));
    }
    Ok(())
}

/// Whether AppArmor is enabled in the kernel. Does not look at securityfs: nothing here
/// needs it, and Podman hides it from the runtime of a container with its own user
/// namespace.
pub fn apparmor_is_enabled() -> bool {
    let parameter = crate::sys::process::read_file("/sys/module/apparmor/parameters/enabled");
    parameter.is_ok_and(|text| text.starts_with(b"Y"))
}

/// Whether the host has an SELinux policy. Tests that as libselinux and runc do.
pub fn selinux_is_enabled() -> bool {
    statfs("/sys/fs/selinux").is_ok_and(|stat| stat.filesystem_type() == SELINUX_MAGIC)
}

/// The host's procfs. `None` if the process has no label.
pub struct Labels(Option<OwnedFd>);

impl Labels {
    /// Opens the host's procfs. Must run while /proc is the host's.
    pub fn open(process: &Process) -> Result<Labels> {
        if process.apparmor.is_none() && process.selinux.is_none() {
            return Ok(Labels(None));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc = open("/proc", flags, Mode::empty()).op_on("open", "/proc")?;
        if fstatfs(&proc).op_on("fstatfs", "/proc")?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Error::msg("the host's /proc is not a procfs"));
        }
        Ok(Labels(Some(proc)))
    }

    /// Calls `make`, which creates keys, and gives these the process's SELinux label.
    pub fn label_keys<T>(&self, process: &Process, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let (Some(proc), Some(label)) = (&self.0, &process.selinux) else { return make() };
        let file = open_attribute(proc, c"self/attr/keycreate", SELINUX)?;
        write_label(&file, label, "write `/proc/self/attr/keycreate`", SELINUX)?;
        let made = make()?;
        // An empty write restores the default label.
        write(&file, b"").op("write `/proc/self/attr/keycreate`").map_err(|e| e.at(SELINUX))?;
        Ok(made)
    }

    /// Lets the next execve change to the labels. Every hook that this process executes
    /// from here on gets the labels, too. Closes the procfs.
    pub fn label_next_exec(self, process: &Process) -> Result<()> {
        let Some(proc) = self.0 else { return Ok(()) };
        if let Some(label) = &process.selinux {
            let file = open_attribute(&proc, c"self/attr/exec", SELINUX)?;
            write_label(&file, label, "write `/proc/self/attr/exec`", SELINUX)?;
        }
        if let Some(profile) = &process.apparmor {
            set_apparmor_profile(&proc, profile, process.no_new_privileges)?;
        }
        Ok(())
    }
}

/// Sets the AppArmor profile for the next execve. Under no_new_privs a confined process
/// can't leave its profile by an execve, but the kernel can stack the new profile upon
/// it.
fn set_apparmor_profile(proc: &OwnedFd, profile: &str, no_new_privileges: bool) -> Result<()> {
    let command = if no_new_privileges && is_confined(proc)? { "stack" } else { "exec" };
    // Before Linux 5.8 all security modules shared one directory.
    let (file, name) =
        match openat2::open_beneath_following_links(proc, c"self/attr/apparmor/exec", libc::O_WRONLY) {
            Err(Errno::ENOENT) => {
                (open_attribute(proc, c"self/attr/exec", APPARMOR)?, "/proc/self/attr/exec")
            }
            other => (other.op("open").map_err(|e| e.at(APPARMOR))?, "/proc/self/attr/apparmor/exec"),
        };
    let operation = format!("apparmor failed to apply profile: write `{name}`");
    write_label(&file, &format!("{command} {profile}"), &operation, APPARMOR)
}

fn is_confined(proc: &OwnedFd) -> Result<bool> {
    let path = c"self/attr/apparmor/current";
    let file = match openat2::open_beneath_following_links(proc, path, libc::O_RDONLY) {
        Err(Errno::ENOENT) => {
            openat2::open_beneath_following_links(proc, c"self/attr/current", libc::O_RDONLY)
        }
        other => other,
    };
    let mut label = [0; 4096];
    let len = read(file.op("open `/proc/self/attr/current`")?, &mut label)
        .op("read `/proc/self/attr/current`")
        .map_err(|e| e.at(APPARMOR))?;
    Ok(confines(&String::from_utf8_lossy(&label[..len])))
}

/// Whether the label (`unconfined`, or `NAME (MODE)`) confines its process.
fn confines(label: &str) -> bool {
    let label = label.trim_end_matches(['\n', '\0']);
    label != UNCONFINED && !label.ends_with("(unconfined)")
}

fn open_attribute(proc: &OwnedFd, path: &CStr, at: &str) -> Result<OwnedFd> {
    openat2::open_beneath_following_links(proc, path, libc::O_WRONLY)
        .op(&format!("open `/proc/{}`", path.to_string_lossy()))
        .map_err(|e| e.at(at))
}

fn write_label(file: &OwnedFd, label: &str, op: &str, at: &str) -> Result<()> {
    let text = CString::new(label).map_err(|_| Error::config(at, "must not contain NUL"))?;
    let hint = match at {
        SELINUX => "check that the policy knows the label and allows the change",
        _ => "load the profile; /sys/kernel/security/apparmor/profiles lists the loaded ones",
    };
    write(file, text.as_bytes()).op_on(op, label).map_err(|e| e.at(at).hint(hint)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::confines;

    #[test]
    fn an_unconfined_profile_confines_nothing() {
        assert!(!confines("unconfined\n") && !confines("runc (unconfined)\n") && !confines("unconfined\0"));
        assert!(confines("docker-default (enforce)\n") && confines("a//&b (complain)"));
    }
}
