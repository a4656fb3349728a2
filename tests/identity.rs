//! A pid that the kernel uses again: its new process is not the container.

use crate::harness::{Test, cgroup_v2};

cases![
    a_stranger_with_the_pid_of_init_is_left_alone,
    a_stranger_that_started_in_the_same_tick_is_left_alone,
    a_list_on_a_tmpfs_knows_a_zombie,
];

/// Skips the test if the kernel can't choose pids.
fn chooses_pids(t: &Test) {
    if !std::path::Path::new("/proc/sys/kernel/ns_last_pid").exists() {
        t.skip("this kernel lets nobody choose a pid");
    }
}

/// In a pid namespace of its own, the test can choose the next pid.
fn a_stranger_with_the_pid_of_init_is_left_alone(t: &Test) {
    chooses_pids(t);
    let bundle = t.bundle().pausing();
    let script = r#"
        mount -t proc proc /proc
        runtime run --detach --pid-file pid "$ID" > /dev/null
        pid=$(cat pid)
        runtime kill "$ID" KILL
        # The shell is the first process here, and reaps while it waits.
        while [ -e /proc/$pid ]; do /bin/true; done
        # Whatever forks in between gets the pid instead: try again.
        for try in 1 2 3 4 5 6 7 8; do
            echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid
            sleep 1000 > /dev/null 2>&1 &
            stranger=$!
            [ $stranger = $pid ] && break
            kill -9 $stranger
        done
        [ $stranger = $pid ] || { echo not reused; exit; }
        runtime state "$ID" | grep status
        # There, list identifies init only by the inode of its pidfd.
        mkdir memory
        mount -t tmpfs none memory
        cp -a "$STATE/$ID" memory/
        (STATE=memory; runtime list | grep -o stopped | sed 's/^/on a tmpfs: /')
        umount memory
        rmdir memory
        runtime kill "$ID" KILL || echo kill $?
        runtime kill --all "$ID" TERM || echo kill all $?
        runtime exec "$ID" true || echo exec $?
        runtime ps "$ID" | grep -w $pid || echo not listed
        runtime delete --force "$ID" && echo deleted
        kill -0 $pid && echo lives
        kill -9 $pid
    "#;
    let out = t.in_private_pids(&bundle, script).ok();
    if out.stdout.contains("not reused") {
        t.skip("another process was always faster to get the pid");
    }
    let lines: Vec<_> = out.stdout.lines().map(str::trim).collect();
    assert_eq!(lines.first(), Some(&"\"status\": \"stopped\","), "{out:?}");
    for line in ["on a tmpfs: stopped", "kill 1", "exec 255", "not listed", "deleted", "lives"] {
        assert!(lines.contains(&line), "{line}: {out:?}");
    }
    out.says(&["container not running"]);
}

/// Start times are counted in ticks of 10 ms. By pid and start time alone, this stranger
/// looks like the container. The payload prints its own start time, and ends at once.
fn a_stranger_that_started_in_the_same_tick_is_left_alone(t: &Test) {
    chooses_pids(t);
    t.cgroupfs_only();
    let bundle = t.bundle().shell("read -r stat < /proc/self/stat; echo \"$stat\"");
    // A move into a cgroup of version 1 takes longer than a tick.
    let mount = if cgroup_v2() { "" } else { "mount -t cgroup2 none /sys/fs/cgroup" };
    let script = r#"
        mount -t proc proc /proc
        started() { set -- ${1##*) }; shift 19; start=$1; }
        until=$(($(date +%s) + 20))
        while [ $(date +%s) -lt $until ]; do
            runtime run --detach --pid-file pid "$ID" > out
            read -r pid < pid || :
            while [ -e /proc/$pid ]; do /bin/true; done
            echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid
            sleep 1000 > /dev/null 2>&1 &
            stranger=$!
            read -r stat < /proc/$stranger/stat
            started "$stat"; theirs=$start
            read -r stat < out
            started "$stat"
            [ $stranger = $pid ] && [ $theirs = $start ] && break
            kill -9 $stranger
            runtime delete "$ID"
            pid=
        done
        [ -n "$pid" ] || { echo not reused; exit; }
        runtime state "$ID" | grep status
        runtime kill "$ID" KILL || echo kill $?
        runtime exec "$ID" true || echo exec $?
        runtime delete --force "$ID" && echo deleted
        kill -0 $pid && echo lives
        kill -9 $pid
    "#;
    let out = t.in_private_pids(&bundle, &format!("{mount}\n{script}")).ok();
    if out.stdout.contains("not reused") {
        t.skip("no pid was used again within the tick");
    }
    let lines: Vec<_> = out.stdout.lines().map(str::trim).collect();
    assert_eq!(lines, ["\"status\": \"stopped\",", "kill 1", "exec 255", "deleted", "lives"], "{out:?}");
}

/// On a tmpfs, `list` identifies init only by the inode of its pidfd, and does not read
/// /proc/PID/stat.
fn a_list_on_a_tmpfs_knows_a_zombie(t: &Test) {
    let bundle = t.bundle().pausing();
    let script = r#"
        runtime() { "$RUNTIME" --root "$STATE" $FLAGS "$@"; }
        listed() {
            runtime list | while read -r id pid status more; do
                [ "$id" != "$ID" ] || echo "$status"
            done
        }
        mount -t proc proc /proc
        mkdir -p "$STATE"
        mount -t tmpfs none "$STATE"
        runtime create --pid-file pid "$ID" > /dev/null
        pid=$(cat pid)
        listed
        runtime start "$ID"
        listed
        runtime pause "$ID"
        listed
        runtime resume "$ID"
        runtime kill "$ID" KILL
        runtime wait "$ID" || :
        grep State /proc/$pid/status
        listed
        runtime delete "$ID"
    "#;
    // The first process waits only for its own child, so that a killed init stays a zombie.
    let out =
        t.in_private_pids(&bundle, "exec unshare --fork sh -e -c \"$SCRIPT\"").env("SCRIPT", script).ok();
    let lines: Vec<_> = out.stdout.lines().collect();
    assert_eq!(lines, ["created", "running", "paused", "137", "State:\tZ (zombie)", "stopped"], "{out:?}");
}
