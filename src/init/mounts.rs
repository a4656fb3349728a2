//! The mounts of the configuration, in their order.
//!
//! One way for all of them: a detached tree (a fresh filesystem, or a copy of
//! a host's tree), its attributes, then the attachment on a target that was
//! opened inside the rootfs.

use super::cgroup_mount::{self, View};
use super::rootfs::{self, Root};
use super::target;
use crate::error::{Context, Error, Result};
use crate::spec::Plan;
use crate::spec::plan::{Mount, MountKind};
use crate::sys::mount::{self, MountAttr};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::stat::fstat;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};

/// fsconfig(2) takes values below this many bytes.
const FSCONFIG_LIMIT: usize = 256;

/// Attaches every mount of the plan; `binds` holds the trees of the binds.
pub fn attach_all(plan: &Plan, root: &Root, binds: Vec<Option<OwnedFd>>, view: &View) -> Result<()> {
    plan.mounts.iter().zip(binds).try_for_each(|(mount, tree)| {
        one(mount, root, tree, view)
            .map_err(|e| explain(e, mount).at(mount.at.clone()).on(mount.target.display().to_string()))
    })
}

fn one(entry: &Mount, root: &Root, tree: Option<OwnedFd>, view: &View) -> Result<()> {
    match &entry.kind {
        MountKind::Bind { .. } => {
            let tree = tree.ok_or_else(|| Error::msg("the source was not opened"))?;
            bind(entry, root, &tree)
        }
        MountKind::Cgroup { readonly } => cgroup_mount::attach(entry, *readonly, root, view),
        MountKind::Filesystem { fs, source, options } => {
            let target = match fs.to_bytes() {
                b"proc" | b"sysfs" => target::plain_directory(&root.tree, &entry.target)?,
                _ => target::directory(&root.tree, &entry.target)?,
            };
            if fs.to_bytes() == b"tmpfs" && options.iter().all(|(key, _)| key.as_bytes() != b"mode") {
                // As in runc, it keeps the mode of the directory it covers.
                let mode = fstat(&target).op("fstat the mount point")?.st_mode & 0o7777;
                let mode = CString::new(format!("{mode:o}")).map_err(|_| Error::msg("mode"))?;
                let options = [&[(c"mode".into(), Some(mode))], options.as_slice()].concat();
                return filesystem(entry, fs, source, &options, &target);
            }
            filesystem(entry, fs, source, options, &target)
        }
    }
}

fn bind(entry: &Mount, root: &Root, tree: &OwnedFd) -> Result<()> {
    let stat = fstat(tree).op("fstat the source")?;
    let target = if target::is_directory(&stat) {
        target::directory(&root.tree, &entry.target)?
    } else {
        target::file(&root.tree, &entry.target)?
    };
    set_attributes(entry, tree, entry.attr)?;
    mount::attach(tree, &target).op("move_mount")
}

fn filesystem(
    entry: &Mount,
    fs: &CStr,
    source: &CStr,
    options: &[(CString, Option<CString>)],
    target: &OwnedFd,
) -> Result<()> {
    let too_long =
        |value: &Option<CString>| value.as_ref().is_some_and(|v| v.count_bytes() >= FSCONFIG_LIMIT);
    if options.iter().any(|(_, value)| too_long(value)) {
        return long_options(entry, fs, source, options, target);
    }
    let tree = fresh(fs, source, options, entry.attr.set)?;
    set_attributes(entry, &tree, MountAttr::default())?;
    mount::attach(&tree, target).op("move_mount")
}

/// A new, detached mount of a filesystem.
pub fn fresh(
    fs: &CStr,
    source: &CStr,
    options: &[(CString, Option<CString>)],
    attrs: u64,
) -> Result<OwnedFd> {
    let name = fs.to_string_lossy();
    let context = mount::fsopen(fs).op(&format!("fsopen {name}"))?;
    let said = |e: Error| match mount::context_message(&context) {
        Some(text) => Error { op: format!("{}: {text}", e.op), ..e },
        None => e,
    };
    mount::fsconfig_string(&context, c"source", source).op("fsconfig source").map_err(said)?;
    for (key, value) in options {
        let done = match value {
            Some(value) => mount::fsconfig_string(&context, key, value),
            None => mount::fsconfig_flag(&context, key),
        };
        done.op(&format!("{name} mount option {}", key.to_string_lossy())).map_err(said)?;
    }
    mount::fsconfig_create(&context).op(&format!("fsconfig create {name}")).map_err(said)?;
    mount::fsmount(&context, attrs).op(&format!("fsmount {name}"))
}

/// Attributes, then propagation, of a tree that is not attached yet.
pub fn set_attributes(entry: &Mount, tree: &OwnedFd, attr: MountAttr) -> Result<()> {
    if attr != MountAttr::default() {
        mount::set_attr(tree, attr, false).op("mount_setattr")?;
    }
    if entry.recursive_attr != MountAttr::default() {
        mount::set_attr(tree, entry.recursive_attr, true).op("mount_setattr (recursive)")?;
    }
    if let Some((propagation, recursive)) = entry.propagation {
        let attr = MountAttr { propagation: rootfs::flag(propagation), ..MountAttr::default() };
        mount::set_attr(tree, attr, recursive).op("mount_setattr propagation")?;
    }
    Ok(())
}

/// mount(2) takes a page of options, where fsconfig(2) takes 255 bytes a value:
/// an overlay of many layers. The target is still a descriptor, reached
/// through the procfs of the host.
fn long_options(
    entry: &Mount,
    fs: &CStr,
    source: &CStr,
    options: &[(CString, Option<CString>)],
    target: &OwnedFd,
) -> Result<()> {
    let mut data = Vec::new();
    for (key, value) in options {
        if !data.is_empty() {
            data.push(b',');
        }
        data.extend_from_slice(key.to_bytes());
        if let Some(value) = value {
            data.push(b'=');
            data.extend_from_slice(value.to_bytes());
        }
    }
    let data = CString::new(data).map_err(|_| Error::msg("NUL in a mount option"))?;
    let path = format!("/proc/self/fd/{}", target.as_raw_fd());
    nix::mount::mount(Some(source), path.as_str(), Some(fs), MsFlags::empty(), Some(data.as_c_str()))
        .op(&format!("mount {}", fs.to_string_lossy()))?;
    // The handle still refers to what lies beneath; its path, followed again,
    // leads to the new mount.
    let c_path = CString::new(path).map_err(|_| Error::msg("NUL in a path"))?;
    let mounted = nix::fcntl::open(
        c_path.as_c_str(),
        nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .op("open the new mount")?;
    set_attributes(entry, &mounted, entry.attr)
}

/// What the kernel's bare errno usually means here.
fn explain(error: Error, entry: &Mount) -> Error {
    let MountKind::Filesystem { fs, .. } = &entry.kind else { return error };
    let hint = match (fs.to_bytes(), error.errno.map(Errno::from_raw)) {
        (b"mqueue", Some(Errno::EPERM)) => "mqueue needs an ipc namespace of the container's own",
        (b"sysfs", Some(Errno::EPERM)) => {
            "sysfs needs a network namespace of the container's own; or bind-mount /sys"
        }
        (b"proc", Some(Errno::EPERM)) => {
            "proc needs a pid namespace of the container's own; or bind-mount /proc"
        }
        (b"devpts", Some(Errno::EINVAL)) => "in a user namespace the gid= of devpts must be mapped",
        (_, Some(Errno::ENODEV)) => "the kernel doesn't know this filesystem type",
        _ => "",
    };
    error.hint(hint)
}
