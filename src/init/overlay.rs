//! The layers of an overlay that don't fit into one string of fsconfig(2), because there
//! are too many of them or their names are too long.

use super::fs_context;
use crate::error::{Context, Error, Result};
use crate::spec::plan::FsOption;
use crate::sys::fd::open;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// mount(2) takes less than a page of options. The smallest page has this many bytes.
const MOUNT_LIMIT: usize = 4096;

/// Options of an overlay in another form. They may name directories by descriptor, so
/// this value must live until the mount is created.
pub struct Rewritten {
    pub options: Vec<FsOption>,
    open: Vec<OwnedFd>,
}

impl Rewritten {
    fn new() -> Rewritten {
        Rewritten { options: Vec::new(), open: Vec::new() }
    }

    fn push(&mut self, key: &CStr, value: CString) {
        self.options.push((key.into(), Some(value)));
    }

    /// Opens the directory `path` and returns a short name for it.
    fn short_name(&mut self, path: &[u8]) -> Result<CString> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let name = OsStr::from_bytes(path);
        let dir = open(name, flags, Mode::empty()).op_on("open the layer", name.display())?;
        let short = c_string(format!("/proc/self/fd/{}", dir.as_raw_fd()).into_bytes())?;
        self.open.push(dir);
        Ok(short)
    }
}

/// Returns the options with one option for each layer, as Linux 6.8 and later take them.
pub fn split_layers(options: &[FsOption]) -> Result<Rewritten> {
    let mut out = Rewritten::new();
    for (key, value) in options {
        let Some(value) = value else {
            out.options.push((key.clone(), None));
            continue;
        };
        if key.as_bytes() == b"lowerdir" {
            for (data_only, path) in parse_layers(value.as_bytes()) {
                let key = if data_only { c"datadir+" } else { c"lowerdir+" };
                let path = c_string(path)?;
                let path = if fs_context::is_long(&path) { out.short_name(path.as_bytes())? } else { path };
                out.push(key, path);
            }
        } else if fs_context::is_long(value) {
            let path = unescape(value.as_bytes());
            let short = out.short_name(&path)?;
            out.push(key, short);
        } else {
            out.push(key, value.clone());
        }
    }
    Ok(out)
}

/// Shortens the options so that they fit into one string for mount(2). `None` if they fit
/// as they are.
pub fn shorten_for_mount(options: &[FsOption]) -> Result<Option<Rewritten>> {
    if fs_context::in_one_string(options)?.count_bytes() < MOUNT_LIMIT {
        return Ok(None);
    }
    let mut out = Rewritten::new();
    for (key, value) in options {
        match (key.as_bytes(), value) {
            (b"lowerdir", Some(value)) => {
                let mut text = Vec::new();
                for (data_only, path) in parse_layers(value.as_bytes()) {
                    let separator: &[u8] = if data_only { b"::" } else { b":" };
                    text.extend_from_slice(if text.is_empty() { b"" } else { separator });
                    text.extend_from_slice(out.short_name(&path)?.as_bytes());
                }
                out.push(key, c_string(text)?);
            }
            (b"upperdir" | b"workdir", Some(value)) => {
                let short = out.short_name(&unescape(value.as_bytes()))?;
                out.push(key, short);
            }
            _ => out.options.push((key.clone(), value.clone())),
        }
    }
    Ok(Some(out))
}

/// Returns the layers of a `lowerdir`, each with whether it is a data-only layer.
/// Data-only layers follow `::`. overlayfs separates layers by colons; a backslash
/// escapes a colon.
fn parse_layers(lower: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let mut out = Vec::new();
    let mut data_only = false;
    for layer in split_at_colons(lower) {
        if layer.is_empty() {
            data_only = true;
        } else {
            out.push((data_only, unescape(layer)));
        }
    }
    out
}

fn split_at_colons(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut escaped = false;
    text.split(move |c| {
        let splits = *c == b':' && !escaped;
        escaped = *c == b'\\' && !escaped;
        splits
    })
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut escaped = false;
    for c in text {
        escaped = *c == b'\\' && !escaped;
        if !escaped {
            out.push(*c);
        }
    }
    out
}

fn c_string(bytes: Vec<u8>) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::msg("NUL in a layer's name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_split_at_colons() {
        let text = |lower: &str| {
            let named = parse_layers(lower.as_bytes()).into_iter();
            named.map(|(data, path)| (data, String::from_utf8(path).expect("UTF-8"))).collect::<Vec<_>>()
        };
        assert_eq!(text("/a:/b"), [(false, "/a".into()), (false, "/b".into())]);
        assert_eq!(text(r"/a\:b:/c\\"), [(false, "/a:b".into()), (false, r"/c\".into())]);
        assert_eq!(text("/a::/d::/e"), [(false, "/a".into()), (true, "/d".into()), (true, "/e".into())]);
    }

    #[test]
    fn short_options_stay_as_they_are() {
        let options = [(c"lowerdir".into(), Some(c"/a:/b".into()))];
        assert!(shorten_for_mount(&options).expect("no NUL").is_none());
    }
}
