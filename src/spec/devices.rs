//! `linux.devices` and `linux.resources.devices`.

use super::config::{Device as ConfigDevice, DeviceRule as ConfigRule};
use super::plan::{Device, DeviceKind, DeviceRule};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// config-linux.md "Default Devices": path below /dev, major, minor.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The kernel's device numbers have 12 and 20 bits.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// The nodes to make: the configured ones, and the defaults that they don't replace.
pub fn devices(configured: &[ConfigDevice]) -> Result<Vec<Device>> {
    let mut own: Vec<Device> = Vec::new();
    for (i, configured) in configured.iter().enumerate() {
        let device = device(configured, i)?;
        match own.iter().find(|other| other.path == device.path) {
            // Engines name a device twice that is asked for in two ways.
            Some(other) if other.is_same(&device) => {}
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
    let number = |value: Option<i64>, field: &str, max: u32| match (value, kind) {
        // A FIFO has no number, whatever is written there.
        (_, DeviceKind::Fifo) => Ok(0),
        (None, _) => Err(Error::config(format!("{at}/{field}"), "is missing")),
        (Some(value), _) => number(value, &format!("{at}/{field}")).and_then(|number| match number <= max {
            true => Ok(number),
            false => Err(Error::config(format!("{at}/{field}"), format!("{number} is above {max}"))),
        }),
    };
    Ok(Device {
        path: device.path.clone(),
        kind,
        major: number(device.major, "major", MAX_MAJOR)?,
        minor: number(device.minor, "minor", MAX_MINOR)?,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid,
        gid: device.gid,
        at,
    })
}

pub(super) fn number(value: i64, at: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::config(at, format!("{value} is not a device number")))
}

/// The controller's rules, in the order in which they apply: everything is
/// denied, then the configuration's rules, then what every container may have.
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
        // Most configurations begin with the same deny-all.
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
    // -1 is what libcontainer's own configurations use as a wildcard.
    let number = |value: Option<i64>, field: &str| match value {
        None | Some(-1) => Ok(None),
        Some(value) => number(value, &format!("{at}/{field}")).map(Some),
    };
    let access = rule.access.as_deref().unwrap_or("rwm");
    if access.is_empty() || access.contains(|c| !"rwm".contains(c)) {
        return Err(Error::config(format!("{at}/access"), "must be letters of rwm").on(access));
    }
    Ok(DeviceRule {
        allow: rule.allow,
        kind,
        major: number(rule.major, "major")?,
        minor: number(rule.minor, "minor")?,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    })
}

/// What every container may have, as in runc: any node may be made, and the
/// default devices, terminals and ptmx used.
pub fn default_rules() -> Vec<DeviceRule> {
    let allow = |kind, major, minor, use_it| DeviceRule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        read: use_it,
        write: use_it,
        mknod: true,
    };
    let char_device = |major, minor| allow(DeviceKind::Char, Some(major), minor, true);
    let mut rules =
        vec![allow(DeviceKind::Char, None, None, false), allow(DeviceKind::Block, None, None, false)];
    rules.extend(DEFAULT.into_iter().map(|(_, major, minor)| char_device(major, Some(minor))));
    rules.push(char_device(136, None)); // /dev/pts/*
    rules.push(char_device(5, Some(2))); // /dev/ptmx
    rules.push(char_device(5, Some(1))); // /dev/console
    rules
}
