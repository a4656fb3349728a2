//! Kernel parameters of the container's namespaces (config-linux.md "Sysctl").

use super::proc::Proc;
use crate::error::{Context, Error, Result};
use crate::spec::plan::Sysctl;
use crate::sys::openat2;
use nix::errno::Errno;
use nix::unistd::write;
use std::os::fd::OwnedFd;

/// Writes each value. `proc` is `Some` if there are any values.
pub fn write_sysctls(values: &[Sysctl], proc: Option<&Proc>) -> Result<()> {
    let Some(proc) = proc.filter(|_| !values.is_empty()) else { return Ok(()) };
    let dir = proc.sys()?;
    values.iter().try_for_each(|value| {
        write_value(&dir, value).map_err(|e| e.at(value.at.clone()).on(value.value.clone()))
    })
}

fn write_value(dir: &OwnedFd, value: &Sysctl) -> Result<()> {
    if value.path.as_c_str() == c"kernel/domainname" {
        // In every namespace only the host's root may write this file. The system call
        // also works for root of the namespace.
        return crate::sys::process::set_domainname(&value.value).op("setdomainname");
    }
    let file =
        openat2::open_beneath(dir, &value.path, libc::O_WRONLY).op("open the sysctl").map_err(|e| {
            let missing = e.is(Errno::ENOENT);
            if missing {
                e.hint(format!(
                    "correct the name: the {} namespace has no sysctl of this name",
                    value.kind.name()
                ))
            } else {
                e
            }
        })?;
    let written = write(&file, value.value.as_bytes()).op("write the sysctl")?;
    if written == value.value.len() {
        Ok(())
    } else {
        Err(Error::msg("the kernel took only part of the value"))
    }
}
