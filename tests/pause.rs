//! `pause` and `resume`, and what other verbs do to a paused container.

use crate::harness::{
    Container, PidFd, Test, cgroup_dir, cgroup_file, cgroup_v2, cgroups_named, pipe, read_line,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

cases![
    pause_stops_every_process_and_resume_continues_them,
    paused_is_a_status,
    signals_wait_for_resume,
    sigkill_ends_a_paused_container,
    kill_all_ends_a_paused_container,
    delete_with_force_ends_a_paused_container,
    delete_with_force_ends_a_payload_that_froze_itself,
    a_second_pause_is_refused,
    stopped_is_refused,
    resume_of_a_running_container_is_refused,
    created_container_is_not_started_while_paused,
    created_and_paused_is_deleted,
    exec_is_refused,
    exec_with_ignore_paused_waits_for_resume,
    freezes_a_storm_of_forks,
    below_a_frozen_parent,
    delete_below_a_frozen_parent_says_why,
    works_on_v2,
    needs_a_cgroup,
];

/// Returns the freezer state that the kernel has for the container's cgroup.
fn is_frozen(container: &Container) -> bool {
    let pid = container.init.pid;
    if cgroup_v2() {
        let events = cgroup_file(pid, "", "cgroup.events").expect("cgroup.events");
        return events.lines().any(|line| line == "frozen 1");
    }
    cgroup_file(pid, "freezer", "freezer.state").expect("freezer.state") == "FROZEN"
}

fn pause_stops_every_process_and_resume_continues_them(t: &Test) {
    let (reader, writer) = pipe();
    let bundle = t.bundle().shell("sleep 1000 & sleep 1000 & echo on; while :; do :; done");
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "on");
    assert!(!is_frozen(&container));
    let out = container.verb("pause").ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("", ""));
    assert!(is_frozen(&container), "not when `pause` returned");
    let before = ticks(container.init.pid);
    container.verb("state").ok();
    assert_eq!(ticks(container.init.pid), before, "a frozen process ran");
    let out = container.verb("resume").ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("", ""));
    assert!(!is_frozen(&container));
}

/// Returns the CPU time of a process, of user and system.
fn ticks(pid: i32) -> (String, String) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].to_owned(), fields[12].to_owned())
}

fn paused_is_a_status(t: &Test) {
    let container = t.pausing();
    container.verb("pause").ok();
    let state = container.state();
    assert_eq!((&state["status"], &state["pid"]), (&json!("paused"), &json!(container.init.pid)));
    let table = t.verb(["list"]).ok().stdout;
    assert!(table.lines().any(|line| line.starts_with(&container.id) && line.contains("paused")), "{table}");
    let list: Value = serde_json::from_str(&t.verb(["list", "-f", "json"]).ok().stdout).unwrap();
    assert_eq!(list[0]["status"], "paused");
    container.verb("delete").out().one_clear_line(&["paused"]);
    container.verb("resume").ok();
    assert_eq!(container.status(), "running");
}

fn signals_wait_for_resume(t: &Test) {
    let (reader, writer) = pipe();
    let bundle = t.bundle().args(["/probe", "--signals"]);
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "ready");
    container.verb("pause").ok();
    container.kill("TERM");
    assert_eq!(container.status(), "paused");
    assert!(is_frozen(&container));
    container.verb("resume").ok();
    assert_eq!(read_line(&reader), Signal::SIGTERM.as_str());
}

fn sigkill_ends_a_paused_container(t: &Test) {
    let container = t.pausing();
    container.verb("pause").ok();
    assert_eq!(container.status(), "paused");
    container.stop();
    assert_eq!(container.status(), "stopped");
    container.verb("delete").ok();
}

fn kill_all_ends_a_paused_container(t: &Test) {
    let (reader, writer) = pipe();
    let bundle = t.bundle().without_namespace("pid").shell("sleep 1000 & echo $!; wait");
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    let child = PidFd::open(read_line(&reader).parse().expect("a pid"));
    container.verb("pause").ok();
    assert_eq!(container.status(), "paused");
    t.verb(["kill", "--all", &container.id, "KILL"]).ok();
    assert!(child.ended());
    assert_eq!(container.wait(), 137);
}

fn delete_with_force_ends_a_paused_container(t: &Test) {
    for bundle in [t.bundle(), t.bundle().without_namespace("pid")] {
        let container = t.start(&bundle.pausing());
        container.verb("pause").ok();
        assert_eq!(container.status(), "paused");
        t.verb(["delete", "--force", &container.id]).ok();
        assert_eq!(container.wait(), 137);
        container.verb("state").out().fails(&["does not exist"]);
    }
}

fn delete_with_force_ends_a_payload_that_froze_itself(t: &Test) {
    // A payload with write access to its cgroup can freeze a part of itself.
    let (reader, writer) = pipe();
    let bundle = t.bundle().without_namespace("pid").shell("sleep 1000 & echo $!; wait");
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    let child = read_line(&reader);
    let sub = cgroup_dir(container.init.pid, "freezer").expect("a freezer").join("sub");
    fs::create_dir(&sub).unwrap();
    fs::write(sub.join("cgroup.procs"), &child).unwrap();
    let (file, frozen) = if cgroup_v2() { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
    fs::write(sub.join(file), frozen).unwrap();
    let child = PidFd::open(child.parse().expect("a pid"));
    t.verb(["delete", "--force", &container.id]).ok();
    assert!(child.ended());
    assert_eq!(container.wait(), 137);
    assert!(!sub.exists());
}

fn a_second_pause_is_refused(t: &Test) {
    let container = t.pausing();
    container.verb("pause").ok();
    let out = container.verb("pause").out();
    out.one_clear_line(&[&container.id, "paused"]);
    out.says(&["container not running"]);
    assert_eq!(container.status(), "paused");
}

fn stopped_is_refused(t: &Test) {
    let container = t.pausing();
    container.stop();
    container.verb("pause").out().one_clear_line(&["container not running", "stopped"]);
    container.verb("resume").out().one_clear_line(&["container not paused", "stopped"]);
    for verb in ["pause", "resume"] {
        let out = t.verb([verb, "nobody"]).out();
        out.one_clear_line(&["nobody"]);
        out.says(&["does not exist"]);
        t.verb([verb]).out().one_clear_line(&["required", "<ID>"]);
    }
}

fn resume_of_a_running_container_is_refused(t: &Test) {
    let container = t.pausing();
    let out = container.verb("resume").out();
    out.one_clear_line(&[&container.id, "running"]);
    out.says(&["container not paused"]);
}

fn created_container_is_not_started_while_paused(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    container.verb("pause").ok();
    assert_eq!(container.status(), "paused");
    let out = container.verb("start").out();
    out.one_clear_line(&[&container.id]);
    out.says(&["cannot start a container in the paused state"]);
    container.verb("resume").ok();
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
}

fn created_and_paused_is_deleted(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    container.verb("pause").ok();
    assert_eq!(container.status(), "paused");
    t.verb(["delete", "--force", &container.id]).ok();
    assert_eq!(container.wait(), 137);
}

fn exec_is_refused(t: &Test) {
    let container = t.pausing();
    container.verb("pause").ok();
    let out = container.exec([], ["true"]).out();
    out.one_clear_line(&[&container.id]);
    out.says(&["cannot exec in a paused container (use --ignore-paused to override)"]);
    assert_eq!(out.code, 255);
    container.verb("resume").ok();
    assert_eq!(container.exec([], ["echo", "again"]).ok().stdout, "again\n");
}

fn exec_with_ignore_paused_waits_for_resume(t: &Test) {
    let container = t.pausing();
    container.verb("pause").ok();
    let procs = cgroup_dir(container.init.pid, "freezer").unwrap().join("cgroup.procs");
    let running = container.exec(["--ignore-paused"], ["echo", "entered"]).spawn();
    // A process that enters a frozen cgroup is frozen, too.
    while fs::read_to_string(&procs).unwrap().lines().count() < 2 && running.is_alive() {
        std::thread::yield_now();
    }
    assert!(running.is_alive(), "it did not wait");
    container.verb("resume").ok();
    assert_eq!(running.out().stdout, "entered\n");
}

fn freezes_a_storm_of_forks(t: &Test) {
    let (reader, writer) = pipe();
    let storm = "while :; do /bin/true; done";
    let bundle = t.bundle().shell(&format!("for n in 1 2 3 4; do ({storm}) & done; echo on; {storm}"));
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "on");
    for _ in 0..20 {
        container.verb("pause").ok();
        assert!(is_frozen(&container));
        container.verb("resume").ok();
        assert!(!is_frozen(&container));
    }
}

/// A container in a cgroup below a cgroup of the test. Returns the freezer of that cgroup.
fn below_a_parent(t: &Test) -> (Container<'_>, PathBuf) {
    let path = t.cgroups_path(&format!("{}/c", t.token));
    let (reader, writer) = pipe();
    let bundle = t.bundle().args(["/probe", "--signals"]).set("/linux/cgroupsPath", json!(path));
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    // The runtime has finished, so the test freezes none of its processes.
    assert_eq!(read_line(&reader), "ready");
    let parent = cgroup_dir(container.init.pid, "freezer").unwrap().parent().unwrap().to_path_buf();
    (container, parent)
}

/// Freezes or thaws a cgroup without the runtime.
pub fn freeze(cgroup: &std::path::Path, on: bool) {
    let (file, value) = match (cgroup_v2(), on) {
        (true, true) => ("cgroup.freeze", "1"),
        (true, false) => ("cgroup.freeze", "0"),
        (false, true) => ("freezer.state", "FROZEN"),
        (false, false) => ("freezer.state", "THAWED"),
    };
    fs::write(cgroup.join(file), value).expect("freeze");
}

/// The runtime does not remove cgroups above a container. The test does.
pub fn remove_parents(t: &Test, container: Container) {
    container.stop();
    container.verb("delete").ok();
    drop(container);
    for parent in cgroups_named(&t.token) {
        let _ = fs::remove_dir(parent);
    }
}

fn below_a_frozen_parent(t: &Test) {
    let (container, parent) = below_a_parent(t);
    freeze(&parent, true);
    // Another program froze the cgroup above. This does not change the status of the
    // container.
    assert_eq!(container.status(), "running");
    container.verb("pause").ok();
    assert_eq!(container.status(), "paused");
    let out = container.verb("resume").ok();
    if crate::harness::is_corten() {
        assert!(out.stderr.contains("above the container's is frozen"), "{out:?}");
    }
    assert_eq!(container.status(), "running");
    freeze(&parent, false);
    remove_parents(t, container);
}

fn delete_below_a_frozen_parent_says_why(t: &Test) {
    if cgroup_v2() {
        t.skip("on version 2 SIGKILL ends what is frozen");
    }
    let (container, parent) = below_a_parent(t);
    freeze(&parent, true);
    let out = t.verb(["delete", "--force", &container.id]).out();
    freeze(&parent, false);
    out.one_clear_line(&["a cgroup above is frozen", "THAWED"]);
    assert_eq!(container.wait(), 137);
    container.verb("delete").ok();
    for parent in cgroups_named(&t.token) {
        let _ = fs::remove_dir(parent);
    }
}

/// Pauses and resumes a container under a version 2 that the test has mounted.
fn works_on_v2(t: &Test) {
    if cgroup_v2() {
        t.skip("it is all that there is here, and the other tests are on it");
    }
    let script = "
        runtime run --detach \"$ID\" </dev/null >/dev/null 2>&1
        runtime pause \"$ID\"
        grep frozen $GROUP/cgroup.events
        runtime state \"$ID\" | grep status
        runtime exec \"$ID\" true 2>/dev/null || echo refused
        runtime resume \"$ID\"
        cat $GROUP/cgroup.freeze
        runtime exec \"$ID\" echo again
        runtime ps --format json \"$ID\" | tr -d '0-9'
        runtime pause \"$ID\"
        runtime kill \"$ID\" KILL
        until runtime delete \"$ID\" 2>/dev/null; do :; done
        runtime run --detach \"$ID\" </dev/null >/dev/null 2>&1
        runtime pause \"$ID\"
        runtime delete --force \"$ID\"
        test -e $GROUP || echo gone";
    let bundle = t.bundle().pausing();
    let out = t.on_v2(&bundle, script).ok();
    let said: Vec<&str> = out.stdout.lines().map(str::trim).collect();
    let expected = ["frozen 1", "\"status\": \"paused\",", "refused", "0", "again", "[]", "gone"];
    assert_eq!(said, expected, "{out:?}");
}

fn needs_a_cgroup(t: &Test) {
    if cgroup_v2() {
        t.skip("the one hierarchy can't be taken away here");
    }
    let bundle = t.bundle().without_mount("/sys/fs/cgroup").pausing();
    let script = "
        for mount in /sys/fs/cgroup/*; do umount \"$mount\"; done
        runtime run --detach \"$ID\" </dev/null >/dev/null 2>&1
        runtime pause \"$ID\" || echo refused
        runtime delete --force \"$ID\"";
    let out = t.in_private_mounts(&bundle, &bundle.dir, script).ok();
    assert_eq!(out.stdout, "refused\n", "{out:?}");
    assert!(out.stderr.contains("the container has no cgroup that the caller can freeze"), "{out:?}");
}
