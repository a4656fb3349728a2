//! A user without privilege: what works with a delegated cgroup, and what works without
//! one. Root skips these tests; `make vm-test` runs them as a user.

use crate::harness::{Bundle, Test, cgroup_dir, cgroup_file, delegated, has_controller, is_root};
use serde_json::{Value, json};

cases![
    limits_apply_in_a_delegated_cgroup,
    a_limit_that_is_not_delegated_is_refused,
    without_a_cgroup_it_runs_and_warns_about_lost_limits,
    without_a_cgroup_and_without_limits_there_is_no_warning,
    without_a_cgroup_it_has_a_whole_life,
    a_path_of_another_user_gives_no_cgroup,
    no_device_can_be_made,
];

fn limited(t: &Test, limits: Value) -> Bundle {
    t.bundle().set("/linux/resources", limits).pausing()
}

/// Skips the test if this user has (or has not) a delegated cgroup.
fn user(t: &Test, has_cgroups: bool) {
    if is_root() {
        t.skip("root may do all of it");
    }
    if t.by_systemd() {
        t.skip("systemd makes the cgroups");
    }
    if delegated().is_some() != has_cgroups {
        t.skip(if has_cgroups { "no cgroup is delegated" } else { "a cgroup is delegated" });
    }
}

fn limits_apply_in_a_delegated_cgroup(t: &Test) {
    user(t, true);
    let limits = json!({
        "memory": { "limit": 64 << 20 },
        "pids": { "limit": 17 },
        "cpu": { "shares": 512, "quota": 25000, "period": 50000 },
    });
    let container = t.start(&limited(t, limits));
    let place = cgroup_dir(container.init.pid, "").unwrap();
    assert_eq!(place.parent(), delegated().as_deref());
    for (controller, file, content) in [
        ("memory", "memory.max", "67108864"),
        ("pids", "pids.max", "17"),
        ("cpu", "cpu.weight", "59"),
        ("cpu", "cpu.max", "25000 50000"),
    ] {
        assert!(has_controller(controller), "{controller} is delegated by systemd 252 and later");
        assert_eq!(cgroup_file(container.init.pid, controller, file).as_deref(), Some(content));
    }
}

fn a_limit_that_is_not_delegated_is_refused(t: &Test) {
    user(t, true);
    if has_controller("hugetlb") {
        t.skip("the user has them all");
    }
    let limits = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4 << 20 }] });
    t.refused(&limited(t, limits)).one_clear_line(&["/linux/resources/hugepageLimits/0", "delegate"]);
}

fn without_a_cgroup_it_runs_and_warns_about_lost_limits(t: &Test) {
    user(t, false);
    let limits = json!({ "memory": { "limit": 64 << 20, "swap": 64 << 20 }, "pids": { "limit": 17 } });
    let bundle = limited(t, limits);
    let log = t.path("log");
    let id = t.id();
    t.will_delete(&id);
    let call = t.runtime().arg("--log").arg(&log).args(["create", "--bundle"]).arg(bundle.lay());
    assert_eq!(call.arg(&id).ok().stderr, "");
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    for word in ["level=warning", "/linux/resources/memory/limit", "/linux/resources/memory/swap"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    assert!(log.contains("/linux/resources/pids/limit") && log.contains("delegated"), "{log}");
}

fn without_a_cgroup_and_without_limits_there_is_no_warning(t: &Test) {
    user(t, false);
    let out = t.run(&t.bundle().args(["true"]));
    assert_eq!((out.code, out.stderr.as_str()), (0, ""));
}

fn without_a_cgroup_it_has_a_whole_life(t: &Test) {
    user(t, false);
    let container = t.start(&t.bundle().pausing());
    let own = cgroup_dir(std::process::id() as i32, "");
    assert_eq!(cgroup_dir(container.init.pid, ""), own, "it stays with its maker");
    assert_eq!(container.look([])["ids"]["uid"][0], 0);
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    container.verb("delete").ok();
}

/// From the root of the hierarchy, a user may create no cgroup.
fn a_path_of_another_user_gives_no_cgroup(t: &Test) {
    user(t, true);
    let bundle = limited(t, json!({ "pids": { "limit": 17 } }));
    let container = t.start(&bundle.set("/linux/cgroupsPath", json!(format!("/{}", t.token))));
    let own = cgroup_dir(std::process::id() as i32, "");
    assert_eq!(cgroup_dir(container.init.pid, ""), own);
}

/// A user's container has no device program. Its user namespace keeps it from using
/// devices.
fn no_device_can_be_made(t: &Test) {
    if is_root() {
        t.skip("root's container has rules for devices");
    }
    let script = "mknod /tmp/null c 1 3 || echo none is made; echo x > /dev/null && echo null";
    let out = t.run(&t.bundle().capabilities(&["CAP_MKNOD"]).shell(script));
    assert_eq!(out.stdout, "none is made\nnull\n", "{out:?}");
}
