//! Creates filesystems as detached mounts, by the system calls that can take their
//! options.

use super::fs_context::{create_by_fsopen, in_one_string, is_long, with_names};
use super::hidden_tmpfs::HiddenTmpfs;
use super::overlay;
use crate::error::{Context, Result};
use crate::spec::plan::{Filesystem, FsOption};
use crate::sys::mount::{self, MOUNT_ATTR_ATIME, MountAttr};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

/// Creates a mount of `new` with the attributes `attrs` (MOUNT_ATTR_… bits). The mount is
/// not attached anywhere. `host` is the root of the host's tree.
pub fn create_detached(
    new: &Filesystem,
    options: &[FsOption],
    attrs: u64,
    host: &OwnedFd,
) -> Result<OwnedFd> {
    let fits = !is_long(&new.source) && !options.iter().any(has_long);
    if new.mount2_flags == 0 && fits && !options.iter().any(has_comma) {
        return create_by_fsopen(&new.fs, &new.source, options, attrs);
    }
    if new.mount2_flags != 0 || has_legacy_parser(&new.fs)? {
        return create_by_mount(new, options, attrs, host);
    }
    if fits {
        return create_by_fsopen(&new.fs, &new.source, options, attrs);
    }
    if new.fs.to_bytes() != b"overlay" {
        return create_by_mount(new, options, attrs, host);
    }
    let layers = overlay::split_layers(options)?;
    let error = match create_by_fsopen(&new.fs, &new.source, &layers.options, attrs) {
        Ok(tree) => return Ok(tree),
        Err(error) => error,
    };
    // From Linux 6.5 to 6.7 overlay has a parser for fsconfig(2) that takes the layers
    // only as one string. `lowerdir+` gives EINVAL there.
    create_by_mount(new, options, attrs, host).map_err(|second| {
        let unknown = error.is(Errno::EINVAL) && !second.is(Errno::EINVAL);
        if unknown { second } else { error }
    })
}

/// Returns whether the kernel's generic parser handles the options for this filesystem
/// (struct legacy_fs_context). That parser joins the options with commas. It refuses a
/// value that contains a comma, although the filesystem may take an escaped one: overlay
/// on Linux 6.1 gives EINVAL, "VFS: Legacy: Option 'lowerdir' contained comma". It
/// accepts every option, so the filesystem refuses an unknown one only when the mount is
/// created.
fn has_legacy_parser(fs: &CStr) -> Result<bool> {
    let context = mount::fsopen(fs).op(&format!("fsopen {}", fs.to_string_lossy()))?;
    Ok(mount::has_legacy_parser(&context))
}

/// Whether the value contains a comma that the filesystem's parser would see. The
/// security modules take their contexts before that parser.
fn has_comma((key, value): &FsOption) -> bool {
    let contains = |value: &CString| value.to_bytes().contains(&b',');
    value.as_ref().is_some_and(contains) && !key.to_bytes().ends_with(b"context")
}

fn has_long((key, value): &FsOption) -> bool {
    is_long(key) || value.as_ref().is_some_and(is_long)
}

/// Creates the filesystem by mount(2), which has flags that fsconfig(2) lacks and takes a
/// page of options.
fn create_by_mount(new: &Filesystem, options: &[FsOption], attrs: u64, host: &OwnedFd) -> Result<OwnedFd> {
    // The directories of `short` must stay open until mount(2) is called.
    let short = if new.fs.to_bytes() == b"overlay" { overlay::shorten_for_mount(options)? } else { None };
    let options = short.as_ref().map_or(options, |short| short.options.as_slice());
    let (flags, options) = superblock_flags(options);
    let data = in_one_string(&options)?;
    let tree = HiddenTmpfs::new(host)?
        .mount(&new.source, &new.fs, new.mount2_flags | flags, &data)
        .map_err(|e| with_names(e, &options))?;
    // The atime modes are one field. The kernel sets that field as a whole.
    let clear = if attrs & MOUNT_ATTR_ATIME != 0 { MOUNT_ATTR_ATIME } else { 0 };
    let attr = MountAttr { set: attrs, clear, ..MountAttr::default() };
    mount::set_attr(&tree, attr, false).op("mount_setattr")?;
    Ok(tree)
}

/// Splits the superblock's flags from the other options. mount(2) takes the flags as
/// bits. The filesystem gets the other options as one string, so it need not know the
/// flags' names.
fn superblock_flags(options: &[FsOption]) -> (u64, Vec<FsOption>) {
    let mut flags = 0;
    let mut others = Vec::new();
    for option in options {
        let (set, clear) = match (option.0.to_bytes(), &option.1) {
            (b"ro", None) => (mount::MS_RDONLY, 0),
            (b"rw", None) => (0, mount::MS_RDONLY),
            (b"sync", None) => (mount::MS_SYNCHRONOUS, 0),
            (b"async", None) => (0, mount::MS_SYNCHRONOUS),
            (b"dirsync", None) => (mount::MS_DIRSYNC, 0),
            (b"lazytime", None) => (mount::MS_LAZYTIME, 0),
            (b"nolazytime", None) => (0, mount::MS_LAZYTIME),
            (b"mand", None) => (mount::MS_MANDLOCK, 0),
            (b"nomand", None) => (0, mount::MS_MANDLOCK),
            _ => {
                others.push(option.clone());
                continue;
            }
        };
        flags = flags & !clear | set;
    }
    (flags, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_not_in_the_string_for_mount() {
        let word = |name: &CStr| (name.into(), None);
        let named: FsOption = (c"sync".into(), Some(c"1".into()));
        let options = [word(c"sync"), word(c"index"), word(c"dirsync"), word(c"async"), named.clone()];
        assert_eq!(superblock_flags(&options), (mount::MS_DIRSYNC, vec![word(c"index"), named]));
    }

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
