//! What several fuzzers check.

use corten::error::Error;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

/// An error is one line, whatever text it quotes: the log has a line for each.
pub fn one_line(error: &Error) {
    let text = error.to_string();
    assert!(!text.contains(['\n', '\r']), "more than one line: {text:?}");
}

/// Checks that an error names the place of a value: a JSON pointer.
pub fn has_place(error: &Error) {
    one_line(error);
    assert!(error.at.is_empty() || error.at.starts_with('/'), "no JSON pointer: {:?}", error.at);
}

/// Returns what went right, and checks what the error looks like.
pub fn placed<T>(result: corten::error::Result<T>) -> Option<T> {
    result.inspect_err(has_place).ok()
}

/// Checks that both values are equal. The values themselves may be long.
pub fn same<T: PartialEq + std::fmt::Debug>(what: impl Display, one: &T, other: &T) {
    assert!(one == other, "{what}:\n{one:?}\n{other:?}");
}

/// A directory that holds the files of one input.
pub struct Dir {
    path: PathBuf,
    written: Vec<PathBuf>,
}

impl Dir {
    /// Creates a directory of this process's own, in TMPDIR.
    pub fn new() -> Dir {
        let path = std::env::temp_dir().join(format!("corten-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for the files");
        Dir { path, written: Vec::new() }
    }

    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Replaces the files by those of an input: sections that end with a NUL byte. The first
    /// line of a section is the name of its file. Returns the texts by name.
    pub fn fill<'a>(&mut self, input: &'a [u8]) -> BTreeMap<&'a str, &'a [u8]> {
        self.written.drain(..).for_each(|old| drop(std::fs::remove_file(old)));
        let mut files = BTreeMap::new();
        for section in input.split(|byte| *byte == 0) {
            let end = section.iter().position(|byte| *byte == b'\n').unwrap_or(section.len());
            let Ok(name) = std::str::from_utf8(&section[..end]) else { continue };
            let plain = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
            let is_name = !name.is_empty() && name.len() < 64 && name.chars().all(plain);
            if is_name && !name.starts_with('.') {
                files.insert(name, section.get(end + 1..).unwrap_or_default());
            }
        }
        for (name, text) in &files {
            let path = self.path.join(name);
            std::fs::write(&path, text).expect("write a file");
            self.written.push(path);
        }
        files
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        self.fill(b"");
        let _ = std::fs::remove_dir(&self.path);
    }
}
