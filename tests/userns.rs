//! User namespaces: the mappings, the owners of files, and callers without privilege.

use crate::harness::{Bundle, Call, Out, Test, cgroup_v2};
use nix::unistd::{Gid, Uid, chown};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

cases![
    without_mappings_the_caller_is_root,
    without_mappings_a_user_is_root,
    many_ranges_are_mapped,
    as_many_ranges_as_the_kernel_takes,
    more_ranges_than_the_kernel_takes_are_refused,
    a_map_of_a_page_is_refused,
    ranges_that_overlap_are_refused,
    an_empty_range_is_refused,
    a_user_that_is_not_mapped_is_refused,
    root_need_not_be_mapped,
    the_bundle_may_be_closed_to_its_ids,
    files_belong_to_the_mapped_ids,
    devices_are_bound_from_the_host,
    device_nodes_of_the_host_give_no_rights,
    a_device_that_the_host_lacks_is_made,
    a_device_that_the_host_lacks_is_refused,
    another_file_in_the_devices_place_is_refused,
    a_fifo_is_made,
    a_link_in_a_devices_place_is_refused,
    offsets_are_set,
    sysctls_are_set,
    groups_of_the_caller_are_kept_when_asked,
    groups_of_the_caller_are_dropped,
    inside_another_user_namespace_devices_are_bound,
    inside_another_user_namespace_exec_works,
    a_readonly_sys_of_the_host_allows_a_readonly_one,
    a_readonly_sys_of_the_host_allows_a_recursively_readonly_one,
    keyring_can_be_searched_by_its_user,
    ptmx_among_the_devices_is_the_containers,
    rootless_runs_as_a_plain_user,
    rootless_template_keeps_the_hosts_cgroups_readonly,
    a_readonly_sys_with_writable_cgroups_is_a_warning,
    rootless_has_a_whole_life,
    rootless_without_a_user_namespace_is_refused,
    rootless_groups_are_refused,
    rootless_needs_a_helper_for_more_ids,
    rootless_maps_the_callers_ranges,
    rootless_ranges_of_others_are_refused,
];

fn mapped(t: &Test, uid: Value, gid: Value) -> Bundle {
    t.bundle().namespace("user").set("/linux/uidMappings", uid).set("/linux/gidMappings", gid)
}

fn range(container: u32, host: u32, size: u32) -> Value {
    json!({ "containerID": container, "hostID": host, "size": size })
}

/// Ranges of one id each, none of which is next to another.
fn singles(count: u32, host: u32) -> Value {
    (0..count).map(|n| range(n, host + 2 * n, 1)).collect()
}

/// The lines of a map, as the payload's namespace has them.
fn lines_of(text: &Value) -> Vec<Vec<u32>> {
    let number = |word: &str| word.parse().expect("a number");
    text.as_str().unwrap().lines().map(|line| line.split_whitespace().map(number).collect()).collect()
}

/// Questions about the mappings, and a bundle that has none.
const MAPS: [&str; 2] = ["text:/proc/self/uid_map", "text:/proc/self/gid_map"];

fn without_mappings(t: &Test) -> Bundle {
    let bundle = t.bundle().namespace("user").drop("/linux/uidMappings").drop("/linux/gidMappings");
    let flags = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    bundle.remount("/dev/pts", &flags).drop("/linux/resources")
}

/// Only these ids of the host may be mapped, and to root of the container.
fn is_only_root(seen: &Value, uid: u32, gid: u32) {
    assert_eq!(seen["ids"]["uid"], json!([0, 0, 0]));
    assert_eq!(lines_of(&seen["asked"][MAPS[0]]), [[0, uid, 1]]);
    assert_eq!(lines_of(&seen["asked"][MAPS[1]]), [[0, gid, 1]]);
}

/// As in crun.
fn without_mappings_the_caller_is_root(t: &Test) {
    let bundle = without_mappings(t);
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    is_only_root(&t.look(&bundle, MAPS), uid, gid);
    let container = t.start(&bundle.pausing());
    assert_eq!(container.look([])["ids"]["uid"], json!([0, 0, 0]), "exec");
}

fn without_mappings_a_user_is_root(t: &Test) {
    t.needs_root("to become another user");
    let user = Test::USER.to_string();
    let (root, bundle) = (t.make_dir("user"), without_mappings(t).args(["/probe"].into_iter().chain(MAPS)));
    std::os::unix::fs::chown(&root, Some(Test::USER), Some(Test::USER)).expect("chown");
    let call = t.call("/usr/bin/setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    let call = call.arg(&*t.runtime.borrow()).arg("--root").arg(root.join("state"));
    let seen = call.args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).cwd("/").out().report();
    is_only_root(&seen, Test::USER, Test::USER);
}

fn many_ranges_are_mapped(t: &Test) {
    let seen = t.look(
        &mapped(t, singles(9, 100_000), singles(7, 200_000)),
        ["text:/proc/self/uid_map", "text:/proc/self/gid_map"],
    );
    let uid = lines_of(&seen["asked"]["text:/proc/self/uid_map"]);
    assert_eq!((uid.len(), &uid[8]), (9, &vec![8, 100_016, 1]));
    let gid = lines_of(&seen["asked"]["text:/proc/self/gid_map"]);
    assert_eq!((gid.len(), &gid[6]), (7, &vec![6, 200_012, 1]));
}

fn as_many_ranges_as_the_kernel_takes(t: &Test) {
    let seen = t.look(&mapped(t, singles(340, 2000), singles(340, 2000)), ["text:/proc/self/uid_map"]);
    let lines = lines_of(&seen["asked"]["text:/proc/self/uid_map"]);
    assert_eq!((lines.len(), &lines[339]), (340, &vec![339, 2678, 1]));
}

fn more_ranges_than_the_kernel_takes_are_refused(t: &Test) {
    let bundle = mapped(t, singles(341, 2000), singles(340, 2000));
    t.refused(&bundle).one_clear_line(&["/linux/uidMappings/340", "340"]);
    let bundle = mapped(t, singles(340, 2000), singles(341, 2000));
    t.refused(&bundle).one_clear_line(&["/linux/gidMappings/340", "340"]);
}

/// The kernel takes a map in one write of less than a page.
fn a_map_of_a_page_is_refused(t: &Test) {
    let bundle = mapped(t, singles(5, 2000), singles(340, 4_000_000_000));
    t.refused(&bundle).one_clear_line(&["/linux/gidMappings", "bytes"]);
}

fn ranges_that_overlap_are_refused(t: &Test) {
    let one = json!([range(0, 100_000, 10)]);
    for twice in [
        json!([range(0, 100_000, 10), range(9, 200_000, 10)]),
        json!([range(0, 100_000, 10), range(10, 100_009, 10)]),
        json!([range(5, 100_000, 1), range(0, 200_000, 10)]),
    ] {
        t.refused(&mapped(t, twice.clone(), one.clone())).one_clear_line(&["/linux/uidMappings/1"]);
        t.refused(&mapped(t, one.clone(), twice)).one_clear_line(&["/linux/gidMappings/1"]);
    }
    let adjoining = json!([range(0, 100_000, 10), range(10, 100_010, 10)]);
    assert_eq!(t.run(&mapped(t, adjoining, one).args(["true"])).code, 0);
}

fn an_empty_range_is_refused(t: &Test) {
    let one = json!([range(0, 100_000, 10)]);
    let none = json!([range(0, 100_000, 10), range(20, 200_000, 0)]);
    t.refused(&mapped(t, none, one.clone())).one_clear_line(&["/linux/uidMappings/1/size"]);
    let beyond = json!([range(0, u32::MAX - 3, 10)]);
    t.refused(&mapped(t, one, beyond)).one_clear_line(&["/linux/gidMappings/0"]);
}

fn a_user_that_is_not_mapped_is_refused(t: &Test) {
    let ten = || json!([range(0, 100_000, 10)]);
    for (user, place) in [
        (json!({ "uid": 10, "gid": 0 }), "/process/user/uid"),
        (json!({ "uid": 0, "gid": 10 }), "/process/user/gid"),
        (json!({ "uid": 0, "gid": 0, "additionalGids": [3, 44] }), "/process/user/additionalGids"),
    ] {
        t.refused(&mapped(t, ten(), ten()).set("/process/user", user)).one_clear_line(&[place]);
    }
}

fn root_need_not_be_mapped(t: &Test) {
    let map = || json!([range(1000, 100_000, 1)]);
    let bundle = mapped(t, map(), map())
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .remount("/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620"]);
    let seen = t.look(&bundle, ["create:/dev/shm/x", "write:/dev/null"]);
    assert_eq!(seen["ids"]["uid"], json!([1000, 1000, 1000]));
    assert_eq!(
        (&seen["asked"]["create:/dev/shm/x"], &seen["asked"]["write:/dev/null"]),
        (&json!("ok"), &json!("ok"))
    );
    assert_eq!(seen["status"]["CapEff"], "0000000000000000");
}

/// Only the host's root may enter this directory.
fn close(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("chmod");
}

fn the_bundle_may_be_closed_to_its_ids(t: &Test) {
    let volume = t.make_dir("volume");
    fs::create_dir(volume.join("inner")).unwrap();
    fs::write(volume.join("inner/file"), "found").unwrap();
    let bundle = t
        .bundle()
        .user_namespace()
        .bind(&volume.join("inner"), "/tmp", &["ro"])
        .bind(&volume.join("inner/file"), "/etc/passwd", &[])
        .set("/linux/maskedPaths", json!(["/etc/group"]));
    close(&bundle.dir);
    close(&volume);
    let questions = ["text:/tmp/file", "text:/etc/passwd", "write:/dev/null", "stat:/etc/group"];
    let seen = t.look(&bundle, questions);
    let asked = &seen["asked"];
    assert_eq!((&asked["text:/tmp/file"], &asked["text:/etc/passwd"]), (&json!("found"), &json!("found")));
    assert_eq!(
        (&asked["write:/dev/null"], &asked["stat:/etc/group"]["device"]),
        (&json!("ok"), &json!("1:3"))
    );
    assert_eq!(seen["ids"]["uid"], json!([0, 0, 0]));
    let container = t.start(&bundle.pausing());
    assert_eq!(container.look([])["ids"]["uid"], json!([0, 0, 0]));
}

fn files_belong_to_the_mapped_ids(t: &Test) {
    let volume = t.make_dir("volume");
    chown(&volume, Some(Uid::from_raw(100_000)), Some(Gid::from_raw(100_000))).unwrap();
    let bundle = t.bundle().user_namespace().bind(&volume, "/tmp", &[]);
    let user = json!({ "uid": 7, "gid": 9 });
    let bundle = bundle.set("/process/user", user);
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(t.look(&bundle, ["create:/tmp/made"])["asked"]["create:/tmp/made"], "ok");
    let made = fs::metadata(volume.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (100_007, 100_009));
}

fn device(path: &str, kind: &str, major: u32, minor: u32) -> Value {
    json!({ "path": path, "type": kind, "major": major, "minor": minor })
}

fn devices_are_bound_from_the_host(t: &Test) {
    let bundle = t.bundle().user_namespace().set(
        "/linux/devices",
        json!([
            // The host has the same device, or no device of this name.
            device("/dev/kmsg", "c", 1, 11),
        ]),
    );
    let seen = t.look(&bundle, ["stat:/dev/kmsg", "stat:/dev/zero", "write:/dev/null"]);
    assert_eq!(seen["asked"]["stat:/dev/kmsg"]["device"], "1:11");
    assert_eq!(seen["asked"]["stat:/dev/zero"]["device"], "1:5");
    assert_eq!(seen["asked"]["write:/dev/null"], "ok");
    let owner = &seen["asked"]["stat:/dev/zero"]["uid"];
    assert_eq!(owner, &json!(65534), "it is the host's root's");
}

/// By its path and by its number. The kernel has no driver for 240:77. It returns this
/// error only for a node that may be opened.
fn a_device_that_the_host_lacks_is_made(t: &Test) {
    let mut other = device("/dev/sub/other", "c", 240, 77);
    (other["fileMode"], other["uid"], other["gid"]) = (json!(0o604), json!(7), json!(8));
    let bundle = t
        .bundle()
        .user_namespace()
        .set("/linux/devices", json!([device("/dev/zero2", "c", 1, 5), other]))
        .push(
            "/linux/resources/devices",
            json!({ "allow": true, "type": "c", "major": 240, "access": "rw" }),
        );
    let seen = t.look(&bundle, ["read:/dev/zero2", "read:/dev/sub/other", "stat:/dev/sub/other"]);
    let asked = &seen["asked"];
    assert_eq!((&asked["read:/dev/zero2"], &asked["read:/dev/sub/other"]), (&json!("ok"), &json!("ENXIO")));
    let stat = &asked["stat:/dev/sub/other"];
    assert_eq!(
        (&stat["type"], &stat["device"], &stat["mode"]),
        (&json!("c"), &json!("240:77"), &json!("604"))
    );
    assert_eq!((&stat["uid"], &stat["gid"]), (&json!(7), &json!(8)));
    let mount = crate::mounts::at(&seen, "/dev/sub/other");
    crate::mounts::has(mount, &["nosuid", "noexec"]);
    assert_eq!(mount["tags"], json!([]), "in no peer group");
    let left = seen["mounts"].as_array().unwrap().iter().filter(|mount| mount["at"] == "/").count();
    assert_eq!(left, 1, "where it was made is gone");
}

/// The container's default devices are the host's nodes, which are bound.
fn device_nodes_of_the_host_give_no_rights(t: &Test) {
    let seen = t.look(&t.bundle().user_namespace(), []);
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        crate::mounts::has(crate::mounts::at(&seen, &format!("/dev/{name}")), &["nosuid", "noexec"]);
    }
}

/// A caller that can't create nodes on the host gets none.
fn a_device_that_the_host_lacks_is_refused(t: &Test) {
    let devices = json!([device("/dev/zero2", "c", 240, 77)]);
    let out = t.as_user(&t.bundle().set("/linux/devices", devices), []);
    out.one_clear_line(&["/linux/devices/0", "/dev/zero2"]);
}

fn another_file_in_the_devices_place_is_refused(t: &Test) {
    if Path::new("/dev/char/1:5").exists() {
        t.skip("the device is found by its number");
    }
    let own = |path: &Path| device(path.to_str().unwrap(), "c", 1, 5);
    let file = t.make_file("file", "");
    let link = t.path("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for path in [Path::new("/dev/null"), &file, &link, &t.make_dir("dir")] {
        let bundle = t.bundle().user_namespace().set("/linux/devices", json!([own(path)]));
        t.refused(&bundle).one_clear_line(&["/linux/devices/0", path.to_str().unwrap()]);
    }
}

fn a_fifo_is_made(t: &Test) {
    let fifo = json!([{ "path": "/dev/fifo", "type": "p", "fileMode": 0o620, "uid": 5, "gid": 6 }]);
    let stat = &t.look(&t.bundle().user_namespace().set("/linux/devices", fifo), ["stat:/dev/fifo"])["asked"]
        ["stat:/dev/fifo"];
    assert_eq!((&stat["type"], &stat["mode"]), (&json!("p"), &json!("620")));
    assert_eq!((&stat["uid"], &stat["gid"]), (&json!(5), &json!(6)));
}

/// The /dev of the image, owned by the container's root.
fn own_dev(bundle: Bundle) -> Bundle {
    let bundle = ["", "/pts", "/shm", "/mqueue"]
        .iter()
        .fold(bundle, |bundle, name| bundle.without_mount(&format!("/dev{name}")));
    chown(&bundle.inside("/dev"), Some(Uid::from_raw(100_000)), Some(Gid::from_raw(100_000))).unwrap();
    bundle
}

/// CVE-2025-31133 in a user namespace: the runtime must not bind the host's node where a
/// link leads.
fn a_link_in_a_devices_place_is_refused(t: &Test) {
    let bundle = own_dev(t.bundle().user_namespace());
    let decoy = t.make_decoy();
    for target in [Path::new("/etc/passwd"), &decoy.join("null"), &decoy.join("absent")] {
        std::os::unix::fs::symlink(target, bundle.inside("/dev/null")).unwrap();
        t.refused(&bundle).one_clear_line(&["/dev/null", "link"]);
        fs::remove_file(bundle.inside("/dev/null")).unwrap();
    }
    // A mount point that an earlier run has left can be used again.
    fs::write(bundle.inside("/dev/null"), "").unwrap();
    for _ in 0..2 {
        assert_eq!(t.look(&bundle, ["stat:/dev/null"])["asked"]["stat:/dev/null"]["device"], "1:3");
    }
}

fn offsets_are_set(t: &Test) {
    let offsets = json!({ "monotonic": { "secs": 77, "nanosecs": 999_999_999 }, "boottime": { "secs": -1 } });
    let bundle = t.bundle().user_namespace().namespace("time").set("/linux/timeOffsets", offsets);
    let text = t.look(&bundle, [])["timens"].as_str().unwrap().to_owned();
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "77", "999999999", "boottime", "-1", "0"]);
}

fn sysctls_are_set(t: &Test) {
    for (key, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("kernel.shmmni", "123"),
        ("fs.mqueue.queues_max", "17"),
        ("user.max_uts_namespaces", "3"),
        ("kernel.domainname", "example.org"),
    ] {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let question = format!("text:{path}");
        let bundle = t.bundle().user_namespace().set("/linux/sysctl", json!({ key: value }));
        let before = fs::read_to_string(&path).unwrap();
        assert_eq!(t.look(&bundle, [&question])["asked"][&question], format!("{value}\n"), "{key}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before, "the host's {key}");
    }
    let bundle = t.bundle().set("/linux/sysctl", json!({ "user.max_uts_namespaces": "3" }));
    t.refused(&bundle).one_clear_line(&["/linux/sysctl/user.max_uts_namespaces", "user namespace"]);
}

const KEEP: &str = "/annotations/run.oci.keep_original_groups";

/// Calls `run` with the groups 4242 and 4243.
fn with_groups(t: &Test, bundle: &Bundle) -> Value {
    let bundle = bundle.clone().args(["/probe"]);
    let call = t.call("/usr/bin/setpriv").args(["--groups", "4242,4243"]).arg(&*t.runtime.borrow());
    call.arg("--root").arg(t.root()).args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).out().report()
}

fn keeping(bundle: Bundle, value: &str) -> Bundle {
    // A key with dots works as a JSON pointer, but a key with `~` would not.
    bundle.set(KEEP, json!(value))
}

fn groups_of_the_caller_are_kept_when_asked(t: &Test) {
    // `additionalGids` have no effect then, even if they are not mapped.
    let user = json!({ "uid": 3, "gid": 3, "additionalGids": [70_000] });
    let bundle = keeping(t.bundle().set("/process/user", user), "1");
    assert_eq!(with_groups(t, &bundle)["ids"]["groups"], json!([4242, 4243]));
    let seen = with_groups(t, &bundle.user_namespace());
    assert_eq!(seen["ids"]["groups"], json!([65534, 65534]), "they have no name inside");
    assert_eq!(seen["ids"]["gid"], json!([3, 3, 3]));
    let container = t.start(&keeping(t.bundle(), "1").pausing());
    let call = t.call("/usr/bin/setpriv").args(["--groups", "4242"]).arg(&*t.runtime.borrow());
    let call = call.arg("--root").arg(t.root()).args(["exec", &container.id, "/probe"]);
    assert_eq!(call.out().report()["ids"]["groups"], json!([4242]), "exec does so, too");
}

fn groups_of_the_caller_are_dropped(t: &Test) {
    for bundle in [t.bundle(), t.bundle().user_namespace(), keeping(t.bundle(), "0")] {
        assert_eq!(with_groups(t, &bundle)["ids"]["groups"], json!([]));
        let bundle = bundle.set("/process/user/additionalGids", json!([5, 6]));
        assert_eq!(with_groups(t, &bundle)["ids"]["groups"], json!([5, 6]));
    }
}

/// Root of that user namespace can't create nodes, although the configuration has no user
/// namespace.
fn inside_another_user_namespace_devices_are_bound(t: &Test) {
    let bundle = t
        .bundle()
        .drop("/linux/resources")
        .without_mount("/sys/fs/cgroup")
        .remount("/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620"])
        .args(["/probe", "stat:/dev/null", "write:/dev/null"]);
    let out = t
        .call("/usr/bin/unshare")
        .args(["--user", "--map-root-user", "--mount", "--propagation", "private"])
        .arg(&*t.runtime.borrow())
        .arg("--root")
        .arg(t.make_dir("state"))
        .args(["run", "--bundle"])
        .arg(bundle.lay())
        .arg(t.id())
        .out();
    let seen = out.report();
    assert_eq!(seen["asked"]["stat:/dev/null"]["device"], "1:3");
    assert_eq!(seen["asked"]["write:/dev/null"], "ok");
}

/// As under rootless Podman: root of a user namespace whose pid namespace belongs to
/// another one.
fn inside_another_user_namespace_exec_works(t: &Test) {
    let bundle = t.bundle().drop("/linux/resources").without_mount("/sys/fs/cgroup");
    let bundle = bundle.remount("/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620"]);
    let script = "r() { \"$RUNTIME\" --root \"$STATE\" \"$@\"; }; \
        r run --detach \"$1\" >out 2>&1 </dev/null; r exec \"$1\" readlink /proc/self/ns/pid; \
        r exec \"$1\" readlink /proc/1/ns/pid; r delete --force \"$1\"";
    let out = t
        .call("/usr/bin/unshare")
        .args(["--user", "--map-root-user", "--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(t.id())
        .env("RUNTIME", &*t.runtime.borrow())
        .env("STATE", t.make_dir("state"))
        .cwd(bundle.pausing().lay())
        .ok();
    let seen: Vec<_> = out.stdout.lines().collect();
    assert!(seen.len() == 2 && seen[0] == seen[1] && seen[0].starts_with("pid:"), "{out:?}");
}

fn keyring_can_be_searched_by_its_user(t: &Test) {
    let user = json!({ "uid": 3, "gid": 3 });
    let plain = t.look(&t.bundle(), [])["keyring"].as_str().unwrap().to_owned();
    let mapped = t.look(&t.bundle().user_namespace().set("/process/user", user), []);
    let mapped = mapped["keyring"].as_str().expect("it can be described").to_owned();
    let bits = |text: &str| u32::from_str_radix(text.split(';').nth(3).unwrap(), 16).unwrap();
    assert_eq!(bits(&plain) & 0x0008_0000, 0x0008_0000, "the owner may search: {plain}");
    assert_eq!(bits(&mapped) & 0x8, 0x8, "anybody may search: {mapped}");
    assert!(mapped.contains(&t.token), "{mapped}");
}

/// A user without privilege: uid and gid 61234. The user owns the bundle and a state
/// directory.
pub struct Plain<'t> {
    pub t: &'t Test,
    pub root: PathBuf,
}

pub const PLAIN: u32 = 61234;

impl<'t> Plain<'t> {
    pub fn new(t: &'t Test) -> Plain<'t> {
        let root = t.make_dir("state");
        own(&root);
        Plain { t, root }
    }

    /// The configuration of `spec --rootless` for this user, without a terminal.
    pub fn bundle(&self) -> Bundle {
        let mut bundle = self.t.bundle();
        own(&bundle.dir);
        let dir = bundle.dir.to_str().unwrap().to_owned();
        self.call(["spec", "--rootless", "--bundle", &dir]).ok();
        let text = fs::read_to_string(bundle.dir.join("config.json")).expect("config.json");
        bundle.config = serde_json::from_str(&text).expect("JSON");
        bundle.set("/process/terminal", json!(false)).args(["/probe"])
    }

    /// The runtime, as this user.
    pub fn call<const N: usize>(&self, args: [&str; N]) -> Call<'t> {
        self.call_through(self.t.call("/usr/bin/setpriv"), args)
    }

    /// The runtime, as this user, through a call that ends with setpriv.
    pub fn call_through<const N: usize>(&self, setpriv: Call<'t>, args: [&str; N]) -> Call<'t> {
        let id = PLAIN.to_string();
        let call = setpriv.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps", "-all"]);
        call.arg(&*self.t.runtime.borrow()).arg("--root").arg(&self.root).args(args)
    }

    /// Returns the output of `state`.
    pub fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.call(["state", id]).ok().stdout).expect("state is JSON")
    }

    /// Returns the container's state.json.
    pub fn record(&self, id: &str) -> Value {
        serde_json::from_slice(&fs::read(self.root.join(id).join("state.json")).expect("read")).expect("JSON")
    }

    fn run(&self, bundle: &Bundle) -> Out {
        let dir = bundle.lay().to_str().unwrap().to_owned();
        self.call(["run", "--bundle", &dir, &self.t.id()]).out()
    }
}

pub fn own(path: &Path) {
    chown(path, Some(Uid::from_raw(PLAIN)), Some(Gid::from_raw(PLAIN))).expect("chown");
}

/// A node that is a container itself has a read-only /sys. The kernel allows a container
/// with a user namespace no writable one there.
fn with_the_hosts_sys_readonly(t: &Test, options: &[&str]) -> Out {
    let bundle = t.bundle().user_namespace().without_mount("/sys/fs/cgroup").without_mount("/sys");
    let bundle = bundle.mount("/sys", "sysfs", "sysfs", options).args(["/probe", "mkdir:/sys/fs/x"]);
    let script = "mount -o remount,bind,ro /sys && runtime run --bundle $BUNDLE $ID";
    t.in_private_mounts(&bundle, &bundle.dir, script).out()
}

fn a_readonly_sys_of_the_host_allows_a_readonly_one(t: &Test) {
    let seen = with_the_hosts_sys_readonly(t, &["nosuid", "ro"]).report();
    assert_eq!(seen["asked"]["mkdir:/sys/fs/x"], "EROFS");
    with_the_hosts_sys_readonly(t, &["nosuid"]).fails(&["/sys"]);
}

fn a_readonly_sys_of_the_host_allows_a_recursively_readonly_one(t: &Test) {
    let seen = with_the_hosts_sys_readonly(t, &["nosuid", "rro"]).report();
    assert_eq!(seen["asked"]["mkdir:/sys/fs/x"], "EROFS");
}

/// `podman run --device /dev/ptmx`: the host's ptmx would create terminals of the host's
/// devpts.
fn ptmx_among_the_devices_is_the_containers(t: &Test) {
    let ptmx = json!({ "path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 0o666 });
    let bundle = t.bundle().user_namespace().push("/linux/devices", ptmx);
    let asked = &t.look(&bundle, ["link:/dev/ptmx", "read:/dev/ptmx"])["asked"];
    assert_eq!(asked["link:/dev/ptmx"], "pts/ptmx");
    assert_eq!(asked["read:/dev/ptmx"], "EAGAIN", "a terminal of the container's own");
}

/// CVE-2023-25809, with the template that `spec --rootless` writes, and a cgroup of the
/// host that the user may write to.
fn rootless_template_keeps_the_hosts_cgroups_readonly(t: &Test) {
    let plain = Plain::new(t);
    let group = match cgroup_v2() {
        true => format!("/sys/fs/cgroup/{}", t.token),
        false => format!("/sys/fs/cgroup/pids/{}", t.token),
    };
    let question = format!("mkdir:{group}/x");
    let script = format!(
        "mkdir {group}; chown {PLAIN}:{PLAIN} {group}
         setpriv --reuid {PLAIN} --regid {PLAIN} --clear-groups --inh-caps -all \\
             \"$RUNTIME\" --root {} run --bundle $BUNDLE $ID || echo failed >&2
         ! test -e {group}/x || echo reached the host >&2
         rmdir {group}/x || :; rmdir {group}",
        plain.root.display()
    );
    let run = |bundle: Bundle| {
        let bundle = bundle.args(["/probe", &question]);
        let out = t.in_private_mounts(&bundle, &bundle.dir, &script).ok();
        let reached = out.stderr.contains("reached the host");
        (out.report()["asked"][&question].clone(), reached)
    };
    // Without the mount of type cgroup, the payload reaches the host's cgroup.
    let open = plain.bundle().without_mount("/sys/fs/cgroup");
    assert_eq!(run(open), (json!("ok"), true));
    let (answer, reached) = run(plain.bundle());
    assert!(!reached && (answer == "EROFS" || answer == "ENOENT"), "{answer}");
}

fn a_readonly_sys_with_writable_cgroups_is_a_warning(t: &Test) {
    let bundle = t.bundle().without_mount("/sys/fs/cgroup").without_mount("/sys").args(["true"]);
    let said = |bundle: Bundle| {
        let out = t.run(&bundle);
        assert_eq!(out.code, 0, "{out:?}");
        out.stderr.contains("/sys/fs/cgroup stay writable")
    };
    let sys = Path::new("/sys");
    let open = bundle.clone().bind(sys, "/sys", &["ro"]);
    assert!(said(open.clone()));
    assert!(!said(bundle.clone().bind(sys, "/sys", &["rro"])));
    // If the configuration asks for write access, there is no warning.
    assert!(!said(bundle.bind(sys, "/sys", &[])));
    assert!(!said(open.clone().mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"])));
    assert!(!said(open.set("/linux/maskedPaths", json!(["/sys/fs"]))));
}

fn rootless_runs_as_a_plain_user(t: &Test) {
    let plain = Plain::new(t);
    let questions =
        ["/probe", "write:/dev/null", "create:/dev/shm/x", "text:/proc/self/uid_map", "stat:/probe"];
    let seen = plain.run(&plain.bundle().args(questions)).report();
    assert_eq!((&seen["pid"], &seen["ids"]["uid"]), (&json!(1), &json!([0, 0, 0])));
    assert_eq!(seen["asked"]["write:/dev/null"], "ok");
    assert_eq!(seen["asked"]["create:/dev/shm/x"], "ok");
    assert_eq!(lines_of(&seen["asked"]["text:/proc/self/uid_map"]), [[0, PLAIN, 1]]);
    assert_eq!(seen["asked"]["stat:/probe"]["uid"], 65534, "the host's root is nobody");
    assert_eq!(seen["names"]["host"], plain.bundle().config["hostname"]);
}

fn rootless_has_a_whole_life(t: &Test) {
    let plain = Plain::new(t);
    let bundle = plain.bundle().pausing();
    let (dir, id) = (bundle.lay().to_str().unwrap(), t.id());
    plain.call(["create", "--bundle", dir, &id]).ok();
    plain.call(["start", &id]).ok();
    let state = plain.state(&id);
    assert_eq!(state["status"], "running");
    let seen = plain.call(["exec", &id, "/probe"]).out().report();
    assert_eq!(seen["ids"]["uid"], json!([0, 0, 0]));
    assert_eq!(seen["ns"]["user"], json!(fs::read_link(format!("/proc/{}/ns/user", state["pid"])).unwrap()));
    plain.call(["kill", &id, "KILL"]).ok();
    plain.call(["delete", "--force", &id]).ok();
}

fn rootless_without_a_user_namespace_is_refused(t: &Test) {
    let plain = Plain::new(t);
    let bundle = plain.bundle().without_namespace("user");
    let bundle = bundle.drop("/linux/uidMappings").drop("/linux/gidMappings");
    let out = plain.run(&bundle);
    out.one_clear_line(&["/linux/namespaces", "spec --rootless"]);
    out.says(&["rootless container requires user namespaces"]);
}

fn rootless_groups_are_refused(t: &Test) {
    let plain = Plain::new(t);
    let bundle = plain.bundle().set("/process/user/additionalGids", json!([0]));
    plain.run(&bundle).one_clear_line(&["/process/user/additionalGids", "setgroups"]);
}

pub fn subids() -> Value {
    json!([range(0, PLAIN, 1), range(1, 100_000, 1000)])
}

fn rootless_needs_a_helper_for_more_ids(t: &Test) {
    let plain = Plain::new(t);
    let bundle = plain.bundle().set("/linux/uidMappings", subids());
    let dir = bundle.lay().to_str().unwrap();
    let out = plain.call(["create", "--bundle", dir, &t.id()]).env("PATH", "/nonexistent").out();
    out.one_clear_line(&["/linux/uidMappings", "newuidmap"]);
}

/// Calls the runtime as the plain user, by a shell command.
pub fn as_plain(args: &str, plain: &Plain) -> String {
    format!(
        "setpriv --reuid {PLAIN} --regid {PLAIN} --clear-groups --inh-caps -all \"$RUNTIME\" --root {} {args}",
        plain.root.display()
    )
}

/// A script for which the plain user has 1000 ids from 100000 on. The test replaces the
/// host's files by its own.
pub fn with_subids(t: &Test, bundle: &Bundle, script: &str) -> Out {
    if !Path::new("/usr/bin/newuidmap").exists() {
        t.skip("newuidmap is not installed");
    }
    let files = [
        ("passwd", format!("root:x:0:0::/:\nplain:x:{PLAIN}:{PLAIN}::/:\n")),
        ("subuid", "plain:100000:1000\n".into()),
        ("subgid", "plain:100000:1000\n".into()),
    ];
    for (name, text) in files {
        fs::write(bundle.dir.join(name), text).unwrap();
    }
    let script = format!(
        "for f in passwd subuid subgid; do
            test -e /etc/$f || {{ echo no /etc/$f; exit 97; }}
            mount --bind $f /etc/$f
        done
        {script}"
    );
    let out = t.in_private_mounts(bundle, &bundle.dir, &script).out();
    if out.code == 97 {
        t.skip(out.stdout.trim());
    }
    out
}

fn rootless_maps_the_callers_ranges(t: &Test) {
    let plain = Plain::new(t);
    let volume = t.make_dir("volume");
    own(&volume);
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    let bundle = plain
        .bundle()
        .set("/linux/uidMappings", subids())
        .set("/linux/gidMappings", subids())
        .set("/process/user", json!({ "uid": 8, "gid": 9, "additionalGids": [10] }))
        .bind(&volume, "/tmp", &[])
        .args(["/probe", "create:/tmp/made", "text:/proc/self/gid_map"]);
    let seen = with_subids(t, &bundle, &as_plain("run --bundle $BUNDLE $ID", &plain)).report();
    assert_eq!((&seen["ids"]["uid"], &seen["ids"]["groups"]), (&json!([8, 8, 8]), &json!([10])));
    assert_eq!(lines_of(&seen["asked"]["text:/proc/self/gid_map"]), [[0, PLAIN, 1], [1, 100_000, 1000]]);
    let made = fs::metadata(volume.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (100_007, 100_008));
}

fn rootless_ranges_of_others_are_refused(t: &Test) {
    let plain = Plain::new(t);
    let theirs = json!([range(0, PLAIN, 1), range(1, 200_000, 1000)]);
    let bundle = plain.bundle().set("/linux/uidMappings", theirs).set("/linux/gidMappings", subids());
    let out = with_subids(t, &bundle, &as_plain("run --bundle $BUNDLE $ID", &plain));
    out.one_clear_line(&["/linux/uidMappings", "newuidmap", "not allowed"]);
}
