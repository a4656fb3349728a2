//! Fields that corten knows and doesn't apply: refused by name, never ignored.

use super::config::{Config, Linux, Process};
use crate::error::{Error, Result};

/// Refuses a configuration that asks for something that would not happen.
pub fn refuse(config: &Config) -> Result<()> {
    for (at, set) in [
        ("/solaris", config.solaris.is_some()),
        ("/windows", config.windows.is_some()),
        ("/vm", config.vm.is_some()),
        ("/zos", config.zos.is_some()),
        ("/freebsd", config.freebsd.is_some()),
    ] {
        refuse_if(at, set)?;
    }
    config.linux.as_ref().map_or(Ok(()), refuse_linux)
}

fn refuse_linux(linux: &Linux) -> Result<()> {
    for (at, set) in [
        ("/linux/intelRdt", linux.intel_rdt.is_some()),
        ("/linux/memoryPolicy", linux.memory_policy.is_some()),
        ("/linux/personality", linux.personality.is_some()),
        ("/linux/netDevices", !linux.net_devices.is_empty()),
        ("/linux/mountLabel", !linux.mount_label.is_empty()),
    ] {
        refuse_if(at, set)?;
    }
    Ok(())
}

/// The same for a process, at `at` (`/process`, or the root of exec's file).
pub fn refuse_process(process: &Process, at: &str) -> Result<()> {
    for (field, set) in [
        ("apparmorProfile", !process.apparmor_profile.is_empty()),
        ("selinuxLabel", !process.selinux_label.is_empty()),
        ("ioPriority", process.io_priority.is_some()),
        ("scheduler", process.scheduler.is_some()),
        ("execCPUAffinity", process.exec_cpu_affinity.is_some()),
    ] {
        refuse_if(&format!("{at}/{field}"), set)?;
    }
    Ok(())
}

fn refuse_if(at: &str, set: bool) -> Result<()> {
    if set {
        return Err(Error::config(at, "this version of corten does not support the field")
            .hint("remove it, or use a runtime that applies it"));
    }
    Ok(())
}
