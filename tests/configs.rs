//! Configurations that engines wrote (`data/configs`). Each runs, and the container has
//! what the configuration asks for.

use crate::harness::{Bundle, Container, Test, cap_mask};
use crate::terminal::with_console;
use serde_json::{Value, json};
use std::path::Path;

/// Each file has its own test.
macro_rules! configs {
    ($($name:ident: $file:literal),* $(,)?) => {
        $(fn $name(t: &Test) {
            runs(t, $file);
        })*
        const FILES: &[&str] = &[$($file),*];
        cases![every_file_has_a_test, docker_exec, podman_exec, $($name),*];
    };
}

configs! {
    buildah_build: "buildah-build",
    buildah_run: "buildah-run",
    cri_container: "cri-container",
    cri_hardened_container: "cri-hardened",
    cri_container_on_the_host: "cri-host-container",
    cri_sandbox_on_the_host: "cri-host-sandbox",
    cri_sandbox: "cri-sandbox",
    ctr_default: "ctr-default",
    ctr_privileged: "ctr-privileged",
    ctr_with_seccomp: "ctr-seccomp",
    ctr_terminal: "ctr-terminal",
    docker_default: "docker-default",
    docker_on_the_host: "docker-host",
    docker_options: "docker-options",
    docker_terminal: "docker-terminal",
    podman_default: "podman-default",
    podman_keep_groups: "podman-keep-groups",
    podman_options: "podman-options",
    podman_pod_infra: "podman-pod-infra",
    podman_pod: "podman-pod",
    podman_privileged: "podman-privileged",
    podman_terminal: "podman-terminal",
    podman_user_namespace: "podman-userns",
}

fn dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/configs"))
}

fn read(name: &str) -> Value {
    let text = std::fs::read(dir().join(format!("{name}.json"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_slice(&text).expect("JSON")
}

fn every_file_has_a_test(_: &Test) {
    let mut files: Vec<String> = std::fs::read_dir(dir())
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".json").map(str::to_owned)
        })
        .collect();
    files.sort();
    let mut tested: Vec<_> = FILES.iter().chain(&["docker-exec", "podman-exec"]).collect();
    tested.sort();
    assert_eq!(files.iter().collect::<Vec<_>>(), tested);
}

/// Sources of bind mounts that are files. All others are directories.
const FILES_INSIDE: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/run/.containerenv",
    "/run/podman-init",
    "/sbin/docker-init",
];

/// Returns the configuration for this machine. Replaces the root, the sources of bind
/// mounts, the cgroup, the namespaces to join, and the hook that would call dockerd.
fn adapted<'t>(t: &'t Test, name: &str) -> (Bundle, Option<Container<'t>>) {
    let mut config = read(name);
    let mut bundle = t.bundle();
    config["root"]["path"] = json!("rootfs");
    let mapped = !config["linux"]["uidMappings"].is_null();
    for mount in config["mounts"].as_array_mut().expect("mounts") {
        let ours = mount["source"]
            .as_str()
            .is_some_and(|source| source.starts_with("/engine") || source.starts_with("/usr/"));
        if ours && mount["type"] == "bind" {
            let inside = mount["destination"].as_str().expect("a destination");
            let source =
                if FILES_INSIDE.contains(&inside) { t.make_file("file", "") } else { t.make_dir("dir") };
            // Root of a user namespace can't create this in an image of another owner.
            if mapped && FILES_INSIDE.contains(&inside) {
                let place = bundle.inside(inside);
                std::fs::create_dir_all(place.parent().expect("a parent")).unwrap();
                if !place.exists() {
                    std::fs::write(place, "").unwrap();
                }
            }
            mount["source"] = json!(source);
        }
    }
    if !config["linux"]["cgroupsPath"].is_null() {
        config["linux"]["cgroupsPath"] = json!(t.cgroup_of_name(&format!("{}c", t.token)));
    }
    // Leaves out limits that can't be raised on this machine.
    if let Some(limits) = config["process"]["rlimits"].as_array_mut() {
        limits.retain(|limit| limit["hard"].as_u64() <= hard_limit(limit["type"].as_str().expect("a type")));
    }
    for hook in config["hooks"]["prestart"].as_array_mut().into_iter().flatten() {
        *hook = json!({ "path": "/bin/true" });
    }
    let joined = join_another(t, &mut config);
    bundle.config = config;
    (bundle, joined)
}

fn hard_limit(name: &str) -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    let resource = match name {
        "RLIMIT_NOFILE" => Resource::RLIMIT_NOFILE,
        "RLIMIT_NPROC" => Resource::RLIMIT_NPROC,
        other => panic!("{other} is new in these files"),
    };
    getrlimit(resource).ok().map(|(_, hard)| hard)
}

/// Another container, whose namespaces the engine's container joins.
fn join_another<'t>(t: &'t Test, config: &mut Value) -> Option<Container<'t>> {
    let list = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    let mut other = None;
    for namespace in list.iter_mut().filter(|ns| !ns["path"].is_null()) {
        let other: &Container = other.get_or_insert_with(|| t.start(&t.bundle().pausing()));
        let kind = namespace["type"].as_str().expect("a type");
        let file = match kind {
            "network" => "net",
            "mount" => "mnt",
            other => other,
        };
        namespace["path"] = json!(format!("/proc/{}/ns/{file}", other.init.pid));
    }
    other
}

fn runs(t: &Test, name: &str) {
    let (bundle, _joined) = adapted(t, name);
    if bundle.config["process"]["terminal"] == true {
        return runs_on_a_terminal(t, bundle);
    }
    let seen = t.look(&bundle, []);
    is_as_asked(&bundle.config, &seen);
}

fn runs_on_a_terminal(t: &Test, bundle: Bundle) {
    let bundle = bundle.shell("test -t 0 && test -t 1 && test -c /dev/console");
    let (container, _terminal) = with_console(t, &bundle);
    container.start();
    assert_eq!(container.wait(), 0);
}

/// Checks that the payload sees what the configuration asks for.
fn is_as_asked(config: &Value, seen: &Value) {
    let process = &config["process"];
    assert_eq!(seen["ids"]["uid"][0], process["user"]["uid"]);
    assert_eq!(seen["ids"]["gid"][0], process["user"]["gid"]);
    assert_eq!(seen["cwd"], process["cwd"]);
    // The runtime fills in an empty HOME.
    for pair in process["env"].as_array().expect("env").iter().filter(|pair| **pair != "HOME=") {
        assert!(seen["env"].as_array().unwrap().contains(pair), "{pair} is not in {}", seen["env"]);
    }
    let status = &seen["status"];
    // The runtime can't grant capabilities that root of this machine lacks.
    let have = u64::from_str_radix(&own_status("CapPrm"), 16).expect("a mask");
    // A user other than root loses the other capabilities at execve.
    let (set, list) = match process["user"]["uid"].as_u64() {
        Some(0) => ("CapEff", "effective"),
        _ => ("CapBnd", "bounding"),
    };
    let caps = process["capabilities"][list].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = caps.iter().filter_map(Value::as_str).collect();
    assert_eq!(status[set], format!("{:016x}", u64::from_str_radix(&cap_mask(&names), 16).unwrap() & have));
    assert_eq!(status["NoNewPrivs"], if process["noNewPrivileges"] == true { "1" } else { "0" });
    let filtered = !config["linux"]["seccomp"].is_null();
    assert_eq!(status["Seccomp"], if filtered { "2" } else { "0" });
    let mounts = seen["mounts"].as_array().expect("mounts");
    for mount in config["mounts"].as_array().expect("mounts") {
        let at = &mount["destination"];
        assert!(mounts.iter().any(|seen| seen["at"] == *at), "nothing at {at}");
    }
    let root = mounts.iter().find(|mount| mount["at"] == "/").expect("a root");
    let readonly = root["options"].as_array().unwrap().contains(&json!("ro"));
    assert_eq!(json!(readonly), config["root"]["readonly"].as_bool().unwrap_or(false));
    if let Some(hostname) = config["hostname"].as_str() {
        assert_eq!(seen["names"]["host"], hostname);
    }
}

fn own_status(key: &str) -> String {
    let text = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
    line.expect("the key").to_owned()
}

/// A process that the engine adds to its default container.
fn execs(t: &Test, container: &str, process: &str) {
    let (bundle, _joined) = adapted(t, container);
    let container = t.start(&bundle.clone().pausing());
    let mut process = read(process);
    process["args"] = json!(["/probe"]);
    if let Some(limits) = process["rlimits"].as_array_mut() {
        limits.retain(|limit| limit["hard"].as_u64() <= hard_limit(limit["type"].as_str().expect("a type")));
    }
    let file = t.make_file("process.json", &process.to_string());
    let seen = t.verb(["exec", "--process"]).arg(file).arg(&container.id).out().report();
    let mut config = bundle.config;
    config["process"] = process;
    is_as_asked(&config, &seen);
}

fn docker_exec(t: &Test) {
    execs(t, "docker-default", "docker-exec");
}

fn podman_exec(t: &Test) {
    execs(t, "podman-default", "podman-exec");
}
