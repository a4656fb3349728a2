//! The seal: no container may reach the runtime's binary for writing.
//!
//! CVE-2019-5736: a payload that executes `/proc/self/exe`, or that opens the
//! `/proc/PID/exe` of a process entering it, gets hold of the runtime's own
//! file, and as root it can overwrite it. So the verbs that put a process into
//! a container run from a detached, read-only bind of the binary: opening it
//! for writing then fails with EROFS, and no mount namespace holds a mount to
//! be remounted. A read-only `/proc/self/exe` is both the proof and the guard
//! against doing it twice.
//!
//! On x86_64 this has happened before libc started (`sys/early.rs`); what is
//! here does it elsewhere, and where the bind isn't allowed (without
//! CAP_SYS_ADMIN): nothing is needed if the caller can't write the file
//! anyway; else a sealed copy in memory takes over.

use crate::error::{Context, Error, Result};
use crate::sys::early;
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MountAttr};
use crate::sys::process::environment;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

const EXE: &str = "/proc/self/exe";

/// Makes sure that this process runs from a sealed image, if the verb needs it.
pub fn ensure(verb: &[u8], args: &[OsString]) -> Result<()> {
    if !early::is_sealed_verb(verb) || is_sealed()? {
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

/// Whoever can't write the file has no ids that could.
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
