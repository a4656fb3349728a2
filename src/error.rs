//! The one error type of the runtime (runtime.md "Errors").
//!
//! An error has the operation that failed, the thing that the operation acts on, the
//! place in `config.json`, the errno of the kernel, and a hint for the user. An error
//! crosses the socket between init and the runtime, all but its kind ([`Error::encode`]).
//! Printing and logging belong to `log.rs`, and exit codes to `cli`.

use nix::errno::Errno;
use std::fmt;

/// The result of an operation of the runtime.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the runtime decides by, where the errno does not tell it. Texts are for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is decided by this error.
    #[default]
    Plain,
    /// There is no container with this id, or no longer.
    NoContainer,
}

/// What went wrong, in the words of the user's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Error {
    /// JSON pointer into `config.json`, or empty.
    pub at: String,
    /// What the operation acts on: a path, an id, the value of a field; or empty.
    pub subject: String,
    /// The operation that failed, usually the system call.
    pub op: String,
    /// The errno from the kernel. `None` if the error is not the kernel's.
    pub errno: Option<i32>,
    /// An instruction for the user, or empty.
    pub hint: String,
    /// What the runtime decides by. Does not cross the socket.
    pub kind: Kind,
}

impl Error {
    /// Creates an error that does not come from the kernel. `op` is the whole message.
    pub fn msg(op: impl Into<String>) -> Self {
        Error { op: op.into(), ..Error::default() }
    }

    /// Creates the error for an id that no container has.
    pub fn no_container(id: &str) -> Self {
        Error { kind: Kind::NoContainer, ..Error::msg("container does not exist").on(id) }
    }

    /// Creates the error of a failed system call.
    pub fn os(op: impl Into<String>, errno: Errno) -> Self {
        let error = Error { op: op.into(), errno: Some(errno as i32), ..Error::default() };
        match errno {
            Errno::ENOSYS => error.hint("use Linux 5.14 or later: this kernel lacks the system call"),
            _ => error,
        }
    }

    /// Creates the error of a wrong configuration: the JSON pointer, and what is wrong
    /// there.
    pub fn config(at: impl Into<String>, op: impl Into<String>) -> Self {
        Error { at: at.into(), op: op.into(), ..Error::default() }
    }

    /// Sets the JSON pointer, unless the error has one.
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        if self.at.is_empty() {
            self.at = pointer.into();
        }
        self
    }

    /// Sets the subject, unless the error has one.
    pub fn on(mut self, subject: impl Into<String>) -> Self {
        if self.subject.is_empty() {
            self.subject = subject.into();
        }
        self
    }

    /// Sets the hint, unless the error has one.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if self.hint.is_empty() {
            self.hint = hint.into();
        }
        self
    }

    /// Makes the errno part of the message, in the kernel's own words. By these, engines
    /// recognize errors about the payload and about mount points.
    pub fn in_kernels_words(mut self) -> Self {
        if let Some(errno) = self.errno.take().map(Errno::from_raw) {
            self.op = format!("{}: {errno:?} ({})", self.op, errno.desc().to_lowercase());
        }
        self
    }

    /// Returns whether the kernel returned this errno.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == Some(errno as i32)
    }

    /// Appends the form for the socket: four texts with their lengths, then the errno (0:
    /// none).
    pub fn encode(&self, out: &mut Vec<u8>) {
        for field in [&self.at, &self.subject, &self.op, &self.hint] {
            out.extend_from_slice(&u32::try_from(field.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(field.as_bytes());
        }
        out.extend_from_slice(&self.errno.unwrap_or(0).to_le_bytes());
    }

    /// Decodes the output of [`Error::encode`]. Returns `None` for any other bytes.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        fn word(bytes: &mut &[u8]) -> Option<[u8; 4]> {
            let (head, rest) = bytes.split_first_chunk::<4>()?;
            *bytes = rest;
            Some(*head)
        }
        fn text(bytes: &mut &[u8]) -> Option<String> {
            let len = u32::from_le_bytes(word(bytes)?) as usize;
            let (head, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            Some(String::from_utf8_lossy(head).into_owned())
        }
        let at = text(&mut bytes)?;
        let subject = text(&mut bytes)?;
        let op = text(&mut bytes)?;
        let hint = text(&mut bytes)?;
        let errno = i32::from_le_bytes(word(&mut bytes)?);
        let errno = (errno != 0).then_some(errno);
        bytes.is_empty().then_some(Error { at, subject, op, errno, hint, kind: Kind::Plain })
    }
}

/// Writes one line:
/// `/mounts/3 (/dev/mqueue): fsopen mqueue: EPERM (not allowed); hint: …`
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, subject) = (one_line(&self.at), one_line(&self.subject));
        match (at.is_empty(), subject.is_empty()) {
            (true, true) => {}
            (false, true) => write!(f, "{at}: ")?,
            (true, false) => write!(f, "{subject}: ")?,
            (false, false) => write!(f, "{at} ({subject}): ")?,
        }
        f.write_str(&one_line(&self.op))?;
        if let Some(errno) = self.errno {
            write!(f, ": {}", errno_text(Errno::from_raw(errno)))?;
        }
        if !self.hint.is_empty() {
            write!(f, "; hint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The words by which engines choose an exit code, and the words that corten writes
/// instead.
///
/// Podman takes "permission denied" and "operation not permitted" as the sign that the
/// payload may not be executed (126). It takes "not found", "no such file" and "open
/// executable" as the sign that the payload is missing (127). Docker does nearly the
/// same. It also returns 126 for "is a directory", and 127 for "not a directory", which it
/// explains as a mount of a file on a directory. A missing bus or a read-only cgroup must
/// not cause these exit codes. So only errors about the payload contain these words
/// (`init/payload.rs`, `init/creds.rs`, `spec/process.rs`), and errors about mount points
/// ([`Error::in_kernels_words`]). The one exception is `exec --cgroup`, which no engine uses
/// (`cgroup/sub_cgroups.rs`).
const ENGINES_WORDS: [(&str, &str); 7] = [
    ("no such file", "missing file"),
    ("not found", "missing"),
    ("open executable", "open the executable"),
    ("permission denied", "access denied"),
    ("operation not permitted", "not allowed"),
    ("not a directory", "no directory"),
    ("is a directory", "a directory"),
];

fn errno_text(errno: Errno) -> String {
    let text = match errno {
        Errno::ENOENT => "missing".into(),
        // The text of the C library is about mathematical functions.
        Errno::ERANGE => "value out of range".into(),
        _ => without_engines_words(&errno.desc().to_lowercase()),
    };
    format!("{errno:?} ({text})")
}

/// Escapes a key for the JSON pointer of an error (RFC 6901).
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Replaces the engines' words in a text of another program (systemd, CRIU, newuidmap).
/// With them, engines would take the text for an error about the payload.
pub fn without_engines_words(text: &str) -> String {
    let mut out = text.to_owned();
    for (word, instead) in ENGINES_WORDS {
        while let Some(at) = out.to_ascii_lowercase().find(word) {
            out.replace_range(at..at + word.len(), instead);
        }
    }
    out
}

/// Replaces line breaks: an error is one line, whatever name the configuration contains.
fn one_line(text: &str) -> String {
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text.into() }
}

/// Turns the error of a system call into an [`Error`] that names the operation.
pub trait Context<T> {
    /// Names the operation.
    fn op(self, op: &str) -> Result<T>;
    /// Names the operation, and what it acts on.
    fn op_on(self, op: &str, subject: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for nix::Result<T> {
    fn op(self, op: &str) -> Result<T> {
        self.map_err(|e| Error::os(op, e))
    }
    fn op_on(self, op: &str, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|e| Error::os(op, e).on(subject.to_string()))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn op(self, op: &str) -> Result<T> {
        self.map_err(|e| from_io(op, &e))
    }
    fn op_on(self, op: &str, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|e| from_io(op, &e).on(subject.to_string()))
    }
}

fn from_io(op: &str, error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(errno) => Error::os(op, Errno::from_raw(errno)),
        None => Error::msg(format!("{op}: {}", without_engines_words(&error.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Error {
        Error::os("fsopen mqueue", Errno::EPERM)
            .at("/mounts/3")
            .on("/dev/mqueue")
            .hint("needs an ipc namespace")
    }

    #[test]
    fn crosses_the_wire_unchanged() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        assert_eq!(Error::decode(&bytes), Some(sample()));
    }

    /// The patterns of Podman (`libpod/oci_util.go`, `libpod/define/exec_codes.go`).
    const PODMANS: [&str; 6] = [
        "permission denied",
        "operation not permitted",
        "executable file not found in",
        "no such file",
        "open executable",
        "not found",
    ];

    fn says_it_is_the_payload(text: &str) -> bool {
        PODMANS.iter().any(|pattern| text.to_lowercase().contains(pattern))
    }

    #[test]
    fn no_errno_is_taken_for_a_fault_of_the_payload() {
        for number in 1..=133 {
            let text = Error::os("connect to the bus", Errno::from_raw(number)).to_string();
            assert!(!says_it_is_the_payload(&text), "{text}");
        }
        let foreign =
            "Unit x Not Found: No such file or directory, Permission denied, Operation not permitted";
        assert!(
            !says_it_is_the_payload(&without_engines_words(foreign)),
            "{}",
            without_engines_words(foreign)
        );
        let error = std::io::Error::other("file not found");
        assert!(!says_it_is_the_payload(&from_io("read", &error).to_string()));
    }

    /// Finds all texts in the source that contain the words.
    #[test]
    fn engines_words_are_said_of_the_payload_alone() {
        let mut said = std::collections::BTreeSet::new();
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut dirs = vec![source.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
                let path = entry.path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                if path.extension().is_none_or(|extension| extension != "rs") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines();
                let code: Vec<&str> = code.filter(|line| !line.trim_start().starts_with("//")).collect();
                if says_it_is_the_payload(&code.join("\n")) {
                    said.insert(path.strip_prefix(&source).expect("below").display().to_string());
                }
            }
        }
        let expected =
            ["cgroup/sub_cgroups.rs", "error.rs", "init/creds.rs", "init/payload.rs", "spec/process.rs"];
        assert_eq!(said.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn refuses_torn_bytes() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(Error::decode(&bytes[..end]), None, "prefix of {end} bytes");
        }
    }

    #[test]
    fn says_where_what_and_why_in_one_line() {
        assert_eq!(
            sample().to_string(),
            "/mounts/3 (/dev/mqueue): fsopen mqueue: EPERM (not allowed); hint: needs an ipc namespace"
        );
        let lines = Error::config("/a\n", "b\nc").on("d\ne");
        assert!(!lines.to_string().contains('\n'));
    }
}
