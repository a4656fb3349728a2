//! A place for mount(2), which can't make a detached mount.
//!
//! Mounted right on its target, a mount could not be told from what lies there
//! by name, and a name can change under us. So it is made in a directory that
//! nobody else has ever seen, and cloned off there.

use super::filesystem;
use crate::error::{Context, Result};
use crate::sys::mount;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

/// A tmpfs over the host's root in this mount namespace, for as long as it lives.
pub struct Scratch {
    root: OwnedFd,
}

const NAME: &CStr = c"mount";

impl Scratch {
    /// `host` is the root of the host's tree; lookups that begin there stay
    /// beneath the new mount.
    pub fn new(host: &OwnedFd) -> Result<Scratch> {
        let root = filesystem::fresh(c"tmpfs", c"tmpfs", &[], 0)?;
        mount::attach(&root, host).op("move_mount a scratch tmpfs")?;
        let scratch = Scratch { root };
        mkdirat(&scratch.root, NAME, Mode::S_IRWXU).op("mkdir in a scratch tmpfs")?;
        Ok(scratch)
    }

    /// mount(2), as a detached mount. `flags` are MS_… bits.
    pub fn mount(&self, source: &CStr, fs: &CStr, flags: u64, data: &CStr) -> Result<OwnedFd> {
        let target = format!("/proc/self/fd/{}/{}", self.root.as_raw_fd(), NAME.to_string_lossy());
        let flags = MsFlags::from_bits_retain(flags);
        nix::mount::mount(Some(source), target.as_str(), Some(fs), flags, Some(data))
            .op(&format!("mount {}", fs.to_string_lossy()))?;
        mount::clone_tree(&self.root, NAME, false, false).op("open_tree the new mount")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let path = format!("/proc/self/fd/{}", self.root.as_raw_fd());
        // It stays in a namespace that has no other use than to be left.
        let _ = umount2(path.as_str(), MntFlags::MNT_DETACH);
    }
}
