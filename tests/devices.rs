//! Device nodes in /dev, and which devices the devices cgroup lets the payload use.

use crate::harness::{Bundle, Test, cgroup_v2};
use serde_json::{Value, json};

cases![
    default_devices_are_there,
    default_links_are_there,
    nothing_else_is_in_dev,
    there_is_no_console_without_a_terminal,
    devices_of_each_type,
    mode_and_owner_are_taken,
    device_in_a_directory_of_its_own,
    device_outside_dev,
    devices_work_in_a_user_namespace,
    default_devices_can_be_used,
    tun_may_be_used_by_default,
    other_devices_are_denied_by_default,
    allowed_device_can_be_used,
    access_letters_are_kept_apart,
    later_rule_wins,
    allow_all,
    a_rule_for_both_kinds_is_for_its_number,
    a_rule_that_denies_a_part_is_kept_or_refused,
    mknod_is_allowed_but_not_its_use,
    unknown_device_type_is_refused,
    unknown_access_letter_is_refused,
    device_without_a_path_is_refused,
    device_without_its_number_is_refused,
    two_devices_of_one_path_are_refused,
    a_default_device_may_be_replaced,
    modes_ignore_the_callers_umask,
    the_images_node_is_used_if_it_is_the_device,
    another_file_in_the_devices_place_is_refused,
    devices_in_a_readonly_root,
    the_hosts_dev_stays_as_it_is,
];

const DEFAULT: [(&str, &str); 6] = [
    ("/dev/null", "1:3"),
    ("/dev/zero", "1:5"),
    ("/dev/full", "1:7"),
    ("/dev/random", "1:8"),
    ("/dev/urandom", "1:9"),
    ("/dev/tty", "5:0"),
];

fn default_devices_are_there(t: &Test) {
    let questions = DEFAULT.map(|(path, _)| format!("stat:{path}"));
    let seen = t.look(&t.bundle(), questions.each_ref().map(String::as_str));
    for ((path, device), question) in DEFAULT.iter().zip(&questions) {
        let stat = &seen["asked"][question];
        assert_eq!((&stat["type"], &stat["device"]), (&json!("c"), &json!(device)), "{path}");
        assert_eq!((&stat["mode"], &stat["uid"]), (&json!("666"), &json!(0)), "{path}");
    }
}

fn default_links_are_there(t: &Test) {
    let links = [
        ("link:/dev/fd", "/proc/self/fd"),
        ("link:/dev/stdin", "/proc/self/fd/0"),
        ("link:/dev/stdout", "/proc/self/fd/1"),
        ("link:/dev/stderr", "/proc/self/fd/2"),
        ("link:/dev/ptmx", "pts/ptmx"),
    ];
    let seen = t.look(&t.bundle(), links.map(|(question, _)| question));
    for (question, target) in links {
        assert_eq!(seen["asked"][question], target, "{question}");
    }
}

fn nothing_else_is_in_dev(t: &Test) {
    let seen = t.look(&t.bundle(), ["list:/dev"]);
    let known = [
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
        "tty", "urandom", "zero",
    ];
    for name in seen["asked"]["list:/dev"].as_array().unwrap() {
        assert!(known.iter().any(|known| name == known), "{name} does not belong there");
    }
}

fn there_is_no_console_without_a_terminal(t: &Test) {
    let seen = t.look(&t.bundle(), ["stat:/dev/console", "write:/dev/tty"]);
    assert_eq!(seen["asked"]["stat:/dev/console"], "ENOENT");
    assert_eq!(seen["tty"]["controlling"], false);
}

fn device(path: &str, kind: &str, major: u32, minor: u32) -> Value {
    json!({ "path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o666 })
}

fn with(t: &Test, devices: &[Value]) -> Bundle {
    t.bundle().set("/linux/devices", json!(devices))
}

fn devices_of_each_type(t: &Test) {
    let bundle = with(
        t,
        &[
            device("/dev/chars", "c", 10, 200),
            device("/dev/blocks", "b", 7, 99),
            device("/dev/unbuffered", "u", 10, 201),
            json!({ "path": "/dev/fifo", "type": "p", "fileMode": 0o600 }),
        ],
    );
    let seen =
        t.look(&bundle, ["stat:/dev/chars", "stat:/dev/blocks", "stat:/dev/unbuffered", "stat:/dev/fifo"]);
    for (name, kind, number) in [
        ("chars", "c", "10:200"),
        ("blocks", "b", "7:99"),
        ("unbuffered", "c", "10:201"),
        ("fifo", "p", "0:0"),
    ] {
        let stat = &seen["asked"][format!("stat:/dev/{name}")];
        assert_eq!((&stat["type"], &stat["device"]), (&json!(kind), &json!(number)), "{name}");
    }
}

fn mode_and_owner_are_taken(t: &Test) {
    let mut own = device("/dev/mine", "c", 1, 3);
    own["fileMode"] = json!(0o640);
    own["uid"] = json!(11);
    own["gid"] = json!(12);
    let stat = &t.look(&with(t, &[own]), ["stat:/dev/mine"])["asked"]["stat:/dev/mine"];
    assert_eq!((&stat["mode"], &stat["uid"], &stat["gid"]), (&json!("640"), &json!(11), &json!(12)));
}

fn device_in_a_directory_of_its_own(t: &Test) {
    let bundle = with(t, &[device("/dev/net/tun", "c", 10, 200), device("/dev/a/b/c", "c", 1, 5)]);
    let seen = t.look(&bundle, ["stat:/dev/net/tun", "stat:/dev/a/b/c", "stat:/dev/net"]);
    assert_eq!(seen["asked"]["stat:/dev/net/tun"]["device"], "10:200");
    assert_eq!(seen["asked"]["stat:/dev/a/b/c"]["device"], "1:5");
    assert_eq!(seen["asked"]["stat:/dev/net"]["mode"], "755");
}

fn device_outside_dev(t: &Test) {
    let seen = t.look(&with(t, &[device("/var/zero", "c", 1, 5)]), ["stat:/var/zero", "read:/var/zero"]);
    assert_eq!(seen["asked"]["stat:/var/zero"]["device"], "1:5");
    assert_eq!(seen["asked"]["read:/var/zero"], "ok");
}

fn devices_work_in_a_user_namespace(t: &Test) {
    let bundle = with(t, &[device("/dev/fuse", "c", 10, 229)]).user_namespace();
    if !std::path::Path::new("/dev/fuse").exists() {
        t.skip("the host has no /dev/fuse to bind");
    }
    let seen = t.look(&bundle, ["stat:/dev/fuse", "write:/dev/null"]);
    assert_eq!(seen["asked"]["stat:/dev/fuse"]["device"], "10:229");
    assert_eq!(seen["asked"]["write:/dev/null"], "ok");
}

fn default_devices_can_be_used(t: &Test) {
    let seen = t.look(
        &t.bundle(),
        ["write:/dev/null", "read:/dev/zero", "read:/dev/random", "read:/dev/urandom", "read:/dev/full"],
    );
    for (question, answer) in seen["asked"].as_object().unwrap() {
        assert_eq!(answer, "ok", "{question}");
    }
}

/// A bundle whose devices cgroup has these rules after "deny all". It has /dev/x (240:77),
/// which no driver has, and to which no default rule applies. To open the node fails with
/// EPERM if the cgroup denies it, and with ENXIO if not.
fn ruled(t: &Test, rules: &[Value]) -> Bundle {
    let deny = json!({ "allow": false, "access": "rwm" });
    let rules = [&[deny], rules].concat();
    with(t, &[device("/dev/x", "c", 240, 77)]).set("/linux/resources/devices", json!(rules))
}

fn rule(allow: bool, access: &str) -> Value {
    json!({ "allow": allow, "type": "c", "major": 240, "minor": 77, "access": access })
}

/// Whether /dev/x can be opened for reading and for writing.
fn read_write(t: &Test, bundle: &Bundle) -> (bool, bool) {
    let seen = t.look(bundle, ["read:/dev/x", "write:/dev/x"]);
    let granted = |question: &str| match seen["asked"][question].as_str().unwrap() {
        "EPERM" => false,
        "ENXIO" => true,
        other => panic!("{question}: {other}"),
    };
    (granted("read:/dev/x"), granted("write:/dev/x"))
}

/// Where the kernel has no driver for it, the node gives ENXIO or ENODEV.
fn tun_may_be_used_by_default(t: &Test) {
    let bundle = ruled(t, &[]).push("/linux/devices", device("/dev/net/tun", "c", 10, 200));
    let seen = t.look(&bundle, ["read:/dev/net/tun", "write:/dev/net/tun"]);
    for (question, answer) in seen["asked"].as_object().unwrap() {
        assert_ne!(answer, "EPERM", "{question}");
        assert_ne!(answer, "ENOENT", "{question}");
    }
}

fn other_devices_are_denied_by_default(t: &Test) {
    assert_eq!(read_write(t, &ruled(t, &[])), (false, false));
}

fn allowed_device_can_be_used(t: &Test) {
    assert_eq!(read_write(t, &ruled(t, &[rule(true, "rw")])), (true, true));
}

fn access_letters_are_kept_apart(t: &Test) {
    assert_eq!(read_write(t, &ruled(t, &[rule(true, "w")])), (false, true));
}

fn later_rule_wins(t: &Test) {
    let bundle = ruled(t, &[rule(true, "rw"), rule(false, "r")]);
    assert_eq!(read_write(t, &bundle), (false, true));
    let bundle = ruled(t, &[rule(false, "rw"), rule(true, "rw")]);
    assert_eq!(read_write(t, &bundle), (true, true));
}

fn allow_all(t: &Test) {
    let all = json!({ "allow": true, "access": "rwm" });
    assert_eq!(read_write(t, &ruled(t, &[all])), (true, true));
    let none = t.bundle().set("/linux/devices", json!([device("/dev/x", "c", 240, 77)]));
    assert_eq!(read_write(t, &none), (false, false));
}

/// For the controller of cgroup v1, `a` means everything, whatever follows.
fn a_rule_for_both_kinds_is_for_its_number(t: &Test) {
    let both =
        |minor: i64| json!({ "allow": true, "type": "a", "major": 240, "minor": minor, "access": "rw" });
    assert_eq!(read_write(t, &ruled(t, &[both(77)])), (true, true));
    assert_eq!(read_write(t, &ruled(t, &[both(78)])), (false, false));
}

fn a_rule_that_denies_a_part_is_kept_or_refused(t: &Test) {
    let all_minors = json!({ "allow": true, "type": "c", "major": 240, "access": "rw" });
    let bundle = ruled(t, &[all_minors, rule(false, "w")]);
    if cgroup_v2() {
        assert_eq!(read_write(t, &bundle), (true, false));
    } else {
        t.refused(&bundle).one_clear_line(&[
            "/linux/resources/devices",
            "c 240:77 w",
            "cgroup v1",
            "c 240:* rw",
        ]);
    }
}

fn mknod_is_allowed_but_not_its_use(t: &Test) {
    let bundle = t.bundle().capabilities(&["CAP_MKNOD"]);
    let seen = t.look(&bundle, ["mknod:c 240:77 /tmp/x", "write:/tmp/x", "mknod:c 1:3 /tmp/null"]);
    assert_eq!(seen["asked"]["mknod:c 240:77 /tmp/x"], "ok");
    assert_eq!(seen["asked"]["write:/tmp/x"], "EPERM");
    let seen = t.look(&t.bundle(), ["mknod:c 1:3 /tmp/null"]);
    assert_eq!(seen["asked"]["mknod:c 1:3 /tmp/null"], "EPERM", "without CAP_MKNOD");
}

fn unknown_device_type_is_refused(t: &Test) {
    let bundle = with(t, &[device("/dev/x", "z", 1, 3)]);
    t.refused(&bundle).one_clear_line(&["/linux/devices/0", "z"]);
}

fn unknown_access_letter_is_refused(t: &Test) {
    let bundle = ruled(t, &[rule(true, "rq")]);
    t.refused(&bundle).one_clear_line(&["/linux/resources/devices/1"]);
}

fn device_without_a_path_is_refused(t: &Test) {
    let bundle = with(t, &[json!({ "type": "c", "major": 1, "minor": 3 })]);
    t.refused(&bundle).one_clear_line(&["/linux/devices/0", "path"]);
}

fn device_without_its_number_is_refused(t: &Test) {
    for (key, other) in [("major", "minor"), ("minor", "major")] {
        let bundle = with(t, &[json!({ "path": "/dev/x", "type": "c", other: 3 })]);
        t.refused(&bundle).one_clear_line(&[&format!("/linux/devices/0/{key}")]);
    }
    for (major, minor, place) in [(-1, 0, "major"), (4096, 0, "major"), (1, 1 << 20, "minor")] {
        let bundle = with(t, &[json!({ "path": "/dev/x", "type": "c", "major": major, "minor": minor })]);
        t.refused(&bundle).one_clear_line(&[&format!("/linux/devices/0/{place}")]);
    }
    let biggest = device("/dev/x", "b", 4095, (1 << 20) - 1);
    assert_eq!(
        t.look(&with(t, &[biggest]), ["stat:/dev/x"])["asked"]["stat:/dev/x"]["device"],
        "4095:1048575"
    );
}

fn two_devices_of_one_path_are_refused(t: &Test) {
    let bundle = with(t, &[device("/dev/x", "c", 1, 3), device("/dev//x", "c", 1, 5)]);
    t.refused(&bundle).one_clear_line(&["/linux/devices/1/path", "/linux/devices/0"]);
    let twice = with(t, &[device("/dev/x", "c", 1, 3), device("/dev/x", "c", 1, 3)]);
    assert_eq!(t.look(&twice, ["stat:/dev/x"])["asked"]["stat:/dev/x"]["device"], "1:3", "the same twice");
    t.refused(&with(t, &[device("/dev/..", "c", 1, 3)])).one_clear_line(&["/linux/devices/0/path"]);
}

fn a_default_device_may_be_replaced(t: &Test) {
    let mut null = device("/dev/null", "c", 1, 3);
    null["fileMode"] = json!(0o600);
    null["uid"] = json!(5);
    let stat = &t.look(&with(t, &[null]), ["stat:/dev/null"])["asked"]["stat:/dev/null"];
    assert_eq!((&stat["mode"], &stat["uid"]), (&json!("600"), &json!(5)));
}

/// Calls `run` with umask 077.
fn with_umask(t: &Test, bundle: &Bundle) -> Value {
    let id = t.id();
    let script = "umask 077; exec \"$0\" \"$@\"";
    let call = t.call("/bin/sh").args(["-c", script]).arg(&*t.runtime.borrow());
    call.arg("--root").arg(t.root()).args(["run", "--bundle"]).arg(bundle.lay()).arg(id).out().report()
}

fn modes_ignore_the_callers_umask(t: &Test) {
    let mut fifo = json!({ "path": "/dev/fifo", "type": "p", "fileMode": 0o666 });
    fifo["gid"] = json!(7);
    let volume = t.make_dir("volume");
    let bundle = with(t, &[device("/dev/net/tun", "c", 10, 200), fifo])
        .bind(&volume, "/made/by/mount", &[])
        .set("/process/cwd", json!("/made/as/cwd"))
        .args([
            "/probe",
            "stat:/dev/net",
            "stat:/dev/net/tun",
            "stat:/dev/fifo",
            "stat:/dev/null",
            "stat:/made",
            "stat:/made/as/cwd",
        ]);
    let seen = with_umask(t, &bundle);
    for (path, mode) in [
        ("/dev/net", "755"),
        ("/dev/net/tun", "666"),
        ("/dev/fifo", "666"),
        ("/dev/null", "666"),
        ("/made", "755"),
        ("/made/as/cwd", "755"),
    ] {
        assert_eq!(seen["asked"][format!("stat:{path}")]["mode"], mode, "{path}");
    }
}

/// The /dev of the image.
fn own_dev(bundle: Bundle) -> Bundle {
    ["", "/pts", "/shm", "/mqueue"]
        .iter()
        .fold(bundle, |bundle, name| bundle.without_mount(&format!("/dev{name}")))
}

fn make_node(bundle: &Bundle, path: &str, major: u64, minor: u64) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let mode = Mode::from_bits_truncate(0o640);
    mknod(&bundle.inside(path), SFlag::S_IFCHR, mode, makedev(major, minor)).expect("mknod");
}

fn the_images_node_is_used_if_it_is_the_device(t: &Test) {
    let bundle = own_dev(with(t, &[device("/dev/x", "c", 240, 77)]));
    make_node(&bundle, "/dev/x", 240, 77);
    make_node(&bundle, "/dev/zero", 1, 5);
    for _ in 0..2 {
        let seen = t.look(&bundle, ["stat:/dev/x", "stat:/dev/zero", "stat:/dev/null", "link:/dev/fd"]);
        assert_eq!(seen["asked"]["stat:/dev/x"]["device"], "240:77");
        assert_eq!(seen["asked"]["stat:/dev/zero"]["mode"], "640", "it is the image's");
        assert_eq!(seen["asked"]["stat:/dev/null"]["device"], "1:3");
        assert_eq!(seen["asked"]["link:/dev/fd"], "/proc/self/fd");
    }
}

fn another_file_in_the_devices_place_is_refused(t: &Test) {
    let refused = |lay: &dyn Fn(&std::path::Path)| {
        let bundle = own_dev(with(t, &[device("/dev/x", "c", 240, 77)]));
        lay(&bundle.inside("/dev/x"));
        t.refused(&bundle).one_clear_line(&["/linux/devices/0", "/dev/x"]);
    };
    refused(&|path| std::fs::write(path, "").unwrap());
    refused(&|path| std::fs::create_dir(path).unwrap());
    refused(&|path| std::os::unix::fs::symlink("/dev/null", path).unwrap());
    refused(&|path| std::os::unix::fs::symlink("nowhere", path).unwrap());
    let decoy = t.make_decoy();
    for name in ["null", "absent"] {
        refused(&|path| std::os::unix::fs::symlink(decoy.join(name), path).unwrap());
    }
    let bundle = own_dev(with(t, &[device("/dev/x", "c", 240, 77)]));
    make_node(&bundle, "/dev/x", 240, 78);
    t.refused(&bundle).one_clear_line(&["/linux/devices/0"]);
    let bundle = own_dev(with(t, &[device("/dev/x", "b", 240, 77)]));
    make_node(&bundle, "/dev/x", 240, 77);
    t.refused(&bundle).one_clear_line(&["/linux/devices/0"]);
}

fn devices_in_a_readonly_root(t: &Test) {
    let devices = [device("/dev/x", "c", 240, 77), device("/var/y", "c", 240, 78)];
    for bundle in [with(t, &devices), own_dev(with(t, &devices))] {
        let bundle = bundle.set("/root/readonly", json!(true));
        let seen = t.look(&bundle, ["stat:/dev/x", "stat:/var/y", "write:/dev/null", "create:/var/z"]);
        assert_eq!(seen["asked"]["stat:/dev/x"]["device"], "240:77");
        assert_eq!(seen["asked"]["stat:/var/y"]["device"], "240:78");
        assert_eq!(seen["asked"]["write:/dev/null"], "ok");
        assert_eq!(seen["asked"]["create:/var/z"], "EROFS");
    }
}

fn the_hosts_dev_stays_as_it_is(t: &Test) {
    let dev = t.make_dir("dev");
    let devices = [device("/dev/x", "c", 240, 77), device("/var/y", "c", 240, 78)];
    let bundle =
        own_dev(with(t, &devices)).bind(&dev, "/dev", &[]).args(["/probe", "stat:/var/y", "list:/dev"]);
    let log = t.path("log");
    let call = t.runtime().arg("--log").arg(&log).args(["run", "--bundle"]).arg(bundle.lay());
    let seen = call.arg(t.id()).out().report();
    assert_eq!(seen["asked"]["list:/dev"], json!([]));
    assert_eq!(std::fs::read_dir(&dev).unwrap().count(), 0, "nothing is made on the host");
    if crate::harness::is_corten() {
        assert_eq!(seen["asked"]["stat:/var/y"]["device"], "240:78");
        let text = std::fs::read_to_string(&log).expect("a log");
        assert!(
            text.contains("level=warning")
                && text.contains("/linux/devices/0: the /dev that is bound lacks /dev/x"),
            "{text}"
        );
    }
}
