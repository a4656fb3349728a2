//! Finds out which namespaces the caller can create.

use super::{in_child, read_text, verdict};
use crate::error::{Context, Error, Result};
use crate::launch::idmap::Mappings;
use crate::launch::sources::may_clone;
use crate::spec::plan::{IdMap, IdMaps, NsKind};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use serde_json::{Map, Value};

/// Reports each type of namespace. Without privilege, every other namespace is created in
/// a new user namespace.
pub fn kinds() -> Value {
    let mut out = Map::new();
    for kind in NsKind::ALL {
        out.insert(kind.name().into(), verdict(try_create(kind)));
    }
    Value::Object(out)
}

fn try_create(kind: NsKind) -> Result<()> {
    let user = NsKind::User.flag().only_if(!may_clone());
    // In a new user namespace the caller is root. Some hosts let the caller create it,
    // but allow nothing in it.
    let act = || match kind {
        NsKind::User => unshare(CloneFlags::CLONE_NEWUTS),
        _ => Ok(()),
    };
    in_child(user | kind.flag(), act).op("clone3").map_err(|e| explain(e, kind))
}

fn explain(error: Error, kind: NsKind) -> Error {
    match error.errno.map(Errno::from_raw) {
        Some(Errno::EINVAL) => error.hint("use a kernel that was built with this namespace"),
        Some(Errno::ENOSPC) => error
            .hint(format!("raise /proc/sys/user/max_{}_namespaces: the limit is reached, or 0", kind.file())),
        Some(Errno::EPERM | Errno::EACCES) => error.hint(
            "check unprivileged_userns_clone and apparmor_restrict_unprivileged_userns in \
             /proc/sys/kernel: one of them may forbid it",
        ),
        _ => error,
    }
}

/// Reports whether the caller can map more ids than its own. A user maps the first of the
/// user's ranges.
pub fn mappings() -> Value {
    verdict(try_mappings().map_err(|e| Error { at: String::new(), ..e }))
}

fn try_mappings() -> Result<()> {
    let maps = IdMaps {
        uid: build_map(geteuid().as_raw(), "/etc/subuid")?,
        gid: build_map(getegid().as_raw(), "/etc/subgid")?,
    };
    Mappings::default().namespace(&maps, "").map(drop)
}

fn build_map(id: u32, ranges: &str) -> Result<Vec<IdMap>> {
    let own = IdMap { container: 0, host: id, size: 1 };
    if may_clone() {
        return Ok(vec![own, IdMap { container: 1, host: 100_000, size: 65_536 }]);
    }
    let uid = geteuid().as_raw().to_string();
    let (host, size) = first_range(&read_text(ranges), &uid, &read_text("/etc/passwd"))
        .ok_or_else(|| Error::msg("the caller has no range of ids in this file").on(ranges))?;
    Ok(vec![own, IdMap { container: 1, host, size }])
}

/// Returns the first id and the number of ids of a user's first range. The user is listed
/// by `uid`, or by the name that `passwd` has for `uid`.
fn first_range(ranges: &str, uid: &str, passwd: &str) -> Option<(u32, u32)> {
    let name = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid));
    let name = name.and_then(|line| line.split(':').next()).unwrap_or(uid);
    ranges.lines().find_map(|line| {
        let mut fields = line.split(':');
        let user = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
        (user == uid || user == name).then_some((first, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_user() {
        let (passwd, ranges) = ("root:x:0:0\nme:x:7:7\n", "you:1:2\nme:100:10\n7:3:4\nbad\n9:300:5\n");
        assert_eq!(first_range(ranges, "7", passwd), Some((100, 10)));
        assert_eq!(first_range(ranges, "9", passwd), Some((300, 5)));
        assert_eq!(first_range(ranges, "0", passwd), None);
    }
}
