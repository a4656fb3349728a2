//! `linux.sysctl`: only what belongs to a namespace of the container's own.

use super::c_string;
use super::plan::{Namespaces, NsKind, Sysctl};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The keys of kernel.* that are per ipc namespace.
const IPC_KEYS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub fn sysctl(values: &BTreeMap<String, String>, namespaces: &Namespaces) -> Result<Vec<Sysctl>> {
    values.iter().map(|(key, value)| one(key, value, namespaces)).collect()
}

fn one(key: &str, value: &str, namespaces: &Namespaces) -> Result<Sysctl> {
    let at = format!("/linux/sysctl/{}", super::escape(key));
    let path = path(key);
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(Error::config(at, "is not the name of a sysctl"));
    }
    if value.is_empty() {
        // The kernel takes a write of nothing for no write at all.
        return Err(Error::config(at, "has no value"));
    }
    let dotted = path.replace('/', ".");
    if dotted == "kernel.hostname" {
        return Err(Error::config(at, "is what /hostname is for"));
    }
    let Some(kind) = namespace_of(&dotted) else {
        return Err(Error::config(at, "is not namespaced: it would change the host"));
    };
    if !namespaces.is_private(kind) {
        return Err(Error::config(at, format!("needs a {} namespace of the container's own", kind.name()))
            .hint(format!("add {{\"type\": \"{}\"}} to /linux/namespaces", kind.name())));
    }
    Ok(Sysctl { kind, path: c_string(&path, &at)?, value: value.into(), at })
}

/// sysctl(8)'s rule: whichever of `.` and `/` comes first is the separator,
/// and the other stands for itself (`net/ipv4/conf/eth0.1/forwarding`).
fn path(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(i) if key.as_bytes()[i] == b'.' => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.into(),
    }
}

fn namespace_of(key: &str) -> Option<NsKind> {
    match key {
        _ if IPC_KEYS.contains(&key) || key.starts_with("fs.mqueue.") => Some(NsKind::Ipc),
        _ if key.starts_with("net.") => Some(NsKind::Network),
        // It has no field that every engine knows.
        "kernel.domainname" => Some(NsKind::Uts),
        _ if key.starts_with("user.") => Some(NsKind::User),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Ns;
    use super::*;

    fn with(kind: NsKind) -> Namespaces {
        let mut namespaces = Namespaces::default();
        namespaces.set(kind, Ns::New);
        namespaces
    }

    #[test]
    fn a_dot_in_an_interface_name_survives() {
        let sysctl = one("net/ipv4/conf/eth0.1/forwarding", "1", &with(NsKind::Network)).expect("accepted");
        assert_eq!(sysctl.path.as_c_str(), c"net/ipv4/conf/eth0.1/forwarding");
        let sysctl = one("net.ipv4.conf.eth0/1.forwarding", "1", &with(NsKind::Network)).expect("accepted");
        assert_eq!(sysctl.path.as_c_str(), c"net/ipv4/conf/eth0.1/forwarding");
    }

    #[test]
    fn what_reaches_the_host_is_refused() {
        for key in ["kernel.core_pattern", "vm.swappiness", "net/../kernel/core_pattern", "kernel..sem", ""] {
            assert!(one(key, "1", &with(NsKind::Ipc)).is_err(), "{key}");
        }
        for key in ["net.ipv4.ip_forward", "user.max_uts_namespaces", "kernel.domainname"] {
            assert!(one(key, "1", &with(NsKind::Ipc)).is_err(), "{key}");
        }
        assert!(one("kernel.hostname", "a", &with(NsKind::Uts)).is_err());
        assert!(one("kernel.sem", "", &with(NsKind::Ipc)).is_err());
    }

    #[test]
    fn each_family_belongs_to_a_namespace() {
        for (key, kind) in [
            ("net.core.somaxconn", NsKind::Network),
            ("kernel/shmmax", NsKind::Ipc),
            ("fs.mqueue.msg_max", NsKind::Ipc),
            ("kernel.domainname", NsKind::Uts),
            ("user.max_net_namespaces", NsKind::User),
        ] {
            assert_eq!(one(key, "1", &with(kind)).expect(key).kind, kind, "{key}");
        }
    }
}
