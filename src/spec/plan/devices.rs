//! Device nodes and device rules (config-linux.md "Devices" and "Allowed Device list").

use std::path::PathBuf;

/// A device node (config-linux.md "Devices").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// JSON pointer of the entry; empty for a default device.
    pub at: String,
    /// Absolute path in the container.
    pub path: PathBuf,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits, from 0 to 07777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Device {
    /// Returns whether `other` has the same type and the same numbers. Mode and owner may
    /// differ.
    pub fn is_same_device(&self, other: &Device) -> bool {
        (self.file_type(), self.number()) == (other.file_type(), other.number())
    }

    /// Returns whether the file with this `stat` is the device.
    pub fn matches_stat(&self, stat: &nix::sys::stat::FileStat) -> bool {
        stat.st_mode & libc::S_IFMT == self.file_type() && stat.st_rdev == self.number()
    }

    /// Returns the S_IF… bits.
    pub fn file_type(&self) -> u32 {
        match self.kind {
            DeviceKind::Char => libc::S_IFCHR,
            DeviceKind::Block => libc::S_IFBLK,
            DeviceKind::Fifo => libc::S_IFIFO,
        }
    }

    /// Returns major and minor in one number, as `st_rdev` has them. 0 for a FIFO.
    pub fn number(&self) -> u64 {
        match self.kind {
            DeviceKind::Fifo => 0,
            _ => nix::sys::stat::makedev(self.major.into(), self.minor.into()),
        }
    }
}

/// The type of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Char,
    Block,
    Fifo,
}

/// A rule for the device controller (config-linux.md "Allowed Device list").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    pub allow: bool,
    /// `None` matches every type.
    pub kind: Option<DeviceKind>,
    /// `None` matches every major number.
    pub major: Option<u32>,
    /// `None` matches every minor number.
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}
