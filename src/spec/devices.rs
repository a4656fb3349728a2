//! `linux.devices` and `linux.resources.devices` (config-linux.md "Devices" and "Allowed
//! Device list").

use super::config::{Device as ConfigDevice, DeviceRule as ConfigRule};
use super::plan::{Device, DeviceKind, DeviceRule};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// Path, major and minor of each default device (config-linux.md "Default Devices").
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The kernel has 12 bits for the major number and 20 bits for the minor number.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// Returns the nodes to create: the configured devices, and each default device whose
/// path no configured device has.
pub fn devices(configured: &[ConfigDevice]) -> Result<Vec<Device>> {
    let mut own: Vec<Device> = Vec::new();
    for (i, configured) in configured.iter().enumerate() {
        let device = device(configured, i)?;
        match own.iter().find(|other| other.path == device.path) {
            // Engines list a device twice if the user asks for it in two ways.
            Some(other) if other.is_same_device(&device) => {}
            Some(other) => {
                return Err(Error::config(
                    format!("{}/path", device.at),
                    format!("is that of {}, too", other.at),
                )
                .on(device.path.display().to_string()));
            }
            None => own.push(device),
        }
    }
    let defaults = DEFAULT.into_iter().map(|(path, major, minor)| Device {
        at: String::new(),
        path: PathBuf::from(path),
        kind: DeviceKind::Char,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    });
    let mut all: Vec<_> = defaults.filter(|d| own.iter().all(|o| o.path != d.path)).collect();
    all.extend(own);
    Ok(all)
}

fn device(device: &ConfigDevice, i: usize) -> Result<Device> {
    let at = format!("/linux/devices/{i}");
    if !device.path.is_absolute() || device.path.file_name().is_none() {
        return Err(Error::config(format!("{at}/path"), "must be an absolute path of a file")
            .on(device.path.display().to_string()));
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => DeviceKind::Char,
        "b" => DeviceKind::Block,
        "p" => DeviceKind::Fifo,
        other => return Err(Error::config(format!("{at}/type"), "must be one of c, b, u, p").on(other)),
    };
    let resolve_number = |value: Option<i64>, field: &str, max: u32| match (value, kind) {
        // A FIFO has no device number. The values in the configuration do not count.
        (_, DeviceKind::Fifo) => Ok(0),
        (None, _) => Err(Error::config(format!("{at}/{field}"), "is missing")),
        (Some(value), _) => {
            check_number(value, &format!("{at}/{field}")).and_then(|number| match number <= max {
                true => Ok(number),
                false => Err(Error::config(format!("{at}/{field}"), format!("{number} is above {max}"))),
            })
        }
    };
    Ok(Device {
        path: device.path.clone(),
        kind,
        major: resolve_number(device.major, "major", MAX_MAJOR)?,
        minor: resolve_number(device.minor, "minor", MAX_MINOR)?,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid,
        gid: device.gid,
        at,
    })
}

/// Returns `value` as a device number. Fails with the JSON pointer `at` if `value` is
/// negative or needs more than 32 bits.
pub(super) fn check_number(value: i64, at: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::config(at, format!("{value} is not a device number")))
}

/// Returns the rules for the device controller in the order in which they apply: deny
/// everything, then the rules of the configuration, then [`default_rules`].
pub fn rules(configured: &[ConfigRule]) -> Result<Vec<DeviceRule>> {
    let deny_all = DeviceRule {
        allow: false,
        kind: None,
        major: None,
        minor: None,
        read: true,
        write: true,
        mknod: true,
    };
    let mut out = vec![deny_all];
    for (i, r) in configured.iter().enumerate() {
        let rule = rule(r, &format!("/linux/resources/devices/{i}"))?;
        // Most configurations begin with the same rule that denies everything.
        if rule != deny_all || out.len() > 1 {
            out.push(rule);
        }
    }
    out.extend(default_rules());
    Ok(out)
}

fn rule(rule: &ConfigRule, at: &str) -> Result<DeviceRule> {
    let kind = match rule.kind.as_str() {
        "" | "a" => None,
        "c" | "u" => Some(DeviceKind::Char),
        "b" => Some(DeviceKind::Block),
        other => return Err(Error::config(format!("{at}/type"), "must be one of a, c, b").on(other)),
    };
    // libcontainer's own configurations use -1 as a wildcard.
    let resolve_number = |value: Option<i64>, field: &str| match value {
        None | Some(-1) => Ok(None),
        Some(value) => check_number(value, &format!("{at}/{field}")).map(Some),
    };
    let access = rule.access.as_deref().unwrap_or("rwm");
    if access.is_empty() || access.contains(|c| !"rwm".contains(c)) {
        return Err(Error::config(format!("{at}/access"), "must be letters of rwm").on(access));
    }
    Ok(DeviceRule {
        allow: rule.allow,
        kind,
        major: resolve_number(rule.major, "major")?,
        minor: resolve_number(rule.minor, "minor")?,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    })
}

/// Returns the rules that every container gets, as in runc. The container may create any
/// node, and may use the default devices, terminals, ptmx and /dev/net/tun. Users of VPNs
/// create the last by mknod and rely on it: runc 1.2.0 took it out, and 1.2.4 put it back.
pub fn default_rules() -> Vec<DeviceRule> {
    let allow = |kind, major, minor, usable| DeviceRule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        read: usable,
        write: usable,
        mknod: true,
    };
    let char_device = |major, minor| allow(DeviceKind::Char, Some(major), minor, true);
    let mut rules =
        vec![allow(DeviceKind::Char, None, None, false), allow(DeviceKind::Block, None, None, false)];
    rules.extend(DEFAULT.into_iter().map(|(_, major, minor)| char_device(major, Some(minor))));
    rules.push(char_device(136, None)); // /dev/pts/*
    rules.push(char_device(5, Some(2))); // /dev/ptmx
    rules.push(char_device(5, Some(1))); // /dev/console
    rules.push(char_device(10, Some(200))); // /dev/net/tun
    rules
}
