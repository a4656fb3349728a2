//! The option strings of a mount (config.md "Linux mount options").

use super::plan::Propagation;
use crate::error::{Error, Result};
use crate::sys::mount::*;

/// The options of one mount, sorted by what they act on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A bind mount, with its submounts or without.
    pub bind: Option<bool>,
    pub attr: MountAttr,
    pub recursive_attr: MountAttr,
    pub propagation: Option<(Propagation, bool)>,
    /// For the filesystem: `key` or `key=value`, in their order.
    pub data: Vec<(String, Option<String>)>,
}

/// An attribute option: its name, and the bits that it sets and clears.
/// `r` + name is the same for all mounts below.
const ATTRIBUTES: [(&str, u64, u64); 18] = [
    ("ro", MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, MOUNT_ATTR_RDONLY),
    ("nosuid", MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, MOUNT_ATTR_NOSUID),
    ("nodev", MOUNT_ATTR_NODEV, 0),
    ("dev", 0, MOUNT_ATTR_NODEV),
    ("noexec", MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, MOUNT_ATTR_NOEXEC),
    ("nodiratime", MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, MOUNT_ATTR_NODIRATIME),
    ("noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME),
    ("atime", 0, MOUNT_ATTR_ATIME),
    ("relatime", 0, MOUNT_ATTR_ATIME),
    ("norelatime", 0, MOUNT_ATTR_ATIME),
    ("strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_ATIME),
    ("nostrictatime", 0, MOUNT_ATTR_ATIME),
    ("nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW),
];

const PROPAGATIONS: [(&str, Propagation); 4] = [
    ("private", Propagation::Private),
    ("slave", Propagation::Slave),
    ("shared", Propagation::Shared),
    ("unbindable", Propagation::Unbindable),
];

/// Options of the superblock, which fsconfig(2) takes under their own names.
const SUPERBLOCK: [&str; 8] = ["sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand", "acl"];

/// Known, and not applied by this version: an error rather than silence.
const UNSUPPORTED: [&str; 9] =
    ["idmap", "ridmap", "tmpcopyup", "iversion", "noiversion", "silent", "loud", "remount", "noacl"];

/// Every option that has a meaning of its own here, for `features`.
pub fn known_options() -> Vec<String> {
    let mut names: Vec<String> = vec!["bind".into(), "rbind".into()];
    for (name, ..) in &ATTRIBUTES {
        names.push((*name).into());
        names.push(format!("r{name}"));
    }
    names.push("defaults".into());
    names.extend(PROPAGATIONS.iter().flat_map(|(name, _)| [(*name).into(), format!("r{name}")]));
    names.extend(SUPERBLOCK.iter().map(|name| (*name).into()));
    names.sort();
    names
}

/// Sorts the options; `at` is the pointer of the option list.
pub fn parse(options: &[String], at: &str) -> Result<Options> {
    let mut out = Options::default();
    for (i, option) in options.iter().enumerate() {
        one(&mut out, option).map_err(|e| e.at(format!("{at}/{i}")).on(option.clone()))?;
    }
    if out.bind.is_some()
        && let Some((name, _)) = out.data.iter().find(|(name, _)| SUPERBLOCK.contains(&name.as_str()))
    {
        return Err(Error::config(at, "belongs to a filesystem, and a bind mount can't change it").on(name));
    }
    Ok(out)
}

fn one(out: &mut Options, option: &str) -> Result<()> {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    if UNSUPPORTED.contains(&name) {
        return Err(Error::msg("this version of corten does not support the mount option"));
    }
    match option {
        "" | "defaults" => {}
        "bind" => out.bind = Some(out.bind.unwrap_or(false)),
        "rbind" => out.bind = Some(true),
        _ => {
            let (base, recursive) = (option.strip_prefix('r'), true);
            if let Some((_, set, clear)) = attribute(option) {
                change(&mut out.attr, set, clear);
            } else if let Some(propagation) = propagation(option) {
                out.propagation = Some((propagation, !recursive));
            } else if let Some((_, set, clear)) = base.and_then(attribute) {
                change(&mut out.recursive_attr, set, clear);
            } else if let Some(propagation) = base.and_then(propagation) {
                out.propagation = Some((propagation, recursive));
            } else {
                let pair = option.split_once('=');
                out.data.push(match pair {
                    Some((key, value)) => (key.into(), Some(value.into())),
                    None => (option.into(), None),
                });
            }
        }
    }
    Ok(())
}

fn attribute(name: &str) -> Option<(&'static str, u64, u64)> {
    ATTRIBUTES.iter().find(|(known, ..)| *known == name).copied()
}

fn propagation(name: &str) -> Option<Propagation> {
    PROPAGATIONS.iter().find(|(known, _)| *known == name).map(|(_, propagation)| *propagation)
}

/// The last word on a bit counts.
fn change(attr: &mut MountAttr, set: u64, clear: u64) {
    attr.set = attr.set & !clear | set;
    attr.clear = attr.clear & !set | clear;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[&str]) -> Options {
        let list: Vec<String> = list.iter().map(|s| (*s).into()).collect();
        parse(&list, "/mounts/0/options").expect("accepted")
    }

    #[test]
    fn the_last_word_counts() {
        assert_eq!(options(&["ro", "rw"]).attr, MountAttr { clear: MOUNT_ATTR_RDONLY, ..Default::default() });
        assert_eq!(options(&["rw", "ro"]).attr, MountAttr { set: MOUNT_ATTR_RDONLY, ..Default::default() });
        let atime = options(&["noatime", "strictatime"]).attr;
        assert_eq!((atime.set, atime.clear), (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_ATIME));
    }

    #[test]
    fn recursive_forms_are_apart() {
        let out = options(&["rro", "nosuid", "rbind", "rslave"]);
        assert_eq!(out.recursive_attr.set, MOUNT_ATTR_RDONLY);
        assert_eq!(out.attr.set, MOUNT_ATTR_NOSUID);
        assert_eq!(out.bind, Some(true));
        assert_eq!(out.propagation, Some((Propagation::Slave, true)));
    }

    #[test]
    fn relatime_is_not_a_recursive_elatime() {
        assert_eq!(options(&["relatime"]).recursive_attr, MountAttr::default());
        assert_eq!(options(&["rrelatime"]).recursive_attr.clear, MOUNT_ATTR_ATIME);
    }

    #[test]
    fn the_rest_is_the_filesystems() {
        let out = options(&["mode=755", "newinstance"]);
        assert_eq!(out.data, [("mode".into(), Some("755".into())), ("newinstance".into(), None)]);
    }

    #[test]
    fn what_would_not_happen_is_refused() {
        for name in ["idmap", "tmpcopyup", "silent", "idmap=uids=0-1-1"] {
            let error = parse(&[name.into()], "/mounts/0/options").expect_err(name);
            assert_eq!(error.at, "/mounts/0/options/0");
        }
        assert!(parse(&["bind".into(), "sync".into()], "/m").is_err());
    }
}
