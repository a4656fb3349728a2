//! Finds the systemd that manages a container's unit: the system's, or a user's own.

use crate::error::{Error, Result};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The systemd that manages a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// The system's: process 1.
    System,
    /// A user's own, at this D-Bus address. The state record keeps the address, because a
    /// later verb may run without the environment variables that tell it.
    User(String),
}

/// Returns the systemd that the caller uses. The host's root uses the system's. Every
/// other user has a systemd of their own. So has the root of a user namespace, as under
/// rootless Podman.
pub fn find_systemd() -> Result<Which> {
    let inside = crate::sys::process::in_user_namespace();
    if geteuid().is_root() && !inside {
        return Ok(Which::System);
    }
    match session_bus_address() {
        // In a system container, root has a systemd in that container, and may also have
        // a session there.
        Some(address) if geteuid().is_root() && address.contains("/run/user/0/") => Ok(Which::System),
        Some(address) => Ok(Which::User(address)),
        None if geteuid().is_root() => Ok(Which::System),
        None => Err(Error::msg("the user has no session bus to reach systemd").hint(
            "log in again, or install dbus-user-session: DBUS_SESSION_BUS_ADDRESS is unset, and \
             XDG_RUNTIME_DIR has no bus",
        )),
    }
}

fn session_bus_address() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    set("DBUS_SESSION_BUS_ADDRESS").or_else(|| {
        let bus = format!("{}/bus", set("XDG_RUNTIME_DIR")?);
        Path::new(&bus).exists().then(|| format!("unix:path={}", escape(&bus)))
    })
}

/// Escapes the bytes that have a meaning of their own in an address: a comma becomes
/// `%2c`.
fn escape(path: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_/.*".contains(&c);
    path.bytes().map(|c| if plain(c) { char::from(c).to_string() } else { format!("%{c:02x}") }).collect()
}

/// Returns the path of the cgroup of a user's systemd. A user's systemd creates all its
/// cgroups below its own cgroup. A process in a login session is outside of that cgroup.
/// The path is the usual one then.
pub fn manager_cgroup(which: &Which) -> String {
    let own = crate::sys::process::read_file("/proc/self/cgroup").unwrap_or_default();
    let uid = claimed_uid(which);
    manager_above(&String::from_utf8_lossy(&own))
        .unwrap_or_else(|| format!("/user.slice/user-{uid}.slice/user@{uid}.service"))
}

fn manager_above(own: &str) -> Option<String> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let start = path.find("/user@")?;
    let end = path[start..].find(".service").map(|at| start + at + ".service".len())?;
    Some(path[..end].to_owned())
}

/// Returns the uid to claim at the bus. A user's bus is outside of the user namespace
/// that this process may be in, so the uid is mapped. The system's bus sees the same uids
/// as this process.
pub fn claimed_uid(which: &Which) -> u32 {
    let uid = geteuid().as_raw();
    match which {
        Which::User(_) if crate::sys::process::in_user_namespace() => {
            let map = crate::sys::process::read_file("/proc/self/uid_map").unwrap_or_default();
            map_uid(&String::from_utf8_lossy(&map), uid).unwrap_or(uid)
        }
        Which::User(_) | Which::System => uid,
    }
}

fn map_uid(map: &str, uid: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map_while(|number| number.parse::<u32>().ok());
        let (inside, outside, size) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let at = uid.checked_sub(inside).filter(|at| *at < size)?;
        outside.checked_add(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_looked_up_in_the_map() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(map_uid(map, 0), Some(1000));
        assert_eq!(map_uid(map, 33), Some(100_032));
        assert_eq!(map_uid(map, 65_537), None);
        assert_eq!(map_uid("0 0 4294967295\n", 7), Some(7));
        assert_eq!(map_uid("garbage", 7), None);
    }

    #[test]
    fn the_manager_is_above_or_at_its_usual_place() {
        let manager = "/user.slice/user-7.slice/user@7.service";
        assert_eq!(manager_above(&format!("1:x:/\n0::{manager}/app.slice/a.scope\n")), Some(manager.into()));
        assert_eq!(manager_above(&format!("0::{manager}\n")), Some(manager.into()));
        assert_eq!(manager_above("0::/user.slice/user-7.slice/session-1.scope\n"), None);
    }

    #[test]
    fn what_means_something_in_an_address_is_escaped() {
        assert_eq!(escape("/run/user/7/a,b;c d%"), "/run/user/7/a%2cb%3bc%20d%25");
    }
}
