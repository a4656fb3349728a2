//! A user without privilege on cgroup v1, who owns a cgroup in some of the hierarchies.

use crate::harness::{Bundle, Call, Test, cgroup_v2};
use crate::userns::{Plain, as_plain, own};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

cases![
    limits_of_delegated_controllers_apply,
    a_limit_that_is_not_delegated_is_refused,
    without_a_controller_limits_are_warned_of,
    it_is_frozen_where_the_freezer_is_delegated,
    a_cgroup_in_use_is_refused,
];

/// A cgroup of the plain user in these hierarchies and in no other. The runtime is called
/// from this cgroup.
struct Delegated<'t> {
    plain: Plain<'t>,
    dirs: Vec<PathBuf>,
}

impl<'t> Delegated<'t> {
    fn new<const N: usize>(t: &'t Test, hierarchies: [&str; N]) -> Delegated<'t> {
        t.cgroupfs_only();
        if cgroup_v2() {
            t.skip("version 2 has one hierarchy");
        }
        let dirs = hierarchies.map(|name| Path::new("/sys/fs/cgroup").join(name).join(&t.token));
        let made = Delegated { plain: Plain::new(t), dirs: dirs.to_vec() };
        for dir in &made.dirs {
            if !dir.parent().unwrap().exists() {
                t.skip("a hierarchy is not mounted");
            }
            fs::create_dir(dir).expect("make a cgroup");
            own(dir);
            fs::read_dir(dir).expect("list a cgroup").for_each(|file| own(&file.expect("a file").path()));
        }
        made
    }

    fn call(&self, args: &str) -> Call<'t> {
        let join: String =
            self.dirs.iter().map(|dir| format!("echo $$ > {}/cgroup.procs; ", dir.display())).collect();
        let script = format!("{join} exec {}", as_plain(args, &self.plain));
        let t = self.plain.t;
        t.call("/bin/sh").args(["-c", &script]).env("RUNTIME", t.runtime.borrow().clone())
    }

    fn create(&self, bundle: &Bundle, id: &str) -> Call<'t> {
        self.call(&format!("create --bundle {} {id} < /dev/null", bundle.lay().display()))
    }

    fn created(&self, bundle: &Bundle) -> (String, i32) {
        let id = self.plain.t.id();
        self.create(bundle, &id).ok();
        let state = self.call(&format!("state {id}")).ok().stdout;
        let state: Value = serde_json::from_str(&state).unwrap();
        (id, state["pid"].as_i64().unwrap() as i32)
    }

    fn bundle(&self, limits: Value) -> Bundle {
        self.plain.bundle().set("/linux/resources", limits).pausing()
    }

    fn file(&self, hierarchy: usize, id: &str, name: &str) -> String {
        fs::read_to_string(self.dirs[hierarchy].join(id).join(name)).expect(name).trim().to_owned()
    }

    fn is_empty(&self) -> bool {
        let mut entries =
            self.dirs.iter().flat_map(|dir| fs::read_dir(dir).expect("list a cgroup").flatten());
        entries.all(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
    }
}

impl Drop for Delegated<'_> {
    fn drop(&mut self) {
        for dir in &self.dirs {
            let _ = fs::remove_dir(dir);
        }
    }
}

fn limits_of_delegated_controllers_apply(t: &Test) {
    let user = Delegated::new(t, ["memory", "pids"]);
    let limits = json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 17 } });
    let (id, init) = user.created(&user.bundle(limits));
    assert_eq!(user.file(0, &id, "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(user.file(1, &id, "pids.max"), "17");
    user.call(&format!("start {id}")).ok();
    // If nothing is delegated, the container stays in its creator's cgroup.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let of_init = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap();
    for (line, own) in of_init.lines().zip(own.lines()) {
        let is_delegated = line.contains(":memory:") || line.contains(":pids:");
        assert!(line.ends_with(&format!("/{}/{id}", t.token)) == is_delegated, "{line}");
        assert!(is_delegated || line == own, "{line} {own}");
    }
    let seen = user.call(&format!("exec {id} /probe")).ok().report();
    assert_eq!(seen["cgroup"], json!(of_init), "an exec goes where init is");
    user.call(&format!("update --pids-limit 18 {id}")).ok();
    assert_eq!(user.file(1, &id, "pids.max"), "18");
    let out = user.call(&format!("update --cpu-share 512 {id}")).out();
    out.one_clear_line(&["/linux/resources/cpu/shares", "delegate"]);
    let listed = user.call(&format!("ps --format json {id}")).ok().stdout;
    assert_eq!(listed.trim(), format!("[{init}]"));
    let stats = user.call(&format!("events --stats {id}")).ok().stdout;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["data"]["pids"]["limit"], 18);
    user.call(&format!("delete --force {id}")).ok();
    assert!(user.is_empty());
}

fn a_limit_that_is_not_delegated_is_refused(t: &Test) {
    let user = Delegated::new(t, ["memory", "pids"]);
    let limits = json!({ "memory": { "limit": 64 << 20 }, "cpu": { "shares": 512 } });
    let out = user.create(&user.bundle(limits), &t.id()).out();
    out.one_clear_line(&["/linux/resources/cpu/shares", "cpu controller", "delegate"]);
    assert!(user.is_empty(), "nothing is left");
}

/// As if nothing at all were delegated.
fn without_a_controller_limits_are_warned_of(t: &Test) {
    let user = Delegated::new(t, ["systemd", "unified"]);
    let limits = json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 17 } });
    let id = t.id();
    let out = user.create(&user.bundle(limits), &id).ok();
    let said = out.stderr.lines().find(|line| line.contains("not applied")).unwrap();
    assert!(said.contains("/linux/resources/memory/limit, /linux/resources/pids/limit"), "{said}");
    assert!(user.dirs.iter().all(|dir| dir.join(&id).exists()));
    user.call(&format!("delete --force {id}")).ok();
    assert!(user.is_empty());
}

fn it_is_frozen_where_the_freezer_is_delegated(t: &Test) {
    let user = Delegated::new(t, ["pids"]);
    let (id, _) = user.created(&user.bundle(json!({})));
    user.call(&format!("pause {id}")).out().one_clear_line(&["no cgroup that the caller can freeze"]);
    user.call(&format!("delete --force {id}")).ok();
    drop(user);
    let user = Delegated::new(t, ["freezer"]);
    let (id, _) = user.created(&user.bundle(json!({})));
    user.call(&format!("start {id}")).ok();
    user.call(&format!("pause {id}")).ok();
    assert_eq!(user.file(0, &id, "freezer.state"), "FROZEN");
    user.call(&format!("resume {id}")).ok();
    user.call(&format!("exec {id} true")).ok();
    user.call(&format!("delete --force {id}")).ok();
    assert!(user.is_empty());
}

/// The processes in it would be killed together with the container.
fn a_cgroup_in_use_is_refused(t: &Test) {
    for hierarchy in ["memory", "unified"] {
        let user = Delegated::new(t, [hierarchy]);
        let bundle = user.bundle(json!({})).set("/linux/cgroupsPath", json!("shared"));
        let (first, init) = user.created(&bundle);
        let out = user.create(&bundle, &t.id()).out();
        out.one_clear_line(&["/linux/cgroupsPath", "container's cgroup is not empty"]);
        assert_eq!(user.file(0, "shared", "cgroup.procs"), init.to_string(), "the first goes on");
        user.call(&format!("delete --force {first}")).ok();
        assert!(user.is_empty());
    }
}
