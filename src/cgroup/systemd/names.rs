//! Names the container's unit and its slice, by the `slice:prefix:name` of
//! `linux.cgroupsPath`, as runc does.

use crate::error::{Error, Result};

const AT: &str = "/linux/cgroupsPath";

/// systemd's UNIT_NAME_MAX, without the NUL.
const NAME_LIMIT: usize = 255;

/// The name of a unit, and the slice that contains the unit.
#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    pub unit: String,
    /// The slice's name, as in the property Slice=.
    pub slice: String,
}

impl Name {
    /// Returns the names for the container `id`. `is_user` says whether a user's systemd
    /// manages the unit. Without `cgroups_path` the unit is named after the id.
    ///
    /// # Errors
    /// `cgroups_path` does not have three parts, or a name is invalid.
    pub fn of(cgroups_path: Option<&str>, id: &str, is_user: bool) -> Result<Name> {
        let default_slice = if is_user { "user.slice" } else { "system.slice" };
        let Some(path) = cgroups_path else {
            let unit = check_unit_name(format!("corten-{}.scope", escape(id)))?;
            return Ok(Name { unit, slice: default_slice.into() });
        };
        let parts: Vec<&str> = path.split(':').collect();
        let &[slice, prefix, name] = &parts[..] else {
            return Err(Error::config(
                AT,
                format!("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"),
            )
            .hint("leave out --systemd-cgroup: a path is the form of the cgroupfs driver"));
        };
        if name.ends_with(".slice") {
            return Err(Error::config(
                AT,
                "the unit must not be a slice: a slice contains units, but no processes",
            )
            .on(name));
        }
        let slice = if slice.is_empty() { default_slice } else { slice };
        slice_path(slice)?;
        Ok(Name { unit: check_unit_name(format!("{prefix}-{name}.scope"))?, slice: slice.into() })
    }

    /// Returns the path of the unit's cgroup, below the cgroup of its systemd. Each dash
    /// in a slice's name adds a level.
    pub fn cgroup(&self) -> Result<String> {
        Ok(format!("{}/{}", slice_path(&self.slice)?, self.unit))
    }
}

/// Converts the name of a slice to a path: `a-b.slice` becomes `/a.slice/a-b.slice`, and
/// `-.slice` becomes the empty path.
fn slice_path(slice: &str) -> Result<String> {
    let invalid = || {
        Error::config(AT, format!("invalid slice name: {slice}"))
            .hint("give a name like a-b.slice, without slashes")
    };
    let name = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    if name == "-" {
        return Ok(String::new());
    }
    let levels = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    let empty_level = name.split('-').any(str::is_empty);
    if empty_level || name.len() > NAME_LIMIT || !name.bytes().all(is_name_byte) {
        return Err(invalid());
    }
    Ok(levels.map(|end| format!("/{}.slice", &name[..end])).collect())
}

fn check_unit_name(unit: String) -> Result<String> {
    let error = |what: &str| Err(Error::config(AT, what).on(unit.clone()));
    if unit.len() > NAME_LIMIT {
        return error("the name of a systemd unit has at most 255 characters");
    }
    if !unit.bytes().all(is_name_byte) {
        return error("the name of a systemd unit consists of letters, digits and :-_.\\");
    }
    Ok(unit)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte)
}

/// Escapes the one character of ids that systemd refuses, as systemd-escape(1) does.
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
        assert_eq!(slice_path("system.slice"), Ok("/system.slice".into()));
        assert_eq!(slice_path("a-b-c.slice"), Ok("/a.slice/a-b.slice/a-b-c.slice".into()));
        assert_eq!(slice_path("-.slice"), Ok(String::new()));
        for bad in
            ["a", ".slice", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", "", "a b.slice", "slice"]
        {
            assert!(slice_path(bad).is_err(), "{bad}");
        }
        let name = Name { unit: "x.scope".into(), slice: "a-b.slice".into() };
        assert_eq!(name.cgroup(), Ok("/a.slice/a-b.slice/x.scope".into()));
    }
}
