//! Fields that corten knows and doesn't apply: refused by name, never ignored.

use super::config::Config;
use crate::error::{Error, Result};

/// Refuses a configuration that asks for something that would not happen: what
/// is there for other platforms.
pub fn refuse(config: &Config) -> Result<()> {
    for (at, set) in [
        ("/solaris", config.solaris.is_some()),
        ("/windows", config.windows.is_some()),
        ("/vm", config.vm.is_some()),
        ("/zos", config.zos.is_some()),
        ("/freebsd", config.freebsd.is_some()),
    ] {
        if set {
            return Err(Error::config(at, "this version of corten does not support the field")
                .hint("remove it, or use a runtime that applies it"));
        }
    }
    Ok(())
}
