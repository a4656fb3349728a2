//! What the container's unit is called, and in which slice it is: the
//! `slice:prefix:name` of `linux.cgroupsPath`, as runc reads it.

use crate::error::{Error, Result};

const AT: &str = "/linux/cgroupsPath";

/// systemd's UNIT_NAME_MAX, its NUL not counted.
const NAME_LIMIT: usize = 255;

/// A unit's place among the others.
#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    pub unit: String,
    /// As the unit's Slice= takes it.
    pub slice: String,
}

impl Name {
    /// Of the container `id`. `is_user`: of a user's own systemd.
    pub fn of(cgroups_path: Option<&str>, id: &str, is_user: bool) -> Result<Name> {
        let default_slice = if is_user { "user.slice" } else { "system.slice" };
        let Some(path) = cgroups_path else {
            let unit = checked(format!("corten-{}.scope", escape(id)))?;
            return Ok(Name { unit, slice: default_slice.into() });
        };
        let parts: Vec<&str> = path.split(':').collect();
        let &[slice, prefix, name] = &parts[..] else {
            return Err(Error::config(
                AT,
                format!("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"),
            )
            .hint("a path is the cgroupfs driver's form: leave out --systemd-cgroup"));
        };
        if name.ends_with(".slice") {
            return Err(Error::config(AT, "a slice holds units and no processes").on(name));
        }
        let slice = if slice.is_empty() { default_slice } else { slice };
        expand(slice)?;
        Ok(Name { unit: checked(format!("{prefix}-{name}.scope"))?, slice: slice.into() })
    }

    /// The unit's cgroup, below the one of its systemd: every dash of a slice's
    /// name is a level.
    pub fn cgroup(&self) -> Result<String> {
        Ok(format!("{}/{}", expand(&self.slice)?, self.unit))
    }
}

/// `a-b.slice` is `/a.slice/a-b.slice`, and `-.slice` the root.
fn expand(slice: &str) -> Result<String> {
    let invalid = || {
        Error::config(AT, format!("invalid slice name: {slice}"))
            .hint("a slice is called like a-b.slice, without slashes")
    };
    let name = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    if name == "-" {
        return Ok(String::new());
    }
    let levels = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    let empty_level = name.split('-').any(str::is_empty);
    if empty_level || name.len() > NAME_LIMIT || !name.bytes().all(is_valid) {
        return Err(invalid());
    }
    Ok(levels.map(|end| format!("/{}.slice", &name[..end])).collect())
}

fn checked(unit: String) -> Result<String> {
    let error = |what: &str| Err(Error::config(AT, what).on(unit.clone()));
    if unit.len() > NAME_LIMIT {
        return error("the name of a systemd unit has at most 255 characters");
    }
    if !unit.bytes().all(is_valid) {
        return error("the name of a systemd unit is made of letters, digits and :-_.\\");
    }
    Ok(unit)
}

fn is_valid(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte)
}

/// The one character of ids that systemd doesn't take, as systemd-escape(1)
/// writes it.
fn escape(id: &str) -> String {
    id.replace('+', "\\x2b")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> Result<(String, String)> {
        Name::of(Some(path), "id", false).map(|name| (name.unit, name.slice))
    }

    #[test]
    fn three_parts_as_in_runc() {
        let pair = |unit: &str, slice: &str| Ok((unit.into(), slice.into()));
        assert_eq!(name("machine.slice:libpod:1f"), pair("libpod-1f.scope", "machine.slice"));
        assert_eq!(name(":docker:1f"), pair("docker-1f.scope", "system.slice"));
        for bad in ["/a/b", "a", "a.slice:b", "a.slice:b:c:d", "a:b:c", "a.slice:b:c.slice", "a.slice:b/:c"] {
            assert_eq!(name(bad).map_err(|e| e.at), Err(AT.into()), "{bad}");
        }
    }

    #[test]
    fn a_container_without_a_path_is_named_after_its_id() {
        let named = |id, is_user| Name::of(None, id, is_user).expect("a name");
        let name = Name { unit: "corten-a.scope".into(), slice: "system.slice".into() };
        assert_eq!(named("a", false), name);
        assert_eq!(named("a", true).slice, "user.slice");
        assert_eq!(named("a+b", false).unit, "corten-a\\x2bb.scope");
        assert!(Name::of(None, &"x".repeat(250), false).is_err());
    }

    #[test]
    fn every_dash_of_a_slice_is_a_level() {
        assert_eq!(expand("system.slice"), Ok("/system.slice".into()));
        assert_eq!(expand("a-b-c.slice"), Ok("/a.slice/a-b.slice/a-b-c.slice".into()));
        assert_eq!(expand("-.slice"), Ok(String::new()));
        for bad in
            ["a", ".slice", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", "", "a b.slice", "slice"]
        {
            assert!(expand(bad).is_err(), "{bad}");
        }
        let name = Name { unit: "x.scope".into(), slice: "a-b.slice".into() };
        assert_eq!(name.cgroup(), Ok("/a.slice/a-b.slice/x.scope".into()));
    }
}
