//! The seal: no container may reach the runtime's binary for writing.
//!
//! CVE-2019-5736: a payload that executes `/proc/self/exe`, or that opens `/proc/PID/exe`
//! of a process entering its container, gets the runtime's own file. As root it can
//! overwrite that file.
//!
//! So the verbs that put a process into a container run from a detached, read-only bind
//! mount of the binary. An open of this mount for writing fails with EROFS. No mount
//! namespace holds the mount, so no process can remount it. A read-only `/proc/self/exe`
//! proves that the process is sealed, and keeps the runtime from sealing it twice.
//!
//! On x86_64 `sys/early.rs` seals the process before libc starts. This file seals the
//! process on other machines, and where the bind mount isn't allowed (without
//! CAP_SYS_ADMIN). In the latter case nothing is needed if the caller can't write the
//! file anyway. Otherwise the process continues from a sealed copy in memory.

use crate::error::{Context, Error, Result};
use crate::sys::early;
use crate::sys::fd::open;
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MountAttr};
use crate::sys::process::environment;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

const EXE: &str = "/proc/self/exe";

/// Makes sure that this process runs from a sealed image. Executes the runtime once more
/// with `args` if it does not.
pub fn ensure(args: &[OsString]) -> Result<()> {
    if is_sealed()? {
        return Ok(());
    }
    if let Ok(tree) = read_only_bind() {
        return reexec(&tree, args);
    }
    if !may_be_written() {
        return Ok(());
    }
    reexec(&memory_copy()?, args)
}

fn is_sealed() -> Result<bool> {
    if early::is_sealed() {
        return Ok(true);
    }
    let read_only = statvfs(EXE).op_on("statfs", EXE)?.flags().contains(FsFlags::ST_RDONLY);
    Ok(read_only || is_memory_copy())
}

fn is_memory_copy() -> bool {
    let Ok(exe) = open(EXE, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) else { return false };
    let seals = fcntl(exe.as_fd(), FcntlArg::F_GET_SEALS).unwrap_or(0);
    SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE)
}

fn read_only_bind() -> nix::Result<OwnedFd> {
    let tree = mount::clone_tree(AT_FDCWD, c"/proc/self/exe", false, false)?;
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount::set_attr(&tree, attr, false)?;
    Ok(tree)
}

/// Whether the caller can write the file. If not, no process that it starts has ids that
/// can.
fn may_be_written() -> bool {
    faccessat(AT_FDCWD, EXE, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
}

fn memory_copy() -> Result<OwnedFd> {
    let binary = std::fs::read(EXE).op_on("read", EXE)?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create(c"corten", flags).op("memfd_create")?;
    let mut file = std::fs::File::from(fd);
    file.write_all(&binary).op("write the sealed copy")?;
    let fd = OwnedFd::from(file);
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).op("seal the copy")?;
    Ok(fd)
}

fn reexec(image: &OwnedFd, args: &[OsString]) -> Result<()> {
    let c_string = |bytes: &[u8]| CString::new(bytes).map_err(|_| Error::msg("NUL in an argument"));
    let args = args.iter().map(|arg| c_string(arg.as_bytes())).collect::<Result<Vec<_>>>()?;
    match nix::unistd::execveat(image.as_fd(), c"", &args, &environment(), AtFlags::AT_EMPTY_PATH) {
        Ok(never) => match never {},
        Err(errno) => Err(Error::os("execveat the sealed binary", errno)),
    }
}
