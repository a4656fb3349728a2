//! `linux.namespaces`, the id mappings and the time offsets.

use super::config::{IdMapping, Linux};
use super::plan::{IdMap, IdMaps, Namespaces, Ns, NsKind};
use crate::error::{Error, Result};

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
                Ns::Join(path.into())
            }
            path => return Err(Error::config(format!("{at}/path"), "must be an absolute path").on(path)),
        };
        out.set(kind, source);
    }
    if !out.is_private(NsKind::Mount) {
        return Err(Error::config("/linux/namespaces", "a mount namespace is required")
            .hint("add {\"type\": \"mount\"}: without one the rootfs would replace the host's"));
    }
    Ok(out)
}

fn kind(name: &str) -> Option<NsKind> {
    NsKind::ALL.into_iter().find(|kind| kind.name() == name)
}

/// The mappings of a new user namespace, or none.
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
        // The namespace that is joined has its mappings already.
        Ns::Join(_) => Ok(None),
        Ns::New if uid.is_empty() => Err(unmapped("/linux/uidMappings")),
        Ns::New if gid.is_empty() => Err(unmapped("/linux/gidMappings")),
        Ns::New => Ok(Some(IdMaps { uid, gid })),
    }
}

fn unmapped(at: &str) -> Error {
    Error::config(at, "a new user namespace needs at least one mapping")
}

/// One list of mappings, each checked; `at` is the pointer of the list.
pub fn id_map(mappings: &[IdMapping], at: &str) -> Result<Vec<IdMap>> {
    let mut out = Vec::new();
    for (i, m) in mappings.iter().enumerate() {
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

/// An id may be mapped once, on either side.
fn overlap(a: &IdMap, b: &IdMap) -> bool {
    let meet = |x: u32, y: u32| x < y.saturating_add(b.size) && y < x.saturating_add(a.size);
    meet(a.container, b.container) || meet(a.host, b.host)
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
        out.push(format!("{clock} {} {}", offset.secs, offset.nanosecs));
    }
    Ok(out)
}
