//! `ps`: the processes of a container, as ps(1) shows them or as pids.

use crate::harness::{Container, PidFd, Test, cgroup_dir, cgroups_named, copy_cpuset, pipe, read_line};
use serde_json::{Value, json};
use std::fs;

cases![
    json_lists_every_pid,
    table_is_that_of_ps,
    options_go_to_ps,
    lists_processes_in_cgroups_below,
    lists_processes_of_exec,
    of_a_paused_container,
    of_a_stopped_container,
    output_without_pids_is_refused,
    failure_of_ps_is_reported,
    unknown_format_is_refused,
    unknown_container_is_refused,
];

/// A container with three processes.
fn three(t: &Test) -> Container<'_> {
    let (reader, writer) = pipe();
    let bundle = t.bundle().shell("sleep 1001 & sleep 1002 & echo on; wait");
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "on");
    container
}

fn pids(t: &Test, container: &Container) -> Vec<i64> {
    let out = t.verb(["ps", "--format", "json", &container.id]).ok();
    assert_eq!(out.stderr, "", "engines read both streams as one");
    let list: Value = serde_json::from_str(&out.stdout).expect("ps is JSON");
    list.as_array().expect("a list").iter().map(|pid| pid.as_i64().expect("a pid")).collect()
}

fn json_lists_every_pid(t: &Test) {
    let container = three(t);
    let mut seen = pids(t, &container);
    assert!(seen.contains(&i64::from(container.init.pid)), "{seen:?}");
    let procs = cgroup_dir(container.init.pid, "pids").unwrap().join("cgroup.procs");
    let mut procs: Vec<i64> =
        fs::read_to_string(procs).unwrap().lines().map(|pid| pid.parse().unwrap()).collect();
    seen.sort_unstable();
    procs.sort_unstable();
    assert_eq!((seen.len(), &seen), (3, &procs));
}

fn table_is_that_of_ps(t: &Test) {
    let container = three(t);
    let out = container.verb("ps").ok();
    let lines: Vec<Vec<&str>> = out.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!(lines.len(), 4, "{out:?}");
    let pids = pids(t, &container);
    for line in &lines[1..] {
        assert!(pids.contains(&line[1].parse().unwrap()), "{line:?}");
    }
    assert!(out.stdout.contains("sleep 1001") && out.stdout.contains("sleep 1002"), "{out:?}");
    assert_eq!(out.stderr, "");
}

fn options_go_to_ps(t: &Test) {
    let container = three(t);
    let out = t.verb(["ps", &container.id, "-e", "-o", "ppid,pid,args"]).ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["PPID", "PID", "COMMAND"]);
    assert_eq!(lines.len(), 4, "{out:?}");
    assert_eq!(container.verb("ps").arg("aux").ok().stdout.lines().count(), 4);
}

fn lists_processes_in_cgroups_below(t: &Test) {
    let container = three(t);
    let child = pids(t, &container).into_iter().find(|pid| *pid != i64::from(container.init.pid));
    let child = child.expect("a child");
    // This holds for every hierarchy in which the runtime looks.
    for dir in cgroups_named(&container.id) {
        let sub = dir.join("sub");
        fs::create_dir(&sub).expect("a cgroup below");
        copy_cpuset(&dir, &sub);
        fs::write(sub.join("cgroup.procs"), child.to_string()).expect("move");
    }
    assert_eq!(pids(t, &container).len(), 3);
    assert!(pids(t, &container).contains(&child));
}

fn lists_processes_of_exec(t: &Test) {
    let container = three(t);
    let pid_file = t.path("pid");
    container.exec(["--detach", "--pid-file", pid_file.to_str().unwrap()], ["sleep", "1003"]).ok();
    let pid: i64 = fs::read_to_string(pid_file).unwrap().parse().unwrap();
    assert!(pids(t, &container).contains(&pid));
    // The process is a child of the test. Its pid namespace does not end until the test
    // reaps it.
    let process = PidFd::open(pid as i32);
    process.kill();
    process.reap();
}

fn of_a_paused_container(t: &Test) {
    let container = three(t);
    container.verb("pause").ok();
    assert_eq!(pids(t, &container).len(), 3);
}

fn of_a_stopped_container(t: &Test) {
    let container = three(t);
    container.stop();
    assert_eq!(container.verb("ps").ok().stdout.lines().count(), 1, "the heading");
    let out = t.verb(["ps", "--format", "json", &container.id]).ok();
    let list: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert!(list.is_null() || list == json!([]), "{list}");
}

fn output_without_pids_is_refused(t: &Test) {
    let container = three(t);
    let out = t.verb(["ps", &container.id, "-o", "comm"]).out();
    out.one_clear_line(&["couldn't find PID field in ps output"]);
    assert_eq!(out.stdout, "");
}

fn failure_of_ps_is_reported(t: &Test) {
    let container = three(t);
    let out = t.verb(["ps", &container.id, "-o", "nonsense"]).out();
    out.one_clear_line(&["nonsense", "exit status"]);
    assert_eq!(out.stdout, "");
}

fn unknown_format_is_refused(t: &Test) {
    let container = three(t);
    t.verb(["ps", "--format", "yaml", &container.id]).out().one_clear_line(&["format", "yaml"]);
}

fn unknown_container_is_refused(t: &Test) {
    let out = t.verb(["ps", "nobody"]).out();
    out.one_clear_line(&["nobody"]);
    out.says(&["does not exist"]);
}
