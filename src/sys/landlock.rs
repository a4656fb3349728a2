//! landlock(7), of which only the version is of interest.

use super::{Result, check};

const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;

/// landlock_create_ruleset(2): the version of the interface.
pub fn abi() -> Result<libc::c_long> {
    // SAFETY: with this flag the kernel wants a null pointer and the size 0.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    })
}
