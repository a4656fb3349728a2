//! The id mapping of a mount: its `uidMappings` and `gidMappings`, and its options
//! `idmap` and `ridmap`.

use super::config::Mount;
use super::mount_options::Idmap as IdmapOption;
use super::namespaces;
use super::plan::{IdMap, IdMaps, Idmap, IdmapUsers, Namespaces, Ns, NsKind};
use crate::error::{Error, Result};

/// The users of the container. A mount may take over their mappings.
pub enum Users<'a> {
    /// The container has no user namespace of its own.
    Hosts,
    /// The container has a new user namespace with these mappings.
    Mapped(&'a IdMaps),
    /// The container joins a user namespace, which has its mappings already.
    Joined,
}

impl<'a> Users<'a> {
    /// Returns the users of a container with these namespaces. `maps` are the mappings of
    /// its new user namespace.
    pub fn new(namespaces: &Namespaces, maps: Option<&'a IdMaps>) -> Users<'a> {
        match (namespaces.get(NsKind::User), maps) {
            (Ns::Join { .. }, _) => Users::Joined,
            (_, Some(maps)) => Users::Mapped(maps),
            (_, None) => Users::Hosts,
        }
    }
}

/// Resolves the id mapping of the mount `entry` at the JSON pointer `at`. Returns `None`
/// if the mount has no id mapping.
pub fn idmap(entry: &Mount, option: Option<&IdmapOption>, users: &Users, at: &str) -> Result<Option<Idmap>> {
    let recursive = option.is_some_and(|option| option.recursive);
    let inline = option.and_then(|option| option.maps.as_deref());
    let refuse = |e: Error, text: &str| {
        e.at(format!("{at}/options")).on(format!("{}idmap={text}", if recursive { "r" } else { "" }))
    };
    let found = match (listed_maps(entry, at)?, option, inline) {
        (Some(_), _, Some(text)) => {
            return Err(refuse(Error::msg("the mount has uidMappings as well"), text));
        }
        (Some(maps), _, None) => IdmapUsers::Maps(maps),
        (None, None, _) => return Ok(None),
        (None, Some(_), Some(text)) => {
            IdmapUsers::Maps(parse_inline_maps(text, users).map_err(|e| refuse(e, text))?)
        }
        (None, Some(_), None) => container_maps(users, at)?,
    };
    Ok(Some(Idmap { users: found, recursive }))
}

/// Returns `uidMappings` and `gidMappings`, or `None` if the mount has neither. Fails if
/// the mount has only one of the two.
fn listed_maps(entry: &Mount, at: &str) -> Result<Option<IdMaps>> {
    let [uid_at, gid_at] = ["uidMappings", "gidMappings"].map(|name| format!("{at}/{name}"));
    match (entry.uid_mappings.is_empty(), entry.gid_mappings.is_empty()) {
        (true, true) => Ok(None),
        (false, true) => Err(Error::config(uid_at, "must come together with gidMappings")),
        (true, false) => Err(Error::config(gid_at, "must come together with uidMappings")),
        (false, false) => Ok(Some(IdMaps {
            uid: namespaces::id_map(&entry.uid_mappings, &uid_at)?,
            gid: namespaces::id_map(&entry.gid_mappings, &gid_at)?,
        })),
    }
}

/// Returns the container's mappings, for a mount that asks for a mapping and has none of
/// its own.
fn container_maps(users: &Users, at: &str) -> Result<IdmapUsers> {
    match users {
        Users::Mapped(maps) => Ok(IdmapUsers::Maps((*maps).clone())),
        Users::Joined => Ok(IdmapUsers::Joined),
        Users::Hosts => Err(Error::config(
            format!("{at}/options"),
            "an idmapped mount needs mappings, and the container has no user namespace to take them from",
        )
        .hint("give the mount uidMappings and gidMappings")),
    }
}

/// Parses crun's form, `uids=0-1000-10#20-2000-1;gids=@0-0-10`. Each range is an id of
/// the filesystem, an id of the host, and a length. After `@`, the second number is an id
/// of the container.
fn parse_inline_maps(text: &str, users: &Users) -> Result<IdMaps> {
    let mut maps = IdMaps::default();
    for list in text.split(';') {
        match list.split_once('=') {
            Some(("uids", ranges)) => maps.uid = parse_ranges(ranges, users, |maps| &maps.uid)?,
            Some(("gids", ranges)) => maps.gid = parse_ranges(ranges, users, |maps| &maps.gid)?,
            _ => return Err(Error::msg("must be of the form idmap=uids=0-1000-10;gids=0-1000-10")),
        }
    }
    if maps.uid.is_empty() || maps.gid.is_empty() {
        return Err(Error::msg("uids and gids must come together"));
    }
    Ok(maps)
}

fn parse_ranges(text: &str, users: &Users, select: fn(&IdMaps) -> &Vec<IdMap>) -> Result<Vec<IdMap>> {
    let mut out = Vec::new();
    for text in text.split('#') {
        let range = parse_range(text, users, select)?;
        if out.iter().any(|other| namespaces::overlap(other, &range)) {
            return Err(Error::msg(format!("{text} overlaps another range")));
        }
        out.push(range);
    }
    Ok(out)
}

fn parse_range(text: &str, users: &Users, select: fn(&IdMaps) -> &Vec<IdMap>) -> Result<IdMap> {
    let (relative, numbers) = match text.strip_prefix('@') {
        Some(numbers) => (true, numbers),
        None => (false, text),
    };
    let parsed: Vec<_> = numbers.split('-').map(|number| number.parse::<u32>().ok()).collect();
    let [Some(container), Some(mut host), Some(size)] = parsed[..] else {
        return Err(Error::msg(format!("{text} is not a range like 0-1000-10")));
    };
    if relative {
        let Users::Mapped(maps) = users else {
            return Err(Error::msg("@ needs the mappings of a new user namespace"));
        };
        host = find_host_id(select(maps), host, size)
            .ok_or_else(|| Error::msg(format!("{text} is not within one mapping of the container")))?;
    }
    let fits = |start: u32| size.checked_sub(1).is_some_and(|rest| start.checked_add(rest).is_some());
    if !fits(container) || !fits(host) {
        return Err(Error::msg(format!("{text} is empty or goes beyond the last id")));
    }
    Ok(IdMap { container, host, size })
}

/// Returns the host's id for the container's id `id`. Returns `None` unless one mapping
/// covers all `size` ids from `id` on.
fn find_host_id(maps: &[IdMap], id: u32, size: u32) -> Option<u32> {
    let map = maps.iter().find(|map| id >= map.container && id - map.container < map.size)?;
    let skipped = id - map.container;
    (size <= map.size - skipped).then(|| map.host + skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container: u32, host: u32, size: u32) -> IdMap {
        IdMap { container, host, size }
    }

    fn of_the_container() -> IdMaps {
        IdMaps { uid: vec![map(0, 0, 1), map(1, 2, 1000)], gid: vec![map(0, 100, 10)] }
    }

    #[test]
    fn inline_ranges() {
        let maps = parse_inline_maps("uids=0-1-10#10-11-5;gids=0-100-10", &Users::Hosts).expect("accepted");
        assert_eq!(maps.uid, [map(0, 1, 10), map(10, 11, 5)]);
        assert_eq!(maps.gid, [map(0, 100, 10)]);
    }

    #[test]
    fn relative_ranges_are_the_containers() {
        let own = of_the_container();
        let maps = parse_inline_maps("uids=@1-3-10;gids=@7-2-8", &Users::Mapped(&own)).expect("accepted");
        assert_eq!((maps.uid, maps.gid), (vec![map(1, 4, 10)], vec![map(7, 102, 8)]));
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        let own = of_the_container();
        for text in [
            "",
            "uids=0-0-1",
            "uids=0-0-1;gids=",
            "uids=0-0;gids=0-0-1",
            "uids=0-0-0;gids=0-0-1",
            "uids=4294967295-0-2;gids=0-0-1",
            "uids=-1-0-2;gids=0-0-1",
            "uids=0-0-1;gids=@5-5-6",
            "users=0-0-1;gids=0-0-1",
        ] {
            assert!(parse_inline_maps(text, &Users::Mapped(&own)).is_err(), "{text}");
        }
        assert!(parse_inline_maps("uids=@0-0-1;gids=0-0-1", &Users::Hosts).is_err());
    }
}
