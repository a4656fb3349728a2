//! The default seccomp profiles of Docker and Podman, as those engines write
//! them into `linux.seccomp` for a container with their default capabilities.

use serde_json::{Value, json};

/// Docker's default capabilities.
pub const DOCKER_CAPS: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Podman's default capabilities.
const PODMAN_CAPS: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

pub fn docker() -> Value {
    generate(include_str!("data/docker-seccomp.json"), DOCKER_CAPS)
}

pub fn podman() -> Value {
    generate(include_str!("data/podman-seccomp.json"), PODMAN_CAPS)
}

/// Returns the profile that an engine writes from its own form on x86_64.
fn generate(profile: &str, caps: &[&str]) -> Value {
    let profile: Value = serde_json::from_str(profile).expect("a profile");
    let maps = profile["archMap"].as_array().expect("archMap");
    let map = maps.iter().find(|map| map["architecture"] == "SCMP_ARCH_X86_64").expect("x86_64");
    let more = map["subArchitectures"].as_array().into_iter().flatten();
    let archs: Vec<&Value> = std::iter::once(&map["architecture"]).chain(more).collect();
    let calls = profile["syscalls"].as_array().expect("syscalls");
    let calls: Vec<Value> = calls.iter().filter(|call| applies(call, caps)).map(entry).collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": archs,
        "syscalls": calls,
    })
}

/// An entry applies if every capability of `includes` is there, and none of `excludes`. The
/// same holds for the architecture. Every kernel is new enough.
fn applies(call: &Value, caps: &[&str]) -> bool {
    let list = |which: &str, kind: &str| -> Vec<String> {
        let values = call[which][kind].as_array().into_iter().flatten();
        values.map(|value| value.as_str().expect("a name").to_owned()).collect()
    };
    let has = |cap: &String| caps.contains(&cap.as_str());
    let archs = list("includes", "arches");
    list("includes", "caps").iter().all(has)
        && !list("excludes", "caps").iter().any(has)
        && (archs.is_empty() || archs.iter().any(|arch| arch == "amd64"))
        && !list("excludes", "arches").iter().any(|arch| arch == "amd64")
}

/// The fields of the specification.
fn entry(call: &Value) -> Value {
    let mut entry = json!({ "names": call["names"], "action": call["action"] });
    for field in ["args", "errnoRet"] {
        if !call[field].is_null() {
            entry[field] = call[field].clone();
        }
    }
    entry
}
