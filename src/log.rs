//! What is told to whom: runc's log file and stderr.
//!
//! Engines read the file: containerd's shim takes the last line of level
//! `error`, Podman the whole file as one JSON object. So a JSON file gets
//! exactly one line for a failure, and warnings only from what succeeded.
//! Engines also match what is on stderr, so an error is always there too, after
//! the warnings that came before it. There a line begins `corten: error: ` or
//! `corten: warning: `.
//!
//! With `--debug` the log, a JSON file too, has a line for each step, as runc's has.

use crate::error::{Context, Error, Result};
use crate::sys::{fd, process};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, MsgFlags};
use nix::sys::stat::{SFlag, fstat};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// The least important messages that are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Level {
    Error,
    #[default]
    #[value(alias = "warn", alias = "info")]
    Warning,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Debug => "debug",
        }
    }

    /// syslog(3)'s number.
    fn priority(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Debug => 7,
        }
    }
}

/// Where messages go besides stderr.
#[derive(Debug, Clone, Default)]
enum To {
    #[default]
    Stderr,
    File(PathBuf),
    /// The name under which they appear.
    Journal(String),
    Syslog(String),
}

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

impl To {
    /// crun's prefixes; anything else is a path, as in runc.
    fn parse(given: Option<&Path>) -> To {
        let Some(path) = given.filter(|path| !path.as_os_str().is_empty()) else { return To::Stderr };
        let name = |name: &str| if name.is_empty() { "corten".to_owned() } else { name.to_owned() };
        match path.to_str().and_then(|text| text.split_once(':')) {
            Some(("file", path)) => To::File(path.into()),
            Some(("journald", rest)) => To::Journal(name(rest)),
            Some(("syslog", rest)) => To::Syslog(name(rest)),
            _ => To::File(path.into()),
        }
    }
}

/// Where a verb's messages go. There are no threads, so a cell will do.
#[derive(Debug, Default)]
pub struct Log {
    to: To,
    format: Format,
    level: Level,
    warnings: RefCell<Vec<String>>,
}

impl Log {
    /// Opens nothing yet, but what can't be written to is told at once.
    pub fn new(to: Option<&Path>, format: Format, level: Level) -> Result<Log> {
        let to = To::parse(to);
        match &to {
            To::Stderr => {}
            To::File(path) => drop(append(path)?),
            To::Journal(_) => drop(daemon(JOURNAL)?),
            To::Syslog(_) => drop(daemon(SYSLOG)?),
        }
        Ok(Log { to, format, level, warnings: RefCell::default() })
    }

    /// Held back until the verb's end.
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.borrow_mut().push(text.into());
    }

    /// Runs `work`, which collects warnings, and keeps them if it fails, too: what
    /// was ignored is often why.
    pub fn warnings_of<T>(&self, work: impl FnOnce(&mut Vec<String>) -> T) -> T {
        let mut warnings = Vec::new();
        let result = work(&mut warnings);
        self.warnings.borrow_mut().append(&mut warnings);
        result
    }

    /// Opens the log for messages of level `debug`. `None` if they are not wanted,
    /// or if it can't be opened.
    pub fn sink(&self) -> Option<Sink> {
        if self.level < Level::Debug {
            return None;
        }
        let fd: OwnedFd = match &self.to {
            To::Stderr => std::io::stderr().as_fd().try_clone_to_owned().ok()?,
            To::File(path) => append(path).ok()?.into(),
            To::Journal(_) => daemon(JOURNAL).ok()?.into(),
            To::Syslog(_) => daemon(SYSLOG).ok()?.into(),
        };
        let fd = NUMBERS.iter().find_map(|least| fd::copy_from(&fd, *least).ok())?;
        Some(Sink {
            kind: Kind::of(&fd),
            fd,
            to: self.to.clone(),
            format: self.format,
            is_stuck: Cell::new(false),
        })
    }

    /// Writes the warnings of a verb that succeeded.
    pub fn finish(&self) {
        for warning in self.warnings.take() {
            self.write(Level::Warning, &warning);
        }
    }

    /// Writes the warnings and the error of a verb that failed to the log and to
    /// stderr. Only a JSON file gets the error alone.
    pub fn fail(&self, error: &Error) {
        let is_stderr = matches!(self.to, To::Stderr);
        let is_json_file = matches!(self.to, To::File(_)) && self.format == Format::Json;
        for warning in self.warnings.take() {
            if !is_json_file {
                self.write(Level::Warning, &warning);
            }
            if !is_stderr && Level::Warning <= self.level {
                print(Level::Warning, &warning);
            }
        }
        let error = error.to_string();
        self.write(Level::Error, &error);
        if !is_stderr {
            print(Level::Error, &error);
        }
    }

    /// A line that can't be written has no other place to go.
    fn write(&self, level: Level, text: &str) {
        if level > self.level {
            return;
        }
        let line = line(&self.to, self.format, level, text);
        let bytes = line.as_bytes();
        process::without_signals_of_writes(|| {
            let _ = match &self.to {
                To::File(path) => append(path).map(|mut file| file.write_all(bytes)),
                To::Journal(_) => send(JOURNAL, bytes),
                To::Syslog(_) => send(SYSLOG, bytes),
                To::Stderr => Ok(std::io::stderr().write_all(bytes)),
            };
        });
    }
}

/// The least numbers that the descriptor of a [`Sink`] may have, the first that the
/// limit of open files allows: out of the way of those that `--preserve-fds` counts.
const NUMBERS: [i32; 3] = [200, 60, 19];

/// How long a message waits for a place in a pipe that nobody empties, in
/// milliseconds.
const PATIENCE: u16 = 1000;

/// The open log, for messages of level `debug` of this process and its children.
///
/// A message is lost rather than that it fails, ends or stops the verb: when the
/// disk is full, when nobody reads the pipe any more, when its reader stopped.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    kind: Kind,
    to: To,
    format: Format,
    /// Whether its reader was waited for in vain. That is done once.
    is_stuck: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pipe,
    Socket,
    Other,
}

impl Kind {
    fn of(fd: &OwnedFd) -> Kind {
        match fstat(fd).map(|stat| SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())) {
            Ok(SFlag::S_IFIFO) => Kind::Pipe,
            Ok(SFlag::S_IFSOCK) => Kind::Socket,
            _ => Kind::Other,
        }
    }
}

impl Sink {
    /// Writes a message of level `debug`.
    pub fn debug(&self, text: &str) {
        let line = line(&self.to, self.format, Level::Debug, text);
        process::without_signals_of_writes(|| {
            if self.write(line.as_bytes()) == Err(Errno::EAGAIN) && !self.is_stuck.get() {
                self.is_stuck.set(!self.is_ready(PATIENCE.into()));
                let _ = self.write(line.as_bytes());
            }
        });
    }

    /// Writes what can be written without waiting.
    fn write(&self, bytes: &[u8]) -> nix::Result<()> {
        match self.kind {
            Kind::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                return socket::send(self.fd.as_raw_fd(), bytes, flags).map(drop);
            }
            Kind::Pipe => match fd::write_to_pipe_at_once(&self.fd, bytes) {
                Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => {}
                other => return other,
            },
            Kind::Other => {}
        }
        if !self.is_ready(PollTimeout::ZERO) {
            return Err(Errno::EAGAIN);
        }
        nix::unistd::write(&self.fd, bytes).map(drop)
    }

    /// Whether there is a place for a message by then. A file always has one.
    fn is_ready(&self, timeout: PollTimeout) -> bool {
        poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)], timeout) == Ok(1)
    }
}

/// A message as its place wants it. The journal and syslog have a time and a level of
/// their own, and one message is one datagram: as long as a message is one line it
/// needs no length. On stderr an error or a warning begins with our name; of `debug`
/// there are runc's lines, for which people look.
fn line(to: &To, format: Format, level: Level, text: &str) -> String {
    let text = text.replace('\n', " ");
    let name = level.name();
    match (to, format) {
        (To::Journal(id), _) => {
            format!("PRIORITY={}\nSYSLOG_IDENTIFIER={id}\nMESSAGE={text}\n", level.priority())
        }
        (To::Syslog(id), _) => {
            format!("<{}>{id}[{}]: {text}", USER | level.priority(), std::process::id())
        }
        (_, Format::Json) => json!({ "level": name, "msg": text, "time": now() }).to_string() + "\n",
        (To::Stderr, Format::Text) if level != Level::Debug => format!("corten: {name}: {text}\n"),
        (_, Format::Text) => format!("time=\"{}\" level={name} msg={}\n", now(), json!(text)),
    }
}

/// Prints a message on stderr: `corten: error: text`. A line that can't be
/// written has no other place to go.
pub fn print(level: Level, text: &str) {
    let line = line(&To::Stderr, Format::Text, level, text);
    let _ = process::without_signals_of_writes(|| std::io::stderr().write_all(line.as_bytes()));
}

/// LOG_USER of syslog(3).
const USER: u8 = 1 << 3;

fn daemon(path: &str) -> Result<UnixDatagram> {
    let socket = UnixDatagram::unbound().op("socket")?;
    socket.connect(path).op_on("connect to the log", path)?;
    Ok(socket)
}

fn send(path: &str, message: &[u8]) -> Result<std::io::Result<()>> {
    Ok(daemon(path)?.send(message).map(drop))
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).op_on("open the log file", path.display())
}

/// The time in RFC 3339, in UTC.
pub fn now() -> String {
    rfc3339(SystemTime::now())
}

/// Another time, likewise.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}
