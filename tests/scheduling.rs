//! When and where a process runs: scheduler, I/O priority, CPUs, memory nodes and the
//! personality, for init and for exec.

use crate::harness::{Bundle, Container, Test, linux, pipe, read_line};
use serde_json::{Value, json};
use std::path::Path;

cases![
    policy_and_nice,
    real_time_policies,
    deadline_with_its_flags,
    keep_flags,
    util_clamp_flags,
    policy_that_linux_lacks,
    real_time_in_a_user_namespace,
    real_time_without_a_budget_is_refused,
    invalid_schedulers,
    nice_without_effect_is_a_warning,
    scheduler_of_an_exec,
    scheduler_does_not_reach_create_container_hooks,
    io_priorities,
    io_priority_of_an_exec,
    invalid_io_priorities,
    callers_affinity_does_not_leak,
    callers_affinity_does_not_leak_into_a_cpuset,
    final_affinity_of_an_exec,
    initial_affinity_is_the_runtimes,
    affinity_in_a_process_file,
    affinity_beyond_1024_cpus,
    affinity_of_no_cpu_is_refused,
    invalid_affinities,
    memory_policies,
    memory_policy_flags,
    memory_policy_of_an_exec,
    memory_policy_of_a_missing_node,
    invalid_memory_policies,
    personality_is_set,
    personality_of_an_exec,
    personality_flags_are_refused,
];

const OTHER: i32 = 0;
const FIFO: i32 = 1;
const RR: i32 = 2;
const BATCH: i32 = 3;
const IDLE: i32 = 5;
const DEADLINE: i32 = 6;

fn scheduled(bundle: Bundle, scheduler: Value) -> Bundle {
    bundle.set("/process/scheduler", scheduler)
}

/// A v1 cgroup can't have a real-time process without a time budget. A v2 cgroup can't have
/// one at all, if the kernel counts that time.
fn with_budget(t: &Test, bundle: Bundle) -> Bundle {
    if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        if t.call("/usr/bin/chrt").args(["--fifo", "1", "true"]).out().code != 0 {
            t.skip("the kernel allows no real-time processes in a v2 cgroup");
        }
        return bundle;
    }
    bundle.set("/linux/resources/cpu", json!({ "realtimeRuntime": 1000, "realtimePeriod": 1_000_000 }))
}

fn paused<'t>(t: &'t Test, bundle: &Bundle) -> Container<'t> {
    t.start(&bundle.clone().pausing())
}

fn policy_and_nice(t: &Test) {
    for (policy, nice, wanted) in
        [("SCHED_OTHER", 7, OTHER), ("SCHED_OTHER", -11, OTHER), ("SCHED_BATCH", 19, BATCH)]
    {
        let bundle = scheduled(t.bundle(), json!({ "policy": policy, "nice": nice }));
        let seen = &look(t, &bundle)["scheduler"];
        assert_eq!((&seen["policy"], &seen["nice"]), (&json!(wanted), &json!(nice)), "{policy}");
    }
    let bundle = scheduled(t.bundle(), json!({ "policy": "SCHED_IDLE" }));
    assert_eq!(look(t, &bundle)["scheduler"]["policy"], IDLE);
    assert_eq!(look(t, &t.bundle())["scheduler"]["policy"], OTHER);
}

fn real_time_policies(t: &Test) {
    for (policy, priority, wanted) in [("SCHED_FIFO", 1, FIFO), ("SCHED_RR", 99, RR)] {
        let scheduler = json!({ "policy": policy, "priority": priority });
        let seen = &look(t, &with_budget(t, scheduled(t.bundle(), scheduler)))["scheduler"];
        assert_eq!((&seen["policy"], &seen["priority"]), (&json!(wanted), &json!(priority)), "{policy}");
    }
}

fn deadline_with_its_flags(t: &Test) {
    let flags = ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"];
    let scheduler = json!({
        "policy": "SCHED_DEADLINE", "flags": flags,
        "runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000,
    });
    let seen = &look(t, &scheduled(t.bundle(), scheduler))["scheduler"];
    let wanted = json!({
        "policy": DEADLINE, "flags": 1 | 2 | 4, "nice": 0, "priority": 0,
        "runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000,
    });
    assert_eq!(seen, &wanted);
}

fn keep_flags(t: &Test) {
    let before = look(t, &t.bundle())["scheduler"].clone();
    let flagged = |flag: &str| json!({ "policy": "SCHED_BATCH", "nice": 3, "flags": [flag] });
    let seen = &look(t, &scheduled(t.bundle(), flagged("SCHED_FLAG_KEEP_POLICY")))["scheduler"];
    assert_eq!((&seen["policy"], &seen["nice"]), (&json!(OTHER), &json!(3)));
    let seen = &look(t, &scheduled(t.bundle(), flagged("SCHED_FLAG_KEEP_PARAMS")))["scheduler"];
    assert_eq!(seen["nice"], before["nice"]);
}

fn util_clamp_flags(t: &Test) {
    let flags = ["SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"];
    let bundle = scheduled(t.bundle(), json!({ "policy": "SCHED_OTHER", "nice": 4, "flags": flags }));
    if Path::new("/proc/sys/kernel/sched_util_clamp_min").exists() {
        assert_eq!(look(t, &bundle)["scheduler"]["nice"], 4);
    } else {
        t.refused(&bundle).one_clear_line(&["/process/scheduler", "EOPNOTSUPP", "utilization clamping"]);
    }
}

fn policy_that_linux_lacks(t: &Test) {
    let out = t.refused(&scheduled(t.bundle(), json!({ "policy": "SCHED_ISO" })));
    out.one_clear_line(&["/process/scheduler", "sched_setattr", "SCHED_ISO"]);
}

fn real_time_in_a_user_namespace(t: &Test) {
    let bundle = with_budget(t, t.bundle().user_namespace());
    let bundle = scheduled(bundle, json!({ "policy": "SCHED_RR", "priority": 5 }));
    let bundle = bundle.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_RT", "priority": 2 }));
    let seen = look(t, &bundle);
    assert_eq!(seen["scheduler"]["policy"], RR);
    assert_eq!(seen["io_priority"], json!([1, 2]));
}

fn real_time_without_a_budget_is_refused(t: &Test) {
    if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        t.skip("real-time processes need no budget here");
    }
    let bundle = scheduled(t.bundle(), json!({ "policy": "SCHED_FIFO", "priority": 5 }));
    t.refused(&bundle).one_clear_line(&["/process/scheduler", "EPERM", "realtimeRuntime"]);
}

fn invalid_schedulers(t: &Test) {
    for (scheduler, at) in [
        (json!({ "nice": 1 }), "/process/scheduler/policy"),
        (json!({ "policy": "SCHED_OTHER", "nice": -21 }), "/process/scheduler/nice"),
        (json!({ "policy": "SCHED_BATCH", "priority": 1 }), "/process/scheduler/priority"),
        (json!({ "policy": "SCHED_RR" }), "/process/scheduler/priority"),
        (json!({ "policy": "SCHED_FIFO", "priority": 1, "runtime": 1 }), "/process/scheduler/runtime"),
        (json!({ "policy": "SCHED_DEADLINE" }), "/process/scheduler"),
        (json!({ "policy": "SCHED_OTHER", "flags": ["RESET_ON_FORK"] }), "/process/scheduler/flags/0"),
    ] {
        t.refused(&scheduled(t.bundle(), scheduler)).one_clear_line(&[at]);
    }
}

fn nice_without_effect_is_a_warning(t: &Test) {
    let bundle = scheduled(t.bundle(), json!({ "policy": "SCHED_IDLE", "nice": 5 }));
    let out = t.run(&bundle.args(["true"]));
    assert_eq!(out.code, 0, "{out:?}");
    out.says(&["/process/scheduler/nice", "SCHED_IDLE"]);
}

/// The probe's question about its scheduling.
const ASK: &str = "self:scheduling";

fn told(mut report: Value) -> Value {
    let mut asked = report["asked"][ASK].take();
    report.as_object_mut().unwrap().append(asked.as_object_mut().expect("an answer"));
    report
}

fn look(t: &Test, bundle: &Bundle) -> Value {
    told(t.look(bundle, [ASK]))
}

fn look_in(container: &Container) -> Value {
    told(container.exec([], ["/probe", ASK]).out().report())
}

/// `exec --process` with the required fields, and `more`.
fn exec_file(t: &Test, container: &Container, more: Value) -> crate::harness::Out {
    let mut process = json!({ "args": ["/probe", ASK], "cwd": "/", "env": ["PATH=/bin"] });
    process.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let file = t.make_file("process.json", &process.to_string());
    t.verb(["exec", "--process", file.to_str().unwrap(), &container.id]).out()
}

fn scheduler_of_an_exec(t: &Test) {
    let container = paused(t, &scheduled(t.bundle(), json!({ "policy": "SCHED_BATCH", "nice": 6 })));
    let policy_and_nice =
        |seen: &Value| (seen["scheduler"]["policy"].clone(), seen["scheduler"]["nice"].clone());
    assert_eq!(policy_and_nice(&look_in(&container)), (json!(BATCH), json!(6)));
    let seen = told(exec_file(t, &container, json!({})).report());
    assert_eq!(policy_and_nice(&seen), (json!(BATCH), json!(6)), "taken over from the container");
    let own = json!({ "scheduler": { "policy": "SCHED_OTHER", "nice": 8 } });
    assert_eq!(policy_and_nice(&told(exec_file(t, &container, own).report())), (json!(OTHER), json!(8)));
    let wrong = json!({ "scheduler": { "policy": "SCHED_OTHER", "priority": 8 } });
    exec_file(t, &container, wrong).one_clear_line(&["/scheduler/priority"]);
}

fn scheduler_does_not_reach_create_container_hooks(t: &Test) {
    // A process of SCHED_DEADLINE can't fork, and init runs this hook.
    let (file, scheduler) = (
        t.path("seen"),
        json!({
            "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 30_000_000,
        }),
    );
    let script = format!("cat /proc/self/stat > {}", file.display());
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let bundle = scheduled(t.bundle(), scheduler).set("/hooks", json!({ "createContainer": hook }));
    assert_eq!(look(t, &bundle)["scheduler"]["policy"], DEADLINE);
    assert!(file.exists());
}

fn io_priorities(t: &Test) {
    for (class, priority, wanted) in
        [("IOPRIO_CLASS_RT", 0, [1, 0]), ("IOPRIO_CLASS_BE", 7, [2, 7]), ("IOPRIO_CLASS_IDLE", 4, [3, 4])]
    {
        let bundle = t.bundle().set("/process/ioPriority", json!({ "class": class, "priority": priority }));
        assert_eq!(look(t, &bundle)["io_priority"], json!(wanted), "{class}");
    }
}

fn io_priority_of_an_exec(t: &Test) {
    let priority = json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 });
    let container = paused(t, &t.bundle().set("/process/ioPriority", priority));
    assert_eq!(look_in(&container)["io_priority"], json!([2, 6]));
    assert_eq!(told(exec_file(t, &container, json!({})).report())["io_priority"], json!([2, 6]));
    let own = json!({ "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 0 } });
    assert_eq!(told(exec_file(t, &container, own).report())["io_priority"], json!([3, 0]));
}

fn invalid_io_priorities(t: &Test) {
    for (priority, at) in [
        (json!({ "priority": 1 }), "/process/ioPriority/class"),
        (json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }), "/process/ioPriority/priority"),
        (json!({ "class": "IOPRIO_CLASS_BE", "priority": -1 }), "/process/ioPriority/priority"),
    ] {
        t.refused(&t.bundle().set("/process/ioPriority", priority)).one_clear_line(&[at]);
    }
}

/// The CPUs of this machine that the test may use, at least two.
fn cpus(t: &Test) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    if list.starts_with("0-") { list.to_owned() } else { t.skip("needs CPUs 0 and 1") }
}

fn allowed(seen: &Value) -> &str {
    seen["status"]["Cpus_allowed_list"].as_str().unwrap()
}

fn pinned<'t>(t: &'t Test, cpu: &str) -> crate::harness::Call<'t> {
    let runtime = t.runtime.borrow().clone();
    t.call("/usr/bin/taskset").args(["--cpu-list", cpu]).arg(runtime).arg("--root").arg(t.root())
}

fn callers_affinity_does_not_leak(t: &Test) {
    let all = cpus(t);
    let bundle = t.bundle().args(["/probe"]);
    let seen = pinned(t, "0").args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).out().report();
    assert_eq!(allowed(&seen), all);
    let container = paused(t, &t.bundle());
    let seen = pinned(t, "1").args(["exec", &container.id, "/probe"]).out().report();
    assert_eq!(allowed(&seen), all);
}

fn callers_affinity_does_not_leak_into_a_cpuset(t: &Test) {
    cpus(t);
    let bundle = t.bundle().set("/linux/resources/cpu", json!({ "cpus": "0" })).args(["/probe"]);
    let seen = pinned(t, "1").args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).out().report();
    assert_eq!(allowed(&seen), "0");
}

fn affine(bundle: Bundle, affinity: Value) -> Bundle {
    bundle.set("/process/execCPUAffinity", affinity)
}

fn final_affinity_of_an_exec(t: &Test) {
    let all = cpus(t);
    let bundle = affine(t.bundle(), json!({ "final": " 1 ," }));
    assert_eq!(allowed(&look(t, &bundle)), all, "not for init");
    assert_eq!(allowed(&look_in(&paused(t, &bundle))), "1");
}

fn initial_affinity_is_the_runtimes(t: &Test) {
    let all = cpus(t);
    let container = paused(t, &affine(t.bundle(), json!({ "initial": "1" })));
    let (reader, writer) = pipe();
    let running = container.exec([], ["/probe", "--report-pause"]).stdout(writer).spawn();
    let seen: Value = serde_json::from_str(&read_line(&reader)).unwrap();
    assert_eq!(allowed(&seen), all, "without `final` the cpuset's");
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t1\n"), "{status}");
    container.stop();
    running.out();
}

fn affinity_in_a_process_file(t: &Test) {
    cpus(t);
    let container = paused(t, &affine(t.bundle(), json!({ "final": "1" })));
    assert_eq!(allowed(&told(exec_file(t, &container, json!({})).report())), "1");
    let own = json!({ "execCPUAffinity": { "initial": "1", "final": "0" } });
    assert_eq!(allowed(&told(exec_file(t, &container, own).report())), "0");
    exec_file(t, &container, json!({ "execCPUAffinity": { "final": "x" } }))
        .one_clear_line(&["/execCPUAffinity/final"]);
}

fn affinity_beyond_1024_cpus(t: &Test) {
    cpus(t);
    let container = paused(t, &affine(t.bundle(), json!({ "initial": "0,5000", "final": "1,1024-8191" })));
    assert_eq!(allowed(&look_in(&container)), "1");
}

fn affinity_of_no_cpu_is_refused(t: &Test) {
    for field in ["initial", "final"] {
        let container = paused(t, &affine(t.bundle(), json!({ field: "8000" })));
        let out = container.exec([], ["true"]).out();
        out.one_clear_line(&[&format!("/process/execCPUAffinity/{field}"), "sched_setaffinity"]);
    }
}

fn invalid_affinities(t: &Test) {
    for list in ["a", "3-1", "1-", "0 1", "70000", ","] {
        t.refused(&affine(t.bundle(), json!({ "initial": list })))
            .one_clear_line(&["/process/execCPUAffinity/initial"]);
    }
}

fn with_policy(bundle: Bundle, policy: Value) -> Bundle {
    bundle.set("/linux/memoryPolicy", policy)
}

/// Skips the test on a kernel without NUMA.
fn numa(t: &Test) {
    if !Path::new("/sys/devices/system/node/node0").exists() {
        t.skip("the kernel has no NUMA");
    }
}

fn memory_policies(t: &Test) {
    numa(t);
    for (mode, nodes, wanted, since) in [
        ("MPOL_DEFAULT", "", [0, 0], (2, 6)),
        ("MPOL_PREFERRED", "0", [1, 1], (2, 6)),
        ("MPOL_BIND", "0", [2, 1], (2, 6)),
        ("MPOL_INTERLEAVE", "0", [3, 1], (2, 6)),
        ("MPOL_LOCAL", "", [4, 0], (3, 8)),
        ("MPOL_PREFERRED_MANY", "0", [5, 1], (5, 15)),
        ("MPOL_WEIGHTED_INTERLEAVE", "0", [6, 1], (6, 9)),
    ] {
        if linux() < since {
            continue;
        }
        let bundle = with_policy(t.bundle(), json!({ "mode": mode, "nodes": nodes }));
        assert_eq!(look(t, &bundle)["memory_policy"], json!(wanted), "{mode}");
    }
    assert_eq!(look(t, &t.bundle())["memory_policy"], json!([0, 0]));
}

fn memory_policy_flags(t: &Test) {
    numa(t);
    for (flag, wanted) in [
        ("MPOL_F_NUMA_BALANCING", 1 << 13),
        ("MPOL_F_RELATIVE_NODES", 1 << 14),
        ("MPOL_F_STATIC_NODES", 1 << 15),
    ] {
        if linux() < (5, 12) {
            t.skip("MPOL_F_NUMA_BALANCING is newer than this kernel");
        }
        let policy = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] });
        let seen = look(t, &with_policy(t.bundle(), policy));
        assert_eq!(seen["memory_policy"], json!([2 | wanted, 1]), "{flag}");
    }
}

fn memory_policy_of_an_exec(t: &Test) {
    numa(t);
    let container = paused(t, &with_policy(t.bundle(), json!({ "mode": "MPOL_BIND", "nodes": "0" })));
    assert_eq!(look_in(&container)["memory_policy"], json!([2, 1]));
    assert_eq!(told(exec_file(t, &container, json!({})).report())["memory_policy"], json!([2, 1]));
}

fn memory_policy_of_a_missing_node(t: &Test) {
    numa(t);
    let bundle = with_policy(t.bundle(), json!({ "mode": "MPOL_BIND", "nodes": "63" }));
    t.refused(&bundle).one_clear_line(&["/linux/memoryPolicy", "set_mempolicy"]);
}

fn invalid_memory_policies(t: &Test) {
    for (policy, at) in [
        (json!({}), "/linux/memoryPolicy/mode"),
        (json!({ "mode": "MPOL_NOPE" }), "/linux/memoryPolicy/mode"),
        (json!({ "mode": "MPOL_BIND" }), "/linux/memoryPolicy/nodes"),
        (json!({ "mode": "MPOL_LOCAL", "nodes": "0" }), "/linux/memoryPolicy/nodes"),
        (json!({ "mode": "MPOL_BIND", "nodes": "0-" }), "/linux/memoryPolicy/nodes"),
        (json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["X"] }), "/linux/memoryPolicy/flags/0"),
    ] {
        t.refused(&with_policy(t.bundle(), policy)).one_clear_line(&[at]);
    }
}

const PER_LINUX32: i32 = 8;

fn personality_is_set(t: &Test) {
    for (domain, wanted) in [("LINUX", 0), ("LINUX32", PER_LINUX32)] {
        let bundle = t.bundle().set("/linux/personality", json!({ "domain": domain }));
        assert_eq!(look(t, &bundle)["personality"], wanted, "{domain}");
    }
    // Without the field, the payload has the caller's personality, which setarch changes.
    let under_setarch = |bundle: Bundle| {
        let bundle = bundle.args(["/probe", ASK]);
        let runtime = t.runtime.borrow().clone();
        let call = t.call("/usr/bin/setarch").arg("linux32").arg(runtime).arg("--root").arg(t.root());
        told(call.args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).out().report())["personality"]
            .clone()
    };
    assert_eq!(under_setarch(t.bundle()), PER_LINUX32);
    assert_eq!(under_setarch(t.bundle().set("/linux/personality", json!({ "domain": "LINUX" }))), 0);
}

fn personality_of_an_exec(t: &Test) {
    let container = paused(t, &t.bundle().set("/linux/personality", json!({ "domain": "LINUX32" })));
    assert_eq!(look_in(&container)["personality"], PER_LINUX32);
    assert_eq!(told(exec_file(t, &container, json!({})).report())["personality"], PER_LINUX32);
}

fn personality_flags_are_refused(t: &Test) {
    let personality = json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] });
    let out = t.refused(&t.bundle().set("/linux/personality", personality));
    out.one_clear_line(&["/linux/personality/flags/0", "ADDR_NO_RANDOMIZE"]);
    t.refused(&t.bundle().set("/linux/personality", json!({})))
        .one_clear_line(&["/linux/personality/domain"]);
}
