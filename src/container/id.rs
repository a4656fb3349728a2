//! Container ids (runtime.md "State", `id`), and the name of the session keyring.

use crate::error::{Error, Result};
use std::ffi::CString;

/// Checks an id by runc's rule: letters, digits and `_+-.`, but not `.` or `..`. An id is a
/// file name in the state root and in the cgroup tree.
pub fn check(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || !id.chars().all(allowed) {
        return Err(Error::msg("invalid container ID format")
            .on(format!("{id:?}"))
            .hint("use only letters, digits and _+-."));
    }
    if id.len() > 1024 {
        return Err(Error::msg("the container id is longer than 1024 characters"));
    }
    Ok(())
}

/// Returns the name of a container's session keyring, by which exec processes join it.
pub fn keyring_name(id: &str) -> CString {
    // An id has no NUL.
    CString::new(format!("_ses.{id}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids() {
        for good in ["a", "a.b", "A_1+x-", "...", &"x".repeat(1024)] {
            assert!(super::check(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\0", &"x".repeat(1025)] {
            assert!(super::check(bad).is_err(), "{bad}");
        }
    }
}
