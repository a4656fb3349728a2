//! The systemd driver with a real systemd: units and their properties, and the removal of
//! both with the container. Without systemd these tests are skipped. `integration/vm/run`
//! runs them in a virtual machine. The module `bus` tests a simulated bus.

use crate::harness::{
    Bundle, Call, Container, HeldCreate, PidFd, Running, Test, cgroup_file, cgroup_v2, cgroups_named,
    is_corten, pipe, read_line, remove_tree,
};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

cases![
    a_unit_is_named_and_placed,
    a_unit_is_named_after_the_container,
    limits_are_systemds_and_the_kernels,
    a_swap_of_zero_is_not_set,
    the_kernel_has_systemds_quota,
    a_pids_limit_of_zero_is_written_as_one,
    idle_outlives_a_reload,
    a_stale_unit_that_failed_is_reset,
    io_weights_are_systemds,
    cpusets_are_systemds,
    unified_keys_are_properties,
    memory_limits_end_a_greedy_payload,
    annotations_are_properties,
    the_cgroup_is_the_namespaces_root,
    exec_joins_the_unit,
    exec_joins_init_where_its_cgroup_is_a_parent,
    systemd_is_pid_1_of_a_container,
    systemd_is_pid_1_with_the_other_driver,
    device_rules_outlive_a_reload,
    limits_outlive_a_reload,
    updates_are_systemds_and_the_kernels,
    deleted_with_its_unit,
    foreground_run_leaves_nothing,
    a_failed_unit_is_removed,
    failed_creates_leave_no_unit,
    killed_creates_leave_no_unit,
    an_existing_unit_is_left_alone,
    the_units_name_is_free_after_delete,
    cgroupfs_does_not_ask_systemd,
    disabled_stays_with_the_caller,
    a_user_gets_units_of_the_users_systemd,
    a_limit_that_is_not_delegated_to_the_user_is_refused,
    many_at_once,
    version_1_is_one_path_in_every_hierarchy,
    version_1_has_its_limits,
    version_1_device_rules_outlive_a_reload,
];

/// Selects the driver under test by the flag that all runtimes have.
fn driver(t: &Test) {
    if !Path::new("/run/systemd/system").is_dir() {
        t.skip("systemd is not at work here");
    }
    if !cgroup_v2() {
        t.skip("this is about cgroup v2");
    }
    t.global("--systemd-cgroup");
}

fn pausing(t: &Test) -> Bundle {
    driver(t);
    t.bundle().namespace("cgroup").pausing()
}

/// The unit has the name of the test.
fn named(t: &Test) -> Bundle {
    pausing(t).set("/linux/cgroupsPath", json!(format!(":t:{}", t.token)))
}

fn unit(t: &Test) -> String {
    format!("t-{}.scope", t.token)
}

fn show(t: &Test, unit: &str, property: &str) -> String {
    let out = t.call("/usr/bin/systemctl").args(["show", "--value", "--property", property, unit]).ok();
    out.stdout.trim_end().to_owned()
}

fn is_known(t: &Test, unit: &str) -> bool {
    show(t, unit, "LoadState") != "not-found"
}

fn dir(container: &Container) -> PathBuf {
    cgroup_of(container.init.pid)
}

fn cgroup_of(pid: i32) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("a cgroup of version 2");
    Path::new("/sys/fs/cgroup").join(path)
}

fn file(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")).trim_end().to_owned()
}

fn needs(t: &Test, controller: &str) {
    if !file(Path::new("/sys/fs/cgroup"), "cgroup.controllers").split(' ').any(|c| c == controller) {
        t.skip(&format!("no {controller} controller here"));
    }
}

fn a_unit_is_named_and_placed(t: &Test) {
    let slice = format!("{}a-b.slice", t.token);
    let bundle = pausing(t).set("/linux/cgroupsPath", json!(format!("{slice}:pre:{}", t.token)));
    let container = t.start(&bundle);
    let unit = format!("pre-{}.scope", t.token);
    let path = format!("/{0}a.slice/{0}a-b.slice/{unit}", t.token);
    assert_eq!(show(t, &unit, "ControlGroup"), path);
    assert_eq!(dir(&container), Path::new("/sys/fs/cgroup").join(&path[1..]));
    for (property, value) in [
        ("Slice", slice.as_str()),
        ("Delegate", "yes"),
        ("ActiveState", "active"),
        ("DefaultDependencies", "no"),
    ] {
        assert_eq!(show(t, &unit, property), value, "{property}");
    }
    assert!(show(t, &unit, "Description").contains(&container.id) || !is_corten());
    container.stop();
    container.verb("delete").ok();
    // systemd owns the slices, and keeps them as long as it wants.
    t.call("/usr/bin/systemctl").args(["stop", &format!("{}a.slice", t.token)]).ok();
}

fn a_unit_is_named_after_the_container(t: &Test) {
    let container = t.start(&pausing(t).drop("/linux/cgroupsPath"));
    let dir = dir(&container);
    assert_eq!(dir.parent(), Some(Path::new("/sys/fs/cgroup/system.slice")));
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.ends_with(&format!("-{}.scope", container.id)), "{name}");
}

fn limits_are_systemds_and_the_kernels(t: &Test) {
    let resources = json!({
        "memory": { "limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20 },
        "cpu": { "shares": 1024, "quota": 50_000, "period": 100_000 },
        "pids": { "limit": 77 },
    });
    let container = t.start(&named(t).set("/linux/resources", resources));
    for (property, value) in [
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "33554432"),
        ("CPUWeight", if is_corten() { "100" } else { "39" }),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("CPUQuotaPeriodUSec", "100ms"),
        ("TasksMax", "77"),
    ] {
        assert_eq!(show(t, &unit(t), property), value, "{property}");
    }
    for (name, value) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.swap.max", "33554432"),
        ("cpu.max", "50000 100000"),
        ("pids.max", "77"),
    ] {
        assert_eq!(file(&dir(&container), name), value, "{name}");
    }
}

/// systemd rounds the quota, and writes it at any time. The kernel has the rounded value
/// from the start. Limits without a property are in the kernel, too. Engines send 0 for a
/// swap limit that is not set.
fn a_swap_of_zero_is_not_set(t: &Test) {
    let memory = json!({ "limit": 64 << 20, "swap": 0 });
    let container = t.start(&named(t).set("/linux/resources/memory", memory));
    let swap = || (show(t, &unit(t), "MemorySwapMax"), file(&dir(&container), "memory.swap.max"));
    let none = || ("infinity".to_owned(), "max".to_owned());
    assert_eq!(swap(), none());
    container.update(["--memory", "96M"]).ok();
    assert_eq!(show(t, &unit(t), "MemoryMax"), (96 << 20).to_string());
    assert_eq!(swap(), none());
}

fn the_kernel_has_systemds_quota(t: &Test) {
    let cpu = json!({ "quota": 25_001, "period": 50_000, "burst": 10_000 });
    let container = t.start(&named(t).set("/linux/resources/cpu", cpu));
    assert_eq!(show(t, &unit(t), "CPUQuotaPerSecUSec"), "510ms");
    assert_eq!(file(&dir(&container), "cpu.max"), "25500 50000");
    assert_eq!(file(&dir(&container), "cpu.max.burst"), "10000");
    t.call("/usr/bin/systemctl").arg("daemon-reload").ok();
    assert_eq!(file(&dir(&container), "cpu.max"), "25500 50000");
}

fn a_pids_limit_of_zero_is_written_as_one(t: &Test) {
    let container = t.start(&named(t).set("/linux/resources/pids", json!({ "limit": 0 })));
    assert_eq!(show(t, &unit(t), "TasksMax"), "1");
    assert_eq!(file(&dir(&container), "pids.max"), "1");
    container.update(["--pids-limit=7"]).ok();
    container.update(["--pids-limit=0"]).ok();
    assert_eq!(file(&dir(&container), "pids.max"), "1");
    t.call("/usr/bin/systemctl").arg("daemon-reload").ok();
    assert_eq!(file(&dir(&container), "pids.max"), "1");
}

/// systemd must know if a container is no longer idle, or is idle again.
fn idle_outlives_a_reload(t: &Test) {
    let cpu = json!({ "shares": 512, "idle": 1 });
    let container = t.start(&named(t).set("/linux/resources/cpu", cpu));
    let reload = || t.call("/usr/bin/systemctl").arg("daemon-reload").ok();
    let idle = || file(&dir(&container), "cpu.idle");
    assert_eq!(idle(), "1");
    container.update(["--cpu-idle=0"]).ok();
    reload();
    assert_eq!((idle().as_str(), file(&dir(&container), "cpu.weight").as_str()), ("0", "59"));
    container.update(["--cpu-share=1024", "--cpu-idle=1"]).ok();
    container.update(["--cpu-share=2048", "--cpu-idle=1"]).ok();
    reload();
    assert_eq!(idle(), "1");
    container.update(["--cpu-idle=0", "--cpu-share=512"]).ok();
    reload();
    assert_eq!((idle().as_str(), file(&dir(&container), "cpu.weight").as_str()), ("0", "59"));
}

/// A unit that an earlier container of this name has left.
fn a_stale_unit_that_failed_is_reset(t: &Test) {
    let bundle = named(t);
    let name = format!("--unit={}", unit(t));
    let flags = ["--quiet", "--scope", &name, "--property=RuntimeMaxSec=1", "sleep", "1000"];
    t.call("/usr/bin/systemd-run").args(flags).out();
    // systemd notices its end a little later.
    let failed = (0..500).any(|_| show(t, &unit(t), "ActiveState") == "failed");
    assert!(failed, "{}", show(t, &unit(t), "ActiveState"));
    let container = t.start(&bundle);
    assert_eq!(show(t, &unit(t), "ActiveState"), "active");
    container.stop();
    container.verb("delete").ok();
    assert!(!is_known(t, &unit(t)));
}

fn io_weights_are_systemds(t: &Test) {
    let bundle = named(t);
    if !Path::new("/sys/fs/cgroup/system.slice/io.bfq.weight").exists() {
        t.skip("no BFQ here");
    }
    let _container = t.start(&bundle.set("/linux/resources/blockIO", json!({ "weight": 550 })));
    assert_eq!(show(t, &unit(t), "IOWeight"), "5050");
}

fn cpusets_are_systemds(t: &Test) {
    let bundle = named(t);
    needs(t, "cpuset");
    let container = t.start(&bundle.set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" })));
    assert_eq!(show(t, &unit(t), "AllowedCPUs"), "0");
    assert_eq!(show(t, &unit(t), "AllowedMemoryNodes"), "0");
    assert_eq!(file(&dir(&container), "cpuset.cpus"), "0");
}

fn unified_keys_are_properties(t: &Test) {
    let unified = json!({
        "memory.high": "50331648", "memory.min": "1048576", "pids.max": "66", "cpu.max": "max 50000",
        "cpu.weight": "42", "memory.oom.group": "1",
    });
    let container = t.start(&named(t).set("/linux/resources/unified", unified));
    for (property, value) in [
        ("MemoryHigh", "50331648"),
        ("MemoryMin", "1048576"),
        ("TasksMax", "66"),
        ("CPUWeight", "42"),
        ("CPUQuotaPeriodUSec", "50ms"),
    ] {
        assert_eq!(show(t, &unit(t), property), value, "{property}");
    }
    for (name, value) in [("memory.high", "50331648"), ("cpu.weight", "42"), ("memory.oom.group", "1")] {
        assert_eq!(file(&dir(&container), name), value, "{name}");
    }
    if is_corten() {
        assert_eq!(show(t, &unit(t), "OOMPolicy"), "kill");
    }
}

fn memory_limits_end_a_greedy_payload(t: &Test) {
    let bundle = named(t).set("/linux/resources/memory", json!({ "limit": 16 << 20, "swap": 16 << 20 }));
    let out = t.run(&bundle.shell("dd if=/dev/zero of=/dev/null bs=64M count=1 && echo survived"));
    assert_eq!((out.code, out.stdout.as_str()), (137, ""), "{out:?}");
}

fn annotations_are_properties(t: &Test) {
    let bundle = named(t)
        .set("/annotations/org.systemd.property.TimeoutStopUSec", json!("uint64 7000000"))
        .set("/annotations/org.systemd.property.RuntimeMaxSec", json!("600"))
        .set("/annotations/org.systemd.property.CollectMode", json!("'inactive-or-failed'"))
        .set("/annotations/org.systemd.property.After", json!("['local-fs.target', 'basic.target']"))
        .set("/annotations/org.systemd.property.SendSIGHUP", json!("true"));
    let container = t.start(&bundle);
    for (property, value) in [("TimeoutStopUSec", "7s"), ("RuntimeMaxUSec", "10min"), ("SendSIGHUP", "yes")] {
        assert_eq!(show(t, &unit(t), property), value, "{property}");
    }
    let after = show(t, &unit(t), "After");
    assert!(after.contains("local-fs.target") && after.contains("basic.target"), "{after}");
    container.stop();
    container.verb("delete").ok();
    assert!(!is_known(t, &unit(t)));
}

/// Init creates its cgroup namespace only after systemd has moved it.
fn the_cgroup_is_the_namespaces_root(t: &Test) {
    let bundle = named(t).set("/linux/resources/pids", json!({ "limit": 78 }));
    let asked = "text:/sys/fs/cgroup/pids.max";
    let seen = t.look(&bundle, [asked]);
    assert_eq!(seen["cgroup"], "0::/\n");
    assert_eq!(seen["asked"][asked], "78\n");
}

fn exec_joins_the_unit(t: &Test) {
    let container = t.start(&named(t));
    assert_eq!(container.look([])["cgroup"], "0::/\n");
    let (reader, writer) = pipe();
    let running = container.exec([], ["sh", "-c", "echo here; exec sleep 1000"]).stdout(writer).spawn();
    assert_eq!(read_line(&reader), "here");
    let procs = file(&dir(&container), "cgroup.procs");
    assert_eq!(procs.lines().count(), 2, "{procs}");
    container.stop();
    running.out();
}

/// A payload that is an init itself moves into a cgroup below, and delegates controllers.
/// Then its first cgroup must contain no other process.
fn exec_joins_init_where_its_cgroup_is_a_parent(t: &Test) {
    let bundle = named(t).mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw"]).drop("/linux/readonlyPaths");
    let script = "cd /sys/fs/cgroup && mkdir init && echo 1 > init/cgroup.procs && \
                  echo +pids > cgroup.subtree_control && echo ready; exec sleep 1000";
    let (reader, writer) = pipe();
    let container = Container::create(t, &bundle.shell(script), |call| call.stdout(writer));
    let unit = dir(&container);
    container.start();
    assert_eq!(read_line(&reader), "ready");
    assert_eq!(dir(&container), unit.join("init"));
    assert_eq!(container.look([])["cgroup"], "0::/init\n");
}

/// The host's systemd runs as the payload, in a user namespace. It creates cgroups below
/// the container's cgroup, which the payload's user must own.
fn systemd_is_pid_1_of_a_container(t: &Test) {
    boots(t, named(t));
}

fn systemd_is_pid_1_with_the_other_driver(t: &Test) {
    driver(t);
    let bundle = t.bundle().namespace("cgroup").set("/linux/cgroupsPath", json!(format!("/{}", t.token)));
    t.no_global("--systemd-cgroup");
    boots(t, bundle);
}

fn boots(t: &Test, bundle: Bundle) {
    let root = t.make_dir("root");
    for dir in ["usr", "proc", "sys", "dev", "run", "tmp", "var", "seen", "etc/systemd/system"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let units = root.join("etc/systemd/system");
    let target = "[Unit]\nDefaultDependencies=no\nRequires=seen.service\n";
    let service = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n\
                   ExecStart=/bin/sh -c 'cat /proc/self/cgroup > /seen/cgroup; systemctl --no-block exit 7'\n";
    fs::write(units.join("default.target"), target).unwrap();
    fs::write(units.join("seen.service"), service).unwrap();
    fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::write(root.join("etc/os-release"), "ID=test\n").unwrap();
    let seen = t.make_dir("seen");
    chown(&seen, Some(100_000), Some(100_000)).unwrap();
    let mut bundle = bundle
        .user_namespace()
        .set("/root", json!({ "path": root, "readonly": false }))
        .remount("/sys/fs/cgroup", &["rw"])
        .drop("/linux/readonlyPaths")
        .bind(Path::new("/usr"), "/usr", &["ro"])
        .bind(&seen, "/seen", &[])
        .args(["/usr/lib/systemd/systemd"])
        .capabilities(&SYSTEMDS_CAPABILITIES)
        .set("/process/noNewPrivileges", json!(false))
        .push("/process/env", json!("container=oci"));
    for dir in ["/run", "/tmp", "/var"] {
        bundle = bundle.without_mount(dir).mount(dir, "tmpfs", "tmpfs", &["mode=755"]);
    }
    let out = t.run(&bundle);
    assert_eq!(out.code, 7, "{out:?}");
    assert_eq!(fs::read_to_string(seen.join("cgroup")).unwrap(), "0::/system.slice/seen.service\n");
}

/// What a container's own systemd needs.
const SYSTEMDS_CAPABILITIES: [&str; 12] = [
    "CAP_SYS_ADMIN",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_SYS_CHROOT",
];

/// The payload opens its devices again and again. It succeeds even while systemd reloads
/// its configuration, and denied devices stay denied.
fn device_rules_outlive_a_reload(t: &Test) {
    // systemd can't express the last rule.
    let ramdisk = |allow, minor: Option<i64>| json!({ "allow": allow, "type": "b", "major": 1, "minor": minor, "access": "rwm" });
    let rules = [ramdisk(true, None), ramdisk(false, Some(7))];
    outlives_a_reload(t, named(t), &rules, "b 1 3", "b 1 7");
}

/// `good` can always be opened (whether such a device exists or not), and `bad` never.
fn outlives_a_reload(t: &Test, bundle: Bundle, rules: &[serde_json::Value], good: &str, bad: &str) {
    let deny_all = json!({ "allow": false, "access": "rwm" });
    let rules: Vec<_> = std::iter::once(&deny_all).chain(rules).collect();
    let capabilities =
        json!({ "bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"] });
    let bundle =
        bundle.set("/linux/resources/devices", json!(rules)).set("/process/capabilities", capabilities);
    let script = format!(
        "mknod /tmp/good {good}; mknod /tmp/bad {bad}; wrong=0; n=0; echo ready; \
        denied() {{ (true < $1) 2>&1 | grep -q 'not permitted'; }}; \
        while [ ! -e /tmp/stop ]; do \
            for d in /dev/null /dev/zero /dev/urandom; do true < $d || wrong=$((wrong+1)); done; \
            if denied /tmp/good; then wrong=$((wrong+100)); fi; \
            denied /tmp/bad || wrong=$((wrong+10000)); n=$((n+1)); \
        done; echo done $wrong $((n>2))"
    );
    let (reader, writer) = pipe();
    let container = Container::create(t, &bundle.shell(&script), |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "ready");
    for _ in 0..3 {
        t.call("/usr/bin/systemctl").arg("daemon-reload").ok();
    }
    container.exec([], ["touch", "/tmp/stop"]).ok();
    assert_eq!(read_line(&reader), "done 0 1");
    container.wait();
}

fn limits_outlive_a_reload(t: &Test) {
    let resources = json!({
        "memory": { "limit": 64 << 20 }, "cpu": { "shares": 512, "quota": 30_000, "period": 100_000 },
        "pids": { "limit": 79 },
    });
    let container = t.start(&named(t).set("/linux/resources", resources));
    let names = ["memory.max", "cpu.weight", "cpu.max", "pids.max"];
    let read = || names.map(|name| file(&dir(&container), name));
    let before = read();
    assert_eq!(before[3], "79");
    t.call("/usr/bin/systemctl").arg("daemon-reload").ok();
    assert_eq!(read(), before);
}

fn updates_are_systemds_and_the_kernels(t: &Test) {
    let container = t.start(&named(t));
    let flags = ["--memory=64M", "--memory-swap=96M", "--pids-limit=79", "--cpu-quota=25001"];
    container.update(flags).ok();
    container.update(["--cpu-period", "50000", "--cpu-share", "512"]).ok();
    for (property, value) in [
        ("MemoryMax", "67108864"),
        ("MemorySwapMax", "33554432"),
        ("CPUQuotaPerSecUSec", "510ms"),
        ("CPUQuotaPeriodUSec", "50ms"),
        ("TasksMax", "79"),
    ] {
        assert_eq!(show(t, &unit(t), property), value, "{property}");
    }
    let names = ["memory.max", "memory.swap.max", "pids.max", "cpu.max"];
    let read = || names.map(|name| file(&dir(&container), name));
    assert_eq!(read(), ["67108864", "33554432", "79", "25500 50000"], "as systemd rounds");
    t.call("/usr/bin/systemctl").arg("daemon-reload").ok();
    assert_eq!(read(), ["67108864", "33554432", "79", "25500 50000"]);
}

fn deleted_with_its_unit(t: &Test) {
    let container = t.start(&named(t));
    let dir = dir(&container);
    container.stop();
    container.verb("delete").ok();
    assert!(!dir.exists() && !is_known(t, &unit(t)));
    let container = t.start(&named(t));
    t.verb(["delete", "--force", &container.id]).ok();
    assert!(!dir.exists() && !is_known(t, &unit(t)));
}

fn foreground_run_leaves_nothing(t: &Test) {
    let out = t.run(&named(t).args(["sh", "-c", "exit 3"]));
    assert_eq!(out.code, 3, "{out:?}");
    assert!(!is_known(t, &unit(t)));
}

/// The unit of a payload that the OOM killer ended has failed.
fn a_failed_unit_is_removed(t: &Test) {
    let bundle = named(t)
        .set("/linux/resources/memory", json!({ "limit": 16 << 20, "swap": 16 << 20 }))
        .set("/linux/resources/unified", json!({ "memory.oom.group": "1" }));
    let greedy = "dd if=/dev/zero of=/dev/null bs=64M count=1";
    assert_eq!(t.run(&bundle.clone().shell(greedy)).code, 137);
    assert!(!is_known(t, &unit(t)));
    // The same if the bundle asks systemd to keep failed units: then delete resets the
    // unit.
    let bundle = bundle.set("/annotations/org.systemd.property.CollectMode", json!("'inactive'"));
    assert_eq!(t.run(&bundle.shell(greedy)).code, 137);
    assert!(!is_known(t, &unit(t)));
}

fn failed_creates_leave_no_unit(t: &Test) {
    let bundle = named(t);
    t.refused(&bundle.clone().mount("/tmp/x", "cheesefs", "none", &[])).fails(&["/tmp/x"]);
    t.refused(&bundle.clone().args(["/nope"])).fails(&["/nope", "no such file or directory"]);
    let much = json!({ "memory.max": "much" });
    t.refused(&bundle.clone().set("/linux/resources/unified", much)).fails(&["memory.max"]);
    let out = t.refused(&bundle.set("/annotations/org.systemd.property.Colour", json!("'red'")));
    out.one_clear_line(&["Colour"]);
    assert!(!is_known(t, &unit(t)));
}

/// The runtime is killed while it waits for a hook. Init ends with it, and the unit with
/// init.
fn killed_creates_leave_no_unit(t: &Test) {
    let held = HeldCreate::new(t, named(t));
    assert!(cgroup_of(held.init.pid).ends_with(unit(t)));
    let id = held.id.clone();
    held.kill();
    t.verb(["delete", "--force", &id]).ok();
    assert!(!is_known(t, &unit(t)));
}

fn an_existing_unit_is_left_alone(t: &Test) {
    let first = t.start(&named(t));
    t.refused(&named(t)).one_clear_line(&[&unit(t), "already"]);
    assert_eq!(first.status(), "running");
    assert_eq!(show(t, &unit(t), "ActiveState"), "active");
}

fn the_units_name_is_free_after_delete(t: &Test) {
    let bundle = named(t).args(["true"]);
    for _ in 0..20 {
        assert_eq!(t.run(&bundle).code, 0);
    }
}

fn cgroupfs_does_not_ask_systemd(t: &Test) {
    driver(t);
    let bundle = t.bundle().set("/linux/cgroupsPath", json!(format!("/{}", t.token))).args(["true"]);
    let call = t.call(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(["run", "--bundle"]);
    let call = call.arg(bundle.lay()).arg(t.id());
    call.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere").ok();
}

fn disabled_stays_with_the_caller(t: &Test) {
    driver(t);
    t.global("--cgroup-manager=disabled");
    let bundle = t.bundle().drop("/linux/resources").pausing();
    let container = t.start(&bundle);
    assert_eq!(dir(&container), cgroup_of(std::process::id() as i32));
    let limited = bundle.set("/linux/resources/pids", json!({ "limit": 5 }));
    t.refused(&limited).one_clear_line(&["/linux/resources"]);
}

/// A user with a systemd of their own, reached by the socket of its bus.
fn a_user(t: &Test) -> (u32, String) {
    driver(t);
    let users = fs::read_dir("/run/user").into_iter().flatten().flatten();
    let found = users.map(|entry| entry.path()).find_map(|dir| {
        let uid = fs::metadata(dir.join("bus")).ok()?.uid();
        (uid != 0).then(|| (uid, dir.display().to_string()))
    });
    found.unwrap_or_else(|| t.skip("no user has a session here"))
}

/// The runtime as that user, and a bundle of that user.
fn as_user<'t>(t: &'t Test, uid: u32, dir: &str, root: &Path) -> Call<'t> {
    let call = t.call("/usr/bin/setpriv").args(["--reuid", &uid.to_string(), "--regid", &uid.to_string()]);
    let call = call.args(["--clear-groups", "--"]).arg(&*t.runtime.borrow()).arg("--root").arg(root);
    call.arg("--systemd-cgroup").env("XDG_RUNTIME_DIR", dir).env("DBUS_SESSION_BUS_ADDRESS", "")
}

fn users_bundle(t: &Test, uid: u32) -> (PathBuf, Bundle) {
    let home = t.make_dir("home");
    let spec = home.join("spec");
    fs::create_dir(&spec).unwrap();
    for dir in [&home, &spec] {
        chown(dir, Some(uid), Some(uid)).unwrap();
    }
    let mut bundle = t.bundle();
    let mapping = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
    bundle = bundle
        .namespace("user")
        .set("/linux/uidMappings", mapping.clone())
        .set("/linux/gidMappings", mapping);
    bundle = bundle.drop("/linux/resources/devices").without_namespace("network");
    bundle = bundle.set("/mounts", json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]));
    chown(bundle.dir.join("rootfs"), Some(uid), Some(uid)).unwrap();
    for name in ["dev", "proc", "sys", "tmp"] {
        chown(bundle.dir.join("rootfs").join(name), Some(uid), Some(uid)).unwrap();
    }
    (home, bundle)
}

fn a_user_gets_units_of_the_users_systemd(t: &Test) {
    let (uid, dir) = a_user(t);
    let (home, bundle) = users_bundle(t, uid);
    let bundle = bundle.set("/linux/cgroupsPath", json!(format!(":t:{}", t.token))).pausing();
    let bundle =
        bundle.set("/linux/resources", json!({ "pids": { "limit": 44 }, "memory": { "limit": 64 << 20 } }));
    let root = home.join("state");
    let pid_file = home.join("pid");
    let id = t.id();
    let call = as_user(t, uid, &dir, &root).args(["run", "--detach", "--bundle"]).arg(bundle.lay());
    call.arg("--pid-file").arg(&pid_file).arg(&id).ok();
    let init = PidFd::from_file(&pid_file);
    let cgroup = cgroup_of(init.pid);
    let manager = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/user.slice");
    assert_eq!(cgroup, Path::new(&manager).join(unit(t)));
    assert_eq!(file(&cgroup, "pids.max"), "44");
    assert_eq!(file(&cgroup, "memory.max"), "67108864");
    as_user(t, uid, &dir, &root).args(["exec", &id, "true"]).ok();
    // Without the environment: the state has the address of the bus.
    as_user(t, uid, "", &root).args(["delete", "--force", &id]).ok();
    assert!(!cgroup.exists());
    remove_tree(&home).unwrap();
}

fn a_limit_that_is_not_delegated_to_the_user_is_refused(t: &Test) {
    let (uid, dir) = a_user(t);
    let (home, bundle) = users_bundle(t, uid);
    let manager = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service");
    if file(Path::new(&manager), "cgroup.controllers").contains("hugetlb") {
        t.skip("the user has even hugetlb");
    }
    let bundle = bundle.set("/linux/cgroupsPath", json!(format!(":t:{}", t.token))).args(["true"]);
    let limits = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }] });
    let call = as_user(t, uid, &dir, &home.join("state")).args(["run", "--bundle"]);
    let out = call.arg(bundle.set("/linux/resources", limits).lay()).arg(t.id()).out();
    out.one_clear_line(&["/linux/resources/hugepageLimits/0", "delegate the controller"]);
    remove_tree(&home).unwrap();
}

/// The unit has the name of the test, on a host with hierarchies of version 1.
fn on_version_1(t: &Test) -> Bundle {
    if !Path::new("/run/systemd/system").is_dir() {
        t.skip("systemd is not at work here");
    }
    if cgroup_v2() {
        t.skip("this is about cgroup v1");
    }
    t.global("--systemd-cgroup");
    let bundle = t.bundle().set("/linux/cgroupsPath", json!(format!(":t:{}", t.token)));
    bundle.pausing()
}

fn version_1_is_one_path_in_every_hierarchy(t: &Test) {
    let container = t.start(&on_version_1(t));
    let path = format!("/system.slice/{}", unit(t));
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.init.pid)).unwrap();
    let paths: Vec<_> = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    assert!(paths.len() > 3 && paths.iter().all(|p| *p == path), "{text}");
    assert_eq!(show(t, &unit(t), "ControlGroup"), path);
    assert_eq!(container.look([])["cgroup"], json!(text), "exec, too");
    let dirs = cgroups_named(&t.token);
    assert_eq!(dirs.len(), paths.len(), "{dirs:?}");
    container.stop();
    container.verb("delete").ok();
    assert!(!is_known(t, &unit(t)) && cgroups_named(&t.token).is_empty());
}

fn version_1_has_its_limits(t: &Test) {
    let resources =
        json!({ "cpu": { "shares": 512, "quota": 25_000, "period": 50_000 }, "pids": { "limit": 77 } });
    let bundle = on_version_1(t).set("/linux/resources/cpu", resources["cpu"].clone());
    let container = t.start(&bundle.set("/linux/resources/pids", resources["pids"].clone()));
    for (property, value) in [("CPUShares", "512"), ("CPUQuotaPerSecUSec", "500ms"), ("TasksMax", "77")] {
        assert_eq!(show(t, &unit(t), property), value, "{property}");
    }
    for (controller, name, value) in
        [("cpu", "cpu.shares", "512"), ("cpu", "cpu.cfs_quota_us", "25000"), ("pids", "pids.max", "77")]
    {
        assert_eq!(cgroup_file(container.init.pid, controller, name).as_deref(), Some(value), "{name}");
    }
}

fn version_1_device_rules_outlive_a_reload(t: &Test) {
    let ramdisk = json!({ "allow": true, "type": "b", "major": 1, "minor": 3, "access": "rwm" });
    outlives_a_reload(t, on_version_1(t), &[ramdisk], "b 1 3", "b 1 7");
}

/// The containers are created and deleted at once. No verb hangs, and no unit is left.
fn many_at_once(t: &Test) {
    const MANY: usize = 200;
    let bundle = pausing(t).drop("/linux/cgroupsPath");
    let dir = bundle.lay();
    let ids: Vec<String> = (0..MANY).map(|_| t.id()).collect();
    ids.iter().for_each(|id| t.will_delete(id));
    all(&ids, |id| t.verb(["run", "--detach", "--bundle"]).arg(dir).arg(id).spawn());
    let pattern = format!("*{}*", t.token);
    let list = ["list-units", "--all", "--plain", "--no-legend", &pattern];
    let units = || t.call("/usr/bin/systemctl").args(list).ok().stdout;
    assert_eq!(units().lines().count(), MANY);
    all(&ids, |id| t.verb(["delete", "--force", id]).spawn());
    assert_eq!(units(), "");
}

/// Starts a call for each, then waits for all of them.
fn all<'t>(ids: &[String], call: impl Fn(&str) -> Running<'t>) {
    let running: Vec<_> = ids.iter().map(|id| call(id)).collect();
    let outs: Vec<_> = running.into_iter().map(Running::out).collect();
    let failed: Vec<_> = outs.iter().filter(|out| out.code != 0).collect();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed[0]);
}
