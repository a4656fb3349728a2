//! `linux.sysctl`: kernel parameters of the container's own namespaces, and no others
//! (config-linux.md "Sysctl").

use super::c_string;
use super::plan::{Namespaces, NsKind, Sysctl};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The kernel.* keys of which each ipc namespace has its own.
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

/// Resolves the sysctls, sorted by key. Refuses a key of a namespace that is not the
/// container's own.
pub fn sysctl(values: &BTreeMap<String, String>, namespaces: &Namespaces) -> Result<Vec<Sysctl>> {
    values.iter().map(|(key, value)| resolve_sysctl(key, value, namespaces)).collect()
}

fn resolve_sysctl(key: &str, value: &str, namespaces: &Namespaces) -> Result<Sysctl> {
    let at = format!("/linux/sysctl/{}", crate::error::escape(key));
    let path = to_path(key);
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(Error::config(at, "is not the name of a sysctl"));
    }
    if value.is_empty() {
        // The kernel treats a write of no bytes as no write at all.
        return Err(Error::config(at, "has no value"));
    }
    let dotted = path.replace('/', ".");
    if dotted == "kernel.hostname" {
        return Err(Error::config(at, "is not allowed: use /hostname"));
    }
    let Some(kind) = namespace_of(&dotted) else {
        return Err(Error::config(at, "is not namespaced: it would change the host"));
    };
    if !namespaces.is_not_inherited(kind) {
        return Err(Error::config(at, format!("needs a {} namespace of the container's own", kind.name()))
            .hint(format!("add {{\"type\": \"{}\"}} to /linux/namespaces", kind.name())));
    }
    Ok(Sysctl { kind, path: c_string(&path, &at)?, value: value.into(), at })
}

/// Converts a key to a path below /proc/sys, by the rule of sysctl(8). The separator is
/// `.` or `/`, whichever comes first in the key. The other character stands for itself
/// (`net/ipv4/conf/eth0.1/forwarding`).
fn to_path(key: &str) -> String {
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

/// Returns the kind of namespace that a key belongs to. `None`: the key belongs to no
/// namespace, and a change would change the host.
fn namespace_of(key: &str) -> Option<NsKind> {
    match key {
        _ if IPC_KEYS.contains(&key) || key.starts_with("fs.mqueue.") => Some(NsKind::Ipc),
        _ if key.starts_with("net.") => Some(NsKind::Network),
        // Not every engine knows the field `domainname`.
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
        let sysctl =
            resolve_sysctl("net/ipv4/conf/eth0.1/forwarding", "1", &with(NsKind::Network)).expect("accepted");
        assert_eq!(sysctl.path.as_c_str(), c"net/ipv4/conf/eth0.1/forwarding");
        let sysctl =
            resolve_sysctl("net.ipv4.conf.eth0/1.forwarding", "1", &with(NsKind::Network)).expect("accepted");
        assert_eq!(sysctl.path.as_c_str(), c"net/ipv4/conf/eth0.1/forwarding");
    }

    #[test]
    fn what_reaches_the_host_is_refused() {
        for key in ["kernel.core_pattern", "vm.swappiness", "net/../kernel/core_pattern", "kernel..sem", ""] {
            assert!(resolve_sysctl(key, "1", &with(NsKind::Ipc)).is_err(), "{key}");
        }
        for key in ["net.ipv4.ip_forward", "user.max_uts_namespaces", "kernel.domainname"] {
            assert!(resolve_sysctl(key, "1", &with(NsKind::Ipc)).is_err(), "{key}");
        }
        assert!(resolve_sysctl("kernel.hostname", "a", &with(NsKind::Uts)).is_err());
        assert!(resolve_sysctl("kernel.sem", "", &with(NsKind::Ipc)).is_err());
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
            assert_eq!(resolve_sysctl(key, "1", &with(kind)).expect(key).kind, kind, "{key}");
        }
    }
}
