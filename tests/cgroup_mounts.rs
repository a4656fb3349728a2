//! Mounts of type `cgroup`: which cgroups a container sees. For version 2, the test mounts
//! cgroup2 over the host's cgroups in a private mount namespace.

use crate::harness::{Bundle, MOUNT_V2, Out, Test, is_corten};
use crate::mounts::{at, has, look_after};
use serde_json::{Value, json};

cases![
    v1_shows_each_controller,
    v1_is_readonly,
    v1_shows_only_its_own_in_a_namespace,
    v1_is_writable_unless_readonly,
    v1_in_a_user_namespace,
    v1_in_a_user_namespace_with_a_cgroup_namespace,
    v1_without_privilege,
    v1_takes_no_options,
    v2_shows_its_own_in_a_namespace,
    v2_shows_all_without_a_namespace,
    v2_is_writable_unless_readonly,
    v2_in_a_user_namespace,
    v2_in_a_user_namespace_with_a_cgroup_namespace,
    v2_belongs_to_a_payload_that_may_write_to_it,
    v2_stays_the_hosts_otherwise,
    v2_is_managed_by_its_payload,
    v2_takes_options_in_a_namespace,
    v2_without_a_namespace_takes_the_hosts_options,
    v2_where_no_new_mount_is_allowed,
    type_cgroup2_is_the_same,
];

const CGROUP: &str = "/sys/fs/cgroup";

fn controllers() -> Vec<String> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let lines = own.lines().filter_map(|line| line.split(':').nth(1));
    lines.filter(|name| !name.is_empty() && !name.contains('=')).map(str::to_owned).collect()
}

/// Returns whether the host has controllers of version 1.
pub fn has_v1() -> bool {
    !controllers().is_empty()
}

fn needs_v1(t: &Test) {
    if !has_v1() {
        t.skip("no cgroup v1 here");
    }
}

fn list<'a>(seen: &'a Value, path: &str) -> Vec<&'a str> {
    let listed = &seen["asked"][format!("list:{path}")];
    listed.as_array().unwrap_or_else(|| panic!("{path}: {listed}")).iter().filter_map(Value::as_str).collect()
}

fn v1_shows_each_controller(t: &Test) {
    needs_v1(t);
    let seen = t.look(&t.bundle(), ["list:/sys/fs/cgroup", "list:/sys/fs/cgroup/memory"]);
    for controller in controllers() {
        assert!(list(&seen, CGROUP).contains(&controller.as_str()), "{controller}");
    }
    let files = list(&seen, "/sys/fs/cgroup/memory");
    assert!(files.contains(&"memory.limit_in_bytes"), "{files:?}");
    let others = files.iter().filter(|file| file.contains("process_api"));
    assert_eq!(others.count(), 0, "the host's tree is shown, not the container's own part");
}

fn v1_is_readonly(t: &Test) {
    needs_v1(t);
    let file = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
    let questions = [&format!("write:{file}"), "mkdir:/sys/fs/cgroup/memory/x", "mkdir:/sys/fs/cgroup/x"];
    for (question, answer) in t.look(&t.bundle(), questions)["asked"].as_object().unwrap() {
        // The directory above the hierarchies need not be a read-only mount.
        let above = question == "mkdir:/sys/fs/cgroup/x" && answer == "EACCES";
        assert!(answer == "EROFS" || above, "{question}: {answer}");
    }
}

fn v1_shows_only_its_own_in_a_namespace(t: &Test) {
    needs_v1(t);
    let seen = t.look(&t.bundle().namespace("cgroup"), ["list:/sys/fs/cgroup/pids"]);
    assert!(list(&seen, "/sys/fs/cgroup/pids").contains(&"pids.max"));
    assert_eq!(at(&seen, "/sys/fs/cgroup/pids")["root"], "/");
    has(at(&seen, "/sys/fs/cgroup/pids"), &["ro", "nosuid", "nodev", "noexec"]);
}

fn writable(bundle: Bundle) -> Bundle {
    bundle.remount(CGROUP, &["nosuid", "noexec", "nodev"])
}

fn v1_is_writable_unless_readonly(t: &Test) {
    needs_v1(t);
    let question = "write:/sys/fs/cgroup/memory/memory.limit_in_bytes";
    for bundle in [writable(t.bundle()), writable(t.bundle()).namespace("cgroup")] {
        assert_eq!(t.look(&bundle, [question])["asked"][question], "ok");
    }
}

/// The host's root owns the cgroup.
fn v1_in_a_user_namespace(t: &Test) {
    needs_v1(t);
    let questions = ["list:/sys/fs/cgroup/pids", "write:/sys/fs/cgroup/pids/pids.max"];
    let seen = t.look(&t.bundle().user_namespace(), questions);
    assert!(list(&seen, "/sys/fs/cgroup/pids").contains(&"pids.max"));
    assert_eq!(seen["asked"][questions[1]], "EACCES");
    has(at(&seen, "/sys/fs/cgroup/pids"), &["ro"]);
    let seen = t.look(&writable(t.bundle().user_namespace()), questions);
    assert_eq!(seen["asked"][questions[1]], "EACCES");
    has(at(&seen, "/sys/fs/cgroup/pids"), &["rw"]);
}

fn v1_in_a_user_namespace_with_a_cgroup_namespace(t: &Test) {
    needs_v1(t);
    let questions = ["list:/sys/fs/cgroup/pids", "write:/sys/fs/cgroup/pids/pids.max"];
    let seen = t.look(&t.bundle().user_namespace().namespace("cgroup"), questions);
    assert!(list(&seen, "/sys/fs/cgroup/pids").contains(&"pids.max"));
    assert_eq!(seen["asked"][questions[1]], "EACCES");
    has(at(&seen, "/sys/fs/cgroup/pids"), &["ro"]);
    assert_eq!(at(&seen, "/sys/fs/cgroup/pids")["root"], "/");
}

/// The container of an ordinary user without a cgroup of its own sees the caller's cgroup.
fn v1_without_privilege(t: &Test) {
    needs_v1(t);
    let seen =
        t.as_user(&t.bundle(), ["list:/sys/fs/cgroup/memory", "mkdir:/sys/fs/cgroup/memory/x"]).report();
    assert!(list(&seen, "/sys/fs/cgroup/memory").contains(&"memory.limit_in_bytes"));
    assert_eq!(seen["asked"]["mkdir:/sys/fs/cgroup/memory/x"], "EROFS");
}

fn v1_takes_no_options(t: &Test) {
    needs_v1(t);
    let bundle = t.bundle().remount(CGROUP, &["ro", "nsdelegate"]);
    t.refused(&bundle).one_clear_line(&["/mounts/6", "nsdelegate"]);
}

fn look_on_v2(t: &Test, bundle: Bundle, questions: &[&str]) -> Value {
    look_after(t, &t.make_dir("none"), MOUNT_V2, bundle, questions)
}

fn v2_shows_its_own_in_a_namespace(t: &Test) {
    let seen =
        look_on_v2(t, t.bundle().namespace("cgroup"), &["list:/sys/fs/cgroup", "mkdir:/sys/fs/cgroup/x"]);
    let mount = at(&seen, CGROUP);
    assert_eq!((&mount["type"], &mount["root"]), (&json!("cgroup2"), &json!("/")));
    has(mount, &["ro", "nosuid", "nodev", "noexec"]);
    // The root of the hierarchy has no such file.
    assert!(list(&seen, CGROUP).contains(&"cgroup.events"));
    assert_eq!(seen["asked"]["mkdir:/sys/fs/cgroup/x"], "EROFS");
    assert_eq!(seen["cgroup"].as_str().unwrap().lines().last().unwrap(), "0::/");
}

fn v2_shows_all_without_a_namespace(t: &Test) {
    let bundle = t.bundle().set("/linux/cgroupsPath", json!(t.cgroup_of_name(&format!("{}c", t.token))));
    let seen = look_on_v2(t, bundle, &["list:/sys/fs/cgroup", "mkdir:/sys/fs/cgroup/x"]);
    assert_eq!(at(&seen, CGROUP)["type"], "cgroup2");
    has(at(&seen, CGROUP), &["ro", "nosuid", "nodev", "noexec"]);
    assert!(!list(&seen, CGROUP).contains(&"cgroup.events"));
    assert!(list(&seen, CGROUP).iter().any(|name| name.contains(&t.token)), "its own is among them");
    assert_eq!(seen["asked"]["mkdir:/sys/fs/cgroup/x"], "EROFS");
}

fn v2_is_writable_unless_readonly(t: &Test) {
    let bundle = writable(t.bundle().namespace("cgroup"));
    let question = "mkdir:/sys/fs/cgroup/made";
    assert_eq!(look_on_v2(t, bundle, &[question])["asked"][question], "ok");
}

fn v2_in_a_user_namespace(t: &Test) {
    let question = "write:/sys/fs/cgroup/cgroup.procs";
    let seen = look_on_v2(t, t.bundle().user_namespace(), &[question]);
    assert_eq!(at(&seen, CGROUP)["type"], "cgroup2");
    has(at(&seen, CGROUP), &["ro"]);
    assert_eq!(seen["asked"][question], "EACCES");
    let seen = look_on_v2(t, writable(t.bundle().user_namespace()), &[question]);
    assert_eq!(seen["asked"][question], "EACCES");
    has(at(&seen, CGROUP), &["rw"]);
}

fn v2_in_a_user_namespace_with_a_cgroup_namespace(t: &Test) {
    let bundle = t.bundle().user_namespace().namespace("cgroup");
    let seen = look_on_v2(t, bundle, &["list:/sys/fs/cgroup", "mkdir:/sys/fs/cgroup/x"]);
    assert!(list(&seen, CGROUP).contains(&"cgroup.events"));
    assert_eq!(seen["asked"]["mkdir:/sys/fs/cgroup/x"], "EROFS");
}

/// The owners of a created container's cgroup on the host: of the directory, under the name
/// `.`, and of all its files.
fn owners(t: &Test, bundle: Bundle) -> Vec<(String, u32)> {
    let script = format!(
        "{MOUNT_V2}; runtime create --pid-file pid \"$ID\" > /dev/null; \
         cd /sys/fs/cgroup$(sed -n s/^0:://p /proc/$(cat pid)/cgroup); stat -c '%n %u' . *; \
         runtime delete --force \"$ID\""
    );
    let out = t.in_private_mounts(&bundle.pausing(), &t.make_dir("none"), &script).ok();
    let line = |line: &str| {
        let (name, uid) = line.split_once(' ').expect("name and owner");
        (name.to_owned(), uid.parse().expect("a uid"))
    };
    out.stdout.lines().map(line).collect()
}

/// "Cgroup ownership" of the specification: the host's id of `process.user.uid` owns the
/// directory, and only those files that the kernel lists.
fn v2_belongs_to_a_payload_that_may_write_to_it(t: &Test) {
    t.needs_root("to give a cgroup to another");
    let listed = std::fs::read_to_string("/sys/kernel/cgroup/delegate").expect("the kernel's list");
    let bundle = || writable(t.bundle().namespace("cgroup"));
    for (bundle, owner) in [
        (bundle().user_namespace(), 100_000),
        (bundle().user_namespace().set("/process/user", json!({ "uid": 7, "gid": 7 })), 100_007),
        (bundle().set("/process/user", json!({ "uid": 1000, "gid": 1000 })), 1000),
    ] {
        let owners = owners(t, bundle);
        assert!(owners.len() > 10, "{owners:?}");
        for (name, uid) in &owners {
            let is_given = name == "." || listed.lines().any(|file| file == name);
            assert_eq!(*uid, if is_given { owner } else { 0 }, "{name}: {owners:?}");
        }
    }
}

fn v2_stays_the_hosts_otherwise(t: &Test) {
    t.needs_root("to give a cgroup to another");
    let bundle = || t.bundle().user_namespace().namespace("cgroup");
    for bundle in [
        bundle(),
        writable(bundle().without_namespace("cgroup")),
        bundle().without_mount(CGROUP),
        writable(t.bundle().namespace("cgroup")),
    ] {
        let owners = owners(t, bundle);
        assert!(owners.len() > 10 && owners.iter().all(|(_, uid)| *uid == 0), "{owners:?}");
    }
}

/// The payload creates cgroups below its own and moves there. It can't raise its limits.
fn v2_is_managed_by_its_payload(t: &Test) {
    let script = "cd /sys/fs/cgroup && mkdir below && echo 1 > below/cgroup.procs && cat /proc/1/cgroup; \
                  for file in cgroup.max.depth cgroup.freeze; do (echo 1 > $file) 2>&1 | \
                  grep -c 'ermission denied'; done";
    let bundle = writable(t.bundle().user_namespace().namespace("cgroup")).drop("/linux/readonlyPaths");
    let prepare = format!("{MOUNT_V2}; runtime run \"$ID\"");
    let out = t.in_private_mounts(&bundle.shell(script), &t.make_dir("none"), &prepare).ok();
    let lines: Vec<_> =
        out.stdout.lines().filter(|line| !line.contains(":/") || line.starts_with("0:")).collect();
    assert_eq!(lines, ["0::/below", "1", "1"], "{out:?}");
}

fn run_on_v2(t: &Test, option: &str, namespaced: bool) -> Out {
    let bundle = t.bundle().remount(CGROUP, &["ro", option]).args(["/probe"]);
    let bundle = if namespaced { bundle.namespace("cgroup") } else { bundle };
    let script = format!("{MOUNT_V2}; runtime run \"$ID\"");
    t.in_private_mounts(&bundle, &t.make_dir("none"), &script).out()
}

fn v2_takes_options_in_a_namespace(t: &Test) {
    assert_eq!(run_on_v2(t, "nsdelegate", true).code, 0);
    run_on_v2(t, "sideways", true).one_clear_line(&["/mounts/6", "sideways"]);
}

/// These are all options of cgroup2. Docker passes them on.
fn v2_without_a_namespace_takes_the_hosts_options(t: &Test) {
    if !is_corten() {
        t.skip("others set the options of the host's superblock");
    }
    let options = || {
        let info = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = info.lines().find(|line| line.contains(" - cgroup2 ")).unwrap_or_default().to_owned();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    let before = options();
    for option in ["nsdelegate", "memory_recursiveprot"] {
        let out = run_on_v2(t, option, false);
        if before.split(',').any(|set| set == option) {
            assert_eq!(out.code, 0, "{out:?}");
        } else {
            out.one_clear_line(&["/mounts/6", option, "cgroup namespace"]);
        }
    }
    assert_eq!(options(), before, "the host's superblock was changed");
}

/// strace feigns the kernel's refusal. Then the runtime binds the cgroup itself.
fn v2_where_no_new_mount_is_allowed(t: &Test) {
    if !is_corten() {
        t.skip("the calls of another runtime come in another order");
    }
    let mounts = json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/tmp", "type": "cgroup", "source": "cgroup", "options": ["ro"] },
    ]);
    let bundle = t.bundle().namespace("cgroup").set("/mounts", mounts).args(["/probe", "list:/tmp"]);
    let script = format!(
        "{MOUNT_V2}; exec strace -f -o /dev/null -e trace=fsopen -e inject=fsopen:error=EPERM:when=2 \
         \"$RUNTIME\" --root \"$STATE\" run \"$ID\""
    );
    let seen = t.in_private_mounts(&bundle, &t.make_dir("none"), &script).out().report();
    assert!(list(&seen, "/tmp").contains(&"cgroup.events"));
    has(at(&seen, "/tmp"), &["ro"]);
}

fn type_cgroup2_is_the_same(t: &Test) {
    let bundle = t.bundle().namespace("cgroup").without_mount(CGROUP);
    let bundle = bundle.mount(CGROUP, "cgroup2", "cgroup", &["ro"]);
    let seen = look_on_v2(t, bundle, &["list:/sys/fs/cgroup"]);
    assert!(list(&seen, CGROUP).contains(&"cgroup.events"));
}
