//! A hidden directory for mount(2), which can't create a detached mount.
//!
//! If mount(2) mounted a filesystem on its target, init could open the new mount only by
//! name, and another process can change what the name leads to. So init mounts it in a
//! directory that no other process has ever seen, and clones it from there.

use super::fs_context;
use crate::error::{Context, Result};
use crate::sys::mount;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

/// A tmpfs over the host's root in this mount namespace. Dropping this value unmounts it.
pub struct HiddenTmpfs {
    root: OwnedFd,
}

const NAME: &CStr = c"mount";

impl HiddenTmpfs {
    /// Mounts the tmpfs over `host`, the root of the host's tree. Lookups that begin at
    /// `host` stay beneath the new mount.
    pub fn new(host: &OwnedFd) -> Result<HiddenTmpfs> {
        let root = fs_context::create_by_fsopen(c"tmpfs", c"tmpfs", &[], 0)?;
        mount::attach(&root, host).op("move_mount a scratch tmpfs")?;
        let scratch = HiddenTmpfs { root };
        mkdirat(&scratch.root, NAME, Mode::S_IRWXU).op("mkdir in a scratch tmpfs")?;
        Ok(scratch)
    }

    /// Mounts a filesystem by mount(2) and returns a detached clone of it. `flags` are
    /// MS_… bits.
    pub fn mount(&self, source: &CStr, fs: &CStr, flags: u64, data: &CStr) -> Result<OwnedFd> {
        let target = format!("/proc/self/fd/{}/{}", self.root.as_raw_fd(), NAME.to_string_lossy());
        let flags = MsFlags::from_bits_retain(flags);
        nix::mount::mount(Some(source), target.as_str(), Some(fs), flags, Some(data))
            .op(&format!("mount {}", fs.to_string_lossy()))?;
        mount::clone_tree(&self.root, NAME, false, false).op("open_tree the new mount")
    }
}

impl Drop for HiddenTmpfs {
    fn drop(&mut self) {
        let path = format!("/proc/self/fd/{}", self.root.as_raw_fd());
        // If this fails, the tmpfs stays over the host's root, which init is going to
        // leave.
        let _ = umount2(path.as_str(), MntFlags::MNT_DETACH);
    }
}
