//! Resources: the container joins every controller, the limits are written and hold, and
//! the directories vanish with the container. The tests read the files of the layout that
//! the machine has: v1 (alone or hybrid), or v2.

use crate::harness::{
    Bundle, Container, PidFd, Test, cgroup_dir, cgroup_file, cgroup_v2, cgroups_named, has_controller,
    is_corten, pipe, read_line, remove_tree,
};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

cases![
    every_controller_is_joined,
    absolute_path_starts_at_the_mount,
    relative_path_starts_near_the_callers,
    the_systemd_drivers_form_is_a_directory,
    a_warning_of_the_form_is_no_second_object,
    two_containers_in_one_parent,
    one_cgroup_is_not_for_two_containers,
    memory_limit,
    memory_reservation,
    memory_swap,
    memory_swappiness,
    unlimited_is_written_to_the_kernel,
    memory_limit_ends_a_greedy_payload,
    cpu_shares_quota_period,
    cpu_quota_throttles,
    cpu_quota_is_held_within_a_tenth,
    cpu_idle,
    cpuset,
    pids_limit,
    the_eighteenth_process_is_refused,
    zero_is_a_limit_of_pids,
    zero_is_not_set,
    zero_of_what_v2_has_not_is_not_set,
    zero_without_a_cgroup_is_not_set,
    kernel_memory_is_a_warning,
    tcp_memory_limit,
    oom_killer_is_disabled,
    hierarchy_is_always_used,
    cpu_burst,
    real_time_budget,
    check_before_update_is_the_kernels,
    check_before_update_on_v2,
    rdma_limit,
    huge_pages_on_v2,
    blkio_weight,
    block_device_throttle,
    block_device_throttles_of_the_other_way,
    device_weights,
    leaf_weights_are_refused,
    priorities_of_interfaces,
    network_priorities,
    hugetlb_limit,
    controllers_that_only_unified_has,
    unified_files,
    unified_files_of_the_kernel_only,
    limits_are_written_before_the_payload_runs,
    frozen_container_is_paused,
    exec_joins_every_controller,
    removed_on_delete,
    empty_cpusets_above_are_filled,
    an_empty_cpuset_of_its_own_is_filled,
    device_rules_without_their_hierarchy,
    device_rules_without_any_controller_are_refused,
    a_threaded_parent_is_named,
    removed_with_cgroups_of_the_payload,
    delete_without_the_hierarchies_is_refused,
    removed_after_a_failed_create,
    limits_that_v1_lacks_are_refused,
    limits_that_v2_lacks_are_refused,
    impossible_value_is_refused,
    path_with_dotdot_stays_below_its_root,
];

fn pausing(t: &Test, resources: Value) -> Bundle {
    let mut resources = resources;
    resources["devices"] = json!([{ "allow": false, "access": "rwm" }]);
    t.bundle().set("/linux/resources", resources).pausing()
}

/// A limit of one controller, and the value that the kernel must show.
struct Limit {
    controller: &'static str,
    /// The value of `/linux/resources/KEY`.
    set: (&'static str, Value),
    v1: &'static [(&'static str, &'static str)],
    v2: &'static [(&'static str, &'static str)],
}

/// Skips the test if containers can't have this controller.
fn needs(t: &Test, controller: &str) {
    if !has_controller(controller) {
        t.skip(&format!("no {controller} controller for containers here"));
    }
}

fn holds(t: &Test, limit: &Limit) {
    needs(t, limit.controller);
    let container = t.start(&pausing(t, json!({ limit.set.0: limit.set.1 })));
    for (file, content) in if cgroup_v2() { limit.v2 } else { limit.v1 } {
        let found = cgroup_file(container.init.pid, limit.controller, file);
        assert_eq!(found.as_deref(), Some(*content), "{file}");
    }
}

/// Returns the content of a file of a running container's cgroup. Not every kernel has the
/// file.
fn value(t: &Test, container: &Container, controller: &str, file: &str) -> String {
    cgroup_file(container.init.pid, controller, file)
        .unwrap_or_else(|| t.skip(&format!("no {file} in a cgroup of {controller} here")))
}

fn own_controllers() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let names = text.lines().filter_map(|line| line.split(':').nth(1));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn every_controller_is_joined(t: &Test) {
    let container = t.start(&pausing(t, json!({})));
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.init.pid)).unwrap();
    if cgroup_v2() {
        let dir = cgroup_dir(container.init.pid, "").unwrap();
        let has = |dir: &Path| fs::read_to_string(dir.join("cgroup.controllers")).unwrap();
        assert!(dir.to_string_lossy().contains(&container.id), "{text}");
        assert_eq!(has(&dir), has(dir.parent().unwrap()), "all that its parent has");
        return;
    }
    for name in own_controllers() {
        let line = text.lines().find(|line| line.split(':').nth(1) == Some(&name));
        assert!(line.is_some_and(|line| line.contains(&container.id)), "{name}: {text}");
    }
}

/// Returns the directory for a path from the root of the hierarchies, for some controllers.
fn from_the_root(path: &str) -> Vec<(&'static str, PathBuf)> {
    let (root, path) = (Path::new("/sys/fs/cgroup"), &path[1..]);
    ["memory", "pids", "devices", "freezer", "cpu"]
        .map(|name| (name, if cgroup_v2() { root.join(path) } else { root.join(name).join(path) }))
        .into()
}

fn absolute_path_starts_at_the_mount(t: &Test) {
    let path = t.cgroups_path(&format!("{}-absolute", t.token));
    let bundle = pausing(t, json!({})).set("/linux/cgroupsPath", json!(path));
    let container = t.start(&bundle);
    for (controller, wanted) in from_the_root(&path) {
        let dir = cgroup_dir(container.init.pid, controller).unwrap();
        assert_eq!(dir, wanted);
        assert!(dir.is_dir());
    }
}

/// On v1, the cgroup is below the caller's. On v2, it is beside the caller's, because a
/// cgroup with processes has no controllers for cgroups below it.
fn relative_path_starts_near_the_callers(t: &Test) {
    t.cgroupfs_only();
    let name = format!("{}-relative", t.token);
    let bundle = pausing(t, json!({})).set("/linux/cgroupsPath", json!(name));
    let container = t.start(&bundle);
    for controller in ["memory", "pids"] {
        let own = cgroup_dir(std::process::id() as i32, controller).unwrap();
        let start =
            if cgroup_v2() && own != Path::new("/sys/fs/cgroup") { own.parent().unwrap() } else { &own };
        assert_eq!(cgroup_dir(container.init.pid, controller).unwrap(), start.join(&name));
    }
}

/// If the kubelet uses systemd and containerd uses cgroupfs, such a path comes without
/// `--systemd-cgroup`. runc and crun start the pod.
fn the_systemd_drivers_form_is_a_directory(t: &Test) {
    t.cgroupfs_only();
    let name = format!("a-b.slice:cri-containerd:{}", t.token);
    let bundle = pausing(t, json!({ "pids": { "limit": 77 } })).set("/linux/cgroupsPath", json!(name));
    let id = t.id();
    t.will_delete(&id);
    let pid_file = t.path("pid");
    let call = t.verb(["create", "--bundle"]).arg(bundle.lay()).arg("--pid-file").arg(&pid_file).arg(&id);
    let out = call.ok();
    if is_corten() {
        out.says(&["/linux/cgroupsPath", &name, "warning", "slice:prefix:name", "--systemd-cgroup"]);
    }
    let init = PidFd::from_file(&pid_file);
    let dir = cgroup_dir(init.pid, "pids").expect("a cgroup");
    assert_eq!(dir.file_name(), Some(name.as_ref()), "{}", dir.display());
    if has_controller("pids") {
        assert_eq!(cgroup_file(init.pid, "pids", "pids.max").as_deref(), Some("77"));
    }
    t.verb(["start", &id]).ok();
    t.verb(["exec", &id, "true"]).ok();
    t.verb(["delete", "--force", &id]).ok();
    assert_eq!(cgroups_named(&t.token), Vec::<PathBuf>::new());
    // Any other path gives no warning.
    let other = bundle.args(["true"]).set("/linux/cgroupsPath", json!(format!("b:{}", t.token)));
    let out = t.run(&other);
    assert_eq!(out.code, 0, "{out:?}");
    assert!(!out.stderr.contains("cgroupsPath"), "{out:?}");
}

/// Podman reads the log of a failed verb as one JSON object, so no warning may precede the
/// error. The log of a verb that succeeded contains the warning.
fn a_warning_of_the_form_is_no_second_object(t: &Test) {
    t.cgroupfs_only();
    let name = json!(format!("a.slice:libpod:{}", t.token));
    let bundle = t.bundle().set("/linux/cgroupsPath", name).args(["true"]);
    let objects = |bundle: &Bundle, is_good: bool| -> Vec<Value> {
        let log = t.path("log.json");
        let call = t.runtime().arg("--log").arg(&log).args(["--log-format", "json", "run", "--bundle"]);
        assert_eq!(call.arg(bundle.lay()).arg(t.id()).out().code == 0, is_good);
        let text = fs::read_to_string(&log).expect("the log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let bad = objects(&bundle.clone().args(["/nowhere"]), false);
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(bad[0]["level"], "error");
    assert!(bad[0]["msg"].as_str().unwrap().contains("/nowhere"), "{bad:?}");
    let good = objects(&bundle, true);
    if is_corten() {
        assert_eq!(good.len(), 1, "{good:?}");
        assert_eq!(good[0]["level"], "warning");
        assert!(good[0]["msg"].as_str().unwrap().contains("slice:prefix:name"), "{good:?}");
    }
}

/// The rollback of the second container must not touch the first one.
fn one_cgroup_is_not_for_two_containers(t: &Test) {
    let path = t.cgroups_path(&format!("{}-shared", t.token));
    let bundle = pausing(t, json!({})).set("/linux/cgroupsPath", json!(path));
    let first = t.start(&bundle);
    t.refused(&bundle)
        .one_clear_line(&["/linux/cgroupsPath", "container's cgroup is not empty: 1 process(es)"]);
    assert_eq!(first.status(), "running");
}

fn two_containers_in_one_parent(t: &Test) {
    let parent = t.cgroups_path(&t.token);
    let place = |name: &str| {
        let path = format!("{parent}/{name}");
        t.start(&pausing(t, json!({})).set("/linux/cgroupsPath", json!(path)))
    };
    let (one, two) = (place("one"), place("two"));
    one.stop();
    one.verb("delete").ok();
    let parents = from_the_root(&parent);
    for (_, parent) in &parents {
        assert!(!parent.join("one").exists() && parent.join("two").is_dir(), "{}", parent.display());
    }
    assert_eq!(two.status(), "running");
    drop(two);
    assert!(parents.iter().all(|(_, parent)| !parent.join("two").exists()));
    // The container does not remove cgroups above its own. The test does.
    for parent in cgroups_named(&t.token) {
        fs::remove_dir(parent).expect("an empty cgroup");
    }
}

fn memory_limit(t: &Test) {
    holds(
        t,
        &Limit {
            controller: "memory",
            set: ("memory", json!({ "limit": 64 << 20 })),
            v1: &[("memory.limit_in_bytes", "67108864")],
            v2: &[("memory.max", "67108864")],
        },
    );
}

fn memory_reservation(t: &Test) {
    holds(
        t,
        &Limit {
            controller: "memory",
            set: ("memory", json!({ "limit": 64 << 20, "reservation": 32 << 20 })),
            v1: &[("memory.soft_limit_in_bytes", "33554432")],
            v2: &[("memory.low", "33554432"), ("memory.max", "67108864")],
        },
    );
}

/// In the specification, swap is memory and swap together. On v2, it is swap alone.
fn memory_swap(t: &Test) {
    needs(t, "memory");
    let file = if cgroup_v2() { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
    let limits = json!({ "limit": 64 << 20, "swap": 160 << 20 });
    let container = t.start(&pausing(t, json!({ "memory": limits })));
    let wanted = if cgroup_v2() { "100663296" } else { "167772160" };
    assert_eq!(value(t, &container, "memory", file), wanted);
}

fn memory_swappiness(t: &Test) {
    if cgroup_v2() {
        t.skip("cgroup v2 has no swappiness");
    }
    holds(
        t,
        &Limit {
            controller: "memory",
            set: ("memory", json!({ "swappiness": 10 })),
            v1: &[("memory.swappiness", "10")],
            v2: &[],
        },
    );
}

fn unlimited_is_written_to_the_kernel(t: &Test) {
    holds(
        t,
        &Limit {
            controller: "memory",
            set: ("memory", json!({ "limit": -1, "swap": -1 })),
            v1: &[("memory.limit_in_bytes", "9223372036854771712")],
            v2: &[("memory.max", "max")],
        },
    );
}

fn memory_limit_ends_a_greedy_payload(t: &Test) {
    needs(t, "memory");
    let limits = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    // The payload writes to one buffer of 64 MiB.
    let bundle = t.bundle().shell("dd if=/dev/zero of=/dev/null bs=64M count=1 && echo survived");
    assert_eq!(t.run(&bundle).stdout, "survived\n", "without a limit it lives");
    let out = t.run(&bundle.set("/linux/resources/memory", limits));
    assert_eq!((out.code, out.stdout.as_str()), (137, ""), "{out:?}");
}

fn cpu_shares_quota_period(t: &Test) {
    holds(
        t,
        &Limit {
            controller: "cpu",
            set: ("cpu", json!({ "shares": 512, "quota": 25000, "period": 50000 })),
            v1: &[("cpu.shares", "512"), ("cpu.cfs_quota_us", "25000"), ("cpu.cfs_period_us", "50000")],
            v2: &[("cpu.weight", "59"), ("cpu.max", "25000 50000")],
        },
    );
}

/// The payload computes until the kernel has counted a throttled period.
fn cpu_quota_throttles(t: &Test) {
    needs(t, "cpu");
    let resources = json!({ "cpu": { "quota": 2000, "period": 100_000 } });
    let bundle = pausing(t, resources).namespace("cgroup");
    let stat = if cgroup_v2() { "/sys/fs/cgroup/cpu.stat" } else { "/sys/fs/cgroup/cpu/cpu.stat" };
    let out =
        t.run(&bundle.shell(&format!("until grep -q 'nr_throttled [1-9]' {stat}; do :; done; echo held")));
    assert_eq!(out.stdout, "held\n", "{out:?}");
}

/// Compares the CPU time that the payload uses in thirty periods with the quota for them.
/// The kernel's periods are counted, not a clock, so load does not matter.
fn cpu_quota_is_held_within_a_tenth(t: &Test) {
    needs(t, "cpu");
    let quota = 10_000;
    let resources = json!({ "cpu": { "quota": quota, "period": 50_000 } });
    let bundle = pausing(t, resources).namespace("cgroup");
    // v1 counts nanoseconds in another hierarchy. This reads them first, because periods go
    // on meanwhile.
    let (look, unit) = match cgroup_v2() {
        true => ("cat /sys/fs/cgroup/cpu.stat", 1),
        false => (
            "echo usage_usec $(cat /sys/fs/cgroup/cpuacct/cpuacct.usage); cat /sys/fs/cgroup/cpu/cpu.stat",
            1000,
        ),
    };
    let script = format!(
        "look() {{ {look}; }}; periods() {{ look | sed -n 's/^nr_periods //p'; }}; \
         end=$(($(periods) + 30)); look; until [ $(periods) -ge $end ]; do :; done; look"
    );
    let out = t.run(&bundle.shell(&script));
    // The values from before the start don't count.
    let grown = |name: &str| -> u64 {
        let lines = out.stdout.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let values: Vec<u64> = lines.map(|value| value.parse().unwrap()).collect();
        assert_eq!(values.len(), 2, "{name}: {out:?}");
        values[1] - values[0]
    };
    let used = grown("usage_usec") / unit;
    let (periods, throttled) = (grown("nr_periods"), grown("nr_throttled"));
    // One more period has begun.
    assert!(used <= (periods + 1) * quota * 11 / 10, "{used} of {periods} periods: {out:?}");
    // A throttled payload has used its quota.
    assert!(throttled > 1, "{out:?}");
    assert!(used >= (throttled - 1) * quota * 9 / 10, "{used} of {throttled} periods: {out:?}");
}

fn cpu_idle(t: &Test) {
    needs(t, "cpu");
    let container = t.start(&pausing(t, json!({ "cpu": { "idle": 1 } })));
    assert_eq!(value(t, &container, "cpu", "cpu.idle"), "1");
}

fn cpuset(t: &Test) {
    needs(t, "cpuset");
    let bundle = pausing(t, json!({ "cpu": { "cpus": "0", "mems": "0" } }));
    let container = t.start(&bundle);
    assert_eq!(value(t, &container, "cpuset", "cpuset.cpus"), "0");
    assert_eq!(value(t, &container, "cpuset", "cpuset.mems"), "0");
    assert_eq!(container.look([])["status"]["Cpus_allowed_list"], "0");
}

fn pids_limit(t: &Test) {
    for (limit, content) in [(17, &[("pids.max", "17")]), (-1, &[("pids.max", "max")])] {
        let set = ("pids", json!({ "limit": limit }));
        holds(t, &Limit { controller: "pids", set, v1: content, v2: content });
    }
}

fn the_eighteenth_process_is_refused(t: &Test) {
    needs(t, "pids");
    // The shell is the first process, and it ends if it can't fork.
    let script = "n=1; while [ $n -lt 30 ]; do sleep 1000 & n=$((n + 1)); echo $n; done";
    let limited = t.bundle().set("/linux/resources/pids", json!({ "limit": 17 }));
    let out = t.run(&limited.shell(script));
    assert_eq!(out.stdout.lines().last(), Some("17"), "{out:?}");
    assert!(out.code != 0 && out.stderr.contains("fork"), "{out:?}");
}

fn zero_is_a_limit_of_pids(t: &Test) {
    // As in runc since 1.4: 1 is the same limit, and systemd does not accept 0.
    let (set, files) = (("pids", json!({ "limit": 0 })), &[("pids.max", "1")]);
    holds(t, &Limit { controller: "pids", set, v1: files, v2: files });
}

fn zero_is_not_set(t: &Test) {
    needs(t, "memory");
    needs(t, "cpu");
    let default = t.start(&pausing(t, json!({})));
    let zero = t.start(&pausing(
        t,
        json!({
            "memory": { "limit": 0, "swap": 0, "reservation": 0 },
            "cpu": { "shares": 0, "quota": 0, "period": 0 },
            "blockIO": { "weight": 0 },
        }),
    ));
    let v1 = [
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.soft_limit_in_bytes"),
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.cfs_quota_us"),
        ("cpu", "cpu.cfs_period_us"),
    ];
    let v2 = [
        ("memory", "memory.max"),
        ("memory", "memory.low"),
        ("memory", "memory.swap.max"),
        ("cpu", "cpu.weight"),
        ("cpu", "cpu.max"),
    ];
    for (controller, file) in if cgroup_v2() { &v2[..] } else { &v1 } {
        assert_eq!(value(t, &zero, controller, file), value(t, &default, controller, file), "{file}");
    }
}

/// Version 2 has none of these limits, and refuses them, but 0 asks for nothing.
fn zero_of_what_v2_has_not_is_not_set(t: &Test) {
    let bundle = |area: &str, fields: Value| {
        t.bundle().set(&format!("/linux/resources/{area}"), fields).args(["echo", "ran"])
    };
    let script = "runtime run --bundle $BUNDLE $ID";
    for (area, fields) in [
        ("cpu", json!({ "realtimeRuntime": 0, "realtimePeriod": 0 })),
        ("blockIO", json!({ "leafWeight": 0 })),
    ] {
        let out = t.on_v2(&bundle(area, fields.clone()), script).out();
        assert_eq!((out.code, out.stdout.as_str()), (0, "ran\n"), "{fields}: {out:?}");
    }
    if is_corten() {
        let limit = bundle("cpu", json!({ "realtimeRuntime": 1000 }));
        t.on_v2(&limit, script).out().one_clear_line(&["/linux/resources/cpu/realtimeRuntime"]);
    }
}

/// Limits are refused where there is no cgroup, but 0 is no limit.
fn zero_without_a_cgroup_is_not_set(t: &Test) {
    if !is_corten() {
        t.skip("--cgroup-manager=disabled is crun's and corten's");
    }
    t.global("--cgroup-manager=disabled");
    let bundle = |cpu: Value| {
        let resources = json!({ "memory": { "limit": 0, "disableOOMKiller": false }, "cpu": cpu });
        t.bundle().set("/linux/resources", resources).args(["echo", "ran"])
    };
    let out = t.run(&bundle(json!({ "shares": 0, "quota": 0, "cpus": "" })));
    assert_eq!((out.code, out.stdout.as_str()), (0, "ran\n"), "{out:?}");
    t.refused(&bundle(json!({ "shares": 2 }))).one_clear_line(&["/linux/resources", "there is no cgroup"]);
}

fn kernel_memory_is_a_warning(t: &Test) {
    let bundle = t.bundle().set("/linux/resources/memory", json!({ "kernel": 1 << 20 }));
    let out = t.run(&bundle.args(["true"]));
    assert_eq!(out.code, 0, "{out:?}");
    out.says(&["/linux/resources/memory/kernel", "deprecated"]);
}

fn tcp_memory_limit(t: &Test) {
    let bundle = pausing(t, json!({ "memory": { "kernelTCP": 1 << 20 } }));
    if cgroup_v2() {
        let out = t.run(&bundle.args(["true"]));
        assert_eq!(out.code, 0, "{out:?}");
        out.says(&["/linux/resources/memory/kernelTCP", "deprecated"]);
        return;
    }
    needs(t, "memory");
    let container = t.start(&pausing(t, json!({})));
    value(t, &container, "memory", "memory.kmem.tcp.limit_in_bytes");
    let container = t.start(&bundle);
    assert_eq!(value(t, &container, "memory", "memory.kmem.tcp.limit_in_bytes"), "1048576");
}

fn oom_killer_is_disabled(t: &Test) {
    let bundle = pausing(t, json!({ "memory": { "disableOOMKiller": true } }));
    if cgroup_v2() {
        t.refused(&bundle).one_clear_line(&["/linux/resources/memory/disableOOMKiller"]);
        return;
    }
    needs(t, "memory");
    let container = t.start(&bundle);
    let control = value(t, &container, "memory", "memory.oom_control");
    assert!(control.starts_with("oom_kill_disable 1"), "{control}");
    let container = t.start(&pausing(t, json!({ "memory": { "disableOOMKiller": false } })));
    let control = value(t, &container, "memory", "memory.oom_control");
    assert!(control.starts_with("oom_kill_disable 0"), "{control}");
}

fn hierarchy_is_always_used(t: &Test) {
    let bundle = pausing(t, json!({ "memory": { "useHierarchy": false } }));
    t.refused(&bundle).one_clear_line(&["/linux/resources/memory/useHierarchy"]);
    let container = t.start(&pausing(t, json!({ "memory": { "useHierarchy": true } })));
    if !cgroup_v2() && has_controller("memory") {
        assert_eq!(value(t, &container, "memory", "memory.use_hierarchy"), "1");
    }
}

fn cpu_burst(t: &Test) {
    needs(t, "cpu");
    let file = if cgroup_v2() { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
    let container = t.start(&pausing(t, json!({})));
    value(t, &container, "cpu", file);
    let cpu = json!({ "quota": 50_000, "period": 100_000, "burst": 20_000 });
    let container = t.start(&pausing(t, json!({ "cpu": cpu })));
    assert_eq!(value(t, &container, "cpu", file), "20000");
}

fn real_time_budget(t: &Test) {
    let cpu = json!({ "realtimeRuntime": 1000, "realtimePeriod": 500_000 });
    let bundle = pausing(t, json!({ "cpu": cpu }));
    if cgroup_v2() {
        t.refused(&bundle).one_clear_line(&["/linux/resources/cpu/realtime"]);
        return;
    }
    needs(t, "cpu");
    let container = t.start(&pausing(t, json!({})));
    value(t, &container, "cpu", "cpu.rt_runtime_us");
    let container = t.start(&bundle);
    assert_eq!(value(t, &container, "cpu", "cpu.rt_runtime_us"), "1000");
    assert_eq!(value(t, &container, "cpu", "cpu.rt_period_us"), "500000");
}

fn check_before_update_is_the_kernels(t: &Test) {
    let memory = json!({ "limit": 64 << 20, "checkBeforeUpdate": true });
    holds(
        t,
        &Limit {
            controller: "memory",
            set: ("memory", memory),
            v1: &[("memory.limit_in_bytes", "67108864")],
            v2: &[("memory.max", "67108864")],
        },
    );
}

fn rdma_limit(t: &Test) {
    let bundle = pausing(t, json!({ "rdma": { "mlx5_1": { "hcaHandles": 3, "hcaObjects": 10 } } }));
    if has_controller("rdma") {
        t.skip("wants an RDMA device here");
    }
    t.refused(&bundle).one_clear_line(&["/linux/resources/rdma/mlx5_1", "rdma"]);
    let bundle = pausing(t, json!({ "rdma": { "mlx5_1": {} } }));
    t.refused(&bundle).one_clear_line(&["/linux/resources/rdma/mlx5_1", "hcaHandles"]);
}

fn huge_pages_on_v2(t: &Test) {
    let limits = json!([{ "pageSize": "2MB", "limit": 6 << 20 }]);
    let bundle = t.bundle().set("/linux/resources/hugepageLimits", limits).args(["true"]);
    let script = "
        grep -q hugetlb /sys/fs/cgroup/cgroup.controllers || { echo none; exit; }
        runtime create --bundle $BUNDLE $ID >/dev/null 2>&1
        cd $GROUP
        cat hugetlb.2MB.max
        if test -e hugetlb.2MB.rsvd.max; then cat hugetlb.2MB.rsvd.max; else echo 6291456; fi
        cd /
        runtime delete --force $ID";
    let out = t.on_v2(&bundle, script).out();
    if out.stdout == "none\n" {
        t.skip("no hugetlb controller on v2 here");
    }
    assert_eq!(out.stdout, "6291456\n6291456\n", "{out:?}");
}

fn check_before_update_on_v2(t: &Test) {
    let memory = json!({ "limit": 4096, "checkBeforeUpdate": true });
    let bundle = t.bundle().set("/linux/resources/memory", memory).args(["true"]);
    // The cgroup is used already: the limit is below its memory usage.
    let script = "
        grep -q memory /sys/fs/cgroup/cgroup.controllers || { echo none; exit; }
        echo +memory >/sys/fs/cgroup/cgroup.subtree_control
        mkdir $GROUP
        GROUP=$GROUP sh -c 'echo $$ >$GROUP/cgroup.procs; exec sleep 1000' & sleeper=$!
        until test \"$(cat $GROUP/memory.current)\" -gt 4096; do :; done
        runtime create --bundle $BUNDLE $ID || true
        kill $sleeper; wait $sleeper || true
        rmdir $GROUP";
    let out = t.on_v2(&bundle, script).out();
    if out.stdout == "none\n" {
        t.skip("no memory controller on v2 here");
    }
    out.says(&["/linux/resources/memory/limit", "rejecting memory limit"]);
}

fn blkio_weight(t: &Test) {
    let (controller, names) = if cgroup_v2() {
        ("io", [("io.bfq.weight", "default 300"), ("io.weight", "default 2930")])
    } else {
        ("blkio", [("blkio.bfq.weight", "300"), ("blkio.weight", "300")])
    };
    needs(t, controller);
    let container = t.start(&pausing(t, json!({})));
    let pid = container.init.pid;
    let Some((file, wanted)) = names.iter().find(|(file, _)| cgroup_file(pid, controller, file).is_some())
    else {
        t.skip("the block controller has no weight here");
    };
    drop(container);
    let container = t.start(&pausing(t, json!({ "blockIO": { "weight": 300 } })));
    assert_eq!(cgroup_file(container.init.pid, controller, file).unwrap(), *wanted);
}

/// Returns the first disk as `major` and `minor`.
fn disk(t: &Test) -> (u64, u64) {
    let numbers = fs::read_dir("/sys/block").unwrap().flatten().find_map(|disk| {
        // A device without a size can't be throttled, or is no disk.
        let size = fs::read_to_string(disk.path().join("size")).ok()?;
        let numbers = fs::read_to_string(disk.path().join("dev")).ok()?;
        (size.trim() != "0").then(|| numbers.trim().to_owned())
    });
    let numbers = numbers.unwrap_or_else(|| t.skip("there is no disk here"));
    let (major, minor) = numbers.split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

fn block_device_throttle(t: &Test) {
    needs(t, if cgroup_v2() { "io" } else { "blkio" });
    let (major, minor) = disk(t);
    let limit = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let limits = json!({ "throttleReadBpsDevice": limit(1 << 20), "throttleWriteIOPSDevice": limit(50) });
    let container = t.start(&pausing(t, json!({ "blockIO": limits })));
    if cgroup_v2() {
        let found = value(t, &container, "io", "io.max");
        assert_eq!(found, format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=50"));
        return;
    }
    for (file, rate) in [("read_bps_device", 1 << 20), ("write_iops_device", 50)] {
        let found = value(t, &container, "blkio", &format!("blkio.throttle.{file}"));
        assert_eq!(found, format!("{major}:{minor} {rate}"));
    }
}

fn block_device_throttles_of_the_other_way(t: &Test) {
    needs(t, if cgroup_v2() { "io" } else { "blkio" });
    let (major, minor) = disk(t);
    let limit = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let limits = json!({ "throttleWriteBpsDevice": limit(1 << 20), "throttleReadIOPSDevice": limit(50) });
    let container = t.start(&pausing(t, json!({ "blockIO": limits })));
    if cgroup_v2() {
        let found = value(t, &container, "io", "io.max");
        assert_eq!(found, format!("{major}:{minor} rbps=max wbps=1048576 riops=50 wiops=max"));
        return;
    }
    for (file, rate) in [("write_bps_device", 1 << 20), ("read_iops_device", 50)] {
        let found = value(t, &container, "blkio", &format!("blkio.throttle.{file}"));
        assert_eq!(found, format!("{major}:{minor} {rate}"));
    }
}

fn device_weights(t: &Test) {
    needs(t, if cgroup_v2() { "io" } else { "blkio" });
    let (major, minor) = disk(t);
    let weight = json!([{ "major": major, "minor": minor, "weight": 300 }]);
    let bundle = pausing(t, json!({ "blockIO": { "weightDevice": weight } }));
    let (controller, files) = match cgroup_v2() {
        true => ("io", ["io.bfq.weight", "io.weight"]),
        false => ("blkio", ["blkio.bfq.weight_device", "blkio.weight_device"]),
    };
    let container = t.start(&pausing(t, json!({})));
    let pid = container.init.pid;
    let scheduler = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/queue/scheduler"));
    let has_weights = scheduler.is_ok_and(|text| text.contains("[bfq]"));
    if !has_weights || files.iter().all(|file| cgroup_file(pid, controller, file).is_none()) {
        // If the scheduler has no weights, the runtime reports an error.
        t.refused(&bundle).one_clear_line(&["/linux/resources/blockIO/weightDevice/0"]);
        return;
    }
    let container = t.start(&bundle);
    let found = files.iter().find_map(|file| cgroup_file(container.init.pid, controller, file)).unwrap();
    assert!(found.contains(&format!("{major}:{minor} ")), "{found}");
}

/// Linux 5.0 removed the leaf weights together with the CFQ scheduler.
fn leaf_weights_are_refused(t: &Test) {
    needs(t, if cgroup_v2() { "io" } else { "blkio" });
    let bundle = pausing(t, json!({ "blockIO": { "leafWeight": 300 } }));
    t.refused(&bundle).one_clear_line(&["/linux/resources/blockIO/leafWeight"]);
    let weight = json!([{ "major": 8, "minor": 0, "leafWeight": 300 }]);
    let bundle = pausing(t, json!({ "blockIO": { "weightDevice": weight } }));
    t.refused(&bundle).one_clear_line(&["/linux/resources/blockIO/weightDevice/0"]);
}

fn priorities_of_interfaces(t: &Test) {
    let network = json!({ "priorities": [{ "name": "lo", "priority": 7 }] });
    let bundle = pausing(t, json!({ "network": network }));
    if !has_controller("net_prio") {
        // If the runtime can't set a limit, it refuses the container and does not drop the
        // limit.
        t.refused(&bundle).one_clear_line(&["/linux/resources/network"]);
        return;
    }
    let container = t.start(&bundle);
    let map = value(t, &container, "net_prio", "net_prio.ifpriomap");
    assert!(map.lines().any(|line| line == "lo 7"), "{map}");
}

fn network_priorities(t: &Test) {
    if cgroup_v2() {
        t.skip("cgroup v2 has no network controllers");
    }
    holds(
        t,
        &Limit {
            controller: "net_cls",
            set: ("network", json!({ "classID": 1_048_577 })),
            v1: &[("net_cls.classid", "1048577")],
            v2: &[],
        },
    );
}

fn hugetlb_limit(t: &Test) {
    holds(
        t,
        &Limit {
            controller: "hugetlb",
            set: ("hugepageLimits", json!([{ "pageSize": "2MB", "limit": 4 << 20 }])),
            v1: &[("hugetlb.2MB.limit_in_bytes", "4194304")],
            v2: &[("hugetlb.2MB.max", "4194304")],
        },
    );
}

/// On a hybrid host, a controller can be in either version.
fn controllers_that_only_unified_has(t: &Test) {
    let unified = Path::new("/sys/fs/cgroup/unified");
    let offered = fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default();
    if !offered.split_whitespace().any(|name| name == "hugetlb") {
        t.skip("no hugetlb in /sys/fs/cgroup/unified");
    }
    let limits = |limit: i64| json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": limit }] });
    let mut resources = limits(4 << 20);
    resources["pids"] = json!({ "limit": 33 });
    let container = t.start(&pausing(t, resources));
    let place = fs::read_to_string(format!("/proc/{}/cgroup", container.init.pid)).unwrap();
    let place = place.lines().find_map(|line| line.strip_prefix("0::/")).unwrap().to_owned();
    let held = || fs::read_to_string(unified.join(&place).join("hugetlb.2MB.max")).unwrap();
    assert_eq!(held(), "4194304\n");
    assert_eq!(cgroup_file(container.init.pid, "pids", "pids.max").as_deref(), Some("33"));
    let stats: Value =
        serde_json::from_str(&t.verb(["events", "--stats", &container.id]).ok().stdout).unwrap();
    assert!(stats["data"]["hugetlb"]["2MB"].is_object(), "{stats}");
    assert_eq!(stats["data"]["pids"]["limit"], 33, "{stats}");

    let file = t.make_file("resources", &limits(6 << 20).to_string());
    container.update(["--resources", file.to_str().unwrap()]).ok();
    assert_eq!(held(), "6291456\n");
    assert_eq!(cgroup_file(container.init.pid, "pids", "pids.max").as_deref(), Some("33"));
}

fn unified_files(t: &Test) {
    if !cgroup_v2() {
        t.skip("only cgroup v2 has these");
    }
    holds(
        t,
        &Limit {
            controller: "memory",
            set: ("unified", json!({ "memory.high": "33554432", "pids.max": "9" })),
            v1: &[],
            v2: &[("memory.high", "33554432"), ("pids.max", "9")],
        },
    );
}

fn unified_files_of_the_kernel_only(t: &Test) {
    if !cgroup_v2() {
        t.skip("only cgroup v2 has these");
    }
    let bundle = |key: &str| pausing(t, json!({ "unified": { key: "1" } }));
    t.refused(&bundle("memory.cheese")).one_clear_line(&["memory.cheese"]);
    t.refused(&bundle("../memory.max")).one_clear_line(&["memory.max"]);
}

fn limits_are_written_before_the_payload_runs(t: &Test) {
    needs(t, "pids");
    let bundle = t.bundle().namespace("cgroup").set("/linux/resources/pids", json!({ "limit": 9 }));
    let question =
        if cgroup_v2() { "text:/sys/fs/cgroup/pids.max" } else { "text:/sys/fs/cgroup/pids/pids.max" };
    assert_eq!(t.look(&bundle, [question])["asked"][question], "9\n");
    let container = t.create(&pausing(t, json!({ "pids": { "limit": 9 } })));
    assert_eq!(value(t, &container, "pids", "pids.max"), "9", "already in `created`");
}

/// Any process may freeze the cgroup. Here the test writes the kernel's file.
fn frozen_container_is_paused(t: &Test) {
    needs(t, "freezer");
    let (reader, writer) = pipe();
    let bundle = t.bundle().shell("echo on; sleep 1000");
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "on");
    let dir = cgroup_dir(container.init.pid, "freezer").unwrap();
    let (file, freeze, thaw) =
        if cgroup_v2() { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
    fs::write(dir.join(file), freeze).expect("freeze");
    assert_eq!(container.status(), "paused");
    fs::write(dir.join(file), thaw).expect("thaw");
    assert_eq!(container.status(), "running");
    container.stop();
}

fn exec_joins_every_controller(t: &Test) {
    let container = t.start(&pausing(t, json!({ "pids": { "limit": 9 } })));
    let init = fs::read_to_string(format!("/proc/{}/cgroup", container.init.pid)).unwrap();
    assert_eq!(container.look([])["cgroup"], json!(init));
}

/// A new cpuset is empty, and accepts no process.
fn empty_cpuset(t: &Test, path: &str) {
    if cgroup_v2() || !has_controller("cpuset") {
        t.skip("no cpuset controller on v1 here");
    }
    fs::create_dir_all(format!("/sys/fs/cgroup/cpuset/{path}")).expect("make a cpuset");
}

fn empty_cpusets_above_are_filled(t: &Test) {
    empty_cpuset(t, &format!("{}/below", t.token));
    let path = format!("/{}/below/c", t.token);
    let container = t.start(&pausing(t, json!({})).set("/linux/cgroupsPath", json!(path)));
    let all = fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus").unwrap();
    assert_eq!(cgroup_file(container.init.pid, "cpuset", "cpuset.cpus").as_deref(), Some(all.trim()));
    container.stop();
    container.verb("delete").ok();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(&t.token).join("below"));
        let _ = fs::remove_dir(hierarchy.path().join(&t.token));
    }
}

fn an_empty_cpuset_of_its_own_is_filled(t: &Test) {
    empty_cpuset(t, &t.token);
    let path = format!("/{}", t.token);
    let out = t.run(&t.bundle().set("/linux/cgroupsPath", json!(path)).args(["echo", "in"]));
    assert_eq!((out.code, out.stdout.as_str()), (0, "in\n"), "{out:?}");
}

/// A loop device. Every process may open it, unless a rule denies it.
fn forbidden_device(t: &Test) -> Bundle {
    if !Path::new("/sys/block/loop0").exists() {
        t.skip("no loop device here");
    }
    let device = json!({ "path": "/dev/forbidden", "type": "b", "major": 7, "minor": 0, "fileMode": 0o666 });
    t.bundle().push("/linux/devices", device).shell("head -c 0 /dev/null && echo null; exec 3</dev/forbidden")
}

fn device_rules_without_their_hierarchy(t: &Test) {
    if cgroup_v2() {
        t.skip("this is cgroup v2");
    }
    let bundle = forbidden_device(t);
    let script = "umount /sys/fs/cgroup/devices; runtime run \"$ID\"";
    let out = t.in_private_mounts(&bundle, &bundle.dir, script).out();
    assert_eq!(out.stdout, "null\n", "{out:?}");
    assert!(out.code != 0 && out.stderr.contains("Operation not permitted"), "{out:?}");
}

fn device_rules_without_any_controller_are_refused(t: &Test) {
    if cgroup_v2() {
        t.skip("this is cgroup v2");
    }
    let bundle = forbidden_device(t);
    let script = "umount /sys/fs/cgroup/devices /sys/fs/cgroup/unified; runtime run \"$ID\"";
    let out = t.in_private_mounts(&bundle, &bundle.dir, script).out();
    out.one_clear_line(&["/linux/resources/devices", "no devices controller"]);
    assert_eq!(out.stdout, "");
}

fn a_threaded_parent_is_named(t: &Test) {
    let script = "
        mkdir $GROUP $GROUP/threads $GROUP/box
        echo threaded >$GROUP/threads/cgroup.type
        sed -i \"s|\\\"cgroupsPath\\\": \\\"/$NAME\\\"|\\\"cgroupsPath\\\": \\\"/$NAME/box\\\"|\" config.json
        runtime run \"$ID\" || echo refused
        rmdir $GROUP/threads; test ! -e $GROUP/box || rmdir $GROUP/box; rmdir $GROUP";
    let script = format!("NAME={}; {script}", t.token);
    let out = t.on_v2(&t.bundle().args(["true"]), &script).out();
    assert_eq!(out.stdout, "refused\n", "{out:?}");
    if crate::harness::is_corten() {
        out.says(&["/linux/cgroupsPath", "domain invalid"]);
    }
}

fn removed_on_delete(t: &Test) {
    let container = t.start(&pausing(t, json!({})));
    let dirs = cgroups_named(&container.id);
    assert!(dirs.len() > 5 || (cgroup_v2() && dirs.len() == 1), "{dirs:?}");
    container.stop();
    container.verb("delete").ok();
    for dir in dirs {
        assert!(!dir.exists(), "{}", dir.display());
    }
}

/// A payload with a writable view of its cgroup creates cgroups below it.
fn removed_with_cgroups_of_the_payload(t: &Test) {
    let dir = if cgroup_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    let script =
        format!("mkdir -p {dir}/sub/deeper && echo $$ >{dir}/sub/cgroup.procs && echo in; sleep 1000");
    let bundle = t.bundle().namespace("cgroup").remount("/sys/fs/cgroup", &["nosuid", "noexec", "nodev"]);
    let (reader, writer) = pipe();
    let container = Container::create(t, &bundle.shell(&script), |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "in");
    container.verb("delete").arg("--force").ok();
    assert!(container.init.ended());
    assert_eq!(cgroups_named(&container.id), Vec::<PathBuf>::new());
}

/// Where another mount hides the cgroups, `delete` would leave them. systemd removes its unit
/// and the cgroups at some time after the container's end, but the runtime can't see that.
fn delete_without_the_hierarchies_is_refused(t: &Test) {
    let container = t.start(&pausing(t, json!({})));
    container.stop();
    let dirs = cgroups_named(&container.id);
    let delete = format!("runtime delete --force {}", container.id);
    let script = format!("mount -t tmpfs none /sys/fs/cgroup; {delete}");
    let out = t.in_private_mounts(&t.bundle(), &t.make_dir("volume"), &script).out();
    out.one_clear_line(&[&container.id, "hierarchy is not mounted here"]);
    assert!(t.by_systemd() || cgroups_named(&container.id) == dirs);
    // Nothing is lost.
    container.verb("state").ok();
    container.verb("delete").ok();
    assert_eq!(cgroups_named(&container.id), Vec::<PathBuf>::new());
}

fn removed_after_a_failed_create(t: &Test) {
    // Fails after the runtime has created the cgroups. The harness looks for leftovers.
    t.refused(&t.bundle().args(["/nope"])).fails(&["/nope", "no such file or directory"]);
    t.refused(&t.bundle().mount("/tmp", "cheesefs", "none", &[])).fails(&["/tmp"]);
}

fn limits_that_v1_lacks_are_refused(t: &Test) {
    if cgroup_v2() {
        t.skip("this is cgroup v2");
    }
    let bundle = pausing(t, json!({ "unified": { "pids.max": "9" } }));
    t.refused(&bundle).one_clear_line(&["unified"]);
}

fn limits_that_v2_lacks_are_refused(t: &Test) {
    if !cgroup_v2() {
        t.skip("this is cgroup v1");
    }
    let bundle = pausing(t, json!({ "memory": { "swappiness": 10 } }));
    t.refused(&bundle).one_clear_line(&["/linux/resources/memory/swappiness"]);
    let bundle = pausing(t, json!({ "network": { "classID": 1 } }));
    t.refused(&bundle).one_clear_line(&["/linux/resources/network"]);
}

fn impossible_value_is_refused(t: &Test) {
    let bundle = pausing(t, json!({ "cpu": { "cpus": "4095" } }));
    t.refused(&bundle).one_clear_line(&["cpus"]);
    let bundle = pausing(t, json!({ "memory": { "limit": "much" } }));
    t.refused(&bundle).one_clear_line(&["/linux/resources/memory/limit"]);
}

/// Returns the start of a relative path if the caller's cgroup is `own`.
fn where_relative_paths_start(own: &str) -> &str {
    match own.rsplit_once('/') {
        Some((above, _)) if cgroup_v2() => above,
        _ => own.trim_end_matches('/'),
    }
}

fn path_with_dotdot_stays_below_its_root(t: &Test) {
    t.cgroupfs_only();
    t.needs_root("cgroups at the root of the hierarchies");
    let name = format!("{}-climber", t.token);
    let bundle = t.bundle().args(["cat", "/proc/self/cgroup"]);
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    for (path, absolute) in [(format!("/../../../../{name}"), true), (format!("a/../../{name}"), false)] {
        let out = t.run(&bundle.clone().set("/linux/cgroupsPath", json!(path)));
        assert_eq!(out.code, 0, "{out:?}");
        // Returns the path of the cgroup: below the root of the hierarchy, or for a
        // relative path beside the caller's cgroup on version 2, and below it on version 1.
        let own = own.lines().filter(|_| !absolute).filter_map(|line| line.splitn(3, ':').nth(2));
        let bases: Vec<_> = own.map(where_relative_paths_start).chain([""]).collect();
        let is_inside = |line: &str| bases.iter().any(|base| line.ends_with(&format!(":{base}/{name}")));
        assert!(out.stdout.lines().any(is_inside), "{out:?}");
        for outside in ["/", "/sys", "/sys/fs", "/sys/fs/cgroup"] {
            let made = Path::new(outside).join(&name);
            // A host with version 2 uses it.
            let is_outside = !(cgroup_v2() && outside == "/sys/fs/cgroup");
            let escaped = is_outside && made.exists() && remove_tree(&made).is_ok();
            assert!(!escaped, "{}: {out:?}", made.display());
        }
    }
    for path in ["/..", "../.", "/a/../.."] {
        let out = t.refused(&bundle.clone().set("/linux/cgroupsPath", json!(path)));
        out.one_clear_line(&["/linux/cgroupsPath", path, "does not name a cgroup"]);
    }
}
