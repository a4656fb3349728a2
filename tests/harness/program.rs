//! Finds an executable file by its path or name.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Looks a bare name up in $PATH, as a shell does. Makes any other path absolute. `Err`: why
/// there is no such program.
pub fn find(given: &OsStr) -> Result<PathBuf, String> {
    let given = Path::new(given);
    if given.components().count() > 1 {
        let path = given.canonicalize().map_err(|error| error.to_string())?;
        return if is_program(&path) { Ok(path) } else { Err("not an executable file".to_owned()) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|dir| dir.join(given));
    files.find(|file| is_program(file)).ok_or_else(|| "not in $PATH".to_owned())
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
