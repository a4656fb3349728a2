//! The payload's view: whether it sees anything of the host.

use crate::census::{MARKER, is_decoys};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The exit status of a payload that sees the host.
pub const SAW_THE_HOST: u8 = 77;

/// Looks for the host's decoy in the mounts, in the working directory, in the open
/// descriptors and below `places`.
pub fn main(places: &[String]) -> ExitCode {
    // Before this process opens a file. /proc may be exchanged at any moment.
    // SAFETY: numbers only.
    let is_open = |number: &i32| unsafe { libc::fcntl(*number, libc::F_GETFD) } >= 0;
    let mut seen: Vec<String> =
        (3..1024).filter(is_open).map(|number| format!("an open descriptor: {number}")).collect();
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        if is_decoys(line) {
            seen.push(format!("a mount of the host: {line}"));
        }
    }
    match std::env::current_dir() {
        Ok(dir) if dir.starts_with("/") => {}
        other => seen.push(format!("a working directory outside of the root: {other:?}")),
    }
    for place in places.iter().map(String::as_str).chain([".", "/", "/etc", "/dev"]) {
        if Path::new(place).join(MARKER).symlink_metadata().is_ok() {
            seen.push(format!("the host's directory at {place}"));
        }
    }
    let version = fs::read_to_string("/proc/version").unwrap_or_default();
    // Empty: the attack has moved /proc away meanwhile, or the configuration's masks cover it.
    if !version.is_empty() && !version.starts_with("Linux version") {
        seen.push(format!("/proc/version is covered: {version:?}"));
    }
    if seen.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("escape: {}", seen.join("; "));
    ExitCode::from(SAW_THE_HOST)
}
