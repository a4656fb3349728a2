//! `mounts add` and `mounts remove`, from crun: mounts of a running container.

use crate::harness::{Container, Out, Test, mountinfo, pipe, read_line};
use crate::mounts::{at, has, super_has};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

cases![
    a_bind_is_added_and_removed,
    a_file_is_added_and_removed,
    new_filesystems_with_their_options,
    a_relative_source_is_the_bundles,
    the_list_may_come_from_stdin,
    later_mounts_are_on_top_of_earlier_ones,
    proc_is_of_the_containers_pids,
    a_tmpfs_copies_up,
    ids_are_mapped,
    in_a_user_namespace,
    in_a_joined_mount_namespace,
    as_an_ordinary_user,
    created_and_paused_containers_get_mounts,
    a_failed_list_adds_nothing,
    a_failed_list_removes_nothing,
    a_readonly_root_needs_the_mountpoint,
    links_stay_inside,
    links_into_proc_are_refused,
    dangling_links_are_refused,
    a_race_of_links_stays_inside,
    the_containers_own_proc_is_not_used,
    invalid_destinations_are_refused,
    entries_that_are_no_new_mount_are_refused,
    mounts_that_hide_files_of_proc_stay,
    a_place_without_a_mount_cannot_be_removed,
    a_file_does_not_cover_a_directory,
    bad_lists_are_refused,
    ended_containers_get_no_mounts,
    a_process_that_stops_others_blocks_no_verb,
];

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    mount(destination, "bind", source.to_str().unwrap(), &[&["bind"], options].concat())
}

/// `mounts ACTION ID FILE`
fn change(t: &Test, action: &str, container: &Container, list: &Value) -> Out {
    let file = t.make_file("mounts.json", &list.to_string());
    t.verb(["mounts", action, &container.id]).arg(file).out()
}

fn done(t: &Test, action: &str, container: &Container, list: &Value) {
    let out = change(t, action, container, list);
    assert_eq!((out.code, out.stdout.as_str(), out.stderr.as_str()), (0, "", ""), "{out:?}");
}

fn places(seen: &Value) -> Vec<&str> {
    seen["mounts"].as_array().unwrap().iter().map(|mount| mount["at"].as_str().unwrap()).collect()
}

fn answer(container: &Container, question: &str) -> Value {
    let report = container.exec([], ["/probe", "--answer", question]).ok().stdout;
    serde_json::from_str(&report).unwrap()
}

fn a_bind_is_added_and_removed(t: &Test) {
    let container = t.pausing();
    let dir = t.make_dir("volume");
    fs::write(dir.join("file"), "hello").unwrap();
    let before = container.look([]);
    let list = json!([bind(&dir, "/new/place", &["ro", "nosuid"])]);
    done(t, "add", &container, &list);
    let seen = container.look([]);
    has(at(&seen, "/new/place"), &["ro", "nosuid"]);
    assert_eq!(answer(&container, "text:/new/place/file"), "hello");
    assert_eq!(answer(&container, "create:/new/place/other"), "EROFS");
    // The host sees none of these mounts.
    assert_eq!(mountinfo("/new/place"), [""; 0]);
    done(t, "remove", &container, &list);
    assert_eq!(places(&container.look([])), places(&before));
    assert_eq!(answer(&container, "text:/new/place/file"), "ENOENT");
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "hello");
}

fn a_file_is_added_and_removed(t: &Test) {
    let container = t.pausing();
    let file = t.make_file("file", "hello");
    done(t, "add", &container, &json!([bind(&file, "/etc/added", &[])]));
    assert_eq!(answer(&container, "text:/etc/added"), "hello");
    // To remove a mount, its destination is enough.
    done(t, "remove", &container, &json!([{ "destination": "/etc/added" }]));
    assert_eq!(answer(&container, "text:/etc/added"), "");
}

fn new_filesystems_with_their_options(t: &Test) {
    let container = t.pausing();
    let list = json!([
        mount("/a", "tmpfs", "none", &["size=64k", "mode=711", "nodev", "noexec"]),
        mount("/b", "tmpfs", "none", &["silent", "size=128k"]),
    ]);
    done(t, "add", &container, &list);
    let seen = container.look([]);
    has(at(&seen, "/a"), &["nodev", "noexec", "rw"]);
    super_has(at(&seen, "/a"), "size=64k");
    super_has(at(&seen, "/a"), "mode=711");
    super_has(at(&seen, "/b"), "size=128k");
    assert_eq!(answer(&container, "create:/a/file"), "ok");
    done(t, "remove", &container, &list);
    assert_eq!(answer(&container, "list:/a"), json!([]));
}

fn a_relative_source_is_the_bundles(t: &Test) {
    let bundle = t.bundle().pausing();
    let container = t.start(&bundle);
    fs::create_dir(bundle.dir.join("data")).unwrap();
    fs::write(bundle.dir.join("data/file"), "hello").unwrap();
    done(t, "add", &container, &json!([mount("/tmp", "bind", "data", &["bind"])]));
    assert_eq!(answer(&container, "text:/tmp/file"), "hello");
}

fn the_list_may_come_from_stdin(t: &Test) {
    let container = t.pausing();
    let file = t.make_file("mounts.json", &json!([mount("/tmp", "tmpfs", "t", &[])]).to_string());
    for action in ["add", "remove"] {
        t.verb(["mounts", action, &container.id, "-"]).stdin(fs::File::open(&file).unwrap()).ok();
        assert_eq!(places(&container.look([])).contains(&"/tmp"), action == "add");
    }
}

fn later_mounts_are_on_top_of_earlier_ones(t: &Test) {
    let container = t.pausing();
    let dir = t.make_dir("volume");
    fs::write(dir.join("file"), "hello").unwrap();
    let list =
        json!([mount("/a", "tmpfs", "t", &[]), bind(&dir, "/a/b", &[]), mount("/a/c", "tmpfs", "t", &[])]);
    done(t, "add", &container, &list);
    assert_eq!(answer(&container, "text:/a/b/file"), "hello");
    done(t, "remove", &container, &list);
    assert!(!places(&container.look([])).iter().any(|place| place.starts_with("/a")));
    // `remove` detaches a mount together with all mounts on it.
    done(t, "add", &container, &list);
    done(t, "remove", &container, &json!([{ "destination": "/a" }]));
    assert!(!places(&container.look([])).iter().any(|place| place.starts_with("/a")));
}

fn proc_is_of_the_containers_pids(t: &Test) {
    let container = t.pausing();
    done(t, "add", &container, &json!([mount("/p", "proc", "proc", &["ro"])]));
    has(at(&container.look([]), "/p"), &["ro"]);
    assert_eq!(answer(&container, "text:/p/1/cmdline"), "/probe\0--pause\0");
}

fn a_tmpfs_copies_up(t: &Test) {
    let container = t.pausing();
    assert_eq!(answer(&container, "create:/tmp/file"), "ok");
    done(t, "add", &container, &json!([mount("/tmp", "tmpfs", "t", &["tmpcopyup", "ro"])]));
    assert_eq!(answer(&container, "list:/tmp"), json!(["file"]));
    has(at(&container.look([]), "/tmp"), &["ro"]);
}

fn ids_are_mapped(t: &Test) {
    let container = t.pausing();
    let dir = t.make_dir("volume");
    let maps = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    let mut entry = bind(&dir, "/tmp", &["idmap"]);
    entry["uidMappings"] = maps.clone();
    entry["gidMappings"] = maps;
    done(t, "add", &container, &json!([entry]));
    assert_eq!(answer(&container, "stat:/tmp")["uid"], 1000);
}

fn in_a_user_namespace(t: &Test) {
    let bundle = t.bundle().user_namespace().pausing();
    // A directory in which the container's root can create mount points.
    std::os::unix::fs::chown(bundle.lay().join("rootfs"), Some(100_000), Some(100_000)).unwrap();
    let container = t.start(&bundle);
    let dir = t.make_dir("volume");
    fs::write(dir.join("file"), "hello").unwrap();
    let list = json!([
        bind(&dir, "/tmp", &["idmap"]),
        mount("/new/dir", "tmpfs", "t", &["mode=700"]),
        mount("/p", "proc", "proc", &[]),
    ]);
    done(t, "add", &container, &list);
    assert_eq!(answer(&container, "stat:/tmp/file")["uid"], 0);
    assert_eq!(answer(&container, "stat:/new")["uid"], 0);
    assert_eq!(answer(&container, "create:/new/dir/file"), "ok");
    assert_eq!(answer(&container, "text:/p/1/cmdline"), "/probe\0--pause\0");
    done(t, "remove", &container, &list);
    assert!(!places(&container.look([])).contains(&"/new/dir"));
}

/// The container's root differs from the root of the mount namespace.
fn in_a_joined_mount_namespace(t: &Test) {
    let list = t.make_file("mounts.json", &json!([mount("/added", "tmpfs", "t", &["size=64k"])]).to_string());
    let bundle = t.bundle().pausing();
    let bundle = bundle.without_namespace("mount").join("mount", "/proc/self/ns/mnt");
    let script = format!(
        "sed -i s,/proc/self/ns/mnt,/proc/$$/ns/mnt, \"$BUNDLE/config.json\"
         runtime run --detach --pid-file pid \"$ID\"
         runtime mounts add \"$ID\" {list}
         ls -d /added 2>&1 | sed s/^.*:.//
         runtime exec \"$ID\" grep -c added /proc/self/mounts
         runtime mounts remove \"$ID\" {list}
         runtime exec \"$ID\" grep -c added /proc/self/mounts || true
         runtime delete --force \"$ID\"",
        list = list.display()
    );
    let out = t.in_private_mounts(&bundle, &t.make_dir("volume"), &script).out();
    assert_eq!(out.stdout, "No such file or directory\n1\n0\n", "{out:?}");
}

fn as_an_ordinary_user(t: &Test) {
    let user = Test::USER.to_string();
    let map = json!([{ "containerID": 0, "hostID": Test::USER, "size": 1 }]);
    let flags = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let bundle = t.bundle().pausing().namespace("user").drop("/linux/resources");
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let bundle = bundle.remount("/dev/pts", &flags);
    // The runtime creates the mount point as the user, in a rootfs of its own.
    std::os::unix::fs::chown(bundle.lay().join("rootfs"), Some(Test::USER), Some(Test::USER)).unwrap();
    let (root, dir) = (t.make_dir("user"), t.make_dir("volume"));
    std::os::unix::fs::chown(&root, Some(Test::USER), Some(Test::USER)).unwrap();
    fs::write(dir.join("file"), "hello").unwrap();
    let list = json!([bind(&dir, "/new", &["ro"]), mount("/tmp", "tmpfs", "t", &["size=64k", "silent"])]);
    let list = t.make_file("mounts.json", &list.to_string());
    let id = t.id();
    let script = format!(
        "r() {{ \"$RUNTIME\" --root {root}/state \"$@\"; }}
         r run --detach --bundle {bundle} {id} </dev/null >/dev/null
         r mounts add {id} {list}
         r exec {id} cat /new/file; r exec {id} grep -c ' /tmp tmpfs' /proc/self/mounts
         r mounts remove {id} {list}
         r exec {id} ls /new
         r delete --force {id}",
        root = root.display(),
        bundle = bundle.lay().display(),
        list = list.display()
    );
    let call = t.call("/usr/bin/setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    let out = call.args(["sh", "-c", &script]).env("RUNTIME", t.runtime.borrow().clone()).cwd("/").out();
    assert_eq!(out.stdout, "hello1\n", "{out:?}");
}

fn created_and_paused_containers_get_mounts(t: &Test) {
    let bundle = t.bundle().args(["/probe", "--report-pause"]);
    let (reader, writer) = pipe();
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    done(t, "add", &container, &json!([mount("/before", "tmpfs", "t", &[])]));
    container.start();
    let seen: Value = serde_json::from_str(&read_line(&reader)).unwrap();
    assert!(places(&seen).contains(&"/before"));
    container.verb("pause").ok();
    done(t, "add", &container, &json!([mount("/paused", "tmpfs", "t", &[])]));
    container.verb("resume").ok();
    assert!(places(&container.look([])).contains(&"/paused"));
}

fn a_failed_list_adds_nothing(t: &Test) {
    let container = t.pausing();
    let before = container.look([]);
    let first = mount("/new/a", "tmpfs", "t", &[]);
    let file = t.make_file("file", "");
    for (second, words) in [
        (bind(&t.path("missing"), "/b", &[]), ["/1/source", "ENOENT"]),
        (mount("/b", "nosuchfs", "x", &[]), ["/1", "nosuchfs"]),
        (mount("/b", "tmpfs", "x", &["nosuchoption"]), ["/1", "nosuchoption"]),
        (mount("/probe", "tmpfs", "x", &[]), ["/1", "/probe"]),
        (bind(&file, "/tmp", &[]), ["/1", "not a directory"]),
        (mount("/probe/../y", "tmpfs", "x", &[]), ["/1", "ENOTDIR"]),
    ] {
        let out = change(t, "add", &container, &json!([first, second]));
        out.one_clear_line(&words);
        assert_eq!(places(&container.look([])), places(&before), "{second}");
        for gone in ["/new", "/b", "/y"] {
            assert_eq!(answer(&container, &format!("stat:{gone}")), "ENOENT", "{second}");
        }
    }
}

fn a_failed_list_removes_nothing(t: &Test) {
    let container = t.pausing();
    let list = json!([mount("/a", "tmpfs", "t", &["size=64k"]), mount("/a/b", "tmpfs", "t", &[])]);
    done(t, "add", &container, &list);
    assert_eq!(answer(&container, "create:/a/b/file"), "ok");
    let bad = json!([{ "destination": "/home" }, { "destination": "/a" }, { "destination": "/a/b" }]);
    assert_eq!(answer(&container, "mkdir:/home"), "ok");
    change(t, "remove", &container, &bad).one_clear_line(&["/0", "/home", "umount", "EINVAL"]);
    let seen = container.look([]);
    super_has(at(&seen, "/a"), "size=64k");
    assert_eq!(answer(&container, "list:/a/b"), json!(["file"]));
}

fn a_readonly_root_needs_the_mountpoint(t: &Test) {
    let container = t.start(&t.bundle().set("/root/readonly", json!(true)).pausing());
    done(t, "add", &container, &json!([mount("/tmp", "tmpfs", "t", &[])]));
    assert_eq!(answer(&container, "create:/tmp/file"), "ok");
    let out = change(t, "add", &container, &json!([mount("/new", "tmpfs", "t", &[])]));
    out.one_clear_line(&["/0", "/new", "EROFS"]);
}

/// A directory of the host that no link of the container may reach.
fn outside(t: &Test) -> std::path::PathBuf {
    let dir = t.make_decoy();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    t.decoy(&dir);
    dir
}

fn no_mount_below(dir: &Path) {
    assert_eq!(mountinfo(dir.to_str().unwrap()), [""; 0]);
}

fn links_stay_inside(t: &Test) {
    let container = t.pausing();
    let dir = outside(t);
    let up = "../".repeat(20);
    for (i, target) in [dir.display().to_string(), format!("{up}{}", dir.display())].iter().enumerate() {
        // In the container, the same name is another directory.
        let inside = dir.join("in").display().to_string();
        container.exec([], ["/bin/busybox", "mkdir", "-p", &inside]).ok();
        let link = format!("/link{i}");
        container.exec([], ["/bin/busybox", "ln", "-s", target, &link]).ok();
        for place in [format!("{link}/in"), format!("{link}/new"), format!("/tmp/..{link}/in")] {
            let list = json!([mount(&place, "tmpfs", "t", &["size=64k"])]);
            done(t, "add", &container, &list);
            let name = place.rsplit('/').next().unwrap();
            let seen = container.look([]);
            super_has(at(&seen, &dir.join(name).display().to_string()), "size=64k");
            no_mount_below(&dir);
            done(t, "remove", &container, &list);
            no_mount_below(&dir);
        }
    }
}

fn links_into_proc_are_refused(t: &Test) {
    let container = t.pausing();
    for (name, target) in
        [("/attr", "/proc/self/attr"), ("/sys2", "/proc/sys"), ("/p", "/proc"), ("/top", "/")]
    {
        container.exec([], ["/bin/busybox", "ln", "-s", target, name]).ok();
        let out = change(t, "add", &container, &json!([mount(name, "tmpfs", "t", &[])]));
        out.one_clear_line(&["/0", name]);
    }
    let file = t.make_file("file", "");
    container.exec([], ["/bin/busybox", "ln", "-s", "/proc/version", "/file"]).ok();
    change(t, "add", &container, &json!([bind(&file, "/file", &[])])).one_clear_line(&["/0", "inside /proc"]);
}

fn dangling_links_are_refused(t: &Test) {
    let container = t.pausing();
    let dir = outside(t);
    let target = dir.join("new").display().to_string();
    container.exec([], ["/bin/busybox", "ln", "-s", &target, "/link"]).ok();
    let before = places(&container.look([])).len();
    let out = change(t, "add", &container, &json!([mount("/link", "tmpfs", "t", &[])]));
    out.one_clear_line(&["/0", "/link", "symbolic link at the destination: it leads nowhere"]);
    no_mount_below(&dir);
    assert_eq!(answer(&container, &format!("stat:{target}")), "ENOENT");
    assert_eq!(places(&container.look([])).len(), before);
}

/// The container replaces a directory by a link and back, again and again.
fn a_race_of_links_stays_inside(t: &Test) {
    let dir = outside(t);
    let script = format!(
        "mkdir -p /a {dir}; ln -s {dir} /b; echo on
         while :; do mv -T /a /c; mv -T /b /a; mv -T /a /b; mv -T /c /a; done 2>/dev/null",
        dir = dir.display()
    );
    let (reader, writer) = pipe();
    let bundle = t.bundle().shell(&script);
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "on");
    let list = json!([mount("/a/x", "tmpfs", "t", &[])]);
    let (mut added, mut tries) = (0, 0);
    // Allows a few more rounds if the container has disturbed each round.
    while tries < 30 || (added == 0 && tries < 1000) {
        tries += 1;
        // The runtime may find nothing there, or another file than before.
        for action in ["add", "remove"] {
            let out = change(t, action, &container, &list);
            assert!(out.code == 0 || out.stderr.lines().count() == 1, "{out:?}");
            if action == "add" && out.code == 0 {
                added += 1;
                let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", container.init.pid)).unwrap();
                assert!(mounts.contains(" - tmpfs t "), "{mounts}");
            }
        }
        no_mount_below(&dir);
    }
    assert!(added > 0, "nothing was mounted in {tries} tries");
}

/// The result must not depend on the container's procfs, which may be missing.
fn the_containers_own_proc_is_not_used(t: &Test) {
    let container = t.pausing();
    let list = json!([mount("/a", "tmpfs", "t", &[])]);
    done(t, "remove", &container, &json!([{ "destination": "/proc" }]));
    assert_eq!(answer(&container, "list:/proc"), json!([]));
    done(t, "add", &container, &list);
    assert_eq!(answer(&container, "create:/a/file"), "ok");
    done(t, "remove", &container, &list);
    assert_eq!(answer(&container, "list:/a"), json!([]));
    done(t, "add", &container, &json!([mount("/proc", "proc", "proc", &[])]));
    assert_eq!(answer(&container, "text:/proc/1/cmdline"), "/probe\0--pause\0");
}

fn invalid_destinations_are_refused(t: &Test) {
    let container = t.pausing();
    for place in ["/", "/proc/sys", "/proc", "/tmp/..", "/tmp/../proc/self"] {
        let out = change(t, "add", &container, &json!([mount(place, "tmpfs", "t", &[])]));
        out.one_clear_line(&["/0"]);
    }
    change(t, "add", &container, &json!([mount("", "tmpfs", "t", &[])])).one_clear_line(&["/0/destination"]);
    for place in ["/", "/tmp/.."] {
        let out = change(t, "remove", &container, &json!([{ "destination": place }]));
        out.one_clear_line(&["/0", "root"]);
    }
}

fn entries_that_are_no_new_mount_are_refused(t: &Test) {
    let container = t.pausing();
    let dir = t.make_dir("volume");
    for (entry, at) in [
        (mount("/dev", "tmpfs", "t", &["remount", "ro"]), "/0/options"),
        (mount("/sys/fs/cgroup", "cgroup", "cgroup", &[]), "/0/type"),
        (mount("/x", "", "t", &[]), "/0/type"),
        (bind(&dir, "/x", &["copy-symlink"]), "/0/options"),
        (bind(&dir, "/x", &["newinstance"]), "/0/options"),
        (bind(&dir, "/x", &["idmap"]), "/0/options"),
    ] {
        change(t, "add", &container, &json!([entry])).one_clear_line(&[at]);
    }
}

fn mounts_that_hide_files_of_proc_stay(t: &Test) {
    let bundle = t.bundle().set("/linux/maskedPaths", json!(["/proc/timer_list"]));
    let container = t.start(&bundle.pausing());
    let out = change(t, "remove", &container, &json!([{ "destination": "/proc/timer_list" }]));
    out.one_clear_line(&["/0", "/proc/timer_list"]);
    assert!(places(&container.look([])).contains(&"/proc/timer_list"));
}

fn a_place_without_a_mount_cannot_be_removed(t: &Test) {
    let container = t.pausing();
    for (place, words) in [("/tmp", "EINVAL"), ("/missing", "ENOENT")] {
        let out = change(t, "remove", &container, &json!([{ "destination": place }]));
        out.one_clear_line(&["/0", place, words]);
    }
    let dir = t.make_dir("volume");
    assert_eq!(fs::metadata(dir).unwrap().uid(), nix::unistd::geteuid().as_raw());
}

fn a_file_does_not_cover_a_directory(t: &Test) {
    let container = t.pausing();
    let file = t.make_file("file", "bound");
    let name = file.display().to_string();
    let out = change(t, "add", &container, &json!([bind(&file, "/etc", &[])]));
    out.one_clear_line(&["/0", "/etc", &name, "not a directory"]);
    let directory = file.parent().unwrap();
    let out = change(t, "add", &container, &json!([bind(directory, "/etc/passwd", &[])]));
    out.one_clear_line(&["/0", "/etc/passwd", directory.to_str().unwrap(), "not a directory"]);
}

fn bad_lists_are_refused(t: &Test) {
    let container = t.pausing();
    for (list, words) in [
        (json!({}), "expected a sequence"),
        (json!([7]), "/0"),
        (json!([{ "destination": 7 }]), "/0/destination"),
        (json!([{ "destination": "/x", "type": "tmpfs", "options": ["ro", 1] }]), "/0/options/1"),
    ] {
        for action in ["add", "remove"] {
            change(t, action, &container, &list).one_clear_line(&[words]);
        }
    }
    let missing = t.verb(["mounts", "add", &container.id]).arg(t.path("missing")).out();
    missing.one_clear_line(&["missing", "ENOENT"]);
    t.verb(["mounts", "move", &container.id, "/dev/null"]).out().one_clear_line(&["move"]);
    // As in config.json, an unknown key gives a warning.
    let out = change(t, "add", &container, &json!([{ "destination": "/x", "type": "tmpfs", "sauce": "t" }]));
    assert_eq!(out.code, 0);
    assert!(out.stderr.contains("/0/sauce"), "{out:?}");
}

fn ended_containers_get_no_mounts(t: &Test) {
    let container = t.pausing();
    container.stop();
    for action in ["add", "remove"] {
        let out = change(t, action, &container, &json!([mount("/a", "tmpfs", "t", &[])]));
        out.one_clear_line(&["container not running"]);
    }
    let file = t.make_file("none.json", "[]");
    t.verb(["mounts", "add", "nobody"]).arg(file).out().one_clear_line(&["container does not exist"]);
}

/// The process that works in the container's pid namespace is visible there, and the
/// container may stop it. The verb held the lock meanwhile.
fn a_process_that_stops_others_blocks_no_verb(t: &Test) {
    let bundle = t.bundle().capabilities(&["CAP_KILL"]).shell("while :; do kill -STOP -1; done 2> /dev/null");
    let container = t.start(&bundle);
    let list = json!([{ "destination": "/tmp", "type": "tmpfs", "source": "t" }]);
    let list = t.make_file("mounts.json", &list.to_string());
    let call = |what: &str| t.verb(["mounts", what, &container.id]).arg(&list).out();
    let stopped = (0..200).map(|n| call(["add", "remove"][n % 2])).find(|out| out.code != 0);
    stopped
        .expect("the attack takes place")
        .one_clear_line(&["does not answer", "whether the container stopped that process"]);
    // No process holds the lock.
    container.verb("pause").ok();
    t.verb(["delete", "--force", &container.id]).ok();
}
