//! Finds the cause of a failure in CRIU's log.

use crate::error::without_engines_words;
use std::path::Path;

/// How many lines of the log an error quotes.
const LINES: usize = 3;

/// Returns the last error lines of the log, without the final one that only says
/// "FAILED". Empty if there is no log.
pub fn errors(log: &Path) -> String {
    std::fs::read(log).map(|text| errors_in(&String::from_utf8_lossy(&text))).unwrap_or_default()
}

pub fn errors_in(log: &str) -> String {
    let told: Vec<&str> = log.lines().filter_map(error_text).collect();
    let last = &told[told.len().saturating_sub(LINES)..];
    without_engines_words(&last.join("; "))
}

/// Errors that are harmless: CRIU tries these calls, and goes on if they fail.
const HARMLESS: [&str; 2] = ["rlimit: Can't setup RLIMIT_NOFILE", "tun: Unable to create tun"];

/// Returns the text of an error line, which begins with `(00.012345) [pid: ]Error
/// (criu/file.c:12): `.
fn error_text(line: &str) -> Option<&str> {
    let (head, tail) = line.split_once("Error (")?;
    let (_, text) = tail.split_once("): ")?;
    let is_a_line_of_its_own = head.starts_with('(');
    let is_harmless = || HARMLESS.iter().any(|harmless| text.starts_with(harmless));
    (is_a_line_of_its_own && !text.ends_with("FAILED.") && !is_harmless()).then(|| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_are_quoted() {
        let log = "\
            (00.000001) Version: 4.1.1\n\
            (00.005000) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: no\n\
            (00.010000) Error (criu/util.c:1): sorry\n\
            (00.020000) Warn  (criu/x.c:1): careful\n\
            (00.030000)      7: Error (criu/files-reg.c:1790): Can't lookup path=/x: No such file or directory\n\
            (00.040000) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        assert_eq!(errors_in(log), "sorry; Can't lookup path=/x: missing file or directory");
        assert_eq!(errors_in("(00.1) all is well\n"), "");
        let many: String = (0..9).map(|i| format!("(00.{i}) Error (f.c:{i}): {i}\n")).collect();
        assert_eq!(errors_in(&many), "6; 7; 8");
    }
}
