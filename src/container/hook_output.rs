//! The files that annotations name for the output of hooks.

use crate::error::{Context, Result};
use crate::hooks::{Output, Subject};
use crate::spec::annotations::{self, HOOKS_STDERR, HOOKS_STDOUT};
use crate::sys::fd::open;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::rc::Rc;

/// Opens the files for the hooks of this container.
pub fn opened(subject: Subject) -> Result<Subject> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_CLOEXEC;
    let file = |key: &str| {
        let Some(path) = subject.container.annotations.get(key) else { return Ok(None) };
        let file = open(path.as_str(), flags, Mode::from_bits_truncate(0o600));
        file.op_on("open", path).map(|file| Some(Rc::new(file))).map_err(|e| e.at(annotations::at(key)))
    };
    let output = Output { stdout: file(HOOKS_STDOUT)?, stderr: file(HOOKS_STDERR)? };
    Ok(Subject { output, ..subject })
}
