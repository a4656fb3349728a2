//! The host's procfs. Init opens it before a joined mount namespace or a container can
//! put something else in its place (CVE-2025-52881).

use crate::error::{Context, Error, Result};
use crate::sys::fd::open;
use crate::sys::openat2;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

/// The root of a procfs. `open` has checked that it is one.
pub struct Proc(OwnedFd);

impl Proc {
    /// Opens /proc, which must be the host's still.
    pub fn open() -> Result<Proc> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc = open("/proc", flags, Mode::empty()).op_on("open", "/proc")?;
        if fstatfs(&proc).op_on("fstatfs", "/proc")?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Error::msg("the host's /proc is not a procfs"));
        }
        Ok(Proc(proc))
    }

    /// Opens the file `path` of the procfs. Follows the links of procfs on the way, such
    /// as `self`.
    pub fn open_at(&self, path: &CStr, flags: OFlag) -> Result<OwnedFd> {
        openat(&self.0, path, flags | OFlag::O_CLOEXEC, Mode::empty())
            .op_on("open", format!("/proc/{}", path.to_string_lossy()))
    }

    /// Opens a namespace of this process. `file` is its name in /proc/self/ns.
    pub fn namespace(&self, file: &str) -> Result<OwnedFd> {
        let path = CString::new(format!("self/ns/{file}")).map_err(|_| Error::msg("NUL in a name"))?;
        self.open_at(&path, OFlag::O_RDONLY)
    }

    /// Opens /proc/sys, which shows a process the parameters of its own namespaces.
    pub fn sys(&self) -> Result<OwnedFd> {
        openat2::open_beneath(&self.0, c"sys", libc::O_PATH | libc::O_DIRECTORY).op_on("open", "/proc/sys")
    }
}
