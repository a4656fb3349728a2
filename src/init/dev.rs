//! Device nodes and the links of /dev (config-linux.md "Default Devices" and
//! runtime-linux.md "Dev symbolic links").

use super::target;
use crate::error::{Context, Error, Result};
use crate::spec::Plan;
use crate::spec::plan::{Device, DeviceKind, NsKind};
use crate::sys::mount;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, fstatat, makedev, mknodat};
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

/// Makes the nodes and links, unless the container has the host's /dev.
pub fn populate(plan: &Plan, root: &OwnedFd) -> Result<()> {
    if has_hosts_dev(plan) {
        return Ok(());
    }
    // Root of a user namespace may not make nodes: it gets the host's, bound.
    let bind = plan.namespaces.is_private(NsKind::User);
    let dev = target::directory(root, Path::new("/dev"))?;
    // The modes given are the modes wanted.
    let umask = nix::sys::stat::umask(Mode::empty());
    let made = plan.devices.iter().enumerate().try_for_each(|(i, device)| {
        let in_dev = device.path.parent() == Some(Path::new("/dev"));
        one(root, in_dev.then_some(&dev), device, bind)
            .map_err(|e| e.at(pointer(plan, i)).on(device.path.display().to_string()))
    });
    nix::sys::stat::umask(umask);
    made?;
    links(&dev)
}

/// The pointer of a configured device; the defaults come first and have none.
fn pointer(plan: &Plan, i: usize) -> String {
    let defaults =
        plan.devices.iter().take(6).filter(|d| d.major == 1 || (d.major, d.minor) == (5, 0)).count();
    i.checked_sub(defaults).map_or_else(String::new, |i| format!("/linux/devices/{i}"))
}

fn has_hosts_dev(plan: &Plan) -> bool {
    plan.mounts
        .iter()
        .any(|m| m.target == Path::new("/dev") && matches!(m.kind, crate::spec::plan::MountKind::Bind { .. }))
}

fn one(root: &OwnedFd, dev: Option<&OwnedFd>, device: &Device, bind: bool) -> Result<()> {
    if bind && device.kind != DeviceKind::Fifo {
        return bind_host_node(root, device);
    }
    let (found, name) = match dev {
        Some(_) => (None, target::c_path(Path::new(device.path.file_name().unwrap_or_default()))?),
        None => target::parent_of(root, &device.path).map(|(dir, name)| (Some(dir), name))?,
    };
    let dir = dev.or(found.as_ref()).ok_or_else(|| Error::msg("no directory"))?;
    make_node(dir, &name, device)
}

fn make_node(dir: &OwnedFd, name: &CStr, device: &Device) -> Result<()> {
    let mode = Mode::from_bits_truncate(device.mode);
    match mknodat(dir, name, kind(device), mode, number(device)) {
        Err(Errno::EEXIST) => return check_existing(dir, name, device),
        other => other.op("mknod")?,
    }
    if (device.uid, device.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).op("chown")?;
        // chown takes the set-id bits away.
        fchmodat(dir, name, mode, FchmodatFlags::FollowSymlink).op("chmod")?;
    }
    Ok(())
}

fn kind(device: &Device) -> SFlag {
    match device.kind {
        DeviceKind::Char => SFlag::S_IFCHR,
        DeviceKind::Block => SFlag::S_IFBLK,
        DeviceKind::Fifo => SFlag::S_IFIFO,
    }
}

fn number(device: &Device) -> u64 {
    if device.kind == DeviceKind::Fifo { 0 } else { makedev(device.major.into(), device.minor.into()) }
}

/// What the image brings along is taken only if it is the very device: a link
/// or another file in its place is an attack or a mistake (CVE-2025-31133).
fn check_existing(dir: &OwnedFd, name: &CStr, device: &Device) -> Result<()> {
    let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).op("stat")?;
    if stat.st_mode & SFlag::S_IFMT.bits() == kind(device).bits() && stat.st_rdev == number(device) {
        return Ok(());
    }
    Err(Error::msg("the image has something else in the device's place"))
}

fn bind_host_node(root: &OwnedFd, device: &Device) -> Result<()> {
    let tree = mount::clone_tree(AT_FDCWD, &target::c_path(&device.path)?, false, false)
        .op("open_tree the host's device")?;
    let stat = fstat(&tree).op("fstat")?;
    if stat.st_mode & SFlag::S_IFMT.bits() != kind(device).bits() || stat.st_rdev != number(device) {
        return Err(Error::msg("the host has another file there")
            .hint("in a user namespace devices are bind-mounted from the host's path of the same name"));
    }
    let target = target::file(root, &device.path)?;
    mount::attach(&tree, &target).op("move_mount the device")
}

/// The links are made where nothing is in their place.
fn links(dev: &OwnedFd) -> Result<()> {
    for (to, name) in LINKS {
        match symlinkat(to, dev, name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            // An image without a /dev of its own, on a read-only filesystem.
            Err(Errno::EROFS) => {}
            Err(errno) => {
                let name: CString = name.into();
                return Err(errno).op_on("symlink", format!("/dev/{}", name.to_string_lossy()));
            }
        }
    }
    Ok(())
}
