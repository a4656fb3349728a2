//! Paths in JSON. A path in Linux is a string of bytes; JSON is text in UTF-8.

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

/// Writes a path so that [`deserialize`] reads the same path: as a string, or as a list
/// of bytes if the path is not UTF-8.
pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => to.serialize_str(text),
        None => path.as_os_str().as_bytes().serialize(to),
    }
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    Ok(match Text::deserialize(from)? {
        Text::Utf8(text) => text.into(),
        Text::Bytes(bytes) => OsString::from_vec(bytes).into(),
    })
}

/// Writes a path for other programs. Bytes that are not UTF-8 become U+FFFD, as in runc.
pub fn for_others<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}
