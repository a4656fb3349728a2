//! `--pid-file`.

use crate::error::{Context, Result};
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::write;
use std::os::fd::AsFd;
use std::path::Path;

/// Writes the pid in digits and nothing else. The rename makes the file appear complete.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
    let file = openat(AT_FDCWD, &new, flags, Mode::from_bits_truncate(0o666))
        .op_on("open the pid file", path.display())?;
    write(file.as_fd(), pid.to_string().as_bytes()).op_on("write the pid file", path.display())?;
    renameat(AT_FDCWD, &new, AT_FDCWD, path).op_on("rename the pid file", path.display())
}
