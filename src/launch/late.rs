//! Sources of bind mounts that are opened when the mount's turn comes, not before the
//! fork.
//!
//! - A source below the rootfs, because an earlier mount may be there. Init looks it up
//!   beneath the container's root: the image decides where a path across the rootfs
//!   leads, and no link in that path may lead to the host.
//! - Sources for which there are too few descriptors. The runtime opens one at a time
//!   when init asks for it.

use super::inside_rootfs::{open_below_rootfs, path_below_rootfs, path_below_rootfs_by_realpath};
use super::sources::{Opener, with_source};
use crate::error::{Context, Error, Result};
use crate::spec::plan::{Mount, MountKind, Plan};
use std::os::fd::OwnedFd;

/// The runtime's part in opening sources after the fork.
pub struct LateOpener<'a> {
    plan: &'a Plan,
    opener: Opener<'a>,
}

impl<'a> LateOpener<'a> {
    pub fn new(plan: &'a Plan, opener: Opener<'a>) -> LateOpener<'a> {
        LateOpener { plan, opener }
    }

    /// Opens the source of the mount with this index. With `root`, the container's root,
    /// opens a file below that root. Init may not be allowed to walk to that file.
    pub fn open(&mut self, index: u32, root: Option<&OwnedFd>) -> Result<OwnedFd> {
        let entry = self.entry(index)?;
        let MountKind::Bind { source, link, .. } = &entry.kind else {
            return Err(Error::msg("init asked for the source of a mount without a source"));
        };
        let opened = match root {
            None => self.opener.tree(entry),
            Some(root) => {
                let path = path_below_rootfs(self.plan, source)
                    .or_else(|| path_below_rootfs_by_realpath(self.plan, source));
                let path = path.ok_or_else(|| Error::msg("the source is not below the rootfs"))?;
                open_below_rootfs(root, &path, *link).op("open the source in the container's root")
            }
        };
        opened.map_err(|e| with_source(e, entry))
    }

    /// Maps the ids of a detached tree that init has cloned. Only the host's root may do
    /// that.
    pub fn map_ids(&mut self, index: u32, tree: &OwnedFd) -> Result<()> {
        let entry = self.entry(index)?;
        self.opener.map_ids(entry, tree).map_err(|e| with_source(e, entry))
    }

    fn entry(&self, index: u32) -> Result<&'a Mount> {
        let entry = usize::try_from(index).ok().and_then(|index| self.plan.mounts.get(index));
        entry.ok_or_else(|| Error::msg("init asked for a mount that the configuration does not have"))
    }
}
