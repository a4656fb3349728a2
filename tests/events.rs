//! `events`: resource usage and out-of-memory events, in runc's form.

use crate::harness::{Container, PidFd, Running, Test, cgroup_file, cgroup_v2, pipe, read_line};
use serde_json::{Value, json};
use std::fs::File;

cases![
    stats_have_the_shape_of_runcs,
    stats_are_those_of_the_kernel,
    stats_of_a_limited_container,
    stats_come_at_intervals,
    out_of_memory_is_reported,
    out_of_memory_of_init_is_reported,
    end_with_the_container,
    fail_when_nobody_reads,
    of_a_created_and_of_a_paused_container,
    of_a_stopped_container_are_refused,
    interval_must_be_a_duration,
    stats_on_v2,
    stats_without_a_cgroup_are_zeros,
];

fn stats(t: &Test, container: &Container) -> Value {
    let out = t.verb(["events", "--stats", &container.id]).ok();
    assert_eq!((out.stdout.lines().count(), out.stderr.as_str()), (1, ""), "{out:?}");
    let event: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(container.id)));
    event["data"].clone()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn stats_have_the_shape_of_runcs(t: &Test) {
    let container = t.pausing_with(json!({}));
    let data = stats(t, &container);
    // Sorted, as the parser keeps them.
    let top = ["blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"];
    assert_eq!(keys(&data), top);
    // A total of zero is left out.
    assert!(data["cpu"]["usage"]["kernel"].is_u64() && data["cpu"]["usage"]["user"].is_u64(), "{data}");
    assert!(data["cpu"]["throttling"].is_object() && data["network_interfaces"].is_null());
    let cpuset = ["cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_pressure"];
    for field in cpuset.iter().chain(&["memory_spread_page", "memory_spread_slab", "sched_load_balance"]) {
        assert!(data["cpuset"][field].is_u64(), "{field}: {data}");
    }
    assert!(data["cpuset"]["sched_relax_domain_level"].is_i64());
    for entry in ["usage", "swap", "kernel", "kernelTCP"] {
        let entry = &data["memory"][entry];
        assert!(entry["limit"].is_u64() && entry["failcnt"].is_u64(), "{data}");
    }
    assert!(data["memory"]["raw"].as_object().is_some_and(|raw| raw.values().all(Value::is_u64)));
    assert_eq!(data["pids"]["current"], 1);
    // systemd has a cgroup for every unit.
    assert!(t.by_systemd() || data["pids"]["limit"].is_null(), "no limit is no field");
}

fn stats_are_those_of_the_kernel(t: &Test) {
    if cgroup_v2() {
        t.skip("names files of version 1");
    }
    let container = t.pausing_with(json!({}));
    container.verb("pause").ok();
    let text = |controller, file| cgroup_file(container.init.pid, controller, file).expect(file);
    let number = |controller, file| json!(text(controller, file).parse::<u64>().expect("a number"));
    let list = |controller, file| -> Value {
        text(controller, file).split_whitespace().map(|n| json!(n.parse::<u64>().expect("numbers"))).collect()
    };
    let table = |controller, file| -> Value {
        let pairs = text(controller, file);
        let pairs = pairs.lines().map(|line| line.split_once(' ').expect("a pair"));
        let pairs = pairs.map(|(key, n)| (key.to_owned(), json!(n.parse::<u64>().expect("a number"))));
        Value::Object(pairs.collect())
    };
    let kernel = || {
        json!([
            ["/cpu/usage/total", number("cpuacct", "cpuacct.usage")],
            ["/cpu/usage/percpu", list("cpuacct", "cpuacct.usage_percpu")],
            ["/memory/usage/usage", number("memory", "memory.usage_in_bytes")],
            ["/memory/usage/max", number("memory", "memory.max_usage_in_bytes")],
            ["/memory/usage/limit", number("memory", "memory.limit_in_bytes")],
            ["/memory/kernel/usage", number("memory", "memory.kmem.usage_in_bytes")],
            ["/memory/raw", table("memory", "memory.stat")],
            ["/cpuset/sched_load_balance", number("cpuset", "cpuset.sched_load_balance")],
        ])
    };
    // The kernel updates its counters even for a paused container. A value is comparable
    // only if it is the same before and after the call.
    let mut tries = 0..100;
    let (data, wanted) = loop {
        assert!(tries.next().is_some(), "the kernel's numbers never stand still");
        let (before, data) = (kernel(), stats(t, &container));
        if kernel() == before {
            break (data, before);
        }
    };
    for pair in wanted.as_array().expect("pairs") {
        let pointer = pair[0].as_str().expect("a pointer");
        assert_eq!(data.pointer(pointer), Some(&pair[1]), "{pointer}");
    }
}

fn stats_of_a_limited_container(t: &Test) {
    let container = t.pausing_with(json!({
        "memory": { "limit": 64 << 20 },
        "pids": { "limit": 17 },
        "cpu": if cgroup_v2() { json!({}) } else { json!({ "cpus": "0" }) },
    }));
    container.exec([], ["true"]).ok();
    let data = stats(t, &container);
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert_eq!(data["pids"], json!({ "current": 1, "limit": 17 }));
    if !cgroup_v2() {
        assert_eq!(data["cpuset"]["cpus"], json!([0]));
    }
}

/// A running `events`, and its output.
fn listen<'t>(container: &Container<'t>, interval: &str) -> (Running<'t>, File) {
    let (reader, writer) = pipe();
    let call = container.verb("events").arg("--interval").arg(interval).stdout(writer);
    (call.spawn(), reader)
}

/// Returns the next event of this kind.
fn next(reader: &File, kind: &str) -> Value {
    loop {
        let line = read_line(reader);
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        if event["type"] == kind {
            return event;
        }
    }
}

/// Returns the rest of the output until its end.
fn ended(running: Running, reader: &File) {
    while !read_line(reader).is_empty() {}
    assert_eq!(running.out().code, 0);
}

fn stats_come_at_intervals(t: &Test) {
    let container = t.pausing_with(json!({}));
    let (running, reader) = listen(&container, "20ms");
    let pid_file = t.path("pid");
    let first = next(&reader, "stats");
    assert_eq!(first["id"], container.id.as_str());
    container.exec(["--detach", "--pid-file", pid_file.to_str().unwrap()], ["sleep", "1000"]).ok();
    // A later sample.
    let count = |event: &Value| event["data"]["pids"]["current"].as_u64().expect("a count");
    while count(&next(&reader, "stats")) <= count(&first) {}
    let process = PidFd::from_file(&pid_file);
    process.kill();
    process.reap();
    container.stop();
    container.verb("delete").ok();
    ended(running, &reader);
}

/// A container whose memory limit is below a buffer of 64 MiB.
fn small<'t>(t: &'t Test, script: &str) -> (Container<'t>, File) {
    let (reader, writer) = pipe();
    let limits = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    let bundle = t.bundle().set("/linux/resources/memory", limits).shell(script);
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "ready");
    (container, reader)
}

const GREEDY: &str = "dd if=/dev/zero of=/dev/null bs=64M count=1";

fn out_of_memory_is_reported(t: &Test) {
    let (container, _output) = small(t, "echo ready; sleep 1000");
    let (running, reader) = listen(&container, "20ms");
    next(&reader, "stats");
    for _ in 0..2 {
        assert_eq!(container.exec([], ["sh", "-c", &format!("exec {GREEDY}")]).out().code, 137);
        assert_eq!(next(&reader, "oom"), json!({ "type": "oom", "id": container.id }));
    }
    assert_eq!(container.status(), "running");
    container.stop();
    container.verb("delete").ok();
    ended(running, &reader);
}

fn out_of_memory_of_init_is_reported(t: &Test) {
    let script = format!("trap 'exec {GREEDY}' USR1; echo ready; sleep 1000 & wait");
    let (container, _output) = small(t, &script);
    let (running, reader) = listen(&container, "20ms");
    next(&reader, "stats");
    container.kill("USR1");
    assert_eq!(container.wait(), 137);
    next(&reader, "oom");
    container.verb("delete").ok();
    ended(running, &reader);
}

fn end_with_the_container(t: &Test) {
    let container = t.pausing_with(json!({}));
    let (running, reader) = listen(&container, "20ms");
    next(&reader, "stats");
    container.stop();
    // This holds whether the container is deleted or not.
    ended(running, &reader);
}

fn fail_when_nobody_reads(t: &Test) {
    let container = t.pausing_with(json!({}));
    let (running, reader) = listen(&container, "20ms");
    next(&reader, "stats");
    drop(reader);
    running.out().one_clear_line(&["stdout", "EPIPE"]);
}

fn of_a_created_and_of_a_paused_container(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    // The count includes threads.
    assert!(stats(t, &container)["pids"]["current"].as_u64() >= Some(1));
    container.start();
    container.verb("pause").ok();
    assert!(stats(t, &container)["pids"]["current"].as_u64() >= Some(1));
}

fn of_a_stopped_container_are_refused(t: &Test) {
    let container = t.pausing_with(json!({}));
    container.stop();
    for flags in [&["--stats"][..], &[]] {
        let out = t.verb(["events"]).args(flags).arg(&container.id).out();
        out.one_clear_line(&[&container.id]);
        out.says(&["is not running", &container.id]);
        assert_eq!(out.stdout, "");
    }
    t.verb(["events", "nobody"]).out().fails(&["does not exist"]);
}

fn interval_must_be_a_duration(t: &Test) {
    let container = t.pausing_with(json!({}));
    for bad in ["5", "soon", "-1s"] {
        let out = t.verb(["events", &format!("--interval={bad}"), &container.id]).out();
        out.one_clear_line(&["interval"]);
    }
    let out = t.verb(["events", "--interval=0s", &container.id]).out();
    out.one_clear_line(&["interval"]);
    out.says(&["duration interval must be greater than 0"]);
}

/// The values that a hierarchy of version 2 without controllers has.
fn stats_on_v2(t: &Test) {
    let script = "
        runtime run --detach \"$ID\" </dev/null >/dev/null 2>&1
        runtime events --stats \"$ID\"
        grep usage_usec $GROUP/cpu.stat
        test ! -e $GROUP/cpu.pressure || head -n 1 $GROUP/cpu.pressure
        runtime delete --force \"$ID\"";
    let bundle = t.bundle().pausing();
    let out = t.on_v2(&bundle, script).ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    let data = serde_json::from_str::<Value>(lines[0]).expect("JSON")["data"].clone();
    let usage: u64 = lines[1].strip_prefix("usage_usec ").unwrap().parse().unwrap();
    let told = data["cpu"]["usage"]["total"].as_u64().unwrap_or(0);
    assert!(told.is_multiple_of(1000) && told <= usage * 1000, "{out:?}");
    assert_eq!(data["pids"], json!({ "current": 1 }), "counted without a controller");
    if crate::harness::is_corten()
        && let Some(pressure) = lines.get(2)
    {
        assert!(pressure.starts_with("some"), "{out:?}");
        assert!(data["cpu"]["psi"]["some"]["total"].is_u64(), "{data}");
        assert!(data["memory"]["psi"]["full"]["avg10"].is_number(), "{data}");
    }
}

/// As in runc, `events` prints a line for a container without a cgroup.
fn stats_without_a_cgroup_are_zeros(t: &Test) {
    if !crate::harness::is_corten() {
        t.skip("--cgroup-manager=disabled is crun's and corten's");
    }
    t.no_global("--systemd-cgroup");
    t.global("--cgroup-manager=disabled");
    let container = t.start(&t.bundle().drop("/linux/resources").pausing());
    let data = stats(t, &container);
    assert_eq!(data["cpu"]["usage"], json!({ "kernel": 0, "user": 0 }), "{data}");
    assert_eq!(data["pids"], json!({}), "{data}");
    assert_eq!(data["memory"]["usage"]["limit"], 0, "{data}");
}
