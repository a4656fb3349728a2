//! Network devices that move into the container, and come back if it fails.
//!
//! The host's side is a network namespace of the test's own: `n0` and `n1` are
//! the ends of a cable, and `n0` is what the container gets.

use crate::harness::{Bundle, Out, Test};
use serde_json::{Value, json};

cases![
    a_device_moves_with_its_attributes,
    a_device_keeps_its_name_unless_another_is_given,
    a_template_takes_the_first_free_number,
    only_permanent_global_addresses_come_along,
    several_devices_move,
    a_name_of_the_host_may_be_taken_by_another,
    a_device_moves_into_a_joined_network,
    a_device_moves_into_a_user_namespace,
    hooks_and_sysctls_find_the_device,
    a_dot_in_a_name_is_no_separator,
    a_device_is_not_fetched_back,
    exec_sees_the_device,
    after_a_failed_create_the_device_is_back,
    a_bridges_port_is_back_in_its_bridge,
    devices_moved_before_the_failure_are_moved_back,
    a_device_that_cannot_move_is_refused,
    a_missing_device_is_refused,
    a_name_that_is_taken_is_refused,
    invalid_names_are_refused,
    without_a_network_namespace_it_is_refused,
    the_hosts_own_network_is_refused,
    without_privilege_it_is_refused,
    features_report_net_devices,
];

/// A veth pair, and a script that uses it.
fn wired(t: &Test, bundle: &Bundle, script: &str) -> Out {
    let lay = "ip link add n0 type veth peer name n1 || exit 99\n";
    let out = t.in_private_network(bundle, &format!("{lay}{script}")).out();
    if out.code == 99 {
        t.skip("the kernel has no veth");
    }
    out
}

/// The same, and `ip` in the container lists all its devices.
fn shown(t: &Test, devices: Value, prepare: &str) -> Out {
    let bundle = with(t, devices).args(["busybox", "ip", "addr"]);
    let out = wired(t, &bundle, &format!("{prepare}\nruntime run $ID"));
    assert_eq!(out.code, 0, "{out:?}");
    out
}

fn with(t: &Test, devices: Value) -> Bundle {
    let bundle = t.bundle().set("/linux/netDevices", devices);
    std::os::unix::fs::symlink("busybox", bundle.inside("/bin/ip")).expect("applet");
    bundle
}

fn a_device_moves_with_its_attributes(t: &Test) {
    let prepare = "ip link set n0 mtu 1400 address 02:00:00:00:00:07
        ip addr add 10.9.8.7/24 dev n0
        ip addr add 10.9.8.8/24 dev n0
        ip addr add fd00::7/64 dev n0 nodad
        ip link set n0 up";
    let out = shown(t, json!({ "n0": { "name": "eth0" } }), prepare);
    let device = out.stdout.split_once(" eth0@").expect("eth0 is there").1;
    for needle in
        ["UP", "mtu 1400", "02:00:00:00:00:07", "inet 10.9.8.7/24", "inet 10.9.8.8/24", "fd00::7/64"]
    {
        assert!(device.contains(needle), "{needle}: {out:?}");
    }
    assert!(!out.stdout.contains("n0"), "under its new name only: {out:?}");
    let (first, second) = (device.find("10.9.8.7"), device.find("10.9.8.8"));
    assert!(first < second, "the primary address stays the primary: {out:?}");
}

fn a_device_keeps_its_name_unless_another_is_given(t: &Test) {
    for device in [json!({}), json!({ "name": "" })] {
        let out = shown(t, json!({ "n0": device }), "ip link show n0 > /dev/null");
        assert!(out.stdout.contains(" n0@") && out.stdout.contains("UP"), "it is set up: {out:?}");
    }
}

fn a_template_takes_the_first_free_number(t: &Test) {
    let devices = json!({ "n0": { "name": "eth%d" }, "n1": { "name": "eth%d" } });
    let out = shown(t, devices, "");
    assert!(out.stdout.contains(" eth0@") && out.stdout.contains(" eth1@"), "{out:?}");
}

fn only_permanent_global_addresses_come_along(t: &Test) {
    let prepare = "ip addr add 10.9.8.7/24 dev n0
        ip addr add 10.9.8.8/24 dev n0 valid_lft 600 preferred_lft 600
        ip addr add 169.254.3.4/16 dev n0 scope link
        ip addr add fe80::1234/64 dev n0 scope link nodad
        ip link set n0 up";
    let out = shown(t, json!({ "n0": {} }), prepare);
    assert!(out.stdout.contains("10.9.8.7/24"), "{out:?}");
    for gone in ["10.9.8.8", "169.254.3.4", "fe80::1234"] {
        assert!(!out.stdout.contains(gone), "{gone}: {out:?}");
    }
}

fn several_devices_move(t: &Test) {
    let out = shown(t, json!({ "n0": { "name": "left" }, "n1": { "name": "right" } }), "");
    assert!(out.stdout.contains(" left@right") && out.stdout.contains(" right@left"), "{out:?}");
}

fn a_name_of_the_host_may_be_taken_by_another(t: &Test) {
    // The container's n1 is the host's n0, and vice versa.
    let out = shown(t, json!({ "n0": { "name": "n1" } }), "ip addr add 10.9.8.7/24 dev n0");
    assert!(out.stdout.contains(" n1@") && out.stdout.contains("10.9.8.7"), "{out:?}");
    let out =
        shown(t, json!({ "n0": { "name": "n1" }, "n1": { "name": "n0" } }), "ip addr add 10.9.8.7/24 dev n0");
    let device = out.stdout.split_once(" n1@n0").expect("n1").1;
    assert!(device.contains("10.9.8.7"), "{out:?}");
}

/// A network namespace to join, at $NET.
const OTHER: &str = "unshare --net sh -c 'echo; exec cat' < $FIFO > pipe & other=$!
    read _ < pipe; NET=/proc/$other/ns/net
    ";

/// Writes $NET into the configuration, and runs the following commands.
fn joined(t: &Test, bundle: &Bundle, script: &str) -> Out {
    let bundle = bundle.clone().join("network", "/NET");
    let script = format!(
        "mkfifo pipe in; exec 3<>in; FIFO=in
        {OTHER}
        sed -i \"s|/NET|$NET|\" config.json
        {script}
        kill $other"
    );
    wired(t, &bundle, &script)
}

fn a_device_moves_into_a_joined_network(t: &Test) {
    let bundle = with(t, json!({ "n0": { "name": "eth0" } })).args(["ip", "addr"]);
    let script = "ip addr add 10.9.8.7/24 dev n0
        runtime run $ID
        nsenter --net=$NET ip -br addr show eth0 > after";
    let out = joined(t, &bundle, script);
    assert_eq!(out.code, 0, "{out:?}");
    assert!(out.stdout.contains(" eth0@") && out.stdout.contains("10.9.8.7/24"), "{out:?}");
    let after = std::fs::read_to_string(bundle.dir.join("after")).expect("what is there after");
    assert!(after.contains("10.9.8.7/24"), "the namespace keeps it: {after}");
}

fn a_device_moves_into_a_user_namespace(t: &Test) {
    let bundle = with(t, json!({ "n0": { "name": "eth0" } })).user_namespace().args(["ip", "addr"]);
    let out = wired(t, &bundle, "ip addr add 10.9.8.7/24 dev n0; runtime run $ID");
    assert_eq!(out.code, 0, "{out:?}");
    assert!(out.stdout.contains(" eth0@") && out.stdout.contains("10.9.8.7/24"), "{out:?}");
}

fn hooks_and_sysctls_find_the_device(t: &Test) {
    let hook = |name: &str| {
        let script = format!("ip link show eth0 > $0/{name}");
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script, t.dir],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] }])
    };
    let bundle = with(t, json!({ "n0": { "name": "eth0" } }))
        .set("/hooks", json!({ "createContainer": hook("seen") }))
        .set("/linux/sysctl", json!({ "net.ipv4.conf.eth0.forwarding": "1" }))
        .args(["cat", "/proc/sys/net/ipv4/conf/eth0/forwarding"]);
    let out = wired(t, &bundle, "runtime run $ID");
    assert_eq!((out.code, out.stdout.as_str()), (0, "1\n"), "{out:?}");
    assert!(std::fs::read_to_string(t.dir.join("seen")).unwrap().contains("eth0"));
}

fn a_dot_in_a_name_is_no_separator(t: &Test) {
    let bundle = with(t, json!({ "n0": { "name": "eth0.7" } }))
        .args(["cat", "/proc/sys/net/ipv4/conf/eth0.7/forwarding"]);
    for key in ["net/ipv4/conf/eth0.7/forwarding", "net.ipv4.conf.eth0/7.forwarding"] {
        let out = wired(t, &bundle.clone().set("/linux/sysctl", json!({ key: "1" })), "runtime run $ID");
        assert_eq!((out.code, out.stdout.as_str()), (0, "1\n"), "{key}: {out:?}");
    }
}

fn a_device_is_not_fetched_back(t: &Test) {
    let script = "runtime create $ID < /dev/null > /dev/null
        ip -br link > created; runtime delete --force $ID; ip -br link > deleted";
    let bundle = with(t, json!({ "n0": { "name": "eth0" } }));
    let out = wired(t, &bundle, script);
    assert_eq!(out.code, 0, "{out:?}");
    for when in ["created", "deleted"] {
        let seen = std::fs::read_to_string(bundle.dir.join(when)).unwrap();
        assert!(!seen.contains("n0@n1") && !seen.contains("eth0"), "{when}: {seen}");
    }
}

fn exec_sees_the_device(t: &Test) {
    let bundle = with(t, json!({ "n0": { "name": "eth0" } })).pausing();
    let script = "runtime run --detach $ID < /dev/null > /dev/null 2>&1
        runtime exec $ID ip -o link show eth0; runtime delete --force $ID";
    let out = wired(t, &bundle, script);
    assert!(out.code == 0 && out.stdout.contains("eth0@"), "{out:?}");
}

const ADDRESSED: &str = "ip link set n0 up; ip link set n1 up
    ip addr add 10.9.8.7/24 dev n0
    ip addr add fd00::7/64 dev n0 nodad
    ip route add 10.77.0.0/16 via 10.9.8.1
    ip route add 10.78.0.0/16 dev n0
    ";

/// Runs a `create` that fails. Returns the state of n0 before and after.
fn fails(t: &Test, bundle: &Bundle, prepare: &str) -> (Out, String, String) {
    let look = "show() { ip -o link show n0 | cut -d' ' -f2-9; ip -o addr show n0 scope global
            ip route show dev n0; ip -o link show master br0 2>/dev/null | cut -d' ' -f2; }";
    let script = format!(
        "{prepare}\n{look}\nshow > before
        if runtime create $ID; then exit 1; fi
        show > after"
    );
    let out = wired(t, bundle, &script);
    let read = |name: &str| std::fs::read_to_string(bundle.dir.join(name)).expect(name);
    assert_eq!(out.code, 0, "{out:?}");
    (out, read("before"), read("after"))
}

fn after_a_failed_create_the_device_is_back(t: &Test) {
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "touch $0/ran; ip link show n0 && touch $0/there; exit 1",
        t.dir], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] }]);
    let moved = json!({ "n0": { "name": "eth0" } });
    for (bundle, reason) in [
        (with(t, moved.clone()).set("/hooks", json!({ "createRuntime": hook })), "/hooks/createRuntime/0"),
        (with(t, moved.clone()).set("/process/args", json!(["/nonexistent"])), "/nonexistent"),
        (with(t, moved.clone()).set("/linux/sysctl", json!({ "net.ipv4.nonsense": "1" })), "nonsense"),
        (
            with(t, moved.clone()).user_namespace().set("/process/args", json!(["/nonexistent"])),
            "/nonexistent",
        ),
    ] {
        let (out, before, after) = fails(t, &bundle, ADDRESSED);
        out.says(&[reason]);
        assert!(before.contains("10.77.0.0/16 via 10.9.8.1") && before.contains("fd00::7/64"), "{before}");
        assert_eq!(before, after);
    }
    assert!(t.dir.join("ran").exists(), "the hook did not look");
    assert!(!t.dir.join("there").exists(), "it had been away");
}

fn a_bridges_port_is_back_in_its_bridge(t: &Test) {
    let bundle = with(t, json!({ "n0": {} })).set("/process/args", json!(["/nonexistent"]));
    let prepare = "ip link add br0 type bridge; ip link set n0 master br0";
    let (out, before, after) = fails(t, &bundle, prepare);
    out.says(&["/nonexistent"]);
    assert!(before.contains("n0"), "{before}");
    assert_eq!(before, after);
}

fn devices_moved_before_the_failure_are_moved_back(t: &Test) {
    // The second device can't leave its namespace.
    let bundle = with(t, json!({ "n0": { "name": "eth0" }, "stay": {} }));
    let prepare = format!("{ADDRESSED} ip link add stay type bridge");
    let script = "if runtime run $ID; then exit 98; fi";
    let out = wired(t, &bundle, &format!("ip link add stay type bridge\n{script}"));
    if out.code == 98 {
        t.skip("this kernel moves bridges");
    }
    let (out, before, after) = fails(t, &bundle, &prepare);
    out.says(&["stay"]);
    assert_eq!(before, after);
}

fn a_device_that_cannot_move_is_refused(t: &Test) {
    let bundle = with(t, json!({ "lo": { "name": "loop" } }));
    let (out, ..) = fails(t, &bundle, "");
    assert!(out.stderr.contains("/linux/netDevices/lo") && out.stderr.lines().count() == 1, "{out:?}");
}

fn a_missing_device_is_refused(t: &Test) {
    let bundle = with(t, json!({ "n0": { "name": "eth0" }, "nosuchdev0": { "name": "eth1" } }));
    let (out, before, after) = fails(t, &bundle, ADDRESSED);
    out.says(&["/linux/netDevices/nosuchdev0", "nosuchdev0"]);
    assert_eq!(before, after);
}

fn a_name_that_is_taken_is_refused(t: &Test) {
    let (out, before, after) = fails(t, &with(t, json!({ "n0": { "name": "lo" } })), ADDRESSED);
    out.says(&["/linux/netDevices/n0", "lo"]);
    assert_eq!(before, after);
    let bundle = with(t, json!({ "n0": { "name": "eth0" } }));
    let script = "nsenter --net=$NET ip link add eth0 type veth
        if runtime create $ID; then exit 1; fi
        ip -br link show n0";
    let out = joined(t, &bundle, script);
    assert!(out.code == 0 && out.stdout.contains("n0@n1"), "{out:?}");
    out.says(&["/linux/netDevices/n0", "eth0"]);
    let twice = json!({ "a0": { "name": "eth0" }, "b0": { "name": "eth0" } });
    t.refused(&with(t, twice)).one_clear_line(&["/linux/netDevices/b0/name", "eth0"]);
}

fn invalid_names_are_refused(t: &Test) {
    for name in ["sixteen-bytes-xx", "a b", "a/b", "a:b", ".", "..", "eth%s", "%d%d", "a\nb"] {
        let out = t.refused(&with(t, json!({ "n0": { "name": name } })));
        out.one_clear_line(&["/linux/netDevices/n0/name"]);
    }
    t.refused(&with(t, json!({ "sixteen-bytes-xx": {} }))).one_clear_line(&["/linux/netDevices/sixteen"]);
    t.refused(&with(t, json!({ "": {} }))).one_clear_line(&["/linux/netDevices/"]);
    t.refused(&with(t, json!({ "n0": { "name": 7 } }))).one_clear_line(&["/linux/netDevices/n0/name"]);
}

fn without_a_network_namespace_it_is_refused(t: &Test) {
    let bundle = with(t, json!({ "n0": {} })).without_namespace("network");
    t.refused(&bundle).one_clear_line(&["/linux/netDevices", "NET namespace"]);
}

fn the_hosts_own_network_is_refused(t: &Test) {
    let bundle = with(t, json!({ "n0": { "name": "eth0" } })).join("network", "/proc/self/ns/net");
    let (out, before, after) = fails(t, &bundle, ADDRESSED);
    assert!(out.stderr.contains("/linux/netDevices"), "{out:?}");
    assert_eq!(before, after);
}

/// A plain user is root of the container's network namespace, but not of the host's.
fn without_privilege_it_is_refused(t: &Test) {
    let own = |path: &std::path::Path| {
        let (uid, gid) = (nix::unistd::Uid::from_raw(61234), nix::unistd::Gid::from_raw(61234));
        nix::unistd::chown(path, Some(uid), Some(gid)).expect("chown");
    };
    let map = json!([{ "containerID": 0, "hostID": 61234, "size": 1 }]);
    let bundle = with(t, json!({ "n0": {} })).namespace("user").drop("/linux/resources");
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let state = t.make_dir("state");
    own(&state);
    own(&bundle.dir);
    let script = format!(
        "ip link set n0 up
        if setpriv --reuid 61234 --regid 61234 --clear-groups --inh-caps -all \\
            \"$RUNTIME\" --root {} create --bundle $BUNDLE $ID; then exit 1; fi
        ip -br link show n0",
        state.display()
    );
    let out = wired(t, &bundle, &script);
    assert!(out.code == 0 && out.stdout.contains("n0@n1"), "{out:?}");
    assert_eq!(out.stderr.lines().count(), 1, "{out:?}");
    out.says(&["/linux/netDevices", "CAP_NET_ADMIN"]);
}

fn features_report_net_devices(t: &Test) {
    let features: Value = serde_json::from_str(&t.verb(["features"]).ok().stdout).expect("JSON");
    assert_eq!(features["linux"]["netDevices"]["enabled"], true);
}
