//! `linux.netDevices`: network devices of the host that the container gets
//! (config-linux.md "Network Devices").

use super::config::NetDevice as ConfigDevice;
use super::plan::{Namespaces, NetDevice, NsKind};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// IFNAMSIZ: the size of a name with its NUL.
const NAME_SIZE: usize = 16;

/// Resolves the devices, sorted by name. Refuses names that the kernel would refuse, and
/// a name that two devices would have in the container.
pub fn net_devices(
    configured: &BTreeMap<String, ConfigDevice>,
    namespaces: &Namespaces,
) -> Result<Vec<NetDevice>> {
    if !configured.is_empty() && !namespaces.is_not_inherited(NsKind::Network) {
        return Err(Error::config(
            "/linux/netDevices",
            "unable to move network devices without a NET namespace",
        )
        .hint("add {\"type\": \"network\"} to /linux/namespaces"));
    }
    let mut out: Vec<NetDevice> = Vec::new();
    for (name, device) in configured {
        let at = format!("/linux/netDevices/{}", crate::error::escape(name));
        check_name(name).map_err(|why| Error::config(at.clone(), why).on(name.clone()))?;
        let new_name = if device.name.is_empty() { name } else { &device.name };
        let wrong = |why: String| Error::config(format!("{at}/name"), why).on(new_name.clone());
        check_name(new_name).and_then(|()| check_template(new_name)).map_err(|why| wrong(why.into()))?;
        let is_template = new_name.contains('%');
        if let Some(other) = out.iter().find(|other| other.new_name == *new_name && !is_template) {
            return Err(wrong(format!("{} has the same name in the container", other.at)));
        }
        out.push(NetDevice { at, name: name.clone(), new_name: new_name.clone() });
    }
    Ok(out)
}

/// Checks a name as the kernel's `dev_valid_name` does.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b || byte == 0xa0;
    match name {
        "" | "." | ".." => Err("is not the name of a network device"),
        _ if name.len() >= NAME_SIZE => Err("is longer than the 15 bytes of a network device's name"),
        _ if name.bytes().any(|byte| matches!(byte, b'/' | b':' | 0) || is_space(byte)) => {
            Err("has a character that no network device's name may have")
        }
        _ => Ok(()),
    }
}

/// Checks a name as the kernel's `__dev_alloc_name` does: it may have one `%d`, which the
/// kernel replaces by a number, and no other `%`.
fn check_template(name: &str) -> Result<(), &'static str> {
    match name.replacen("%d", "", 1).contains('%') {
        true => Err("may contain one %d, and no other %"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Ns;
    use super::*;

    fn resolve(entries: &[(&str, &str)]) -> Result<Vec<NetDevice>> {
        let mut namespaces = Namespaces::default();
        namespaces.set(NsKind::Network, Ns::New);
        let device = |(name, new): &(&str, &str)| ((*name).into(), ConfigDevice { name: (*new).into() });
        net_devices(&entries.iter().map(device).collect(), &namespaces)
    }

    #[test]
    fn the_name_is_kept_unless_another_is_given() {
        let devices = resolve(&[("a0", ""), ("b0", "eth%d"), ("c0", "eth%d")]).expect("valid");
        let names: Vec<_> = devices.iter().map(|d| d.new_name.as_str()).collect();
        assert_eq!(names, ["a0", "eth%d", "eth%d"]);
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_its_place() {
        for bad in ["sixteen-bytes-xx", "a b", "a/b", "a:b", "..", "%", "%d%d", "a%s", "a\u{a0}b"] {
            let error = resolve(&[("d0", bad)]).expect_err(bad);
            assert_eq!(error.at, "/linux/netDevices/d0/name", "{bad}");
        }
        assert!(resolve(&[("d0", "fifteen-bytes-x")]).is_ok());
        assert_eq!(resolve(&[("a/b", "")]).expect_err("invalid").at, "/linux/netDevices/a~1b");
    }

    #[test]
    fn two_devices_cannot_have_one_name() {
        let error = resolve(&[("a0", "b0"), ("b0", "")]).expect_err("a conflict");
        assert_eq!(error.at, "/linux/netDevices/b0/name");
        assert!(
            net_devices(&BTreeMap::from([("a0".into(), ConfigDevice::default())]), &Namespaces::default())
                .is_err()
        );
    }
}
