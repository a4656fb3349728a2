//! POSIX extended regular expressions, by the C library, which is linked anyway.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

/// A compiled expression. It is boxed because the library may point into it.
pub struct Regex(Box<libc::regex_t>);

impl Regex {
    /// Compiles `pattern`. The error is the library's explanation.
    pub fn new(pattern: &CStr) -> Result<Regex, String> {
        let mut regex = Box::new(MaybeUninit::<libc::regex_t>::zeroed());
        let flags = libc::REG_EXTENDED | libc::REG_NOSUB;
        // SAFETY: the memory is valid for writing, and the pattern ends with NUL.
        let code = unsafe { libc::regcomp(regex.as_mut_ptr(), pattern.as_ptr(), flags) };
        if code != 0 {
            return Err(error_text(code, regex.as_ptr()));
        }
        // SAFETY: regcomp succeeded, so it has initialized the expression.
        Ok(Regex(unsafe { regex.assume_init() }))
    }

    /// Whether the expression matches anywhere in `text`. It never matches a text with a
    /// NUL.
    pub fn is_match(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: the expression is compiled, the text ends with NUL, and the call asks
        // for no positions of matches.
        unsafe { libc::regexec(&raw const *self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: the expression is compiled, and freed once.
        unsafe { libc::regfree(&raw mut *self.0) };
    }
}

fn error_text(code: i32, regex: *const libc::regex_t) -> String {
    let mut text = [0u8; 128];
    // SAFETY: the length is the buffer's. After a failed regcomp, regerror looks at the
    // expression only for its locale.
    unsafe { libc::regerror(code, regex, text.as_mut_ptr().cast(), text.len()) };
    CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_posix_says() {
        let is_match = |pattern: &CStr, text| Regex::new(pattern).map(|regex| regex.is_match(text));
        assert_eq!(is_match(c"^web-[0-9]+$", "web-12"), Ok(true));
        assert_eq!(is_match(c"^web-[0-9]+$", "web-x"), Ok(false));
        assert_eq!(is_match(c"b", "abc"), Ok(true));
        assert!(is_match(c"(", "abc").is_err_and(|text| !text.is_empty()));
    }
}
