//! `linux.namespaces`, the id mappings and the time offsets.

use super::config::{IdMapping, Linux};
use super::plan::{IdMap, IdMaps, Namespaces, Ns, NsKind};
use crate::error::{Error, Result};
use nix::unistd::{getegid, geteuid};

pub fn namespaces(linux: &Linux) -> Result<Namespaces> {
    let mut out = Namespaces::default();
    for (i, ns) in linux.namespaces.iter().enumerate() {
        let at = format!("/linux/namespaces/{i}");
        let kind = kind(&ns.kind).ok_or_else(|| {
            Error::config(format!("{at}/type"), "is not a kind of namespace").on(ns.kind.clone())
        })?;
        if out.is_private(kind) {
            return Err(Error::config(at, format!("a second {} namespace", kind.name())));
        }
        let source = match ns.path.as_str() {
            "" => Ns::New,
            path if path.starts_with('/') => {
                super::c_string(path, &format!("{at}/path"))?;
                Ns::Join { path: path.into(), at: format!("{at}/path") }
            }
            path => return Err(Error::config(format!("{at}/path"), "must be an absolute path").on(path)),
        };
        out.set(kind, source);
    }
    if !out.is_private(NsKind::Mount) {
        return Err(Error::config("/linux/namespaces", "a mount namespace is required").hint(
            "add {\"type\": \"mount\"}: in the host's mount namespace the container's /proc, /dev and /sys \
                 would be mounted over the host's",
        ));
    }
    Ok(out)
}

fn kind(name: &str) -> Option<NsKind> {
    NsKind::ALL.into_iter().find(|kind| kind.name() == name)
}

/// The mappings of the user namespace. A new one without any maps the caller to
/// its root, as crun does; one that is joined has its own, and those given must
/// be the same.
pub fn id_maps(linux: &Linux, namespaces: &Namespaces) -> Result<Option<IdMaps>> {
    let uid = id_map(&linux.uid_mappings, "/linux/uidMappings")?;
    let gid = id_map(&linux.gid_mappings, "/linux/gidMappings")?;
    match namespaces.get(NsKind::User) {
        Ns::Inherit if uid.is_empty() && gid.is_empty() => Ok(None),
        Ns::Inherit => {
            let at = if uid.is_empty() { "/linux/gidMappings" } else { "/linux/uidMappings" };
            Err(Error::config(at, "mappings without a user namespace")
                .hint("add {\"type\": \"user\"} to /linux/namespaces"))
        }
        Ns::Join { .. } if uid.is_empty() && gid.is_empty() => Ok(None),
        Ns::Join { .. } => Ok(Some(IdMaps { uid, gid })),
        Ns::New if uid.is_empty() && gid.is_empty() => Ok(Some(caller_as_root())),
        Ns::New if uid.is_empty() => Err(unmapped("/linux/uidMappings")),
        Ns::New if gid.is_empty() => Err(unmapped("/linux/gidMappings")),
        Ns::New => Ok(Some(IdMaps { uid, gid })),
    }
}

/// The one mapping that whoever calls may make.
fn caller_as_root() -> IdMaps {
    let root = |host: u32| vec![IdMap { container: 0, host, size: 1 }];
    IdMaps { uid: root(geteuid().as_raw()), gid: root(getegid().as_raw()) }
}

/// With mappings of the other kind only, somebody forgot these.
fn unmapped(at: &str) -> Error {
    Error::config(at, "a new user namespace needs mappings of both users and groups")
        .hint("without any mapping at all the caller becomes the namespace's root")
}

/// The kernel takes this many lines (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_MAPPINGS: usize = 340;

/// One list of mappings, each checked; `at` is the pointer of the list.
pub fn id_map(mappings: &[IdMapping], at: &str) -> Result<Vec<IdMap>> {
    let mut out: Vec<IdMap> = Vec::new();
    for (i, m) in mappings.iter().enumerate() {
        if i == MAX_MAPPINGS {
            return Err(Error::config(
                format!("{at}/{i}"),
                format!("the kernel takes at most {MAX_MAPPINGS} mappings"),
            ));
        }
        let map = IdMap { container: m.container_id, host: m.host_id, size: m.size };
        if map.size == 0 {
            return Err(Error::config(format!("{at}/{i}/size"), "must be greater than zero"));
        }
        if map.container.checked_add(map.size - 1).is_none() || map.host.checked_add(map.size - 1).is_none() {
            return Err(Error::config(format!("{at}/{i}"), "the range goes beyond the last id"));
        }
        if let Some(other) = out.iter().position(|other| overlap(other, &map)) {
            return Err(Error::config(
                format!("{at}/{i}"),
                format!("the range overlaps that of {at}/{other}"),
            ));
        }
        out.push(map);
    }
    Ok(out)
}

/// Do two ranges share an id, on either side? None reaches beyond the last id.
pub fn overlap(one: &IdMap, two: &IdMap) -> bool {
    let meet = |a: u32, b: u32| a <= b + (two.size - 1) && b <= a + (one.size - 1);
    meet(one.container, two.container) || meet(one.host, two.host)
}

/// Is `id` of the container mapped?
pub fn is_mapped(maps: &[IdMap], id: u32) -> bool {
    maps.iter().any(|m| id >= m.container && id - m.container < m.size)
}

pub fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (clock, offset) in &linux.time_offsets {
        let at = format!("/linux/timeOffsets/{clock}");
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::config(at, "the clocks with an offset are monotonic and boottime"));
        }
        if !namespaces.is_new(NsKind::Time) {
            return Err(Error::config(at, "offsets without a new time namespace")
                .hint("add {\"type\": \"time\"} to /linux/namespaces"));
        }
        if offset.nanosecs >= 1_000_000_000 {
            return Err(Error::config(
                format!("{at}/nanosecs"),
                format!("{} is a second or more; the largest is 999999999", offset.nanosecs),
            ));
        }
        out.push(format!("{clock} {} {}", offset.secs, offset.nanosecs));
    }
    Ok(out)
}
