//! `linux.personality`: the execution domain (config-linux.md "Personality").

use super::config::Personality;
use crate::error::{Error, Result};

/// Returns the argument of personality(2). The specification has two domains, and no
/// flags yet.
pub fn personality(given: &Personality) -> Result<u32> {
    if let Some(flag) = given.flags.first() {
        return Err(Error::config("/linux/personality/flags/0", "no flag is supported by the specification")
            .on(flag.clone()));
    }
    match given.domain.as_str() {
        "LINUX" => Ok(0x0000),
        "LINUX32" => Ok(0x0008),
        other => Err(Error::config("/linux/personality/domain", "must be LINUX or LINUX32").on(other)),
    }
}
