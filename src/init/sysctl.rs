//! Kernel parameters of the container's namespaces.

use crate::error::{Context, Error, Result};
use crate::spec::plan::Sysctl;
use crate::sys::openat2;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::write;

/// Writes through the host's procfs, which no container has touched, and
/// checks that it is one (CVE-2025-52881). /proc/sys shows a reader the
/// parameters of the reader's own namespaces.
pub fn write_all(values: &[Sysctl]) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let proc = open("/proc", flags, Mode::empty()).op_on("open", "/proc")?;
    if fstatfs(&proc).op_on("fstatfs", "/proc")?.filesystem_type() != PROC_SUPER_MAGIC {
        return Err(Error::msg("the host's /proc is not a procfs"));
    }
    let dir = openat2::beneath(&proc, c"sys", libc::O_PATH | libc::O_DIRECTORY).op_on("open", "/proc/sys")?;
    values.iter().try_for_each(|value| {
        one(&dir, value).map_err(|e| e.at(format!("/linux/sysctl/{}", value.key)).on(value.value.clone()))
    })
}

fn one(dir: &std::os::fd::OwnedFd, value: &Sysctl) -> Result<()> {
    let file = openat2::beneath(dir, &value.path, libc::O_WRONLY).op("open the sysctl")?;
    write(&file, value.value.as_bytes()).op("write the sysctl").map(drop)
}
