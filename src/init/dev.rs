//! Device nodes and the links of /dev (config-linux.md "Default Devices" and
//! runtime-linux.md "Dev symbolic links").

use super::readonly::Readonly;
use crate::error::{Context, Error, Result};
use crate::launch::target;
use crate::launch::{nodes::Nodes, sources};
use crate::spec::Plan;
use crate::spec::plan::{Device, DeviceKind, NsKind};
use crate::sys::mount;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"pts/ptmx", c"ptmx"),
];

/// Returns the device nodes to bind, by the index of the device: the host's nodes, and
/// the nodes that the runtime created because the host lacks them (`made`). `host` is the
/// root of the host's tree.
pub fn nodes_to_bind(
    host: &OwnedFd,
    mut hosts: Vec<Option<OwnedFd>>,
    made: Option<Nodes>,
) -> Result<Vec<Option<OwnedFd>>> {
    let Some(made) = made else { return Ok(hosts) };
    for (index, node) in made.clones(host)? {
        if let Some(place) = hosts.get_mut(index) {
            *place = Some(node);
        }
    }
    Ok(hosts)
}

/// Creates the nodes and links. Leaves a /dev alone that is bound from the host. `nodes`
/// holds the host's nodes by the index of the device, if the container's are to be bound.
pub fn populate(
    plan: &Plan,
    root: &OwnedFd,
    mut nodes: Vec<Option<OwnedFd>>,
    readonly: &mut Readonly,
) -> Result<()> {
    let hosts_dev = plan.bound_dev().is_some();
    if hosts_dev && plan.devices.iter().all(|device| device.path.starts_with("/dev")) {
        return Ok(());
    }
    nodes.resize_with(plan.devices.len(), || None);
    // Root of a user namespace may not create device nodes. It gets the host's, bound.
    let bind = plan.namespaces.is_not_inherited(NsKind::User);
    let dev = target::open_or_create_directory(root, Path::new("/dev"))?;
    for (device, node) in plan.devices.iter().zip(nodes) {
        if hosts_dev && device.path.starts_with("/dev") {
            continue;
        }
        if bind && is_ptmx(device) {
            continue;
        }
        let in_dev = device.path.parent() == Some(Path::new("/dev"));
        let new_device = NewDevice { root, dir: in_dev.then_some(&dev), device };
        let create = || if bind { new_device.bind(node.as_ref()) } else { new_device.create() };
        let made = readonly.create(root, &device.path, create);
        made.map_err(|e| e.at(device.at.clone()).on(device.path.display().to_string()))?;
    }
    if hosts_dev { Ok(()) } else { create_links(&dev) }
}

/// Whether the device is the host's /dev/ptmx, which creates terminals in the host's
/// devpts. The link to pts/ptmx leads to the container's devpts.
fn is_ptmx(device: &Device) -> bool {
    device.path == Path::new("/dev/ptmx") && device.number() == makedev(5, 2)
}

/// Where to create a device.
struct NewDevice<'a> {
    root: &'a OwnedFd,
    /// /dev, if the device is directly in it.
    dir: Option<&'a OwnedFd>,
    device: &'a Device,
}

impl NewDevice<'_> {
    fn create(&self) -> Result<()> {
        let (found, name) = match self.dir {
            Some(_) => (None, target::c_path(Path::new(self.device.path.file_name().unwrap_or_default()))?),
            None => target::parent_of(self.root, &self.device.path).map(|(dir, name)| (Some(dir), name))?,
        };
        let dir = self.dir.or(found.as_ref()).ok_or_else(|| Error::msg("the path has no directory"))?;
        let kind = SFlag::from_bits_truncate(self.device.file_type());
        let mode = Mode::from_bits_truncate(self.device.mode);
        match mknodat(dir, name.as_c_str(), kind, mode, self.device.number()) {
            Ok(()) => self.set_owner(dir, &name),
            Err(Errno::EEXIST) => self.check_existing(dir, &name),
            // The runtime itself is in a user namespace, so bind the host's node.
            Err(Errno::EPERM) if self.device.kind != DeviceKind::Fifo => self.bind(None),
            Err(errno) => Err(errno).op("mknod"),
        }
    }

    fn set_owner(&self, dir: &OwnedFd, name: &CStr) -> Result<()> {
        if (self.device.uid, self.device.gid) == (0, 0) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.device.uid), Gid::from_raw(self.device.gid));
        fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).op("chown")?;
        // chown clears the set-id bits.
        let mode = Mode::from_bits_truncate(self.device.mode);
        fchmodat(dir, name, mode, FchmodatFlags::FollowSymlink).op("chmod")
    }

    /// Accepts a file of the image only if it is the same device. A link or another file
    /// in its place is an attack or a mistake (CVE-2025-31133).
    fn check_existing(&self, dir: &OwnedFd, name: &CStr) -> Result<()> {
        match self.device.matches_stat(&fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).op("stat")?) {
            true => Ok(()),
            false => Err(Error::msg("the image has another file at the device's path")),
        }
    }

    /// Binds the host's node on the device's path. `node` is `None` if the runtime could
    /// not open it. Init opens it then.
    fn bind(&self, node: Option<&OwnedFd>) -> Result<()> {
        if self.device.kind == DeviceKind::Fifo {
            return self.create();
        }
        let opened = if node.is_none() { Some(sources::open_device_node(self.device)?) } else { None };
        let Some(node) = node.or(opened.as_ref()) else { return Err(Error::msg("the node was not opened")) };
        let target = target::open_or_create_file(self.root, &self.device.path)?;
        mount::attach(node, &target).op("move_mount the device")
    }
}

/// Creates the links. Leaves a name alone that exists already.
fn create_links(dev: &OwnedFd) -> Result<()> {
    for (to, name) in LINKS {
        match symlinkat(to, dev, name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            // The image has no /dev of its own and is on a read-only filesystem.
            Err(Errno::EROFS) => {}
            Err(errno) => {
                let name: CString = name.into();
                return Err(errno).op_on("symlink", format!("/dev/{}", name.to_string_lossy()));
            }
        }
    }
    Ok(())
}
