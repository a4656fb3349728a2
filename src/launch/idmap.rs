//! The id mappings of a new user namespace, written from outside.

use crate::error::{Context, Error, Result};
use crate::spec::plan::{IdMap, IdMaps};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, write};

/// Maps the ids of the process `pid`, which waits in its new user namespace.
pub fn write_maps(pid: i32, maps: &IdMaps) -> Result<()> {
    // Without privilege the kernel wants setgroups off before it takes a gid
    // map: a group that denies something must not be droppable.
    if !geteuid().is_root() {
        put(pid, "setgroups", "deny")?;
    }
    put(pid, "uid_map", &lines(&maps.uid)).map_err(|e| explain(e, "/linux/uidMappings"))?;
    put(pid, "gid_map", &lines(&maps.gid)).map_err(|e| explain(e, "/linux/gidMappings"))
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect()
}

/// One write: the kernel takes a map whole or not at all.
fn put(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    let fd = open(path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", &path)?;
    write(fd, text.as_bytes()).op_on("write", &path).map(drop)
}

fn explain(error: Error, at: &str) -> Error {
    let hint = match error.errno.map(Errno::from_raw) {
        Some(Errno::EPERM) => "an unprivileged user may map its own id alone",
        Some(Errno::EINVAL) => "ranges may not overlap, and the kernel takes at most 340 of them",
        _ => "",
    };
    error.at(at).hint(hint)
}
