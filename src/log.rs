//! The messages of the runtime: runc's log file, and stderr.
//!
//! Engines read the log file. containerd's shim takes the last line of level `error`.
//! Podman takes the whole file as one JSON object. So a JSON file gets exactly one line
//! for a failure, and it gets warnings only from a verb that succeeded. Engines also
//! match the text on stderr. So an error always goes to stderr, too, after the warnings
//! of the verb. A line there begins with `corten: error: ` or `corten: warning: `.
//!
//! With `--debug` the log gets a line for each step, even if it is a JSON file, as in
//! runc.

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

/// The format of the messages (`--log-format`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// The level of a message. A log writes messages up to its level.
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

    /// Returns the number of the level in syslog(3).
    fn priority(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Debug => 7,
        }
    }
}

/// Where messages go, besides stderr.
#[derive(Debug, Clone, Default)]
enum To {
    #[default]
    Stderr,
    File(PathBuf),
    /// The journal, with the name for the messages.
    Journal(String),
    Syslog(String),
}

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

impl To {
    /// Parses `--log`. Takes crun's prefixes. Any other text is a path, as in runc.
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

/// The log of a verb. The runtime has no threads, so a cell is enough for the warnings.
#[derive(Debug, Default)]
pub struct Log {
    to: To,
    format: Format,
    level: Level,
    warnings: RefCell<Vec<String>>,
}

impl Log {
    /// Creates the log. Fails at once if the file, the journal or syslog can't be opened.
    /// Leaves nothing open.
    pub fn new(to: Option<&Path>, format: Format, level: Level) -> Result<Log> {
        let to = To::parse(to);
        match &to {
            To::Stderr => {}
            To::File(path) => drop(open_to_append(path)?),
            To::Journal(_) => drop(connect_to_daemon(JOURNAL)?),
            To::Syslog(_) => drop(connect_to_daemon(SYSLOG)?),
        }
        Ok(Log { to, format, level, warnings: RefCell::default() })
    }

    /// Keeps a warning until the end of the verb (runtime.md "Warnings").
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.borrow_mut().push(text.into());
    }

    /// Runs `work`, which collects warnings. Keeps the warnings even if `work` fails: an
    /// ignored value is often the reason for the failure.
    pub fn warnings_of<T>(&self, work: impl FnOnce(&mut Vec<String>) -> T) -> T {
        let mut warnings = Vec::new();
        let result = work(&mut warnings);
        self.warnings.borrow_mut().append(&mut warnings);
        result
    }

    /// Opens the log for messages of level `debug`. Returns `None` if nobody wants such
    /// messages, or if the log can't be opened.
    pub fn sink(&self) -> Option<Sink> {
        if self.level < Level::Debug {
            return None;
        }
        let fd: OwnedFd = match &self.to {
            To::Stderr => std::io::stderr().as_fd().try_clone_to_owned().ok()?,
            To::File(path) => open_to_append(path).ok()?.into(),
            To::Journal(_) => connect_to_daemon(JOURNAL).ok()?.into(),
            To::Syslog(_) => connect_to_daemon(SYSLOG).ok()?.into(),
        };
        let fd = LOWEST_FDS.iter().find_map(|lowest| fd::copy_from(&fd, *lowest).ok())?;
        Some(Sink {
            kind: Kind::detect(&fd),
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

    /// Writes the warnings and the error of a verb that failed, to the log and to stderr.
    /// A JSON file gets only the error.
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

    /// Writes a line to the log. Ignores a failure, as there is no other place for the
    /// line.
    fn write(&self, level: Level, text: &str) {
        if level > self.level {
            return;
        }
        let line = format_line(&self.to, self.format, level, text);
        let bytes = line.as_bytes();
        process::without_signals_of_writes(|| {
            let _ = match &self.to {
                To::File(path) => open_to_append(path).map(|mut file| file.write_all(bytes)),
                To::Journal(_) => send_datagram(JOURNAL, bytes),
                To::Syslog(_) => send_datagram(SYSLOG, bytes),
                To::Stderr => Ok(std::io::stderr().write_all(bytes)),
            };
        });
    }
}

/// The lowest number that the descriptor of a [`Sink`] may have. The sink takes the first
/// entry that the limit of open files allows. The numbers are so high that they stay out
/// of the way of the descriptors of `--preserve-fds`.
const LOWEST_FDS: [i32; 3] = [200, 60, 19];

/// How long a message waits for space in a pipe that nobody empties, in milliseconds.
const WAIT_LIMIT: u16 = 1000;

/// The open log, for messages of level `debug` from this process and its children.
///
/// A message gets lost if the disk is full, if the pipe has no reader any more, or if the
/// reader has stopped. The verb goes on in all these cases.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    kind: Kind,
    to: To,
    format: Format,
    /// Whether a message has already waited in vain for the reader. No other message
    /// waits then.
    is_stuck: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pipe,
    Socket,
    Other,
}

impl Kind {
    fn detect(fd: &OwnedFd) -> Kind {
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
        let line = format_line(&self.to, self.format, Level::Debug, text);
        process::without_signals_of_writes(|| {
            if self.write(line.as_bytes()) == Err(Errno::EAGAIN) && !self.is_stuck.get() {
                self.is_stuck.set(!self.is_ready(WAIT_LIMIT.into()));
                let _ = self.write(line.as_bytes());
            }
        });
    }

    /// Writes as much as is possible without waiting.
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

    /// Returns whether the log has space for a message within `timeout`. A file always
    /// has space.
    fn is_ready(&self, timeout: PollTimeout) -> bool {
        poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)], timeout) == Ok(1)
    }
}

/// Formats a message for its destination. The journal and syslog have their own time and
/// level. A message there is one datagram, and needs no length because it is one line. On
/// stderr, an error or a warning begins with corten's name. A debug message there has the
/// form of runc's lines, because people search for that form.
fn format_line(to: &To, format: Format, level: Level, text: &str) -> String {
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

/// Prints a message on stderr: `corten: error: text`. Ignores a failure, as there is no
/// other place for the line.
pub fn print(level: Level, text: &str) {
    let line = format_line(&To::Stderr, Format::Text, level, text);
    let _ = process::without_signals_of_writes(|| std::io::stderr().write_all(line.as_bytes()));
}

/// The facility LOG_USER of syslog(3).
const USER: u8 = 1 << 3;

fn connect_to_daemon(path: &str) -> Result<UnixDatagram> {
    let socket = UnixDatagram::unbound().op("socket")?;
    socket.connect(path).op_on("connect to the log", path)?;
    Ok(socket)
}

fn send_datagram(path: &str, message: &[u8]) -> Result<std::io::Result<()>> {
    Ok(connect_to_daemon(path)?.send(message).map(drop))
}

fn open_to_append(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).op_on("open the log file", path.display())
}

/// Returns the present time in UTC, in the form of RFC 3339.
pub fn now() -> String {
    rfc3339(SystemTime::now())
}

/// Returns `time` in UTC, in the form of RFC 3339.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}
