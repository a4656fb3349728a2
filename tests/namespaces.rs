//! Namespaces: new or inherited, and what each kind isolates. The module `joins` tests
//! joined namespaces.

use crate::harness::{Test, cgroup_v2};
use serde_json::{Value, json};
use std::fs;

cases![
    the_default_five_are_new,
    a_kind_that_is_not_listed_is_inherited,
    init_is_pid_one,
    without_a_pid_namespace_init_is_not_pid_one,
    loopback_is_up_in_a_new_network,
    hostname_is_set_in_its_own_namespace_only,
    cgroup_namespace_hides_the_path,
    user_namespace_maps_ids,
    user_namespace_root_owns_its_mounts,
    user_namespace_with_two_ranges,
    time_namespace_has_offsets,
    an_unknown_kind_is_refused,
    offsets_without_a_time_namespace_are_refused,
    one_offset_is_enough,
    impossible_offsets_are_refused,
    domainname_is_set,
    proc_may_be_of_another_pid_namespace,
];

fn own(kind: &str) -> Value {
    json!(fs::read_link(format!("/proc/self/ns/{kind}")).unwrap())
}

/// (the name in config.json, the name in /proc/PID/ns)
const KINDS: [(&str, &str); 5] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt")];

fn the_default_five_are_new(t: &Test) {
    let seen = t.look(&t.bundle(), []);
    for (_, link) in KINDS {
        assert_ne!(seen["ns"][link], own(link), "{link}");
    }
    for link in ["user", "cgroup", "time"] {
        assert_eq!(seen["ns"][link], own(link), "{link}");
    }
}

fn a_kind_that_is_not_listed_is_inherited(t: &Test) {
    for (kind, link) in &KINDS[..4] {
        let mut bundle = t.bundle().without_namespace(kind);
        if *kind == "uts" {
            bundle = bundle.drop("/hostname");
        }
        if *kind == "ipc" {
            bundle = bundle.without_mount("/dev/mqueue");
        }
        let seen = t.look(&bundle, []);
        assert_eq!(seen["ns"][*link], own(link), "{kind}");
    }
}

fn init_is_pid_one(t: &Test) {
    let seen = t.look(&t.bundle(), ["list:/proc"]);
    assert_eq!(seen["pid"], 1);
    let listed = seen["asked"]["list:/proc"].as_array().unwrap().clone();
    let pids: Vec<_> = listed.iter().filter_map(|name| name.as_str()?.parse::<u32>().ok()).collect();
    assert_eq!(pids, [1], "only its own processes are there");
}

fn without_a_pid_namespace_init_is_not_pid_one(t: &Test) {
    let seen = t.look(&t.bundle().without_namespace("pid"), []);
    assert!(seen["pid"].as_u64().unwrap() > 1);
}

fn loopback_is_up_in_a_new_network(t: &Test) {
    let seen = t.look(&t.bundle(), ["list:/sys/class/net"]);
    assert_eq!(seen["loopback_up"], true);
    let links = seen["asked"]["list:/sys/class/net"].as_array().unwrap().clone();
    assert!(links.contains(&json!("lo")) && !links.contains(&json!("eth0")), "{links:?}");
}

fn hostname_is_set_in_its_own_namespace_only(t: &Test) {
    let before = nix::unistd::gethostname().unwrap();
    let seen = t.look(&t.bundle().set("/hostname", json!("rusty")), []);
    assert_eq!(seen["names"]["host"], "rusty");
    assert_eq!(nix::unistd::gethostname().unwrap(), before);
    t.refused(&t.bundle().without_namespace("uts")).one_clear_line(&["hostname"]);
}

fn domainname_is_set(t: &Test) {
    let bundle = t.bundle().set("/domainname", json!("example.org"));
    assert_eq!(t.look(&bundle, [])["names"]["domain"], "example.org");
}

fn cgroup_namespace_hides_the_path(t: &Test) {
    let seen = t.look(&t.bundle().namespace("cgroup"), []);
    assert_ne!(seen["ns"]["cgroup"], own("cgroup"));
    let cgroup = seen["cgroup"].as_str().unwrap().to_owned();
    let memory = if cgroup_v2() { "0::" } else { ":memory:" };
    let line = cgroup.lines().find(|line| line.contains(memory));
    assert!(line.is_some_and(|line| line.ends_with(":/")), "{cgroup}");
    let seen = t.look(&t.bundle(), []);
    assert!(seen["cgroup"].as_str().unwrap().contains(&t.token), "without one it is seen");
}

/// The ids of a process as the host sees them: real, effective, saved, filesystem.
fn host_ids(pid: i32, which: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(which));
    line.expect("a line of ids").split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

fn user_namespace_maps_ids(t: &Test) {
    let bundle = t.bundle().user_namespace().args(["/probe", "--report-pause"]);
    let container = t.start(&bundle);
    let pid = container.init.pid;
    assert_eq!(host_ids(pid, "Uid:"), "100000 100000 100000 100000");
    assert_eq!(host_ids(pid, "Gid:"), "100000 100000 100000 100000");
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    let seen = container.look([]);
    assert_eq!(seen["ids"]["uid"], json!([0, 0, 0]));
    assert_ne!(seen["ns"]["user"], own("user"));
    let seen = container.look(["--user", "1000:1000"]);
    assert_eq!(seen["ids"]["uid"], json!([1000, 1000, 1000]));
}

fn user_namespace_root_owns_its_mounts(t: &Test) {
    let seen = t.look(
        &t.bundle().user_namespace(),
        [
            "stat:/dev/pts",
            "stat:/dev/shm",
            "stat:/dev/mqueue",
            "stat:/dev/null",
            "create:/dev/shm/x",
            "write:/dev/null",
            "read:/dev/zero",
            "stat:/proc/1",
        ],
    );
    let asked = &seen["asked"];
    for place in ["/dev/pts", "/dev/shm", "/dev/mqueue", "/proc/1"] {
        assert_eq!(asked[format!("stat:{place}")]["uid"], 0, "{place}: {asked}");
    }
    assert_eq!(asked["stat:/dev/null"]["device"], "1:3");
    for done in ["create:/dev/shm/x", "write:/dev/null", "read:/dev/zero"] {
        assert_eq!(asked[done], "ok", "{done}");
    }
}

fn user_namespace_with_two_ranges(t: &Test) {
    let maps = json!([
        { "containerID": 0, "hostID": 100_000, "size": 10 },
        { "containerID": 10, "hostID": 200_000, "size": 1000 },
    ]);
    let bundle = t
        .bundle()
        .namespace("user")
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps)
        .set("/process/user", json!({ "uid": 12, "gid": 13, "additionalGids": [3] }))
        .pausing();
    let container = t.start(&bundle);
    assert_eq!(host_ids(container.init.pid, "Uid:"), "200002 200002 200002 200002");
    assert_eq!(host_ids(container.init.pid, "Gid:"), "200003 200003 200003 200003");
    assert_eq!(host_ids(container.init.pid, "Groups:"), "100003");
}

fn time_namespace_has_offsets(t: &Test) {
    let offsets = json!({ "monotonic": { "secs": 1000 }, "boottime": { "secs": 5000, "nanosecs": 7 } });
    let bundle = t.bundle().namespace("time").set("/linux/timeOffsets", offsets);
    let seen = t.look(&bundle, []);
    assert_ne!(seen["ns"]["time"], own("time"));
    let text = seen["timens"].as_str().unwrap().to_owned();
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "1000", "0", "boottime", "5000", "7"]);
}

fn offsets_without_a_time_namespace_are_refused(t: &Test) {
    let bundle = t.bundle().set("/linux/timeOffsets", json!({ "monotonic": { "secs": 10 } }));
    t.refused(&bundle).one_clear_line(&["timeOffsets"]);
}

fn an_unknown_kind_is_refused(t: &Test) {
    t.refused(&t.bundle().namespace("weather")).one_clear_line(&["weather"]);
}

fn one_offset_is_enough(t: &Test) {
    for (offsets, expected) in [
        (json!({ "monotonic": { "nanosecs": 5 } }), ["monotonic", "0", "5", "boottime", "0", "0"]),
        (json!({ "boottime": { "secs": 86_400 } }), ["monotonic", "0", "0", "boottime", "86400", "0"]),
        (json!({ "boottime": {} }), ["monotonic", "0", "0", "boottime", "0", "0"]),
        (json!({}), ["monotonic", "0", "0", "boottime", "0", "0"]),
    ] {
        let bundle = t.bundle().namespace("time").set("/linux/timeOffsets", offsets);
        let text = t.look(&bundle, [])["timens"].as_str().unwrap().to_owned();
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), expected);
    }
}

fn impossible_offsets_are_refused(t: &Test) {
    for (clock, offset, place) in [
        ("realtime", json!({ "secs": 1 }), "/linux/timeOffsets/realtime"),
        ("Monotonic", json!({ "secs": 1 }), "/linux/timeOffsets/Monotonic"),
        ("monotonic", json!({ "nanosecs": 1_000_000_000 }), "/linux/timeOffsets/monotonic/nanosecs"),
        ("monotonic", json!({ "nanosecs": -1 }), "/linux/timeOffsets/monotonic/nanosecs"),
        ("boottime", json!({ "secs": "1" }), "/linux/timeOffsets/boottime/secs"),
        // The clock would start below zero or overflow soon. Only the kernel knows the
        // limits.
        ("monotonic", json!({ "secs": -1_000_000_000_000_i64 }), "/linux/timeOffsets"),
        ("boottime", json!({ "secs": i64::MAX }), "/linux/timeOffsets"),
    ] {
        let bundle = t.bundle().namespace("time").set("/linux/timeOffsets", json!({ clock: offset }));
        t.refused(&bundle).one_clear_line(&[place]);
    }
}

/// `unshare --pid --fork` leaves the host's /proc mounted. In it every process has another
/// number, and small numbers are kernel threads.
fn proc_may_be_of_another_pid_namespace(t: &Test) {
    // systemd knows none of the pids of this namespace.
    t.cgroupfs_only();
    let bundle = t.bundle().user_namespace().set("/process/oomScoreAdj", json!(321)).pausing();
    let script = r#"
        [ "$(readlink /proc/self)" != $$ ] && echo foreign
        runtime create --bundle "$BUNDLE" "$ID" >/dev/null
        runtime state "$ID" | grep status
        runtime start "$ID"
        runtime exec "$ID" /probe --answer text:/proc/self/uid_map
        runtime exec "$ID" /probe --answer text:/proc/1/oom_score_adj
        runtime kill "$ID" KILL
        # The shell may reap the process first. Then its exit status is unknown.
        runtime wait "$ID" >/dev/null 2>&1 || true
        runtime state "$ID" | grep '"status": "'
        runtime delete "$ID" && echo deleted
    "#;
    let out = t.in_private_pids(&bundle, script).ok();
    let lines: Vec<_> =
        out.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let map = lines.iter().find(|line| line.contains("100000")).unwrap_or_else(|| panic!("{out:?}"));
    let wanted =
        ["foreign", "\"status\": \"created\",", map, "\"321\\n\"", "\"status\": \"stopped\",", "deleted"];
    assert_eq!(lines, wanted, "{out:?}");
}
