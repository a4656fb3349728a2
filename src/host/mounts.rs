//! Tries the mount API, and finds the filesystems that can map the ids of their files.

use super::{in_child, verdict};
use crate::error::{Context, Error, Result};
use crate::launch::idmap::Mappings;
use crate::launch::sources::{clone_tree, map_ids, may_clone};
use crate::spec::plan::{IdMap, IdMaps, NsKind};
use crate::sys::fd::open;
use crate::sys::mount::{self, MOUNT_ATTR_RDONLY, MountAttr};
use crate::sys::mountinfo::read_mounts;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::fchdir;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Tries each step by which init builds a container's mounts. Every step runs in a child
/// with a mount namespace of its own. Without privilege the child gets a user namespace,
/// too.
pub fn api() -> Value {
    let user = NsKind::User.flag().only_if(!may_clone());
    let in_own = |act: fn() -> nix::Result<()>, op: &str| {
        let private = || mount::propagate_all(mount::MS_PRIVATE);
        verdict(in_child(user | NsKind::Mount.flag(), || private().and_then(|()| act())).op(op))
    };
    json!({
        "bind": in_own(bind_readonly, "open_tree and mount_setattr"),
        "newFilesystem": in_own(|| create_tmpfs().map(drop), "fsopen and fsmount"),
        "attach": in_own(try_attach, "move_mount"),
        "overlayByLayers": in_own(mount_overlay_by_layers, "mount an overlay by lowerdir+ of Linux 6.8"),
    })
}

fn bind_readonly() -> nix::Result<()> {
    let tree = mount::clone_tree(AT_FDCWD, c"/", true, false)?;
    mount::set_attr(&tree, MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() }, false)
}

fn create_tmpfs() -> nix::Result<OwnedFd> {
    let context = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_create(&context)?;
    mount::fsmount(&context, 0)
}

fn try_attach() -> nix::Result<()> {
    attach_tmpfs().map(drop)
}

/// Attaches a new tmpfs over the root of the mount namespace.
fn attach_tmpfs() -> nix::Result<OwnedFd> {
    let tree = create_tmpfs()?;
    let root = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    mount::attach(&tree, &root)?;
    Ok(tree)
}

/// Tests the option `lowerdir+`. Without it all layers of an overlay must fit into one
/// string. Linux 6.1 accepts any option, and refuses `lowerdir+` only when the filesystem
/// is created (EINVAL).
fn mount_overlay_by_layers() -> nix::Result<()> {
    fchdir(&attach_tmpfs()?)?;
    let context = mount::fsopen(c"overlay")?;
    for layer in [c"a", c"b"] {
        mkdirat(AT_FDCWD, layer, Mode::S_IRWXU)?;
        mount::fsconfig_string(&context, c"lowerdir+", layer)?;
    }
    mount::fsconfig_create(&context)
}

/// Reports whether an idmapped mount works, for each type of filesystem that is mounted
/// here, and for tmpfs.
pub fn idmap() -> Value {
    if !may_clone() {
        return verdict(Err(Error::msg("an idmapped mount needs CAP_SYS_ADMIN on the host")));
    }
    let mut mappings = Mappings::default();
    let map = vec![IdMap { container: 0, host: 1, size: 1 }];
    let maps = IdMaps { uid: map.clone(), gid: map };
    let users = match mappings.namespace(&maps, "") {
        Ok(users) => users,
        Err(error) => return verdict(Err(error)),
    };
    let try_mapping =
        |tree: Result<OwnedFd>| verdict(tree.and_then(|tree| map_ids(&tree, users.as_fd(), false)));
    let mut out = Map::new();
    for (fs, point) in list_mounted() {
        out.insert(fs, try_mapping(clone_tree(&point, false)));
    }
    out.insert("tmpfs".into(), try_mapping(create_tmpfs().op("fsopen and fsmount")));
    Value::Object(out)
}

/// Returns a mount point for each type of filesystem that is mounted. Leaves out
/// filesystems that another program or machine has to answer for, because that answer may
/// never come.
fn list_mounted() -> BTreeMap<String, PathBuf> {
    let waits = ["autofs", "nfs", "cifs", "smb3", "fuse", "ceph", "afs", "9p"];
    let mut out = BTreeMap::new();
    for mount in read_mounts("self").unwrap_or_default() {
        let fs = String::from_utf8_lossy(&mount.fs).into_owned();
        if !waits.iter().any(|name| fs.starts_with(name)) {
            out.entry(fs).or_insert(mount.path);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// /proc and / are mounted wherever the tests run.
    #[test]
    fn finds_what_is_mounted() {
        let mounted = list_mounted();
        assert_eq!(mounted.get("proc").map(PathBuf::as_path), Some("/proc".as_ref()), "{mounted:?}");
        assert!(mounted.values().any(|point| point == "/"), "{mounted:?}");
    }
}
