//! Read-only mounts in which the runtime first has to create something.

use crate::harness::{Bundle, Test, is_root};
use crate::mounts::{at, has, look_after, volume};
use serde_json::{Value, json};

cases![
    a_readonly_dev_gets_its_nodes,
    mount_points_in_a_readonly_tmpfs_are_created,
    mount_points_in_a_recursively_readonly_tmpfs_are_created,
    a_tmpfs_is_readonly_after_the_hooks,
    a_tmpfs_that_is_called_by_a_path,
    a_tmpfs_that_copies_up_is_readonly,
    mount_points_in_a_readonly_bind_are_created,
    mount_points_in_a_remounted_bind_are_created,
    devices_in_a_readonly_bind_are_created,
    what_the_host_mounted_readonly_stays_readonly,
];

const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Runs each bundle without a user namespace and, if possible, with one.
fn with_user_namespace(bundle: Bundle) -> Vec<Bundle> {
    if !is_root() {
        return vec![bundle];
    }
    // Without a bind of the host, the ids of the image's files don't matter.
    vec![bundle.clone(), bundle.user_namespace()]
}

fn readonly_dev(bundle: Bundle) -> Bundle {
    bundle.remount("/dev", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k", "ro"])
}

fn a_readonly_dev_gets_its_nodes(t: &Test) {
    for bundle in with_user_namespace(readonly_dev(t.bundle())) {
        let seen = t.look(&bundle, ["list:/dev", "create:/dev/new", "write:/dev/null", "link:/dev/ptmx"]);
        has(at(&seen, "/dev"), &["ro", "nosuid", "noexec"]);
        let names: Vec<&Value> = seen["asked"]["list:/dev"].as_array().unwrap().iter().collect();
        for name in NODES.into_iter().chain(["pts", "shm", "mqueue", "fd", "stdin", "ptmx"]) {
            assert!(names.contains(&&json!(name)), "{name}: {names:?}");
        }
        assert_eq!(seen["asked"]["create:/dev/new"], "EROFS");
        assert_eq!(seen["asked"]["write:/dev/null"], "ok");
        assert_eq!(seen["asked"]["link:/dev/ptmx"], "pts/ptmx");
    }
}

fn mount_points_in_a_readonly_tmpfs_are_created(t: &Test) {
    mount_points_in_a_tmpfs(t, "ro");
}

/// `rro` applies to the tmpfs itself, not to mounts that are attached to it later.
fn mount_points_in_a_recursively_readonly_tmpfs_are_created(t: &Test) {
    mount_points_in_a_tmpfs(t, "rro");
}

fn mount_points_in_a_tmpfs(t: &Test, option: &str) {
    let dir = volume(t);
    let bundle = t
        .bundle()
        .mount("/run", "tmpfs", "tmpfs", &["nosuid", option])
        .bind(&dir, "/run/deep/volume", &[])
        .bind(&dir.join("file"), "/run/file", &[])
        .set("/process/cwd", json!("/run/here"));
    for bundle in with_user_namespace(bundle) {
        let seen = t.look(&bundle, ["create:/run/new", "text:/run/deep/volume/file", "text:/run/file"]);
        has(at(&seen, "/run"), &["ro", "nosuid"]);
        has(at(&seen, "/run/deep/volume"), &["rw"]);
        assert_eq!(seen["asked"]["create:/run/new"], "EROFS");
        assert_eq!(seen["asked"]["text:/run/deep/volume/file"], "of the host");
        assert_eq!(seen["asked"]["text:/run/file"], "of the host");
    }
}

/// As in runc and crun, hooks may still write.
fn a_tmpfs_is_readonly_after_the_hooks(t: &Test) {
    let bundle = t.bundle().mount("/run", "tmpfs", "tmpfs", &["ro"]);
    let script = format!("echo hook > {}", bundle.inside("/run/by-hook").display());
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let bundle = bundle.set("/hooks", json!({ "createContainer": hook }));
    let seen = t.look(&bundle, ["text:/run/by-hook", "create:/run/new"]);
    assert_eq!(seen["asked"]["text:/run/by-hook"], "hook\n");
    assert_eq!(seen["asked"]["create:/run/new"], "EROFS");
}

/// The source is a name, and not a device that could be opened read-only.
fn a_tmpfs_that_is_called_by_a_path(t: &Test) {
    let bundle = t.bundle().mount("/run", "tmpfs", "/run", &["ro"]).mount("/run/in", "tmpfs", "tmpfs", &[]);
    let seen = t.look(&bundle, ["create:/run/new", "create:/run/in/new"]);
    assert_eq!(seen["asked"]["create:/run/new"], "EROFS");
    assert_eq!(seen["asked"]["create:/run/in/new"], "ok");
}

fn a_tmpfs_that_copies_up_is_readonly(t: &Test) {
    let bundle = t.bundle().mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup", "ro"]);
    std::fs::write(bundle.inside("/etc/kept"), "image").unwrap();
    let seen = t.look(&bundle, ["text:/etc/kept", "create:/etc/new"]);
    assert_eq!(seen["asked"]["text:/etc/kept"], "image");
    assert_eq!(seen["asked"]["create:/etc/new"], "EROFS");
}

/// crun creates them, too. runc does not.
fn mount_points_in_a_readonly_bind_are_created(t: &Test) {
    let dir = volume(t);
    let bundle = t
        .bundle()
        .bind(&dir, "/data", &["ro", "nosuid"])
        .bind(&dir.join("file"), "/data/deep/file", &[])
        .mount("/data/deep/tmp", "tmpfs", "tmpfs", &[])
        .mount("/data/other", "tmpfs", "tmpfs", &[]);
    let questions =
        ["text:/data/deep/file", "create:/data/new", "create:/data/deep/new", "create:/data/other/x"];
    let seen = t.look(&bundle, questions);
    has(at(&seen, "/data"), &["ro", "nosuid"]);
    assert_eq!(seen["asked"]["text:/data/deep/file"], "of the host");
    assert_eq!(seen["asked"]["create:/data/new"], "EROFS");
    assert_eq!(seen["asked"]["create:/data/deep/new"], "EROFS");
    assert_eq!(seen["asked"]["create:/data/other/x"], "ok");
    assert!(dir.join("deep/file").is_file() && dir.join("other").is_dir());
}

fn mount_points_in_a_remounted_bind_are_created(t: &Test) {
    let dir = volume(t);
    let bundle = t
        .bundle()
        .bind(&dir, "/data", &[])
        .mount("/data", "", "", &["bind", "remount", "ro"])
        .mount("/data/tmp", "tmpfs", "tmpfs", &[]);
    let seen = t.look(&bundle, ["create:/data/new", "create:/data/tmp/new"]);
    assert_eq!(seen["asked"]["create:/data/new"], "EROFS");
    assert_eq!(seen["asked"]["create:/data/tmp/new"], "ok");
}

fn devices_in_a_readonly_bind_are_created(t: &Test) {
    let dir = volume(t);
    let device =
        json!([{ "path": "/data/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }]);
    let bundle = t.bundle().bind(&dir, "/data", &["ro"]).set("/linux/devices", device);
    let seen = t.look(&bundle, ["stat:/data/dev/null", "create:/data/new"]);
    assert_eq!(seen["asked"]["stat:/data/dev/null"]["device"], "1:3");
    assert_eq!(seen["asked"]["create:/data/new"], "EROFS");
    assert!(dir.join("dev").is_dir());
}

/// Only a mount that the configuration made read-only becomes writable for a moment.
fn what_the_host_mounted_readonly_stays_readonly(t: &Test) {
    let dir = t.make_dir("volume");
    t.decoy(&dir);
    let prepare = "mount --bind \"$VOLUME\" \"$VOLUME\"; mount -o remount,bind,ro \"$VOLUME\"";
    for options in [&["ro"][..], &[]] {
        let bundle = t.bundle().bind(&dir, "/data", options).mount("/data/new", "tmpfs", "tmpfs", &[]);
        let script = format!("{prepare}; ! runtime create \"$ID\"");
        let out = t.in_private_mounts(&bundle, &dir, &script).ok();
        assert!(out.stderr.to_lowercase().contains("read-only file system"), "{out:?}");
        // Without the mount below, the configuration is correct.
        let bundle = t.bundle().bind(&dir, "/data", options);
        has(at(&look_after(t, &dir, prepare, bundle, &[]), "/data"), &["ro"]);
    }
}
