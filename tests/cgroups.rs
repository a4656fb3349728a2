//! Resources on cgroup v1: every controller is joined, limits are written and
//! hold, and the directories go with the container.

use crate::harness::{Bundle, Container, Test, cgroup_dir, cgroup_file};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

cases![
    every_controller_is_joined,
    absolute_path_starts_at_the_mount,
    relative_path_starts_at_the_callers,
    two_containers_in_one_parent,
    memory_limit,
    memory_swap_and_reservation,
    memory_limit_ends_a_greedy_payload,
    cpu_shares_quota_period,
    cpuset,
    pids_limit,
    pids_limit_holds,
    zero_is_a_limit_of_pids,
    zero_is_not_set,
    kernel_memory_is_a_warning,
    check_before_update_is_the_kernels,
    check_before_update_on_v2,
    block_io_weight_on_v2,
    rdma_limit,
    huge_pages_on_v2,
    blkio_weight,
    network_priorities,
    hugetlb_limit,
    limits_are_written_before_the_payload_runs,
    exec_joins_every_controller,
    removed_on_delete,
    removed_after_a_failed_create,
    unified_map_is_refused_on_v1,
    impossible_value_is_refused,
    path_that_climbs_out_is_contained,
];

fn pausing(t: &Test, resources: Value) -> Bundle {
    let mut resources = resources;
    resources["devices"] = json!([{ "allow": false, "access": "rwm" }]);
    t.bundle().set("/linux/resources", resources).args(["/probe", "--pause"])
}

/// A file's content; the test is skipped where the machine has no such file.
fn value(t: &Test, container: &Container, controller: &str, file: &str) -> String {
    cgroup_file(container.init.pid, controller, file)
        .unwrap_or_else(|| t.skip(&format!("no {file} in a cgroup of {controller} here")))
}

fn expect(t: &Test, resources: Value, controller: &str, wanted: &[(&str, &str)]) {
    let container = t.start(&pausing(t, resources));
    for (file, content) in wanted {
        assert_eq!(value(t, &container, controller, file), *content, "{file}");
    }
}

fn own_controllers() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let names = text.lines().filter_map(|line| line.split(':').nth(1));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn every_controller_is_joined(t: &Test) {
    let container = t.start(&pausing(t, json!({})));
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.init.pid)).unwrap();
    for name in own_controllers() {
        let line = text.lines().find(|line| line.split(':').nth(1) == Some(&name));
        assert!(line.is_some_and(|line| line.contains(&container.id)), "{name}: {text}");
    }
}

fn absolute_path_starts_at_the_mount(t: &Test) {
    let path = format!("/{}-absolute", t.token);
    let bundle = pausing(t, json!({})).set("/linux/cgroupsPath", json!(path));
    let container = t.start(&bundle);
    for controller in ["memory", "pids", "devices", "freezer", "cpu"] {
        let dir = cgroup_dir(container.init.pid, controller).unwrap();
        assert_eq!(dir, Path::new("/sys/fs/cgroup").join(controller).join(&path[1..]));
        assert!(dir.is_dir());
    }
}

fn relative_path_starts_at_the_callers(t: &Test) {
    let name = format!("{}-relative", t.token);
    let bundle = pausing(t, json!({})).set("/linux/cgroupsPath", json!(name));
    let container = t.start(&bundle);
    for controller in ["memory", "pids"] {
        let own = cgroup_dir(std::process::id() as i32, controller).unwrap();
        assert_eq!(cgroup_dir(container.init.pid, controller).unwrap(), own.join(&name));
    }
}

fn two_containers_in_one_parent(t: &Test) {
    let parent = Path::new("/sys/fs/cgroup/pids").join(&t.token);
    let place = |name: &str| {
        let path = format!("/{}/{name}", t.token);
        t.start(&pausing(t, json!({})).set("/linux/cgroupsPath", json!(path)))
    };
    let (one, two) = (place("one"), place("two"));
    one.stop();
    one.verb("delete").ok();
    assert!(!parent.join("one").exists() && parent.join("two").is_dir());
    assert_eq!(two.status(), "running");
    drop(two);
    assert!(!parent.join("two").exists());
    // What lies above is not the container's to remove; here it is the test's.
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(&t.token));
    }
}

fn memory_limit(t: &Test) {
    let memory = json!({ "memory": { "limit": 64 << 20 } });
    expect(t, memory, "memory", &[("memory.limit_in_bytes", "67108864")]);
}

fn memory_swap_and_reservation(t: &Test) {
    let limits = json!({ "limit": 64 << 20, "swap": 128 << 20, "reservation": 32 << 20, "swappiness": 10 });
    let container = t.start(&pausing(t, json!({ "memory": limits })));
    assert_eq!(value(t, &container, "memory", "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(value(t, &container, "memory", "memory.swappiness"), "10");
    assert_eq!(value(t, &container, "memory", "memory.memsw.limit_in_bytes"), "134217728");
}

fn memory_limit_ends_a_greedy_payload(t: &Test) {
    let limits = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    // One buffer of 64 MiB, written to.
    let bundle = t.bundle().shell("dd if=/dev/zero of=/dev/null bs=64M count=1 && echo survived");
    assert_eq!(t.run(&bundle).stdout, "survived\n", "without a limit it lives");
    let out = t.run(&bundle.set("/linux/resources/memory", limits));
    assert!(out.code != 0 && !out.stdout.contains("survived"), "{out:?}");
}

fn cpu_shares_quota_period(t: &Test) {
    let cpu = json!({ "cpu": { "shares": 512, "quota": 25000, "period": 50000 } });
    expect(
        t,
        cpu,
        "cpu",
        &[("cpu.shares", "512"), ("cpu.cfs_quota_us", "25000"), ("cpu.cfs_period_us", "50000")],
    );
}

fn cpuset(t: &Test) {
    let bundle = pausing(t, json!({ "cpu": { "cpus": "0", "mems": "0" } }));
    let container = t.start(&bundle);
    assert_eq!(value(t, &container, "cpuset", "cpuset.cpus"), "0");
    assert_eq!(value(t, &container, "cpuset", "cpuset.mems"), "0");
    assert_eq!(container.look([])["status"]["Cpus_allowed_list"], "0");
}

fn pids_limit(t: &Test) {
    expect(t, json!({ "pids": { "limit": 17 } }), "pids", &[("pids.max", "17")]);
    expect(t, json!({ "pids": { "limit": -1 } }), "pids", &[("pids.max", "max")]);
}

fn pids_limit_holds(t: &Test) {
    let script = "for n in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all";
    let limited = t.bundle().set("/linux/resources/pids", json!({ "limit": 5 }));
    let out = t.run(&limited.shell(script));
    assert!(out.stderr.contains("fork") && !out.stdout.contains("all"), "{out:?}");
}

fn zero_is_a_limit_of_pids(t: &Test) {
    expect(t, json!({ "pids": { "limit": 0 } }), "pids", &[("pids.max", "0")]);
}

fn zero_is_not_set(t: &Test) {
    let default = t.start(&pausing(t, json!({})));
    let zero = t.start(&pausing(
        t,
        json!({
            "memory": { "limit": 0, "swap": 0, "reservation": 0 },
            "cpu": { "shares": 0, "quota": 0, "period": 0 },
            "blockIO": { "weight": 0 },
        }),
    ));
    for (controller, file) in [
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.soft_limit_in_bytes"),
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.cfs_quota_us"),
        ("cpu", "cpu.cfs_period_us"),
    ] {
        assert_eq!(value(t, &zero, controller, file), value(t, &default, controller, file), "{file}");
    }
}

fn kernel_memory_is_a_warning(t: &Test) {
    let bundle = t.bundle().set("/linux/resources/memory", json!({ "kernel": 1 << 20 }));
    let out = t.run(&bundle.args(["true"]));
    assert_eq!(out.code, 0, "{out:?}");
    out.says(&["/linux/resources/memory/kernel", "deprecated"]);
}

fn check_before_update_is_the_kernels(t: &Test) {
    let memory = json!({ "memory": { "limit": 64 << 20, "checkBeforeUpdate": true } });
    expect(t, memory, "memory", &[("memory.limit_in_bytes", "67108864")]);
}

fn rdma_limit(t: &Test) {
    let bundle = pausing(t, json!({ "rdma": { "mlx5_1": { "hcaHandles": 3, "hcaObjects": 10 } } }));
    if own_controllers().iter().any(|name| name == "rdma") {
        t.skip("wants an RDMA device here");
    }
    t.refused(&bundle).one_clear_line(&["/linux/resources/rdma/mlx5_1", "rdma"]);
    let bundle = pausing(t, json!({ "rdma": { "mlx5_1": {} } }));
    t.refused(&bundle).one_clear_line(&["/linux/resources/rdma/mlx5_1", "hcaHandles"]);
}

/// A script with a v2 hierarchy alone, as far as this machine has one; $GROUP
/// is the container's cgroup.
fn on_v2(t: &Test, bundle: &Bundle, script: &str) -> crate::harness::Out {
    let script = format!("mount -t cgroup2 none /sys/fs/cgroup; GROUP=/sys/fs/cgroup/{}; {script}", t.token);
    let bundle = bundle.clone().set("/linux/cgroupsPath", json!(format!("/{}", t.token)));
    t.in_private_mounts(&bundle, &t.dir, &script).out()
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
    let out = on_v2(t, &bundle, script);
    if out.stdout == "none\n" {
        t.skip("no hugetlb controller on v2 here");
    }
    assert_eq!(out.stdout, "6291456\n6291456\n", "{out:?}");
}

fn block_io_weight_on_v2(t: &Test) {
    let bundle = t.bundle().set("/linux/resources/blockIO", json!({ "weight": 1000 })).args(["true"]);
    let script = "
        echo +io >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || { echo none; exit; }
        mkdir $GROUP
        for file in io.bfq.weight io.weight none; do test -e $GROUP/$file && break; done
        rmdir $GROUP
        test $file != none || { echo none; exit; }
        runtime create --bundle $BUNDLE $ID >/dev/null 2>&1
        echo $file $(cat $GROUP/$file)
        runtime delete --force $ID";
    let out = on_v2(t, &bundle, script);
    match out.stdout.as_str() {
        "none\n" => t.skip("no block I/O weights on v2 here"),
        "io.bfq.weight default 1000\n" | "io.weight default 10000\n" => {}
        _ => panic!("{out:?}"),
    }
}

fn check_before_update_on_v2(t: &Test) {
    let memory = json!({ "limit": 4096, "checkBeforeUpdate": true });
    let bundle = t.bundle().set("/linux/resources/memory", memory).args(["true"]);
    // A cgroup that is used already: the limit is below what is in it.
    let script = "
        grep -q memory /sys/fs/cgroup/cgroup.controllers || { echo none; exit; }
        echo +memory >/sys/fs/cgroup/cgroup.subtree_control
        mkdir $GROUP
        GROUP=$GROUP sh -c 'echo $$ >$GROUP/cgroup.procs; exec sleep 1000' & sleeper=$!
        until test \"$(cat $GROUP/memory.current)\" -gt 4096; do :; done
        runtime create --bundle $BUNDLE $ID || true
        kill $sleeper; wait $sleeper || true
        rmdir $GROUP";
    let out = on_v2(t, &bundle, script);
    if out.stdout == "none\n" {
        t.skip("no memory controller on v2 here");
    }
    out.says(&["/linux/resources/memory/limit", "current usage"]);
}

fn blkio_weight(t: &Test) {
    let container = t.start(&pausing(t, json!({})));
    let bfq = cgroup_file(container.init.pid, "blkio", "blkio.bfq.weight");
    let cfq = cgroup_file(container.init.pid, "blkio", "blkio.weight");
    let file = match (bfq, cfq) {
        (Some(_), _) => "blkio.bfq.weight",
        (_, Some(_)) => "blkio.weight",
        _ => t.skip("the block controller has no weight here"),
    };
    expect(t, json!({ "blockIO": { "weight": 300 } }), "blkio", &[(file, "300")]);
}

fn network_priorities(t: &Test) {
    if !own_controllers().iter().any(|name| name.contains("net_cls")) {
        t.skip("no net_cls controller here");
    }
    let network = json!({ "network": { "classID": 1_048_577 } });
    expect(t, network, "net_cls", &[("net_cls.classid", "1048577")]);
}

fn hugetlb_limit(t: &Test) {
    if !own_controllers().iter().any(|name| name == "hugetlb") {
        t.skip("no hugetlb controller on v1 here");
    }
    let limits = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4 << 20 }] });
    expect(t, limits, "hugetlb", &[("hugetlb.2MB.limit_in_bytes", "4194304")]);
}

fn limits_are_written_before_the_payload_runs(t: &Test) {
    let bundle = t.bundle().namespace("cgroup").set("/linux/resources/pids", json!({ "limit": 9 }));
    let question = "text:/sys/fs/cgroup/pids/pids.max";
    assert_eq!(t.look(&bundle, [question])["asked"][question], "9\n");
    let container = t.create(&pausing(t, json!({ "pids": { "limit": 9 } })));
    assert_eq!(value(t, &container, "pids", "pids.max"), "9", "already in `created`");
}

fn exec_joins_every_controller(t: &Test) {
    let container = t.start(&pausing(t, json!({ "pids": { "limit": 9 } })));
    let init = fs::read_to_string(format!("/proc/{}/cgroup", container.init.pid)).unwrap();
    assert_eq!(container.look([])["cgroup"], json!(init));
}

fn removed_on_delete(t: &Test) {
    let container = t.start(&pausing(t, json!({})));
    let dirs: Vec<_> = own_controllers()
        .iter()
        .filter_map(|name| cgroup_dir(container.init.pid, name))
        .filter(|dir| dir.is_dir())
        .collect();
    assert!(dirs.len() > 5, "{dirs:?}");
    container.stop();
    container.verb("delete").ok();
    for dir in dirs {
        assert!(!dir.exists(), "{}", dir.display());
    }
}

fn removed_after_a_failed_create(t: &Test) {
    // Fails after the cgroups have been made; the clean-up looks for them.
    t.refused(&t.bundle().args(["/nope"]));
    t.refused(&t.bundle().mount("/tmp", "cheesefs", "none", &[]));
}

fn unified_map_is_refused_on_v1(t: &Test) {
    let bundle = pausing(t, json!({ "unified": { "pids.max": "9" } }));
    t.refused(&bundle).one_clear_line(&["unified"]);
}

fn impossible_value_is_refused(t: &Test) {
    let bundle = pausing(t, json!({ "cpu": { "cpus": "4095" } }));
    t.refused(&bundle).one_clear_line(&["cpus"]);
    let bundle = pausing(t, json!({ "memory": { "limit": "much" } }));
    t.refused(&bundle).one_clear_line(&["/linux/resources/memory/limit"]);
}

fn path_that_climbs_out_is_contained(t: &Test) {
    let name = format!("{}-climber", t.token);
    let path = format!("/../../../../{name}");
    let bundle = t.bundle().set("/linux/cgroupsPath", json!(path)).args(["true"]);
    let out = t.run(&bundle);
    for outside in ["/", "/sys", "/sys/fs", "/sys/fs/cgroup"] {
        let made = Path::new(outside).join(&name);
        let escaped = made.exists() && crate::harness::remove_tree(&made).is_ok();
        assert!(!escaped, "{}: {out:?}", made.display());
    }
}
