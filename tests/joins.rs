//! Namespaces joined by path: each kind, all together, and with different owners.

use crate::harness::{Bundle, Container, Running, Test, has_controller, pipe, read_line};
use serde_json::{Value, json};
use std::fs;

cases![
    joins_each_kind_by_path,
    joins_all_kinds_of_another_container,
    joins_a_pid_namespace_by_path,
    joins_a_time_namespace_by_path,
    joins_a_network_as_it_is,
    a_limit_of_one_process_is_set_after_the_last_clone,
    joins_a_user_namespace_by_path,
    joins_a_user_namespace_and_creates_the_others,
    joins_namespaces_that_the_user_namespace_does_not_own,
    creates_a_user_namespace_beside_joined_ones,
    creates_a_user_namespace_in_a_joined_pid_namespace,
    joins_the_runtimes_own_namespaces,
    mappings_of_a_joined_user_namespace_must_be_its_own,
    joins_a_mount_namespace_and_leaves_it_as_it_is,
    joins_a_mount_namespace_in_a_joined_user_namespace,
    a_mount_namespace_without_the_rootfs_is_refused,
    after_a_failed_create_a_joined_mount_namespace_is_clean,
    hostname_is_set_in_a_joined_namespace,
    offsets_of_a_joined_time_namespace_are_refused,
    a_path_of_the_wrong_kind_is_refused,
    a_path_that_does_not_exist_is_refused,
    no_sysctl_is_set_in_the_runtimes_own_namespace,
];

fn pausing(t: &Test, bundle: Bundle) -> Container<'_> {
    t.start(&bundle.pausing())
}

fn path_of(container: &Container, link: &str) -> String {
    format!("/proc/{}/ns/{link}", container.init.pid)
}

fn ns(path: &str) -> Value {
    json!(fs::read_link(path).unwrap())
}

fn own(link: &str) -> Value {
    ns(&format!("/proc/self/ns/{link}"))
}

/// A process in namespaces that no runtime created.
pub struct Holder<'t> {
    process: Running<'t>,
    _hold: std::os::fd::OwnedFd,
}

impl<'t> Holder<'t> {
    pub fn new(t: &'t Test, unshare: &[&str], prepare: &str) -> Holder<'t> {
        let ((reader, writer), (stdin, hold)) = (pipe(), pipe());
        let script = format!("{prepare}\necho ready; exec cat");
        let call = t.call("/usr/bin/unshare").args(unshare).args(["sh", "-e", "-c", &script]);
        let process = call.stdin(stdin).stdout(writer).spawn();
        assert_eq!(read_line(&reader), "ready");
        Holder { process, _hold: hold }
    }

    pub fn path(&self, link: &str) -> String {
        format!("/proc/{}/ns/{link}", self.process.pid())
    }

    pub fn end(self) {
        drop(self._hold);
        assert_eq!(self.process.out().code, 0);
    }
}

fn joins_each_kind_by_path(t: &Test) {
    let host = pausing(t, t.bundle().namespace("cgroup"));
    for (kind, link) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
        let path = path_of(&host, link);
        let seen = t.look(&t.bundle().join(kind, &path), []);
        assert_eq!(seen["ns"][link], ns(&path), "{kind}");
        assert_ne!(seen["ns"]["mnt"], own("mnt"));
    }
}

const ALL: [(&str, &str); 7] = [
    ("user", "user"),
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn joins_all_kinds_of_another_container(t: &Test) {
    let plain = pausing(t, t.bundle().namespace("cgroup").namespace("time"));
    let mapped = pausing(t, t.bundle().namespace("cgroup").namespace("time").user_namespace());
    for (host, kinds) in [(&plain, &ALL[1..]), (&mapped, &ALL[..])] {
        let join = |bundle: Bundle, (kind, link): &(&str, &str)| bundle.join(kind, &path_of(host, link));
        let bundle = kinds.iter().fold(t.bundle(), join);
        let seen = t.look(&bundle, []);
        for (kind, link) in kinds {
            assert_eq!(seen["ns"][link], ns(&path_of(host, link)), "{kind}");
        }
        let container = pausing(t, bundle);
        for (kind, link) in kinds {
            assert_eq!(container.look([])["ns"][link], seen["ns"][link], "exec follows: {kind}");
        }
        // A zombie keeps the pid namespace's first process from ending.
        container.stop();
    }
}

fn joins_a_pid_namespace_by_path(t: &Test) {
    let host = pausing(t, t.bundle());
    let path = path_of(&host, "pid");
    let seen = t.look(&t.bundle().join("pid", &path), ["read:/proc/1/status"]);
    assert_eq!(seen["ns"]["pid"], ns(&path));
    assert_ne!(seen["pid"], 1);
    assert_eq!(seen["asked"]["read:/proc/1/status"], "ok");
    assert_eq!(host.status(), "running", "the joined one goes on");
}

fn joins_a_time_namespace_by_path(t: &Test) {
    let offsets = json!({ "monotonic": { "secs": 1000 } });
    let host = pausing(t, t.bundle().namespace("time").set("/linux/timeOffsets", offsets));
    let path = path_of(&host, "time");
    let seen = t.look(&t.bundle().join("time", &path), []);
    assert_eq!(seen["ns"]["time"], ns(&path));
    assert!(seen["timens"].as_str().unwrap().contains("1000"), "{seen}");
}

fn joins_a_network_as_it_is(t: &Test) {
    // The runtime does not change the loopback device of a network that another program
    // created.
    let host = Holder::new(t, &["--net"], "");
    let seen = t.look(&t.bundle().join("network", &host.path("net")), []);
    assert_eq!(seen["ns"]["net"], ns(&host.path("net")));
    assert_eq!(seen["loopback_up"], false);
    host.end();
}

/// Like a pod's container: init joins the host's namespaces before it creates its user
/// namespace, so init is cloned twice.
fn a_limit_of_one_process_is_set_after_the_last_clone(t: &Test) {
    if !has_controller("pids") {
        t.skip("no pids controller");
    }
    let host = Holder::new(t, &["--uts"], "");
    let bundle = t.bundle().user_namespace().without_namespace("uts").join("uts", &host.path("uts"));
    let bundle = bundle.drop("/hostname").set("/linux/resources", json!({ "pids": { "limit": 1 } }));
    for _ in 0..10 {
        t.look(&bundle, []);
    }
    host.end();
}

fn joins_a_user_namespace_by_path(t: &Test) {
    let host = pausing(t, t.bundle().user_namespace());
    let path = path_of(&host, "user");
    let seen = t.look(&t.bundle().join("user", &path), []);
    assert_eq!(seen["ns"]["user"], ns(&path));
    assert_eq!(seen["ids"]["uid"], json!([0, 0, 0]));
}

fn joins_a_user_namespace_and_creates_the_others(t: &Test) {
    let host = pausing(t, t.bundle().user_namespace());
    let bundle = t.bundle().join("user", &path_of(&host, "user")).namespace("time").namespace("cgroup");
    let offsets = json!({ "boottime": { "secs": 5000 } });
    let bundle = bundle
        .set("/linux/timeOffsets", offsets)
        .set("/hostname", json!("inner"))
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    let seen = t.look(&bundle, ["stat:/dev/mqueue", "text:/proc/sys/net/ipv4/ip_forward", "stat:/proc/1"]);
    assert_eq!((&seen["pid"], &seen["names"]["host"]), (&json!(1), &json!("inner")));
    assert_eq!(seen["asked"]["text:/proc/sys/net/ipv4/ip_forward"], "1\n");
    for place in ["/dev/mqueue", "/proc/1"] {
        assert_eq!(seen["asked"][format!("stat:{place}")]["uid"], 0, "{place} is its root's");
    }
    assert!(seen["timens"].as_str().unwrap().contains("5000"));
    for (_, link) in &ALL[1..] {
        assert_ne!(seen["ns"][link], ns(&path_of(&host, link)), "{link}");
        assert_ne!(seen["ns"][link], own(link), "{link}");
    }
}

/// Like a pod: the engine created the network namespace, which belongs to the host's user
/// namespace. sysfs can't be mounted there.
fn in_a_pod(bundle: Bundle, host: &Holder) -> Bundle {
    let bundle = bundle.without_mount("/sys").without_mount("/sys/fs/cgroup");
    let bundle = bundle.bind(std::path::Path::new("/sys"), "/sys", &["ro"]);
    ["net", "ipc", "uts"].iter().fold(bundle, |bundle, link| {
        bundle.join(if *link == "net" { "network" } else { link }, &host.path(link))
    })
}

fn joins_namespaces_that_the_user_namespace_does_not_own(t: &Test) {
    let host = Holder::new(t, &["--net", "--ipc", "--uts"], "");
    let mapped = pausing(t, t.bundle().user_namespace());
    let bundle = t.bundle().without_mount("/dev/mqueue").drop("/hostname");
    let bundle = in_a_pod(bundle, &host).join("user", &path_of(&mapped, "user"));
    let seen = t.look(&bundle, []);
    for link in ["net", "ipc", "uts"] {
        assert_eq!(seen["ns"][link], ns(&host.path(link)), "{link}");
    }
    assert_eq!(seen["ns"]["user"], ns(&path_of(&mapped, "user")));
    assert_eq!(seen["pid"], 1);
    host.end();
}

fn creates_a_user_namespace_beside_joined_ones(t: &Test) {
    let host = Holder::new(t, &["--net", "--ipc", "--uts"], "");
    let bundle = t.bundle().without_mount("/dev/mqueue").drop("/hostname");
    let bundle = in_a_pod(bundle, &host).user_namespace().namespace("time").namespace("cgroup");
    let bundle = bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }]));
    let seen = t.look(&bundle, ["stat:/dev/pts"]);
    for link in ["net", "ipc", "uts"] {
        assert_eq!(seen["ns"][link], ns(&host.path(link)), "{link}");
    }
    assert_ne!(seen["ns"]["user"], own("user"));
    assert_eq!((&seen["pid"], &seen["ids"]["uid"]), (&json!(1), &json!([0, 0, 0])));
    assert_eq!(seen["asked"]["stat:/dev/pts"]["uid"], 0);
    assert_eq!(seen["rlimits"]["RLIMIT_CORE"], json!([1, 2]));
    let container = pausing(t, bundle);
    assert_eq!(container.state()["pid"], container.init.pid);
    assert_eq!(container.look([])["ns"]["net"], ns(&host.path("net")), "exec follows");
    drop(container);
    host.end();
}

fn creates_a_user_namespace_in_a_joined_pid_namespace(t: &Test) {
    let host = pausing(t, t.bundle());
    let path = path_of(&host, "pid");
    for bundle in [t.bundle(), t.bundle().join("uts", &path_of(&host, "uts")).drop("/hostname")] {
        // procfs shows a pid namespace that does not belong to this user namespace.
        let bundle = bundle.user_namespace().join("pid", &path);
        let bundle = bundle.without_mount("/proc").bind(std::path::Path::new("/proc"), "/proc", &[]);
        let bundle = bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
        let container = pausing(t, bundle);
        let pid = container.init.pid;
        assert_eq!(ns(&format!("/proc/{pid}/ns/pid")), ns(&path));
        assert_ne!(ns(&format!("/proc/{pid}/ns/user")), own("user"));
        assert_eq!(container.state()["pid"], pid, "its pid is the host's");
        let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
        container.stop();
    }
}

fn joins_the_runtimes_own_namespaces(t: &Test) {
    let join =
        |bundle: Bundle, (kind, link): &(&str, &str)| bundle.join(kind, &format!("/proc/self/ns/{link}"));
    let bundle = ALL.iter().fold(t.bundle().drop("/hostname"), join).without_mount("/dev/mqueue");
    let container = pausing(t, bundle);
    let seen = container.look([]);
    for (kind, link) in ALL {
        assert_eq!(seen["ns"][link], own(link), "{kind}");
    }
}

fn mappings_of_a_joined_user_namespace_must_be_its_own(t: &Test) {
    let host = pausing(t, t.bundle().user_namespace());
    let map = |host: u32, size: u32| json!([{ "containerID": 0, "hostID": host, "size": size }]);
    let with = |uid: Value, gid: Value| {
        let bundle = t.bundle().join("user", &path_of(&host, "user"));
        bundle.set("/linux/uidMappings", uid).set("/linux/gidMappings", gid)
    };
    assert_eq!(t.look(&with(map(100_000, 65536), map(100_000, 65536)), [])["ids"]["uid"][0], 0);
    let split = json!([
        { "containerID": 1, "hostID": 100_001, "size": 65535 },
        { "containerID": 0, "hostID": 100_000, "size": 1 },
    ]);
    assert_eq!(t.look(&with(split, map(100_000, 65536)), [])["ids"]["uid"][0], 0, "the same ids");
    t.refused(&with(map(200_000, 65536), map(100_000, 65536))).one_clear_line(&["/linux/uidMappings"]);
    t.refused(&with(map(100_000, 65536), map(100_000, 9))).one_clear_line(&["/linux/gidMappings"]);
}

/// Returns the mounts in the mount namespace of a process.
fn mounts_of(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn joins_a_mount_namespace_and_leaves_it_as_it_is(t: &Test) {
    let volume = t.make_dir("volume");
    let prepare = format!("mount -t tmpfs mark {}; touch {}/here", volume.display(), volume.display());
    let host = Holder::new(t, &["--mount", "--propagation", "private"], &prepare);
    let before = mounts_of(host.process.pid());
    let bundle = t.bundle().join("mount", &host.path("mnt"));
    let container = pausing(t, bundle.clone());
    let seen = container.look(["--cwd", "/root"]);
    assert_eq!(seen["ns"]["mnt"], ns(&host.path("mnt")));
    assert_eq!((&seen["cwd"], seen["pid"] != json!(0)), (&json!("/root"), true));
    assert_eq!(seen["names"]["host"], "box");
    let out = container.exec([], ["ls", "/"]).ok();
    assert!(out.stdout.contains("probe") && !out.stdout.contains("home"), "exec has its root: {out:?}");
    let root = format!("/proc/{}/root{}/here", host.process.pid(), volume.display());
    assert!(fs::metadata(&root).is_ok(), "the joined namespace's processes keep their root");
    drop(container);
    assert_eq!(mounts_of(host.process.pid()), before, "nothing is left in it");
    assert_eq!(t.run(&bundle.shell("exit 3")).code, 3);
    assert_eq!(mounts_of(host.process.pid()), before, "nothing is left in it");
    host.end();
}

fn joins_a_mount_namespace_in_a_joined_user_namespace(t: &Test) {
    let flags = ["--user", "--map-root-user", "--mount", "--propagation", "private"];
    let host = Holder::new(t, &flags, "");
    let bundle = t.bundle().join("mount", &host.path("mnt")).join("user", &host.path("user"));
    let bundle = bundle.remount("/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620"]);
    let seen = t.look(&bundle, []);
    assert_eq!(seen["ns"]["mnt"], ns(&host.path("mnt")));
    assert_eq!(seen["ns"]["user"], ns(&host.path("user")));
    assert_eq!(seen["pid"], 1);
    host.end();
}

fn a_mount_namespace_without_the_rootfs_is_refused(t: &Test) {
    let host = pausing(t, t.bundle());
    let bundle = t.bundle().join("mount", &path_of(&host, "mnt"));
    t.refused(&bundle).one_clear_line(&["/root/path", bundle.dir.to_str().unwrap()]);
    let out = host.exec([], ["ls", "/"]).ok();
    assert!(out.stdout.contains("probe"), "the joined container keeps its root: {out:?}");
}

fn after_a_failed_create_a_joined_mount_namespace_is_clean(t: &Test) {
    let host = Holder::new(t, &["--mount", "--propagation", "private"], "");
    let before = mounts_of(host.process.pid());
    let bundle = t.bundle().join("mount", &host.path("mnt")).args(["/nonexistent"]);
    t.refused(&bundle).fails(&["/nonexistent", "no such file or directory"]);
    assert_eq!(mounts_of(host.process.pid()), before);
    host.end();
}

fn hostname_is_set_in_a_joined_namespace(t: &Test) {
    let host = pausing(t, t.bundle().set("/hostname", json!("theirs")));
    let bundle = t.bundle().join("uts", &path_of(&host, "uts"));
    let seen = t.look(&bundle.clone().drop("/hostname"), []);
    assert_eq!(seen["names"]["host"], "theirs", "it is as it is");
    let bundle = bundle.set("/hostname", json!("ours")).set("/domainname", json!("example.org"));
    assert_eq!(t.look(&bundle, [])["names"], json!({ "host": "ours", "domain": "example.org" }));
    assert_eq!(host.look([])["names"]["host"], "ours", "it is one namespace");
}

fn offsets_of_a_joined_time_namespace_are_refused(t: &Test) {
    let host = pausing(t, t.bundle().namespace("time"));
    let bundle = t.bundle().join("time", &path_of(&host, "time"));
    let bundle = bundle.set("/linux/timeOffsets", json!({ "monotonic": { "secs": 10 } }));
    t.refused(&bundle).one_clear_line(&["/linux/timeOffsets/monotonic"]);
}

fn a_path_of_the_wrong_kind_is_refused(t: &Test) {
    let host = pausing(t, t.bundle());
    let kinds = [("network", "ipc"), ("ipc", "net"), ("uts", "user"), ("user", "uts"), ("pid", "mnt")];
    let more = [("mount", "pid"), ("cgroup", "time"), ("time", "cgroup")];
    for (kind, link) in kinds.into_iter().chain(more) {
        let path = path_of(&host, link);
        let bundle = t.bundle().join(kind, &path);
        let index = bundle.config["linux"]["namespaces"].as_array().unwrap().len() - 1;
        let place = format!("/linux/namespaces/{index}/path");
        t.refused(&bundle).one_clear_line(&[&place, &path, kind]);
    }
    for path in ["/etc/passwd", "/", "/proc/self/ns", "/dev/null"] {
        t.refused(&t.bundle().join("network", path)).one_clear_line(&["/linux/namespaces/4/path", path]);
    }
}

fn a_path_that_does_not_exist_is_refused(t: &Test) {
    let out = t.refused(&t.bundle().join("network", "/nonexistent/ns"));
    out.one_clear_line(&["/linux/namespaces/4/path", "/nonexistent/ns"]);
    let out = t.refused(&t.bundle().join("ipc", "relative/ns"));
    out.one_clear_line(&["/linux/namespaces/4/path", "relative/ns"]);
}

/// The joined namespace may be the runtime's own. The runtime sets no sysctl there.
fn no_sysctl_is_set_in_the_runtimes_own_namespace(t: &Test) {
    for (kind, link, key) in [
        ("network", "net", "net.ipv4.ip_forward"),
        ("ipc", "ipc", "kernel.msgmax"),
        ("uts", "uts", "kernel.domainname"),
    ] {
        let bundle = t.bundle().without_mount("/dev/mqueue").drop("/hostname");
        let bundle = bundle.join(kind, &format!("/proc/self/ns/{link}"));
        let bundle = bundle.set("/linux/sysctl", json!({ key: "4321" }));
        t.refused(&bundle).one_clear_line(&[&format!("/linux/sysctl/{key}")]);
    }
}
