//! Fields that corten knows and doesn't apply: refused by name, never ignored.

use crate::error::{Error, Result};
use oci_spec::runtime::{Linux, Process, Spec};

/// Refuses a configuration that asks for something that would not happen.
pub fn refuse(spec: &Spec) -> Result<()> {
    for (at, set) in [
        ("/solaris", spec.solaris().is_some()),
        ("/windows", spec.windows().is_some()),
        ("/vm", spec.vm().is_some()),
        ("/zos", spec.zos().is_some()),
    ] {
        refuse_if(at, set)?;
    }
    spec.linux().as_ref().map_or(Ok(()), refuse_linux)
}

fn refuse_linux(linux: &Linux) -> Result<()> {
    let resources = linux.resources().as_ref();
    for (at, set) in [
        ("/linux/seccomp", linux.seccomp().is_some()),
        ("/linux/intelRdt", linux.intel_rdt().is_some()),
        ("/linux/memoryPolicy", linux.memory_policy().is_some()),
        ("/linux/personality", linux.personality().is_some()),
        ("/linux/netDevices", is_filled(linux.net_devices().as_ref().map(|map| map.len()))),
        ("/linux/mountLabel", is_filled(linux.mount_label().as_ref().map(String::len))),
        ("/linux/resources/rdma", is_filled(resources.and_then(|r| r.rdma().as_ref()).map(|map| map.len()))),
    ] {
        refuse_if(at, set)?;
    }
    Ok(())
}

/// The same for a process, at `at` (`/process`, or the root of exec's file).
pub fn refuse_process(process: &Process, at: &str) -> Result<()> {
    for (field, set) in [
        ("apparmorProfile", is_filled(process.apparmor_profile().as_ref().map(String::len))),
        ("selinuxLabel", is_filled(process.selinux_label().as_ref().map(String::len))),
        ("ioPriority", process.io_priority().is_some()),
        ("scheduler", process.scheduler().is_some()),
        ("execCPUAffinity", process.exec_cpu_affinity().is_some()),
    ] {
        refuse_if(&format!("{at}/{field}"), set)?;
    }
    Ok(())
}

fn is_filled(len: Option<usize>) -> bool {
    len.is_some_and(|len| len > 0)
}

fn refuse_if(at: &str, set: bool) -> Result<()> {
    if set {
        return Err(Error::config(at, "this version of corten does not support the field")
            .hint("remove it, or use a runtime that applies it"));
    }
    Ok(())
}
