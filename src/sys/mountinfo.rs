//! The mounts of a process, from /proc/PID/mountinfo (proc(5)).

use super::{Result, process};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mount.
pub struct MountInfo {
    pub id: u64,
    /// The id of the mount to which this one is attached.
    pub parent: u64,
    /// Major and minor number of its filesystem.
    pub device: Vec<u8>,
    /// The directory of its filesystem that is mounted. Without a leading slash if the
    /// filesystem names it in its own way (`net:[4026531840]`).
    pub root: PathBuf,
    /// Where it is mounted, from the root of the process.
    pub path: PathBuf,
    /// The type of its filesystem.
    pub fs: Vec<u8>,
    /// The options of its superblock, separated by commas.
    pub super_options: Vec<u8>,
}

/// Reads the mounts of a process. `process` is its pid or `self`.
pub fn read_mounts(process: &str) -> Result<Vec<MountInfo>> {
    let text = process::read_file(format!("/proc/{process}/mountinfo").as_str())?;
    Ok(parse_mounts(&text))
}

/// Returns the first mount of a filesystem of type `fs`.
pub fn find_type(mounts: Vec<MountInfo>, fs: &[u8]) -> Option<MountInfo> {
    mounts.into_iter().find(|mount| mount.fs == fs)
}

/// Parses the text of a mountinfo. Leaves out a line that is no mount.
pub fn parse_mounts(text: &[u8]) -> Vec<MountInfo> {
    text.split(|byte| *byte == b'\n').filter_map(MountInfo::parse).collect()
}

impl MountInfo {
    /// Parses a line: `id parent dev root point options… - type source super`.
    pub fn parse(line: &[u8]) -> Option<MountInfo> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (id, parent) = (number()?, number()?);
        let (device, root, path) = (fields.next()?, fields.next()?, fields.next()?);
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let (fs, super_options) = (fields.next()?, fields.nth(1)?);
        let (root, path) = (unescape(root), unescape(path));
        let (device, fs, super_options) = (device.into(), fs.into(), super_options.into());
        Some(MountInfo { id, parent, device, root, path, fs, super_options })
    }
}

/// Decodes a path of mountinfo, where a space, a tab, a newline and a backslash are each
/// a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| *byte == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                out.push(escaped);
                rest = &behind[3..];
            }
            None => {
                out.push(*byte);
                rest = behind;
            }
        }
    }
    OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let line = br"83 66 0:6 /null /proc/a\040b\134 rw,relatime master:1 - devtmpfs devtmpfs rw";
        let point = MountInfo::parse(line).expect("a mount");
        assert_eq!((point.id, point.parent, point.device.as_slice()), (83, 66, &b"0:6"[..]));
        assert_eq!(
            (point.root.as_path(), point.path.as_path()),
            (Path::new("/null"), Path::new("/proc/a b\\"))
        );
        assert_eq!((point.fs.as_slice(), point.super_options.as_slice()), (&b"devtmpfs"[..], &b"rw"[..]));
        assert!(MountInfo::parse(b"").is_none());
    }

    #[test]
    fn a_mount_is_found_by_its_type() {
        let find = |text: &[u8], fs: &[u8]| {
            find_type(parse_mounts(text), fs).map(|mount| (mount.path, mount.super_options))
        };
        let text = b"22 1 0:21 / /sys/fs/resctrl2 rw - tmpfs resctrl rw\n\
                     23 1 0:22 / /sys/fs/resctrl rw,nosuid - resctrl resctrl rw,cdp\n";
        assert_eq!(find(text, b"resctrl"), Some(("/sys/fs/resctrl".into(), b"rw,cdp".into())));
        let text = br"23 1 0:22 / /a\040b rw - resctrl resctrl rw";
        assert_eq!(find(text, b"resctrl"), Some(("/a b".into(), b"rw".into())));
        assert_eq!(find(b"22 1 0:21 / /a rw - tmpfs resctrl rw", b"resctrl"), None);
        let text = b"41 31 0:37 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                     42 31 0:38 / /cg rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find(text, b"cgroup2"), Some(("/cg".into(), b"rw,nsdelegate".into())));
        assert_eq!(find(b"1 0 0:1 / / rw - ext4 /dev/vda rw\n", b"cgroup2"), None);
    }
}
