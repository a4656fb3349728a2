//! Which later mounts of the host a container sees, and which of its mounts the host sees:
//! `mounts[].options` and `linux.rootfsPropagation`.

use crate::harness::{Bundle, Call, Test};
use crate::mounts::{SHARED, at, look_after};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::os::unix::process::CommandExt;
use std::path::Path;

cases![
    of_each_kind,
    of_a_new_filesystem,
    slave_volume_receives_mounts_of_the_host,
    slave_volume_sends_nothing,
    shared_volume_sends_mounts_to_the_host,
    shared_volume_receives_mounts_of_the_host,
    shared_volume_is_the_hosts_peer,
    shared_volume_without_a_shared_root_is_a_group_of_its_own,
    private_volume_receives_nothing,
    without_an_option_a_volume_is_a_slave,
    without_an_option_a_volume_follows_the_root,
    recursive_forms_reach_submounts,
    unbindable_volume_cannot_be_bound,
    in_a_user_namespace,
    a_source_with_a_mount_namespace_in_it,
    a_source_with_a_mount_namespace_in_it_stays_a_slave,
    a_rootfs_with_a_mount_namespace_in_it,
];

/// The propagation fields of the mount at `place`, without group numbers.
fn kinds(seen: &Value, place: &str) -> Vec<String> {
    tags(seen, place).iter().map(|tag| tag.split(':').next().unwrap().to_owned()).collect()
}

fn tags(seen: &Value, place: &str) -> Vec<String> {
    let tags = at(seen, place)["tags"].as_array().unwrap();
    tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

fn with_root(bundle: Bundle, propagation: &str) -> Bundle {
    bundle.set("/linux/rootfsPropagation", json!(propagation))
}

fn of_each_kind(t: &Test) {
    let dir = t.make_dir("volume");
    for (option, wanted) in [
        ("private", &[][..]),
        ("rprivate", &[]),
        ("slave", &["master"]),
        ("rslave", &["master"]),
        ("shared", &["shared", "master"]),
        ("rshared", &["shared", "master"]),
        ("unbindable", &["unbindable"]),
        ("runbindable", &["unbindable"]),
    ] {
        let bundle = with_root(t.bundle(), "rslave").bind(&dir, "/tmp", &[option]);
        let seen = look_after(t, &dir, SHARED, bundle, &[]);
        assert_eq!(kinds(&seen, "/tmp"), wanted, "{option}");
    }
}

fn of_a_new_filesystem(t: &Test) {
    for (option, wanted) in [
        ("private", &[][..]),
        ("slave", &[]),
        ("shared", &["shared"]),
        ("rshared", &["shared"]),
        ("unbindable", &["unbindable"]),
    ] {
        let seen = t.look(&t.bundle().mount("/tmp", "tmpfs", "t", &[option]), []);
        assert_eq!(kinds(&seen, "/tmp"), wanted, "{option}");
    }
}

/// A container that keeps running, with $VOLUME on /tmp.
fn staying(t: &Test, dir: &Path, root: &str, options: &[&str]) -> Bundle {
    for name in ["later", "made"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    let bundle = t.bundle().capabilities(&["CAP_SYS_ADMIN"]).bind(dir, "/tmp", options);
    let bundle = if root.is_empty() { bundle } else { with_root(bundle, root) };
    bundle.pausing()
}

const RUN: &str = "runtime run --detach \"$ID\"";
const HOST_MOUNTS: &str = "mount -t tmpfs l \"$VOLUME/later\"; touch \"$VOLUME/later/seen\"";
const LOOK_INSIDE: &str = "runtime exec \"$ID\" ls /tmp/later";
const CONTAINER_MOUNTS: &str =
    "runtime exec \"$ID\" sh -c 'mount -t tmpfs m /tmp/made && touch /tmp/made/seen'";
const LOOK_OUTSIDE: &str = "ls \"$VOLUME/made\"";

/// Runs the container on a shared volume, then these commands. Returns their output.
fn after(t: &Test, dir: &Path, bundle: &Bundle, steps: &[&str]) -> String {
    let script = format!("{SHARED}; {RUN}; {}", steps.join("; "));
    t.in_private_mounts(bundle, dir, &script).ok().stdout
}

/// What Kubernetes calls HostToContainer: a mount made later is seen inside.
fn slave_volume_receives_mounts_of_the_host(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = staying(t, &dir, "rslave", &["rslave"]);
    assert_eq!(after(t, &dir, &bundle, &[HOST_MOUNTS, LOOK_INSIDE]), "seen\n");
}

fn slave_volume_sends_nothing(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = staying(t, &dir, "rslave", &["rslave"]);
    assert_eq!(after(t, &dir, &bundle, &[CONTAINER_MOUNTS, LOOK_OUTSIDE]), "");
}

/// What Kubernetes calls Bidirectional: a mount made inside is seen outside.
fn shared_volume_sends_mounts_to_the_host(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = staying(t, &dir, "rshared", &["rshared"]);
    assert_eq!(after(t, &dir, &bundle, &[CONTAINER_MOUNTS, LOOK_OUTSIDE]), "seen\n");
}

fn shared_volume_receives_mounts_of_the_host(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = staying(t, &dir, "shared", &["rshared"]);
    assert_eq!(after(t, &dir, &bundle, &[HOST_MOUNTS, LOOK_INSIDE]), "seen\n");
}

fn shared_volume_is_the_hosts_peer(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = with_root(t.bundle(), "rshared").bind(&dir, "/tmp", &["rshared"]).args(["/probe"]);
    let group = "grep \" $VOLUME \" /proc/self/mountinfo | grep -o 'shared:[0-9]*' >\"$VOLUME/group\"";
    let script = format!("{SHARED}; {group}; runtime run \"$ID\"");
    let seen = t.in_private_mounts(&bundle, &dir, &script).out().report();
    let group = std::fs::read_to_string(dir.join("group")).unwrap();
    assert_eq!(tags(&seen, "/tmp"), [group.trim()]);
}

fn shared_volume_without_a_shared_root_is_a_group_of_its_own(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = staying(t, &dir, "", &["rshared"]);
    let seen = after(t, &dir, &bundle, &[CONTAINER_MOUNTS, LOOK_OUTSIDE, HOST_MOUNTS, LOOK_INSIDE]);
    assert_eq!(seen, "seen\n", "it must see the host's mounts, and the host none of its");
}

fn private_volume_receives_nothing(t: &Test) {
    for (root, option) in [("rslave", "rprivate"), ("rshared", "rprivate"), ("", "private")] {
        let dir = t.make_dir("volume");
        let bundle = staying(t, &dir, root, &[option]);
        let steps = [HOST_MOUNTS, LOOK_INSIDE, CONTAINER_MOUNTS, LOOK_OUTSIDE];
        assert_eq!(after(t, &dir, &bundle, &steps), "", "{root} {option}");
    }
}

fn without_an_option_a_volume_is_a_slave(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = staying(t, &dir, "", &[]);
    let steps = [HOST_MOUNTS, LOOK_INSIDE, CONTAINER_MOUNTS, LOOK_OUTSIDE];
    assert_eq!(after(t, &dir, &bundle, &steps), "seen\n");
}

fn without_an_option_a_volume_follows_the_root(t: &Test) {
    for (root, wanted) in [("rshared", &["shared"][..]), ("rprivate", &[]), ("rslave", &["master"])] {
        let dir = t.make_dir("volume");
        let bundle = with_root(t.bundle(), root).bind(&dir, "/tmp", &[]);
        let seen = look_after(t, &dir, SHARED, bundle, &[]);
        assert_eq!(kinds(&seen, "/tmp"), wanted, "{root}");
    }
}

fn recursive_forms_reach_submounts(t: &Test) {
    let prepare = format!("{SHARED}; mkdir -p \"$VOLUME/sub\"; mount -t tmpfs s \"$VOLUME/sub\"");
    for (option, above, below) in [
        ("private", &[][..], &["master"][..]),
        ("rprivate", &[], &[]),
        ("shared", &["shared", "master"], &["master"]),
        ("rshared", &["shared", "master"], &["shared", "master"]),
        ("unbindable", &["unbindable"], &["master"]),
        ("runbindable", &["unbindable"], &["unbindable"]),
    ] {
        let dir = t.make_dir("volume");
        let bundle = with_root(t.bundle(), "rslave").bind(&dir, "/tmp", &[option]);
        let seen = look_after(t, &dir, &prepare, bundle, &[]);
        assert_eq!(kinds(&seen, "/tmp"), above, "{option}");
        assert_eq!(kinds(&seen, "/tmp/sub"), below, "{option}");
    }
}

fn unbindable_volume_cannot_be_bound(t: &Test) {
    let dir = t.make_dir("volume");
    let shell = "mkdir /other; mount --bind /tmp /other && echo bound; :";
    let bundle = t.bundle().capabilities(&["CAP_SYS_ADMIN"]).shell(shell);
    let out = t.run(&bundle.clone().bind(&dir, "/tmp", &["unbindable"]));
    assert_eq!(out.stdout, "", "{out:?}");
    assert_eq!(t.run(&bundle.bind(&dir, "/tmp", &["private"])).stdout, "bound\n");
}

fn in_a_user_namespace(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = staying(t, &dir, "rslave", &["rslave"]).user_namespace();
    assert_eq!(after(t, &dir, &bundle, &[HOST_MOUNTS, LOOK_INSIDE]), "seen\n");
}

/// Runs these commands after the file of a mount namespace was bound in $VOLUME, as snapd
/// does in /run. This matters only if that namespace is older than the container's. Linux
/// 6.18 numbers namespaces in batches for each CPU, and the number gives the age. So all
/// commands run on one CPU.
fn with_a_namespace_file<'t>(t: &'t Test, bundle: &Bundle, dir: &Path, steps: &str) -> Call<'t> {
    std::fs::write(dir.join("ns"), "").unwrap();
    let script = format!(
        "{SHARED}; mkfifo up down; unshare --mount sh -c 'echo >up; read x <down' & read x <up; \
         mount --make-private \"$VOLUME\"; mount --bind /proc/$!/ns/mnt \"$VOLUME/ns\"; \
         mount --make-shared \"$VOLUME\"; echo >down; wait; {steps}"
    );
    let mut call = t.in_private_mounts(bundle, dir, &script);
    let all = sched_getaffinity(Pid::from_raw(0)).expect("the processors");
    let first = (0..CpuSet::count()).find(|cpu| all.is_set(*cpu).unwrap_or(false)).expect("one processor");
    let mut one = CpuSet::new();
    one.set(first).expect("a processor's number");
    let pin = move || Ok(sched_setaffinity(Pid::from_raw(0), &one)?);
    // SAFETY: the closure makes one call, which is async-signal-safe.
    unsafe { call.command.pre_exec(pin) };
    call
}

fn a_source_with_a_mount_namespace_in_it(t: &Test) {
    let dir = t.make_dir("volume");
    std::fs::write(dir.join("file"), "here").unwrap();
    let bundle = t.bundle().bind(&dir, "/tmp", &["rprivate", "ro"]);
    let bundle = bundle.args(["/probe", "text:/tmp/file", "create:/tmp/new"]);
    let seen = with_a_namespace_file(t, &bundle, &dir, "runtime run \"$ID\"").out().report();
    assert_eq!(seen["asked"]["text:/tmp/file"], "here");
    assert_eq!(seen["asked"]["create:/tmp/new"], "EROFS");
}

fn a_source_with_a_mount_namespace_in_it_stays_a_slave(t: &Test) {
    let dir = t.make_dir("volume");
    let bundle = staying(t, &dir, "rslave", &["rslave"]);
    let steps = format!("{RUN}; {HOST_MOUNTS}; {LOOK_INSIDE}");
    assert_eq!(with_a_namespace_file(t, &bundle, &dir, &steps).ok().stdout, "seen\n");
}

fn a_rootfs_with_a_mount_namespace_in_it(t: &Test) {
    let bundle = t.bundle().args(["/probe"]);
    with_a_namespace_file(t, &bundle, &bundle.inside("/"), "runtime run \"$ID\"").out().report();
}
