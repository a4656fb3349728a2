//! Fields that corten knows and doesn't apply: refused by name, never ignored.

use super::config::{Config, Linux};
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
    refuse_if("/linux/mountLabel", !linux.mount_label.is_empty())
}

fn refuse_if(at: &str, set: bool) -> Result<()> {
    if set {
        return Err(Error::config(at, "this version of corten does not support the field")
            .hint("remove it, or use a runtime that applies it"));
    }
    Ok(())
}
