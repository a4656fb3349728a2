//! Creates and reconfigures filesystems by fsopen(2), and the limits of options there and in
//! mount(2).

use crate::error::{Context, Error, Result};
use crate::spec::plan::FsOption;
use crate::sys::mount;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

/// fsconfig(2) refuses keys and values of this many bytes or more.
const FSCONFIG_LIMIT: usize = 256;

/// Whether fsconfig(2) refuses the value because of its length.
pub fn is_long(value: &CString) -> bool {
    value.count_bytes() >= FSCONFIG_LIMIT
}

/// Creates a detached mount of a new filesystem by fsopen(2). `attrs` are MOUNT_ATTR_…
/// bits.
pub fn create_by_fsopen(fs: &CStr, source: &CStr, options: &[FsOption], attrs: u64) -> Result<OwnedFd> {
    let name = fs.to_string_lossy();
    let context = mount::fsopen(fs).op(&format!("fsopen {name}"))?;
    mount::fsconfig_string(&context, c"source", source)
        .op("fsconfig source")
        .map_err(|e| with_kernel_message(&context, e))?;
    configure(&context, &name, options)?;
    mount::fsconfig_create(&context)
        .op(&format!("fsconfig create {name}"))
        .map_err(|e| with_kernel_message(&context, with_names(e, options)))?;
    mount::fsmount(&context, attrs).op(&format!("fsmount {name}"))
}

/// Changes the options of the filesystem that is mounted at `there`.
pub fn reconfigure(there: &OwnedFd, options: &[FsOption]) -> Result<()> {
    let context = mount::fspick(there).op("fspick")?;
    configure(&context, "remount", options)?;
    mount::fsconfig_reconfigure(&context)
        .op("fsconfig reconfigure")
        .map_err(|e| with_kernel_message(&context, e))
}

fn configure(context: &OwnedFd, name: &str, options: &[FsOption]) -> Result<()> {
    for (key, value) in options {
        let done = match value {
            Some(value) => mount::fsconfig_string(context, key, value),
            None => mount::fsconfig_flag(context, key),
        };
        done.op(&format!("{name} mount option {}", key.to_string_lossy()))
            .map_err(|e| with_kernel_message(context, e))?;
    }
    Ok(())
}

/// Adds the kernel's own message to the error.
fn with_kernel_message(context: &OwnedFd, error: Error) -> Error {
    match mount::context_message(context) {
        Some(text) => Error { op: format!("{}: {text}", error.op), ..error },
        None => error,
    }
}

/// Adds the names of the options to the error, because the filesystem may not know one of
/// them. A legacy parser returns only EINVAL: devpts on Linux 6.1.
pub fn with_names(error: Error, options: &[FsOption]) -> Error {
    if !error.is(Errno::EINVAL) || options.is_empty() {
        return error;
    }
    let names: Vec<_> = options.iter().map(|(key, _)| key.to_string_lossy()).collect();
    Error { op: format!("{} with the options {}", error.op, names.join(", ")), ..error }
}

/// Joins the options to the string that mount(2) takes: `key=value,key`.
pub fn in_one_string(options: &[FsOption]) -> Result<CString> {
    let mut data = Vec::new();
    for (key, value) in options {
        if !data.is_empty() {
            data.push(b',');
        }
        data.extend_from_slice(key.to_bytes());
        if let Some(value) = value {
            data.push(b'=');
            // Quotes protect a comma only in the contexts of SELinux.
            let quote = key.to_bytes().ends_with(b"context") && value.to_bytes().contains(&b',');
            data.extend(quote.then_some(b'"'));
            data.extend_from_slice(value.to_bytes());
            data.extend(quote.then_some(b'"'));
        }
    }
    CString::new(data).map_err(|_| Error::msg("NUL in a mount option"))
}
