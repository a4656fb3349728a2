//! landlock(7): only the version of its interface.

use super::{Result, check};

const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;

/// Returns the version of the interface (landlock_create_ruleset(2)).
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
