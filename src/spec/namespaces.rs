//! `linux.namespaces`, the id mappings and the time offsets.

use super::config::{IdMapping, Linux};
use super::plan::{IdMap, IdMaps, Namespaces, Ns, NsKind};
use crate::error::{Error, Result};
use nix::unistd::{getegid, geteuid};

/// Resolves `linux.namespaces` (config-linux.md "Namespaces"). Refuses a kind that is
/// listed twice, and a configuration without a mount namespace.
pub fn namespaces(linux: &Linux) -> Result<Namespaces> {
    let mut out = Namespaces::default();
    for (i, ns) in linux.namespaces.iter().enumerate() {
        let at = format!("/linux/namespaces/{i}");
        let kind = find_kind(&ns.kind).ok_or_else(|| {
            Error::config(format!("{at}/type"), "is not a kind of namespace").on(ns.kind.clone())
        })?;
        if out.is_not_inherited(kind) {
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
    if !out.is_not_inherited(NsKind::Mount) {
        return Err(Error::config("/linux/namespaces", "a mount namespace is required").hint(
            "add {\"type\": \"mount\"}: in the host's mount namespace the container's /proc, /dev and /sys \
                 would be mounted over the host's",
        ));
    }
    Ok(out)
}

fn find_kind(name: &str) -> Option<NsKind> {
    NsKind::ALL.into_iter().find(|kind| kind.name() == name)
}

/// Resolves the mappings of the user namespace (config-linux.md "User namespace
/// mappings"). In a new user namespace without any mappings, the caller becomes root, as
/// in crun. A joined user namespace has its own mappings. If the configuration gives
/// mappings as well, they must be the same. Returns `None` if there is nothing to set or
/// compare.
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
        Ns::New if uid.is_empty() => Err(missing_mappings("/linux/uidMappings")),
        Ns::New if gid.is_empty() => Err(missing_mappings("/linux/gidMappings")),
        Ns::New => Ok(Some(IdMaps { uid, gid })),
    }
}

/// Returns the one mapping that every caller may set: the caller becomes root.
fn caller_as_root() -> IdMaps {
    let root = |host: u32| vec![IdMap { container: 0, host, size: 1 }];
    IdMaps { uid: root(geteuid().as_raw()), gid: root(getegid().as_raw()) }
}

/// Returns the error for a new user namespace that has only user mappings or only group
/// mappings.
fn missing_mappings(at: &str) -> Error {
    Error::config(at, "a new user namespace needs both uidMappings and gidMappings")
        .hint("give both, or none: without mappings the caller becomes root of the namespace")
}

/// The kernel takes at most this many lines (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_MAPPINGS: usize = 340;

/// Checks and converts a list of mappings. `at` is the JSON pointer of the list.
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

/// Returns whether two ranges share an id, on either side. Neither range may reach beyond
/// the last id.
pub fn overlap(left: &IdMap, right: &IdMap) -> bool {
    let intersect = |a: u32, b: u32| a <= b + (right.size - 1) && b <= a + (left.size - 1);
    intersect(left.container, right.container) || intersect(left.host, right.host)
}

/// Returns whether the mappings contain the container's id `id`.
pub fn is_mapped(maps: &[IdMap], id: u32) -> bool {
    maps.iter().any(|m| id >= m.container && id - m.container < m.size)
}

/// Resolves `linux.timeOffsets` to lines for timens_offsets, `clock seconds nanoseconds`
/// (config-linux.md "Offset for Time Namespace").
pub fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (clock, offset) in &linux.time_offsets {
        let at = format!("/linux/timeOffsets/{clock}");
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::config(at, "is not a clock with an offset: only monotonic and boottime are"));
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
