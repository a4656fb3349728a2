//! Fields that corten knows but does not apply. The runtime refuses them by name and
//! never ignores them.

use super::config::Config;
use crate::error::{Error, Result};

/// Refuses the fields of other platforms, because the runtime cannot do what they ask
/// for.
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
