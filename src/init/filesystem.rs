//! A filesystem as a detached mount, by the calls that can take its options.

use super::overlay;
use super::scratch::Scratch;
use crate::error::{Context, Error, Result};
use crate::spec::plan::{Filesystem, FsOption};
use crate::sys::mount::{self, MOUNT_ATTR_ATIME, MountAttr};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

/// fsconfig(2) takes strings below this many bytes.
const FSCONFIG_LIMIT: usize = 256;

/// A new mount of `new` with the attributes `attrs`, not attached anywhere.
/// `host` is the root of the host's tree.
pub fn detached(new: &Filesystem, options: &[FsOption], attrs: u64, host: &OwnedFd) -> Result<OwnedFd> {
    let fits = !is_long(&new.source) && options.iter().all(|(_, value)| !value.as_ref().is_some_and(is_long));
    if fits && new.legacy == 0 {
        return fresh(&new.fs, &new.source, options, attrs);
    }
    let mut first = None;
    if new.legacy == 0 && new.fs.to_bytes() == b"overlay" {
        match overlay::layer_by_layer(options)
            .and_then(|one| fresh(&new.fs, &new.source, &one.options, attrs))
        {
            Ok(tree) => return Ok(tree),
            Err(error) => first = Some(error),
        }
    }
    // Before Linux 6.8 an overlay takes its layers in one string only.
    match by_mount(new, options, attrs, host) {
        Ok(tree) => Ok(tree),
        Err(error) => Err(first.unwrap_or(error)),
    }
}

pub fn is_long(value: &CString) -> bool {
    value.count_bytes() >= FSCONFIG_LIMIT
}

/// A new, detached mount of a filesystem.
pub fn fresh(fs: &CStr, source: &CStr, options: &[FsOption], attrs: u64) -> Result<OwnedFd> {
    let name = fs.to_string_lossy();
    let context = mount::fsopen(fs).op(&format!("fsopen {name}"))?;
    mount::fsconfig_string(&context, c"source", source)
        .op("fsconfig source")
        .map_err(|e| said(&context, e))?;
    configure(&context, &name, options)?;
    mount::fsconfig_create(&context).op(&format!("fsconfig create {name}")).map_err(|e| said(&context, e))?;
    mount::fsmount(&context, attrs).op(&format!("fsmount {name}"))
}

/// Changes the filesystem that is mounted at `there`.
pub fn reconfigure(there: &OwnedFd, options: &[FsOption]) -> Result<()> {
    let context = mount::fspick(there).op("fspick")?;
    configure(&context, "remount", options)?;
    mount::fsconfig_reconfigure(&context).op("fsconfig reconfigure").map_err(|e| said(&context, e))
}

fn configure(context: &OwnedFd, name: &str, options: &[FsOption]) -> Result<()> {
    for (key, value) in options {
        let done = match value {
            Some(value) => mount::fsconfig_string(context, key, value),
            None => mount::fsconfig_flag(context, key),
        };
        done.op(&format!("{name} mount option {}", key.to_string_lossy())).map_err(|e| said(context, e))?;
    }
    Ok(())
}

/// What the kernel has to say about it goes into the error.
fn said(context: &OwnedFd, error: Error) -> Error {
    match mount::context_message(context) {
        Some(text) => Error { op: format!("{}: {text}", error.op), ..error },
        None => error,
    }
}

/// mount(2) has flags that fsconfig(2) has not, and takes a page of options.
fn by_mount(new: &Filesystem, options: &[FsOption], attrs: u64, host: &OwnedFd) -> Result<OwnedFd> {
    // These must stay open until the call is made.
    let short = if new.fs.to_bytes() == b"overlay" { overlay::shortened(options)? } else { None };
    let options = short.as_ref().map_or(options, |short| short.options.as_slice());
    let data = in_one_string(options)?;
    let tree = Scratch::new(host)?.mount(&new.source, &new.fs, new.legacy, &data)?;
    // The modes of atime are one field, which is set as a whole.
    let clear = if attrs & MOUNT_ATTR_ATIME != 0 { MOUNT_ATTR_ATIME } else { 0 };
    let attr = MountAttr { set: attrs, clear, ..MountAttr::default() };
    mount::set_attr(&tree, attr, false).op("mount_setattr")?;
    Ok(tree)
}

/// `key=value,key`: what mount(2) takes.
pub fn in_one_string(options: &[FsOption]) -> Result<CString> {
    let mut data = Vec::new();
    for (key, value) in options {
        if !data.is_empty() {
            data.push(b',');
        }
        data.extend_from_slice(key.to_bytes());
        if let Some(value) = value {
            data.push(b'=');
            // Only in the contexts of SELinux do quotes protect a comma.
            let quote = key.to_bytes().ends_with(b"context") && value.to_bytes().contains(&b',');
            data.extend(quote.then_some(b'"'));
            data.extend_from_slice(value.to_bytes());
            data.extend(quote.then_some(b'"'));
        }
    }
    CString::new(data).map_err(|_| Error::msg("NUL in a mount option"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_mount() {
        let options = [
            (c"ro".into(), None),
            (c"size".into(), Some(c"1m".into())),
            (c"context".into(), Some(c"a:b:c0,c1".into())),
        ];
        let text = in_one_string(&options).expect("no NUL");
        assert_eq!(text.as_c_str(), c"ro,size=1m,context=\"a:b:c0,c1\"");
    }
}
