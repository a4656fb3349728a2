//! Device nodes that the host lacks, for a container with a new user namespace.
//!
//! Root of a user namespace may not create a device node, and the kernel opens no node on
//! a filesystem that such a root has mounted. Neither rule applies to a node and a tmpfs
//! that the host's root creates. So the runtime creates the nodes in a detached tmpfs,
//! and init binds each of them.

use super::target::c_path;
use crate::error::{Context, Error, Result};
use crate::spec::plan::{Device, IdMap, IdMaps};
use crate::sys::mount::{self, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID};
use nix::fcntl::AtFlags;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, mknodat};
use nix::unistd::{Gid, Uid, fchownat};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// A tmpfs with a node for each device that the host lacks. A node's name is the device's
/// index.
pub struct Nodes {
    tmpfs: OwnedFd,
    indices: Vec<usize>,
}

impl Nodes {
    /// Creates a detached tmpfs without nodes. That needs CAP_SYS_ADMIN.
    pub fn new() -> Result<Nodes> {
        let context = mount::fsopen(c"tmpfs").op("fsopen tmpfs")?;
        mount::fsconfig_create(&context).op("fsconfig create tmpfs")?;
        let tmpfs = mount::fsmount(&context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC).op("fsmount tmpfs")?;
        Ok(Nodes { tmpfs, indices: Vec::new() })
    }

    /// Creates the node of the device with this index. Translates the owner of the
    /// configuration to the host's id. That needs CAP_MKNOD on the host.
    pub fn add(&mut self, index: usize, device: &Device, maps: &IdMaps) -> Result<()> {
        let id = |maps: &[IdMap], id| host_id(maps, id).ok_or_else(|| Error::msg("its owner is not mapped"));
        let (uid, gid) = (id(&maps.uid, device.uid)?, id(&maps.gid, device.gid)?);
        let name = node_name(index);
        let (kind, mode) =
            (SFlag::from_bits_truncate(device.file_type()), Mode::from_bits_truncate(device.mode));
        mknodat(&self.tmpfs, name.as_str(), kind, mode, device.number()).op("mknod")?;
        fchownat(
            &self.tmpfs,
            name.as_str(),
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .op("chown")?;
        // The caller's umask and the chown clear bits of the mode.
        fchmodat(&self.tmpfs, name.as_str(), mode, FchmodatFlags::FollowSymlink).op("chmod")?;
        self.indices.push(index);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Clones the nodes for init and returns them with their index. `host` is the host's
    /// root in init's mount namespace. Before Linux 6.15 the kernel clones only what is
    /// attached, so the tmpfs is attached to `host` meanwhile.
    pub fn clones(self, host: &OwnedFd) -> Result<Vec<(usize, OwnedFd)>> {
        mount::attach(&self.tmpfs, host).op("move_mount a tmpfs")?;
        let clone = |index: &usize| {
            let name = c_path(Path::new(&node_name(*index)))?;
            let tree = mount::clone_tree(&self.tmpfs, &name, false, false).op("open_tree the node")?;
            Ok((*index, tree))
        };
        let clones = self.indices.iter().map(clone).collect();
        let path = format!("/proc/self/fd/{}", self.tmpfs.as_raw_fd());
        umount2(path.as_str(), MntFlags::MNT_DETACH).op("umount a tmpfs")?;
        clones
    }
}

fn node_name(index: usize) -> String {
    index.to_string()
}

/// Returns the host's id for the container's `id`. `None` if the id is not mapped.
fn host_id(maps: &[IdMap], id: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.container).filter(|offset| *offset < map.size)?;
        map.host.checked_add(offset)
    })
}
