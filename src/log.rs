//! What is told to whom: runc's log file and stderr.
//!
//! Engines read the file: containerd's shim takes the last line of level
//! `error`, Podman the whole file as one JSON object. So a JSON log gets
//! exactly one line for a failure, and warnings only from what succeeded.
//! Engines also match what is on stderr, so an error is always there too.

use crate::error::{Context, Error, Result};
use serde_json::json;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Where a verb's messages go. There are no threads, so a cell will do.
#[derive(Debug, Default)]
pub struct Log {
    path: Option<PathBuf>,
    format: Format,
    debug: bool,
    warnings: RefCell<Vec<String>>,
}

impl Log {
    /// Opens nothing yet, but a path that can't be written is told at once.
    pub fn new(path: Option<&Path>, format: Format, debug: bool) -> Result<Log> {
        let path = path.map(Path::to_path_buf).filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = &path {
            append(path)?;
        }
        Ok(Log { path, format, debug, warnings: RefCell::default() })
    }

    /// Held back until the verb's end.
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.borrow_mut().push(text.into());
    }

    pub fn debug(&self, text: &str) {
        if self.debug {
            self.write("debug", text);
        }
    }

    /// Writes the warnings of a verb that succeeded.
    pub fn finish(&self) {
        for warning in self.warnings.take() {
            self.write("warning", &warning);
        }
    }

    /// Writes the error of a verb that failed, in the file and on stderr.
    pub fn fail(&self, error: &Error) {
        if self.format == Format::Text {
            self.finish();
        }
        let text = error.to_string();
        if self.path.is_some() {
            self.write("error", &text);
            let _ = writeln!(std::io::stderr(), "{text}");
        } else if self.format == Format::Json {
            self.write("error", &text);
        } else {
            let _ = writeln!(std::io::stderr(), "corten: {text}");
        }
    }

    /// A line that can't be written has no other place to go.
    fn write(&self, level: &str, text: &str) {
        let line = match self.format {
            Format::Json => json!({ "level": level, "msg": text, "time": now() }).to_string(),
            Format::Text => format!("time=\"{}\" level={level} msg={}", now(), json!(text)),
        };
        let _ = match &self.path {
            Some(path) => append(path).map(|mut file| writeln!(file, "{line}")),
            None if self.format == Format::Json => Ok(writeln!(std::io::stderr(), "{line}")),
            None => Ok(writeln!(std::io::stderr(), "corten: {level}: {text}")),
        };
    }
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).op_on("open the log file", path.display())
}

/// The time in RFC 3339, in UTC.
pub fn now() -> String {
    humantime::format_rfc3339_nanos(SystemTime::now()).to_string()
}
