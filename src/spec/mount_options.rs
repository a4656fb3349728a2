//! The option strings of a mount (config.md "Linux mount options").

use super::plan::{Propagation, SourceLink};
use crate::error::{Error, Result};
use crate::sys::mount::*;

/// The options of a mount, sorted by what they act on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `Some` for a bind mount. The bool says whether to bind the mounts below the
    /// source, too.
    pub bind: Option<bool>,
    /// Whether to change the existing mount instead of making a new one.
    pub remount: bool,
    /// The attributes to set and clear on the mount alone.
    pub attr: MountAttr,
    /// The attributes to set and clear on the mount and all mounts below it.
    pub recursive_attr: MountAttr,
    /// The bool says whether the propagation also applies to the mounts below.
    pub propagation: Option<(Propagation, bool)>,
    /// MS_… bits that only mount(2) takes.
    pub mount2_flags: u64,
    /// Whether the new tmpfs starts with a copy of the directory that it covers.
    pub copy_up: bool,
    pub idmap: Option<Idmap>,
    pub source_link: SourceLink,
    /// Whether to mount over a symbolic link at the target instead of following the link.
    pub target_nofollow: bool,
    /// The flags of the superblock, in the order of the options.
    pub superblock: Vec<&'static str>,
    /// The options for the filesystem, `key` or `key=value`, in the order of the options.
    pub data: Vec<(String, Option<String>)>,
}

/// The option `idmap` or `ridmap`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Idmap {
    /// Whether the option is `ridmap`: the mapping also applies to the mounts below.
    pub recursive: bool,
    /// The value of crun's form `idmap=uids=…;gids=…`, not yet parsed. `None` if the
    /// option has no value.
    pub maps: Option<String>,
}

/// The attribute options: the name, the bits to set, and the bits to clear. The option
/// `r` + name does the same for the mount and all mounts below it.
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

/// Flags of the superblock. fsconfig(2) takes them by the same names.
const SUPERBLOCK: [&str; 7] = ["sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"];

/// Flags that exist in mount(2) only: the name, the bits to set, and the bits to clear.
const LEGACY: [(&str, u64, u64); 4] = [
    ("silent", MS_SILENT, 0),
    ("loud", 0, MS_SILENT),
    ("iversion", MS_I_VERSION, 0),
    ("noiversion", 0, MS_I_VERSION),
];

/// The options without a value that no other table has.
const WORDS: [&str; 10] = [
    "bind",
    "rbind",
    "defaults",
    "remount",
    "tmpcopyup",
    "idmap",
    "ridmap",
    "copy-symlink",
    "src-nofollow",
    "dest-nofollow",
];

/// Returns every option that the runtime itself understands, sorted, for `features`.
pub fn known_options() -> Vec<String> {
    let mut names: Vec<String> = WORDS.iter().map(|name| (*name).into()).collect();
    for (name, ..) in &ATTRIBUTES {
        names.push((*name).into());
        names.push(format!("r{name}"));
    }
    names.extend(PROPAGATIONS.iter().flat_map(|(name, _)| [(*name).into(), format!("r{name}")]));
    names.extend(SUPERBLOCK.iter().map(|name| (*name).into()));
    names.extend(LEGACY.iter().map(|(name, ..)| (*name).into()));
    names.sort();
    names
}

/// Returns the flags of the source that a bind mount loses although no option names them.
/// As in runc, a mount keeps all flags of its source if its options name none. If the
/// options name any flag, the mount loses all other flags of its source. Only the modes
/// of atime stay, unless an option sets one of them.
pub fn flags_to_clear(attr: MountAttr) -> u64 {
    if attr == MountAttr::default() {
        return 0;
    }
    let plain =
        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW;
    let times = MOUNT_ATTR_ATIME | MOUNT_ATTR_NODIRATIME;
    let all = if attr.set & times != 0 { plain | times } else { plain };
    all & !attr.set & !attr.clear
}

/// Parses and sorts the options of a mount. `at` is the JSON pointer of the list.
pub fn parse(options: &[String], at: &str) -> Result<Options> {
    let mut out = Options::default();
    for (i, option) in options.iter().enumerate() {
        parse_option(&mut out, option).map_err(|e| e.at(format!("{at}/{i}")).on(option.clone()))?;
    }
    if out.source_link == SourceLink::Copy && out.target_nofollow {
        return Err(Error::config(at, "dest-nofollow makes no sense with it").on("copy-symlink"));
    }
    Ok(out)
}

fn parse_option(out: &mut Options, option: &str) -> Result<()> {
    if parse_word(out, option)? {
        return Ok(());
    }
    let (base, recursive) = (option.strip_prefix('r'), true);
    if let Some((_, set, clear)) = find_attribute(option) {
        change_bits(&mut out.attr, set, clear);
    } else if let Some(propagation) = find_propagation(option) {
        out.propagation = Some((propagation, !recursive));
    } else if let Some((_, set, clear)) = base.and_then(find_attribute) {
        change_bits(&mut out.recursive_attr, set, clear);
    } else if let Some(propagation) = base.and_then(find_propagation) {
        out.propagation = Some((propagation, recursive));
    } else if let Some(name) = SUPERBLOCK.iter().find(|name| **name == option) {
        out.superblock.push(name);
    } else if let Some((_, set, clear)) = LEGACY.iter().find(|(name, ..)| *name == option) {
        out.mount2_flags = out.mount2_flags & !clear | set;
    } else {
        return add_data(out, option);
    }
    Ok(())
}

/// Handles the options of [`WORDS`], and `idmap` with a value. Returns false for any
/// other option.
fn parse_word(out: &mut Options, option: &str) -> Result<bool> {
    match option {
        "" | "defaults" => {}
        "bind" => out.bind = Some(out.bind.unwrap_or(false)),
        "rbind" => out.bind = Some(true),
        "remount" => out.remount = true,
        "tmpcopyup" => out.copy_up = true,
        "idmap" => out.idmap = Some(Idmap::default()),
        "ridmap" => out.idmap = Some(Idmap { recursive: true, maps: None }),
        "copy-symlink" => set_source_link(out, SourceLink::Copy)?,
        "src-nofollow" => set_source_link(out, SourceLink::Itself)?,
        "dest-nofollow" => out.target_nofollow = true,
        _ => {
            let maps = |prefix| option.strip_prefix(prefix).map(str::to_owned);
            let (plain, recursive) = (maps("idmap="), maps("ridmap="));
            if plain.is_none() && recursive.is_none() {
                return Ok(false);
            }
            out.idmap = Some(Idmap { recursive: recursive.is_some(), maps: plain.or(recursive) });
        }
    }
    Ok(true)
}

fn set_source_link(out: &mut Options, link: SourceLink) -> Result<()> {
    if out.source_link != SourceLink::Follow && out.source_link != link {
        return Err(Error::msg("src-nofollow and copy-symlink exclude each other"));
    }
    out.source_link = link;
    Ok(())
}

/// Adds an option that the runtime does not know, for the filesystem. mount(2) takes all
/// such options in one string, so a comma separates options here, too. There are three
/// exceptions: a comma after a backslash (overlay), a comma within quotes (SELinux
/// contexts), and a comma before a digit in the memory policy of a tmpfs
/// (`mpol=bind:0,2`).
fn add_data(out: &mut Options, option: &str) -> Result<()> {
    let parts = split_at_commas(option);
    if parts.len() > 1 {
        return parts.into_iter().try_for_each(|part| parse_option(out, part));
    }
    out.data.push(match option.split_once('=') {
        Some((key, value)) => (key.into(), Some(unquoted(value).into())),
        None => (option.into(), None),
    });
    Ok(())
}

fn split_at_commas(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let mut parts = Vec::new();
    let mut start = 0;
    for (i, c) in text.char_indices() {
        let part = text.get(start..i).unwrap_or_default();
        let rest = text.get(i + 1..).unwrap_or_default();
        if c == ',' && !quoted && !escaped && !is_list_of_nodes(part, rest) {
            parts.push(part);
            start = i + 1;
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// Returns whether a comma between `part` and `rest` separates NUMA nodes.
fn is_list_of_nodes(part: &str, rest: &str) -> bool {
    part.starts_with("mpol=") && rest.starts_with(|c: char| c.is_ascii_digit())
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

fn find_attribute(name: &str) -> Option<(&'static str, u64, u64)> {
    ATTRIBUTES.iter().find(|(known, ..)| *known == name).copied()
}

fn find_propagation(name: &str) -> Option<Propagation> {
    PROPAGATIONS.iter().find(|(known, _)| *known == name).map(|(_, propagation)| *propagation)
}

/// Sets and clears bits. The last option for a bit counts.
fn change_bits(attr: &mut MountAttr, set: u64, clear: u64) {
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
        assert_eq!(options(&["silent", "iversion", "loud"]).mount2_flags, MS_I_VERSION);
    }

    #[test]
    fn one_named_flag_leaves_none_of_the_sources() {
        assert_eq!(flags_to_clear(options(&["rprivate", "rro"]).attr), 0);
        let three = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW;
        assert_eq!(flags_to_clear(options(&["rw", "nosuid"]).attr), three);
        let times = MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | three;
        assert_eq!(flags_to_clear(options(&["noatime"]).attr), times);
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
    fn commas_separate_unless_they_are_part_of_a_value() {
        let out = options(&["ro,size=1m", r"lowerdir=/a\,b", r#"context="a:b:c0,c1""#]);
        assert_eq!(out.attr.set, MOUNT_ATTR_RDONLY);
        let value = |i: usize| out.data[i].1.as_deref().unwrap_or_default();
        assert_eq!((value(0), value(1), value(2)), ("1m", r"/a\,b", "a:b:c0,c1"));
        let out = options(&["mpol=bind:0,2-3,size=1m", "mpol=local,ro", "lowerdir=/a,1=2"]);
        assert_eq!(out.attr.set, MOUNT_ATTR_RDONLY);
        let names: Vec<_> = out.data.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(names, ["mpol", "size", "mpol", "lowerdir", "1"]);
        assert_eq!(out.data[0].1.as_deref(), Some("bind:0,2-3"));
    }

    #[test]
    fn idmap_forms() {
        assert_eq!(options(&["idmap"]).idmap, Some(Idmap::default()));
        let maps = Some("uids=0-1-1;gids=0-1-1".to_owned());
        let out = options(&["ridmap=uids=0-1-1;gids=0-1-1"]);
        assert_eq!(out.idmap, Some(Idmap { recursive: true, maps }));
    }

    #[test]
    fn options_that_exclude_each_other() {
        let both = ["src-nofollow".to_owned(), "copy-symlink".to_owned()];
        let error = parse(&both, "/mounts/0/options").expect_err("both");
        assert_eq!(error.at, "/mounts/0/options/1");
        let both = ["copy-symlink".to_owned(), "dest-nofollow".to_owned()];
        assert!(parse(&both, "/mounts/0/options").is_err());
    }

    /// Knows all options in the table of config.md, except those of tmpfs and other
    /// filesystems.
    #[test]
    fn every_option_of_the_specification_is_known() {
        let known = known_options();
        let listed = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime \
            nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow \
            private ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec \
            rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave \
            rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync \
            tmpcopyup unbindable idmap ridmap";
        for name in listed.split_whitespace() {
            assert!(known.iter().any(|other| other == name), "{name}");
            assert!(options(&[name]).data.is_empty(), "{name}");
        }
    }
}
