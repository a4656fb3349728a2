//! The words of a plain command line (`plain.rs`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::slice::Iter;

/// The words of a command line. A function returns `None` to give up.
pub struct Words<'a> {
    rest: Iter<'a, OsString>,
    /// What stands behind the `=` of the last flag.
    value: Option<&'a OsStr>,
}

pub enum Word<'a> {
    /// A flag with its dashes. Its value is the next thing to read.
    Flag(&'a [u8]),
    /// A word that is not a flag, and not empty.
    Other(&'a OsStr),
}

impl<'a> Words<'a> {
    pub fn new(words: &'a [OsString]) -> Self {
        Self { rest: words.iter(), value: None }
    }

    /// Returns the next word, or `Some(None)` at the end.
    pub fn next_word(&mut self) -> Option<Option<Word<'a>>> {
        // The last flag takes no value, so `--force=true` is no plain form.
        if self.value.is_some() {
            return None;
        }
        let Some(word) = self.rest.next() else { return Some(None) };
        let bytes = word.as_bytes();
        if !bytes.starts_with(b"-") {
            return (!bytes.is_empty()).then_some(Some(Word::Other(word)));
        }
        Some(Some(match bytes.iter().position(|byte| *byte == b'=') {
            Some(end) if bytes.starts_with(b"--") => {
                self.value = Some(OsStr::from_bytes(&bytes[end + 1..]));
                Word::Flag(&bytes[..end])
            }
            _ => Word::Flag(bytes),
        }))
    }

    /// Returns the value of the last flag.
    pub fn value(&mut self) -> Option<&'a OsStr> {
        let value = match self.value.take() {
            Some(value) => value,
            None => self.rest.next().filter(|value| !value.as_bytes().starts_with(b"-"))?,
        };
        (!value.is_empty()).then_some(value)
    }

    pub fn path(&mut self) -> Option<PathBuf> {
        self.value().map(PathBuf::from)
    }

    pub fn text(&mut self) -> Option<String> {
        self.value()?.to_str().map(str::to_owned)
    }

    pub fn number(&mut self) -> Option<u32> {
        self.value()?.to_str()?.parse().ok()
    }

    /// Returns all words that are left.
    pub fn all_rest(&mut self) -> &'a [OsString] {
        std::mem::take(&mut self.rest).as_slice()
    }

    /// Returns the words of a program's command line, which may have flags of its own.
    pub fn rest(&mut self) -> Option<Vec<OsString>> {
        let rest = self.rest.as_slice();
        let is_plain = rest.first().is_none_or(|word| !word.as_bytes().starts_with(b"-"));
        (is_plain && !rest.iter().any(|word| word == "--" || word.is_empty())).then(|| rest.to_vec())
    }

    /// Returns the only word: the name of a container.
    pub fn only_id(&mut self) -> Option<String> {
        match (self.next_word()?, self.next_word()?) {
            (Some(Word::Other(id)), None) => id.to_str().map(str::to_owned),
            _ => None,
        }
    }
}
