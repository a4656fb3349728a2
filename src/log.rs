//! What is told to whom: runc's log file and stderr.
//!
//! Engines read the file: containerd's shim takes the last line of level
//! `error`, Podman the whole file as one JSON object. So a JSON file gets
//! exactly one line for a failure, and warnings only from what succeeded.
//! Engines also match what is on stderr, so an error is always there too, after
//! the warnings that came before it. There a line begins `corten: error: ` or
//! `corten: warning: `.

use crate::error::{Context, Error, Result};
use serde_json::json;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
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
#[derive(Debug, Default)]
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

    pub fn debug(&self, text: &str) {
        self.write(Level::Debug, text);
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
        let text = &text.replace('\n', " ");
        let name = level.name();
        let line = match self.format {
            Format::Json => json!({ "level": name, "msg": text, "time": now() }).to_string(),
            Format::Text => format!("time=\"{}\" level={name} msg={}", now(), json!(text)),
        };
        let _ = match &self.to {
            To::File(path) => append(path).map(|mut file| writeln!(file, "{line}")),
            // Both have a time and a level of their own, and one message is one
            // datagram: as long as a message is one line it needs no length.
            To::Journal(id) => send(
                JOURNAL,
                &format!("PRIORITY={}\nSYSLOG_IDENTIFIER={id}\nMESSAGE={text}\n", level.priority()),
            ),
            To::Syslog(id) => {
                send(SYSLOG, &format!("<{}>{id}[{}]: {text}", USER | level.priority(), std::process::id()))
            }
            To::Stderr if self.format == Format::Json => Ok(writeln!(std::io::stderr(), "{line}")),
            To::Stderr => {
                print(level, text);
                Ok(Ok(()))
            }
        };
    }
}

/// Prints a message on stderr: `corten: error: text`. A line that can't be
/// written has no other place to go.
pub fn print(level: Level, text: &str) {
    let _ = writeln!(std::io::stderr(), "corten: {}: {}", level.name(), text.replace('\n', " "));
}

/// LOG_USER of syslog(3).
const USER: u8 = 1 << 3;

fn daemon(path: &str) -> Result<UnixDatagram> {
    let socket = UnixDatagram::unbound().op("socket")?;
    socket.connect(path).op_on("connect to the log", path)?;
    Ok(socket)
}

fn send(path: &str, message: &str) -> Result<std::io::Result<()>> {
    Ok(daemon(path)?.send(message.as_bytes()).map(drop))
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
