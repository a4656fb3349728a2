//! `update` changes limits of an existing container, either all or none.

use crate::harness::{
    Container, Out, Test, cgroup_dir, cgroup_file, cgroup_v2, cgroups_named, is_corten, pipe,
};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

cases![
    memory,
    sizes_have_suffixes,
    minus_one_is_no_limit,
    memory_and_swap_in_any_order,
    memory_alone_moves_the_swap_of_version_2,
    memory_above_the_swap_is_refused,
    memory_below_the_usage_is_refused,
    cpu,
    quota_and_period_in_any_order,
    burst_and_quota_in_any_order,
    idle_and_shares,
    shares_with_idle_are_a_warning,
    real_time,
    cpuset,
    cpuset_moves_the_payload,
    pids_limit,
    blkio_weight,
    resources_from_a_file,
    resources_from_stdin,
    resources_of_an_engine,
    resources_may_be_null,
    resources_that_set_nothing_need_no_cgroup,
    resources_must_be_an_object,
    an_invalid_resource_is_named,
    resources_and_flags_are_refused,
    zero_and_empty_change_nothing,
    only_requested_limits_are_written,
    later_updates_keep_earlier_ones,
    device_rules_stay,
    kernel_memory_is_a_warning,
    values_are_checked,
    schemas_of_resctrl_are_refused_without_it,
    created_and_paused_containers,
    stopped_and_unknown_containers_are_refused,
    many_at_once,
    failed_update_changes_nothing,
    every_write_may_fail,
    failed_state_changes_nothing,
    a_failed_rollback_is_reported,
    limits_on_v2,
    failed_update_on_v2_changes_nothing,
];

fn update<const N: usize>(container: &Container, flags: [&str; N]) -> Out {
    container.update(flags).out()
}

/// The call must succeed without output.
fn done<const N: usize>(container: &Container, flags: [&str; N]) {
    let out = update(container, flags);
    assert_eq!((out.code, out.stdout.as_str(), out.stderr.as_str()), (0, "", ""), "{flags:?}: {out:?}");
}

/// Returns the file of version 1 or 2. Skips the test if the machine has none.
fn value(t: &Test, container: &Container, controller: &str, v1: &str, v2: &str) -> String {
    let file = if cgroup_v2() { v2 } else { v1 };
    cgroup_file(container.init.pid, controller, file)
        .unwrap_or_else(|| t.skip(&format!("no {file} in a cgroup of {controller} here")))
}

const LIMIT: [&str; 3] = ["memory", "memory.limit_in_bytes", "memory.max"];
const SWAP: [&str; 3] = ["memory", "memory.memsw.limit_in_bytes", "memory.swap.max"];
const RESERVATION: [&str; 3] = ["memory", "memory.soft_limit_in_bytes", "memory.low"];
const PIDS: [&str; 3] = ["pids", "pids.max", "pids.max"];
const NO_LIMIT: &str = "9223372036854771712";
const M: u64 = 1 << 20;

fn get(t: &Test, container: &Container, [controller, v1, v2]: [&str; 3]) -> String {
    value(t, container, controller, v1, v2)
}

fn v1_or_v2(v1: impl ToString, v2: impl ToString) -> String {
    if cgroup_v2() { v2.to_string() } else { v1.to_string() }
}

fn memory(t: &Test) {
    let container = t.pausing_with(json!({}));
    done(&container, ["--memory", "67108864", "--memory-reservation=33554432", "--memory-swap", "134217728"]);
    assert_eq!(get(t, &container, LIMIT), (64 * M).to_string());
    assert_eq!(get(t, &container, RESERVATION), (32 * M).to_string());
    assert_eq!(get(t, &container, SWAP), v1_or_v2(128 * M, 64 * M));
}

fn sizes_have_suffixes(t: &Test) {
    let container = t.pausing_with(json!({}));
    for (size, bytes) in [("64M", 64 * M), ("65536k", 64 * M), ("1g", 1024 * M), ("1.5GiB", 1536 * M)] {
        done(&container, ["--memory", size]);
        assert_eq!(get(t, &container, LIMIT), bytes.to_string(), "{size}");
    }
    for bad in ["64X", "much", "-2", "1.5.5"] {
        let out = update(&container, [&format!("--memory={bad}")]);
        out.one_clear_line(&["memory", bad]);
    }
    assert_eq!(get(t, &container, LIMIT), (1536 * M).to_string());
}

fn minus_one_is_no_limit(t: &Test) {
    let container = t.pausing_with(json!({ "memory": { "limit": 64 * M, "swap": 64 * M } }));
    done(&container, ["--memory", "-1"]);
    assert_eq!(get(t, &container, LIMIT), v1_or_v2(NO_LIMIT, "max"));
    assert_eq!(get(t, &container, SWAP), v1_or_v2(NO_LIMIT, "max"), "no limit of memory is none of both");
    done(&container, ["--memory=64M", "--memory-swap=-1"]);
    assert_eq!(get(t, &container, SWAP), v1_or_v2(NO_LIMIT, "max"));
}

fn memory_and_swap_in_any_order(t: &Test) {
    let container = t.pausing_with(json!({ "memory": { "limit": 64 * M, "swap": 64 * M } }));
    for (limit, swap) in [(128, 256), (32, 64), (32, 32), (512, 512), (64, 512), (64, 64), (128, 128)] {
        done(&container, ["--memory", &format!("{limit}M"), "--memory-swap", &format!("{swap}M")]);
        assert_eq!(get(t, &container, LIMIT), (limit * M).to_string(), "{limit} {swap}");
        assert_eq!(get(t, &container, SWAP), v1_or_v2(swap * M, (swap - limit) * M), "{limit} {swap}");
    }
}

fn memory_alone_moves_the_swap_of_version_2(t: &Test) {
    let container = t.pausing_with(json!({ "memory": { "limit": 64 * M, "swap": 128 * M } }));
    done(&container, ["--memory", "96M"]);
    assert_eq!(get(t, &container, LIMIT), (96 * M).to_string());
    // Both together are 128 MiB, as before.
    assert_eq!(get(t, &container, SWAP), v1_or_v2(128 * M, 32 * M));
    done(&container, ["--memory-swap", "192M"]);
    assert_eq!(get(t, &container, SWAP), v1_or_v2(192 * M, 96 * M));
    assert_eq!(get(t, &container, LIMIT), (96 * M).to_string());
}

fn memory_above_the_swap_is_refused(t: &Test) {
    let container = t.pausing_with(json!({ "memory": { "limit": 64 * M, "swap": 64 * M } }));
    update(&container, ["--memory", "128M"]).one_clear_line(&["/linux/resources/memory/swap"]);
    assert_eq!(get(t, &container, LIMIT), (64 * M).to_string());
    assert_eq!(get(t, &container, SWAP), v1_or_v2(64 * M, 0));
}

fn memory_below_the_usage_is_refused(t: &Test) {
    if cgroup_v2() {
        let container = t.pausing_with(json!({ "memory": { "limit": 64 * M, "checkBeforeUpdate": true } }));
        update(&container, ["--memory", "4096"])
            .one_clear_line(&["memory/limit", "rejecting memory limit 4096 <= usage"]);
        assert_eq!(get(t, &container, LIMIT), (64 * M).to_string());
        assert_eq!(container.status(), "running");
        return;
    }
    let container = t.pausing_with(json!({ "memory": { "limit": 64 * M } }));
    let out = update(&container, ["--memory", "4096"]);
    out.one_clear_line(&["/linux/resources/memory/limit"]);
    out.says(&["unable to set memory limit to 4096 (current usage: ", ", peak usage: "]);
    assert_eq!(get(t, &container, LIMIT), (64 * M).to_string());
    assert_eq!(container.status(), "running");
}

/// Quota and period, as `QUOTA PERIOD` with `max` for no quota.
fn bandwidth(t: &Test, container: &Container) -> String {
    if cgroup_v2() {
        return value(t, container, "cpu", "", "cpu.max");
    }
    let quota = value(t, container, "cpu", "cpu.cfs_quota_us", "");
    let period = value(t, container, "cpu", "cpu.cfs_period_us", "");
    format!("{} {period}", if quota == "-1" { "max" } else { &quota })
}

const SHARES: [&str; 3] = ["cpu", "cpu.shares", "cpu.weight"];

fn cpu(t: &Test) {
    let container = t.pausing_with(json!({}));
    done(&container, ["--cpu-share", "512", "--cpu-period", "50000", "--cpu-quota", "25000"]);
    assert_eq!(get(t, &container, SHARES), v1_or_v2(512, 59));
    assert_eq!(bandwidth(t, &container), "25000 50000");
    done(&container, ["--cpu-quota", "-1"]);
    assert_eq!(bandwidth(t, &container), "max 50000");
    done(&container, ["--cpu-period", "100000"]);
    assert_eq!(bandwidth(t, &container), "max 100000");
    done(&container, ["--cpu-quota", "20000"]);
    assert_eq!(bandwidth(t, &container), "20000 100000");
    done(&container, ["--cpu-period", "200000"]);
    assert_eq!(bandwidth(t, &container), "20000 200000");
}

fn quota_and_period_in_any_order(t: &Test) {
    // The cgroup above has half a CPU. So neither the quota nor the period can always come
    // first.
    let path = t.cgroups_path(&format!("{}/c", t.token));
    let bundle = t.bundle().pausing().set("/linux/cgroupsPath", json!(path));
    let container = t.start(&bundle);
    let parent = cgroup_dir(container.init.pid, "cpu").unwrap().parent().unwrap().to_path_buf();
    let (file, half) = if cgroup_v2() { ("cpu.max", "50000 100000") } else { ("cpu.cfs_quota_us", "50000") };
    fs::write(parent.join(file), half).expect("limit the parent");
    for (quota, period) in [("50000", "100000"), ("10000", "20000"), ("50000", "100000"), ("5000", "200000")]
    {
        done(&container, ["--cpu-quota", quota, "--cpu-period", period]);
        assert_eq!(bandwidth(t, &container), format!("{quota} {period}"));
    }
    if !cgroup_v2() {
        let out = update(&container, ["--cpu-quota", "90000", "--cpu-period", "100000"]);
        out.one_clear_line(&["/linux/resources/cpu/quota"]);
        assert_eq!(bandwidth(t, &container), "5000 200000");
    }
    container.stop();
    container.verb("delete").ok();
    remove_parents(t);
}

/// The runtime does not remove cgroups above a container. The test does.
fn remove_parents(t: &Test) {
    for parent in cgroups_named(&t.token) {
        let _ = fs::remove_dir(parent);
    }
}

fn burst_and_quota_in_any_order(t: &Test) {
    let container = t.pausing_with(json!({}));
    for (quota, burst) in [("20000", "20000"), ("80000", "60000"), ("10000", "5000"), ("30000", "30000")] {
        done(&container, ["--cpu-quota", quota, "--cpu-burst", burst]);
        assert_eq!(bandwidth(t, &container), format!("{quota} 100000"));
        assert_eq!(value(t, &container, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), burst);
    }
    done(&container, ["--cpu-burst", "0"]);
    assert_eq!(value(t, &container, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "0");
}

fn idle_and_shares(t: &Test) {
    let container = t.pausing_with(json!({ "cpu": { "shares": 512 } }));
    done(&container, ["--cpu-idle", "1"]);
    assert_eq!(value(t, &container, "cpu", "cpu.idle", "cpu.idle"), "1");
    update(&container, ["--cpu-share", "256"]).one_clear_line(&["/linux/resources/cpu/shares", "idle"]);
    done(&container, ["--cpu-idle", "0"]);
    assert_eq!(value(t, &container, "cpu", "cpu.idle", "cpu.idle"), "0");
    assert_eq!(get(t, &container, SHARES), v1_or_v2(512, 59), "those that it had before");
    done(&container, ["--cpu-idle", "1"]);
    done(&container, ["--cpu-idle", "0", "--cpu-share", "1024"]);
    assert_eq!(get(t, &container, SHARES), v1_or_v2(1024, 100));
}

/// An engine sends all its values. runc ignores the weight, too, with a warning.
fn shares_with_idle_are_a_warning(t: &Test) {
    let container = t.pausing_with(json!({}));
    // The container is idle at the second call, and would take no shares.
    for _ in 0..2 {
        let out = update(&container, ["--cpu-share", "512", "--cpu-idle", "1"]);
        assert_eq!(out.code, 0, "{out:?}");
        if is_corten() {
            out.says(&["warning", "/linux/resources/cpu/shares", "idle"]);
        }
        assert_eq!(value(t, &container, "cpu", "cpu.idle", "cpu.idle"), "1");
    }
    done(&container, ["--cpu-idle", "0"]);
    assert_eq!(get(t, &container, SHARES), v1_or_v2(512, 59), "those that were asked for");
}

fn real_time(t: &Test) {
    let container = t.pausing_with(json!({}));
    if cgroup_v2() {
        update(&container, ["--cpu-rt-runtime", "1000"]).one_clear_line(&["realtimeRuntime"]);
        return;
    }
    value(t, &container, "cpu", "cpu.rt_runtime_us", "");
    done(&container, ["--cpu-rt-runtime", "1000", "--cpu-rt-period", "500000"]);
    assert_eq!(value(t, &container, "cpu", "cpu.rt_runtime_us", ""), "1000");
    assert_eq!(value(t, &container, "cpu", "cpu.rt_period_us", ""), "500000");
}

fn cpuset(t: &Test) {
    let container = t.pausing_with(json!({}));
    value(t, &container, "cpuset", "cpuset.cpus", "cpuset.cpus");
    done(&container, ["--cpuset-cpus", "0", "--cpuset-mems", "0"]);
    assert_eq!(value(t, &container, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(value(t, &container, "cpuset", "cpuset.mems", "cpuset.mems"), "0");
    update(&container, ["--cpuset-cpus", "4095"]).one_clear_line(&["/linux/resources/cpu/cpus"]);
    assert_eq!(value(t, &container, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
}

fn cpuset_moves_the_payload(t: &Test) {
    let container = t.pausing_with(json!({}));
    value(t, &container, "cpuset", "cpuset.cpus", "cpuset.cpus");
    done(&container, ["--cpuset-cpus", "0"]);
    let status = fs::read_to_string(format!("/proc/{}/status", container.init.pid)).unwrap();
    assert!(status.lines().any(|line| line == "Cpus_allowed_list:\t0"), "{status}");
}

fn pids_limit(t: &Test) {
    let container = t.pausing_with(json!({}));
    for (given, file) in [("20", "20"), ("-1", "max"), ("7", "7"), ("0", "1")] {
        done(&container, ["--pids-limit", given]);
        assert_eq!(get(t, &container, PIDS), file);
    }
    // A process that enters is counted. A process that forks is limited.
    let forks = ["sh", "-c", "/bin/sleep 0; echo done"];
    if cgroup_v2() {
        // There, the runtime clones a process directly into the cgroup.
        container.exec([], forks).out().one_clear_line(&["EAGAIN"]);
        return;
    }
    let out = container.exec([], forks).out();
    assert!(out.stderr.contains("fork") && !out.stdout.contains("done"), "{out:?}");
    done(&container, ["--pids-limit", "20"]);
    assert_eq!(container.exec([], forks).ok().stdout, "done\n");
}

fn blkio_weight(t: &Test) {
    let container = t.pausing_with(json!({}));
    let files = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"];
    let file = files.iter().find(|file| cgroup_file(container.init.pid, "blkio", file).is_some());
    let file = file.unwrap_or_else(|| t.skip("the block layer has no weight here"));
    done(&container, ["--blkio-weight", "300"]);
    let weight = cgroup_file(container.init.pid, "blkio", file).unwrap();
    let expected = if *file == "io.weight" { "2930" } else { "300" };
    assert_eq!(weight.trim_start_matches("default "), expected);
}

fn resources_from_a_file(t: &Test) {
    let container = t.pausing_with(json!({}));
    let resources = json!({ "memory": { "limit": 64 * M }, "pids": { "limit": 9 } });
    let file = t.make_file("resources", &resources.to_string());
    for flag in ["--resources", "-r"] {
        done(&container, [flag, file.to_str().unwrap()]);
    }
    assert_eq!(get(t, &container, LIMIT), (64 * M).to_string());
    assert_eq!(get(t, &container, PIDS), "9");
    update(&container, ["--resources", "/nonexistent"]).one_clear_line(&["/nonexistent"]);
}

fn from_stdin(container: &Container, flag: &str, text: &str) -> Out {
    let (reader, writer) = pipe();
    fs::File::from(writer).write_all(text.as_bytes()).expect("fits into the pipe");
    let flags: Vec<&str> = flag.split(' ').collect();
    let call = container.update([]);
    // The flags come before the id, but the order does not matter.
    call.args(flags).stdin(reader).out()
}

fn resources_from_stdin(t: &Test) {
    let container = t.pausing_with(json!({}));
    for (flag, limit) in [("--resources -", 8), ("--resources=-", 9), ("-r -", 10)] {
        let out = from_stdin(&container, flag, &json!({ "pids": { "limit": limit } }).to_string());
        assert_eq!((out.code, out.stdout.as_str(), out.stderr.as_str()), (0, "", ""), "{out:?}");
        assert_eq!(get(t, &container, PIDS), limit.to_string());
    }
}

/// As containerd sends them for the kubelet: everything that create requested.
fn resources_of_an_engine(t: &Test) {
    let devices = json!([{ "allow": false, "access": "rwm" }]);
    let container = t.pausing_with(json!({ "memory": { "limit": 64 * M }, "cpu": { "shares": 2 } }));
    let resources = json!({
        "devices": devices, "memory": { "limit": 128 * M, "swap": 128 * M },
        "cpu": { "shares": 102, "quota": 10000, "period": 100_000 }, "blockIO": { "weight": 0 },
        "unknownToAll": 1,
    });
    let out = from_stdin(&container, "--resources -", &resources.to_string());
    assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{out:?}");
    assert_eq!(get(t, &container, LIMIT), (128 * M).to_string());
    assert_eq!(bandwidth(t, &container), "10000 100000");
}

fn resources_may_be_null(t: &Test) {
    let container = t.pausing_with(json!({ "pids": { "limit": 9 } }));
    let resources = json!({ "memory": null, "cpu": null, "pids": { "limit": null }, "devices": null });
    let out = from_stdin(&container, "--resources -", &resources.to_string());
    assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{out:?}");
    assert_eq!(get(t, &container, PIDS), "9");
    // The runtime sets the limit beside them.
    let resources = json!({ "memory": null, "cpu": { "shares": null }, "pids": { "limit": 12 } });
    from_stdin(&container, "--resources -", &resources.to_string());
    assert_eq!(get(t, &container, PIDS), "12");
}

fn resources_that_set_nothing_need_no_cgroup(t: &Test) {
    if !is_corten() {
        t.skip("--cgroup-manager=disabled is crun's and corten's");
    }
    t.global("--cgroup-manager=disabled");
    let container = t.start(&t.bundle().drop("/linux/resources").pausing());
    for nothing in [
        json!({ "memory": { "limit": 0, "checkBeforeUpdate": false }, "hugepageLimits": [] }),
        json!({ "unknownToAll": 1 }),
    ] {
        let out = from_stdin(&container, "--resources -", &nothing.to_string());
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{nothing}: {out:?}");
    }
    let out = from_stdin(&container, "--resources -", &json!({ "pids": { "limit": 5 } }).to_string());
    out.one_clear_line(&["/linux/resources", "there is no cgroup"]);
}

fn resources_must_be_an_object(t: &Test) {
    let container = t.pausing_with(json!({}));
    for bad in ["", "7", "[]", "{", "nonsense"] {
        let out = from_stdin(&container, "--resources -", bad);
        out.one_clear_line(&["JSON"]);
    }
}

fn an_invalid_resource_is_named(t: &Test) {
    let container = t.pausing_with(json!({}));
    for (bad, at) in [
        (json!({ "memory": { "limit": "much" } }), "/linux/resources/memory/limit"),
        (json!({ "cpu": { "idle": 2 } }), "/linux/resources/cpu/idle"),
        (json!({ "pids": 7 }), "/linux/resources/pids"),
        // Only an integer is 0, and only a text is empty.
        (json!({ "memory": { "limit": 0.0 } }), "/linux/resources/memory/limit"),
        (json!({ "cpu": { "shares": "" } }), "/linux/resources/cpu/shares"),
        (json!({ "cpu": { "cpus": 0 } }), "/linux/resources/cpu/cpus"),
    ] {
        from_stdin(&container, "--resources -", &bad.to_string()).one_clear_line(&[at]);
    }
}

fn resources_and_flags_are_refused(t: &Test) {
    let container = t.pausing_with(json!({}));
    let file = t.make_file("resources", "{}");
    let out = update(&container, ["--resources", file.to_str().unwrap(), "--memory", "64M"]);
    out.one_clear_line(&["--resources"]);
}

fn zero_and_empty_change_nothing(t: &Test) {
    let container =
        t.pausing_with(json!({ "memory": { "limit": 64 * M }, "cpu": { "shares": 512, "quota": 5000 } }));
    done(&container, ["--memory", "0", "--cpu-share", "0", "--cpu-quota", "0", "--blkio-weight", "0"]);
    done(&container, ["--memory", "", "--cpuset-cpus", "", "--cpu-share="]);
    done(&container, []);
    assert_eq!(get(t, &container, LIMIT), (64 * M).to_string());
    assert_eq!(get(t, &container, SHARES), v1_or_v2(512, 59));
    // The earlier values are kept, too.
    done(&container, ["--cpu-period", "50000"]);
    assert_eq!(bandwidth(t, &container), "5000 50000");
}

fn only_requested_limits_are_written(t: &Test) {
    if t.by_systemd() {
        t.skip("systemd writes all that it knows of a unit");
    }
    let container = t.pausing_with(json!({ "memory": { "limit": 64 * M }, "pids": { "limit": 20 } }));
    // Another program has changed this value by hand.
    let pids = cgroup_dir(container.init.pid, "pids").unwrap().join("pids.max");
    fs::write(&pids, "33").unwrap();
    done(&container, ["--memory", "128M"]);
    assert_eq!(get(t, &container, LIMIT), (128 * M).to_string());
    assert_eq!(get(t, &container, PIDS), "33");
}

fn later_updates_keep_earlier_ones(t: &Test) {
    let container = t.pausing_with(json!({}));
    done(&container, ["--memory", "64M"]);
    // On version 2, the runtime needs the earlier limit to compute the new one.
    done(&container, ["--memory-swap", "96M"]);
    assert_eq!(get(t, &container, SWAP), v1_or_v2(96 * M, 32 * M));
    done(&container, ["--cpu-quota", "20000"]);
    done(&container, ["--cpu-period", "50000"]);
    assert_eq!(bandwidth(t, &container), "20000 50000");
}

fn device_rules_stay(t: &Test) {
    let container = t.pausing_with(json!({}));
    let resources = json!({ "devices": [{ "allow": true, "access": "rwm" }], "pids": { "limit": 9 } });
    let out = if cgroup_v2() {
        from_stdin(&container, "--resources -", &resources.to_string())
    } else {
        let dir = cgroup_dir(container.init.pid, "devices").unwrap();
        // As a hook for a GPU does.
        fs::write(dir.join("devices.allow"), "c 195:0 rw").unwrap();
        let before = fs::read_to_string(dir.join("devices.list")).unwrap();
        let out = from_stdin(&container, "--resources -", &resources.to_string());
        assert_eq!(fs::read_to_string(dir.join("devices.list")).unwrap(), before);
        assert!(before.contains("195:0"));
        out
    };
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(get(t, &container, PIDS), "9");
    if is_corten() {
        out.says(&["/linux/resources/devices"]);
    }
}

fn kernel_memory_is_a_warning(t: &Test) {
    let container = t.pausing_with(json!({}));
    for flag in ["--kernel-memory", "--kernel-memory-tcp"] {
        let out = update(&container, [flag, "64M"]);
        assert_eq!((out.code, out.stdout.as_str()), (0, ""), "{out:?}");
        out.says(&["ignored"]);
    }
}

fn values_are_checked(t: &Test) {
    let container = t.pausing_with(json!({}));
    for flag in [
        "--cpu-period=-1",
        "--cpu-quota=x",
        "--cpu-share=1.5",
        "--pids-limit=many",
        "--cpu-burst=-1",
        "--blkio-weight=65536",
        "--memory-swap=1Q",
        "--memory-reservation=x",
    ] {
        let out = update(&container, [flag]);
        let (name, value) = flag.trim_start_matches('-').split_once('=').unwrap();
        out.one_clear_line(&[name, value, "invalid value"]);
    }
    update(&container, ["--cpu-idle=2"]).one_clear_line(&["/linux/resources/cpu/idle", "neither 0 nor 1"]);
    t.verb(["update"]).out().one_clear_line(&["required", "<ID>"]);
}

fn schemas_of_resctrl_are_refused_without_it(t: &Test) {
    if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        t.skip("resctrl is mounted here");
    }
    let container = t.pausing_with(json!({ "pids": { "limit": 20 } }));
    for flag in ["--l3-cache-schema=L3:0=f", "--mem-bw-schema=MB:0=50"] {
        update(&container, [flag, "--pids-limit", "30"]).one_clear_line(&["resctrl"]);
        assert_eq!(get(t, &container, PIDS), "20", "all or nothing");
    }
}

fn created_and_paused_containers(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    done(&container, ["--pids-limit", "20"]);
    assert_eq!(get(t, &container, PIDS), "20");
    container.start();
    container.verb("pause").ok();
    done(&container, ["--pids-limit", "30"]);
    assert_eq!(get(t, &container, PIDS), "30");
    assert_eq!(container.status(), "paused");
}

fn stopped_and_unknown_containers_are_refused(t: &Test) {
    let container = t.pausing_with(json!({}));
    container.stop();
    let out = update(&container, ["--pids-limit", "20"]);
    out.one_clear_line(&[&container.id]);
    out.says(&["container not running"]);
    t.verb(["update", "--pids-limit", "20", "nobody"]).out().fails(&["does not exist"]);
}

fn many_at_once(t: &Test) {
    let container = t.pausing_with(json!({}));
    let calls: Vec<_> = (10..16)
        .map(|n| container.update(["--pids-limit", &n.to_string(), "--memory", &format!("{n}M")]).spawn())
        .collect();
    for call in calls {
        assert_eq!(call.out().code, 0);
    }
    let pids: u64 = get(t, &container, PIDS).parse().unwrap();
    assert_eq!(get(t, &container, LIMIT), (pids * M).to_string(), "two updates got mixed");
    assert_eq!(container.status(), "running");
}

/// All files of the container's cgroups that contain a setting.
fn image(container: &Container) -> Vec<(PathBuf, String)> {
    let mut image = Vec::new();
    for dir in crate::harness::cgroups_named(&container.id) {
        for name in [
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.soft_limit_in_bytes",
            "memory.max",
            "memory.swap.max",
            "memory.low",
            "cpu.shares",
            "cpu.weight",
            "cpu.cfs_quota_us",
            "cpu.cfs_period_us",
            "cpu.max",
            "cpuset.cpus",
            "cpuset.mems",
            "pids.max",
        ] {
            if let Ok(text) = fs::read_to_string(dir.join(name)) {
                image.push((dir.join(name), text));
            }
        }
    }
    assert!(image.len() >= 6, "{image:?}");
    image
}

fn failed_update_changes_nothing(t: &Test) {
    let container =
        t.pausing_with(json!({ "memory": { "limit": 64 * M, "swap": 64 * M }, "cpu": { "quota": 5000 } }));
    let before = image(&container);
    let resources = json!({
        "memory": { "limit": 128 * M, "swap": 256 * M }, "pids": { "limit": 9 },
        "cpu": { "shares": 5, "quota": 6000, "cpus": "4095" },
    });
    let out = from_stdin(&container, "--resources -", &resources.to_string());
    out.one_clear_line(&["/linux/resources/cpu/cpus"]);
    assert_eq!(image(&container), before);
    // A later update does not contain any of it either.
    done(&container, ["--cpu-period", "50000"]);
    assert_eq!(bandwidth(t, &container), "5000 50000");
}

/// Runs `update` under strace. strace makes the writes to the container's cgroups that
/// `which` names fail with an error that the kernel has no reason for.
fn with_failing_writes(t: &Test, container: &Container, errno: &str, which: &str, flags: &[&str]) -> Out {
    let mut call = t.call("/usr/bin/strace").args(["-f", "-qq", "-o", "/dev/null"]);
    call = call.args(["-e", &format!("inject=write:error={errno}:when={which}")]);
    for (file, _) in image(container) {
        call = call.arg("-P").arg(file);
    }
    let runtime = t.runtime.borrow().clone();
    call.arg(runtime).arg("--root").arg(t.root()).arg("update").args(flags).arg(&container.id).out()
}

fn every_write_may_fail(t: &Test) {
    let container = t.pausing_with(json!({
        "memory": { "limit": 64 * M, "swap": 64 * M, "reservation": 16 * M },
        "cpu": { "quota": 5000, "period": 50000, "shares": 512 }, "pids": { "limit": 20 },
    }));
    let flags = [
        "--memory=128M",
        "--memory-swap=256M",
        "--memory-reservation=32M",
        "--cpu-quota=20000",
        "--cpu-period=100000",
        "--cpu-share=300",
        "--pids-limit=30",
    ];
    let before = image(&container);
    let mut failures = 0;
    for n in 1.. {
        let out = with_failing_writes(t, &container, "EIO", &n.to_string(), &flags);
        if out.code == 0 {
            break;
        }
        out.one_clear_line(&["/linux/resources/", "EIO"]);
        assert_eq!(image(&container), before, "write {n} failed: {out:?}");
        failures += 1;
    }
    assert!(failures >= 5, "{failures}");
    assert_ne!(image(&container), before);
    // The runtime tries once more if the kernel may want another order, and the second try
    // succeeds.
    let other = ["--memory=64M", "--memory-swap=64M", "--pids-limit=20"];
    let out = with_failing_writes(t, &container, "EBUSY", "1", &other);
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(get(t, &container, LIMIT), (64 * M).to_string());
    assert_eq!(get(t, &container, PIDS), "20");
}

fn failed_state_changes_nothing(t: &Test) {
    let container = t.pausing_with(json!({ "pids": { "limit": 20 }, "memory": { "limit": 64 * M } }));
    let before = image(&container);
    let runtime = t.runtime.borrow().clone();
    let call = t.call("/usr/bin/strace").args(["-f", "-qq", "-o", "/dev/null"]);
    let call = call.args(["-e", "inject=renameat,renameat2,rename:error=EIO"]);
    let call = call.arg(runtime).arg("--root").arg(t.root());
    let out = call.args(["update", "--pids-limit=30", "--memory=128M", &container.id]).out();
    out.one_clear_line(&["rename the state", "EIO"]);
    assert_eq!(image(&container), before);
    assert_eq!(container.status(), "running");
    done(&container, ["--pids-limit", "30"]);
}

fn a_failed_rollback_is_reported(t: &Test) {
    let container = t.pausing_with(json!({ "pids": { "limit": 20 }, "memory": { "limit": 64 * M } }));
    let flags = ["--memory=128M", "--pids-limit=30"];
    let out = with_failing_writes(t, &container, "EIO", "2+", &flags);
    out.one_clear_line(&["EIO", "could not restore all of them"]);
}

/// A version 2 without controllers has these, on this machine.
fn limits_on_v2(t: &Test) {
    let script = "
        runtime run --detach \"$ID\" </dev/null >/dev/null 2>&1
        echo '{\"unified\":{\"cgroup.max.depth\":\"3\"}}' | runtime update --resources - \"$ID\"
        cat $GROUP/cgroup.max.depth $GROUP/cgroup.max.descendants
        echo '{\"unified\":{\"cgroup.max.descendants\":\"4\"}}' | runtime update --resources - \"$ID\"
        cat $GROUP/cgroup.max.depth $GROUP/cgroup.max.descendants
        runtime delete --force \"$ID\"";
    let bundle = t.bundle().pausing();
    let out = t.on_v2(&bundle, script).ok();
    assert_eq!(out.stdout, "3\nmax\n3\n4\n", "{out:?}");
}

fn failed_update_on_v2_changes_nothing(t: &Test) {
    let script = "
        runtime run --detach \"$ID\" </dev/null >/dev/null 2>&1
        echo '{\"unified\":{\"cgroup.max.depth\":\"3\",\"cgroup.max.descendants\":\"many\"}}' >resources
        runtime update --resources resources \"$ID\" || echo refused
        cat $GROUP/cgroup.max.depth
        test -e $GROUP/memory.max || runtime update --memory 64M \"$ID\" || echo \"no memory\"
        runtime delete --force \"$ID\"";
    let bundle = t.bundle().pausing();
    let out = t.on_v2(&bundle, script).ok();
    assert!(out.stdout.starts_with("refused\nmax\n"), "{out:?}");
    if is_corten() {
        out.says(&["/linux/resources/unified/cgroup.max.descendants (many)"]);
        if out.stdout.ends_with("no memory\n") {
            out.says(&["/linux/resources/memory/limit"]);
        }
    }
}
