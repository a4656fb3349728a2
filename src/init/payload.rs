//! Finds the payload's executable, and executes it.

use crate::error::{Context, Error, Result};
use crate::spec::plan::Process;
use crate::sys::fd::open;
use crate::sys::{fd, process as sys};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat, stat};
use nix::unistd::{AccessFlags, faccessat};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Where execvp(3) looks if the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const NOT_EXECUTABLE: &str = "make the file executable, and mount its filesystem without noexec";

/// Everything that execve needs, found before a seccomp filter can forbid the calls for
/// it.
pub struct Payload<'a> {
    process: &'a Process,
    path: CString,
    env: Vec<CString>,
}

impl<'a> Payload<'a> {
    /// Finds the executable, so that `create` refuses what `start` could not execute.
    /// From here on only the payload's descriptors survive execve: stdio, and
    /// `preserve_fds` descriptors from 3 on. Every descriptor that is opened later is
    /// close-on-exec.
    pub fn prepare(process: &'a Process, preserve_fds: i32) -> Result<Payload<'a>> {
        let payload = Payload { process, path: find_executable(process)?, env: environment(process) };
        fd::cloexec_from(3 + preserve_fds).op("close_range")?;
        Ok(payload)
    }

    /// Returns the environment that the payload is going to have.
    pub fn env(&self) -> &[CString] {
        &self.env
    }

    /// Becomes the payload. Calls `last` right before execve(2), as the last step.
    pub fn execute(self, last: impl FnOnce() -> Result<()>) -> Result<Infallible> {
        nix::sys::signal::sigprocmask(
            nix::sys::signal::SigmaskHow::SIG_SETMASK,
            Some(&nix::sys::signal::SigSet::empty()),
            None,
        )
        .op("sigprocmask")?;
        let execve = sys::Execve::new(&self.path, &self.process.args, &self.env);
        last()?;
        Err(explain(execve.call(), &self.path))
    }
}

/// Finds the file to execute by the rules of execvp(3). A name with a slash is a path.
/// Any other name is looked up in the PATH of the process's own environment. The error
/// texts are runc's, because engines match them.
fn find_executable(process: &Process) -> Result<CString> {
    let Some(name) = process.args.first() else { return Err(Error::msg("process args must not be empty")) };
    let shown = name.to_string_lossy();
    if name.to_bytes().contains(&b'/') {
        return match check_executable(name) {
            Ok(()) => Ok(name.clone()),
            Err(Errno::ENOENT) => {
                Err(Error::msg(format!("exec: \"{shown}\": stat {shown}: no such file or directory")))
            }
            Err(errno) => Err(exec_error(&shown, errno)),
        };
    }
    let mut denied = false;
    for dir in search_path(process).split(|byte| *byte == b':') {
        let mut path = if dir.is_empty() { b".".to_vec() } else { dir.to_vec() };
        path.push(b'/');
        path.extend_from_slice(name.to_bytes());
        let Ok(path) = CString::new(path) else { continue };
        match check_executable(&path) {
            Ok(()) => return Ok(path),
            Err(Errno::EACCES) => denied = true,
            // The file may be there. Only the kernel knows why it can't say.
            Err(errno @ (Errno::ENOMEM | Errno::EIO | Errno::EINTR)) => {
                return Err(exec_error(&shown, errno));
            }
            Err(_) => {}
        }
    }
    if denied {
        return Err(exec_error(&shown, Errno::EACCES));
    }
    Err(Error::msg(format!("exec: \"{shown}\": executable file not found in $PATH")))
}

fn exec_error(name: &str, errno: Errno) -> Error {
    let text = match errno {
        Errno::EACCES => "permission denied".into(),
        Errno::EISDIR => "is a directory".into(),
        other => other.desc().to_lowercase(),
    };
    let error = Error::msg(format!("exec: \"{name}\": {text}")).at("/process/args/0");
    if errno == Errno::EACCES { error.hint(NOT_EXECUTABLE) } else { error }
}

fn search_path(process: &Process) -> &[u8] {
    let path = process.env.iter().find_map(|pair| pair.to_bytes().strip_prefix(b"PATH="));
    path.unwrap_or(DEFAULT_PATH)
}

fn check_executable(path: &CStr) -> nix::Result<()> {
    let stat = stat(path)?;
    if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

/// Returns the configured environment, with HOME added if it is missing or empty.
/// Podman's exec passes an empty one.
fn environment(process: &Process) -> Vec<CString> {
    let mut env = process.env.clone();
    env.retain(|pair| pair.to_bytes() != b"HOME=");
    if !env.iter().any(|pair| pair.to_bytes().starts_with(b"HOME=")) {
        let home = home_of(process.uid).unwrap_or_else(|| b"/".to_vec());
        env.extend(CString::new([b"HOME=".as_slice(), &home].concat()));
    }
    env
}

/// Returns the user's home directory from the container's /etc/passwd. Init reads what
/// the image has there only if it is a regular file, and at most 1 MiB of it. It reads
/// bytes: a line that is not UTF-8 must not hide the lines after it.
fn home_of(uid: u32) -> Option<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = open("/etc/passwd", flags, Mode::empty()).ok()?;
    if SFlag::from_bits_truncate(fstat(&file).ok()?.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
        return None;
    }
    let lines = BufReader::new(File::from(file).take(1 << 20)).split(b'\n');
    lines.map_while(|line| line.ok()).find_map(|line| home_in(&line, uid))
}

/// Returns the home directory in a line of /etc/passwd, if the line belongs to the user
/// `uid`.
pub fn home_in(line: &[u8], uid: u32) -> Option<Vec<u8>> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    let own = std::str::from_utf8(fields.get(2)?).ok()?.parse() == Ok(uid);
    fields.get(5).filter(|home| own && !home.is_empty()).map(|home| home.to_vec())
}

/// Explains why execve failed, and names the file that is at fault.
fn explain(errno: Errno, path: &CStr) -> Error {
    let shown = path.to_string_lossy();
    let hint = match errno {
        Errno::ENOENT => match missing_interpreter(path) {
            Some(name) if name.ends_with('\r') => {
                format!("save the script with LF line ends: its first line asks for the interpreter {name:?}")
            }
            Some(name) => {
                return Error::msg(format!(
                    "exec {shown}: no such file or directory: its interpreter {name} is missing"
                ));
            }
            None => String::new(),
        },
        Errno::ENOEXEC => {
            "use a file that was built for this architecture, or begin the script with #!".into()
        }
        Errno::EACCES => NOT_EXECUTABLE.into(),
        _ => String::new(),
    };
    let text = match errno {
        Errno::ENOENT => "no such file or directory".into(),
        Errno::ENOEXEC => "exec format error".into(),
        Errno::EACCES => "permission denied".into(),
        other => format!("{other:?} ({})", other.desc().to_lowercase()),
    };
    Error::msg(format!("exec {shown}: {text}")).hint(hint)
}

/// Returns the interpreter that a script's `#!` or an ELF file's PT_INTERP names, if the
/// interpreter does not exist.
fn missing_interpreter(path: &CStr) -> Option<String> {
    use std::os::unix::ffi::OsStrExt;
    let mut head = vec![0u8; 4096];
    let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    let len = File::open(path).ok()?.read(&mut head).ok()?;
    head.truncate(len);
    let name = if head.starts_with(b"#!") { script_interpreter(&head) } else { elf_interpreter(&head) }?;
    (!Path::new(&name).exists()).then_some(name)
}

pub fn script_interpreter(head: &[u8]) -> Option<String> {
    let line = head[2..].split(|byte| *byte == b'\n').next()?;
    let name = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Reads PT_INTERP from a 64-bit little-endian ELF file, the format of all supported
/// machines.
pub fn elf_interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let read_number = |at: usize, len: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let index = |value: u64| usize::try_from(value).ok();
    let (table, size, count) =
        (index(read_number(32, 8)?)?, index(read_number(54, 2)?)?, index(read_number(56, 2)?)?);
    let mut headers = (0..count).map_while(|i| table.checked_add(i * size).filter(|at| *at < head.len()));
    let header = headers.find(|at| read_number(*at, 4) == Some(PT_INTERP))?;
    let (start, len) = (index(read_number(header + 8, 8)?)?, index(read_number(header + 32, 8)?)?);
    let name = head.get(start..start.checked_add(len)?)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_interpreter_of_a_script() {
        assert_eq!(script_interpreter(b"#! /bin/foo -x\nbody").as_deref(), Some("/bin/foo"));
        assert_eq!(script_interpreter(b"#!/bin/sh\r\n").as_deref(), Some("/bin/sh\r"));
        assert_eq!(script_interpreter(b"#!\n"), None);
    }

    #[test]
    fn a_torn_elf_header_names_nothing() {
        assert_eq!(elf_interpreter(b"\x7fELF\x02\x01"), None);
        assert_eq!(elf_interpreter(&[b"\x7fELF\x02\x01".as_slice(), &[0xff; 200]].concat()), None);
    }
}
