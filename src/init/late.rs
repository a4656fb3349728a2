//! Opens sources of mounts when the turn of the mount comes. `launch/late.rs` says which
//! sources these are, and has the runtime's part.

use super::rootfs::Root;
use crate::error::{Context, Error, Result};
use crate::launch::inside_rootfs;
use crate::launch::joins::Joins;
use crate::launch::messages::{Create, FromInit, ToInit};
use crate::launch::sources::{self, Opener, Source};
use crate::launch::sync::ChildEnd;
use crate::spec::plan::{Mount, MountKind, Plan, SourceLink};
use crate::sys::mount;
use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::stat::{SFlag, fstat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Opens the sources that were not opened before the fork.
pub struct LateSources<'a> {
    pub plan: &'a Plan,
    pub joins: &'a Joins,
    pub sync: &'a ChildEnd<Create>,
    /// Whether the runtime may open sources. If not, init opens them.
    pub by_runtime: bool,
    /// Waits until init is in its cgroup. The runtime's next message is then an answer to
    /// init.
    pub wait_for_cgroup: &'a dyn Fn() -> Result<()>,
}

impl LateSources<'_> {
    /// Opens the source of the mount with this index, if it is not open yet.
    pub fn open(&self, index: usize, root: &Root, source: Source) -> Result<Source> {
        let entry = &self.plan.mounts[index];
        let opened = match source {
            Source::BelowRootfs(path) => self.open_below_root(index, entry, root, &path),
            Source::Late if self.by_runtime => self.ask_runtime(index, None).map(Source::Tree),
            Source::Late => Opener::new(self.plan, self.joins).tree(entry).map(Source::Tree),
            open => return Ok(open),
        };
        opened.map_err(|e| sources::with_source(e, entry))
    }

    fn open_below_root(&self, index: usize, entry: &Mount, root: &Root, path: &Path) -> Result<Source> {
        let MountKind::Bind { recursive, link, .. } = entry.kind else {
            return Err(Error::msg("is not a bind mount"));
        };
        let file = match inside_rootfs::open_below_rootfs(&root.tree, path, link) {
            // The source may be in a directory of the host that is mounted here and that
            // the container's root may not enter.
            Err(Errno::EACCES) if self.by_runtime => self.ask_runtime(index, Some(&root.tree))?,
            other => other.op("open the source in the container's root")?,
        };
        if link == SourceLink::Copy && is_link(&file)? {
            return readlinkat(&file, c"").op("readlink").map(Source::Link);
        }
        let tree = mount::clone_tree(&file, c"", recursive, false).op("open_tree")?;
        if entry.idmap.is_some() {
            self.ask_to_map_ids(index, &tree)?;
        }
        sources::set_bind_propagation(self.plan, entry, &tree)?;
        Ok(Source::Tree(tree))
    }

    fn ask_runtime(&self, index: usize, root: Option<&OwnedFd>) -> Result<OwnedFd> {
        (self.wait_for_cgroup)()?;
        let message = FromInit::OpenSource(mount_number(index)?);
        match root {
            Some(root) => self.sync.send_with(message, root.as_fd()),
            None => self.sync.send(message),
        }?;
        self.sync.expect_with(ToInit::SourceOpened)
    }

    fn ask_to_map_ids(&self, index: usize, tree: &OwnedFd) -> Result<()> {
        if !self.by_runtime {
            return Err(Error::msg("an idmapped mount needs CAP_SYS_ADMIN on the host"));
        }
        (self.wait_for_cgroup)()?;
        self.sync.send_with(FromInit::MapIds(mount_number(index)?), tree.as_fd())?;
        self.sync.expect(ToInit::IdsMapped)
    }
}

fn mount_number(index: usize) -> Result<u32> {
    u32::try_from(index).map_err(|_| Error::msg("too many mounts"))
}

fn is_link(file: &OwnedFd) -> Result<bool> {
    let mode = fstat(file).op("fstat the source")?.st_mode;
    Ok(mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits())
}
