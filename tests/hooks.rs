//! The six kinds of hook: when and where they run, and what they get on stdin.

use crate::harness::{Bundle, Call, Container, PidFd, Test, pipe};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

cases![
    each_kind_runs_once_in_order,
    each_kind_runs_at_its_verb,
    state_on_stdin_has_the_right_status,
    state_on_stdin_has_everything,
    several_of_a_kind_run_in_order,
    args_and_env_are_the_hooks_own,
    without_env_a_hook_has_the_runtimes,
    without_env_a_start_container_hook_has_the_payloads,
    an_empty_env_is_empty,
    hooks_start_in_the_bundle,
    container_hooks_read_the_pid_of_the_container,
    a_hook_has_only_stdio,
    leaked_descriptors_reach_nobody,
    a_hook_has_default_signals,
    host_hooks_run_in_the_hosts_namespaces,
    container_hooks_run_in_the_containers_namespaces,
    create_container_hooks_see_the_mounts_before_pivot,
    start_container_hooks_see_the_container_only,
    prestart_hooks_run_when_namespaces_exist,
    a_hook_that_never_reads_stdin_is_fine,
    failing_hooks_before_start_fail_create,
    failing_start_container_hook_fails_start,
    failing_poststop_hook_lets_delete_succeed,
    a_missing_hook_is_named,
    hook_timeout_is_kept,
    hook_timeout_ends_its_children_too,
    hook_timeout_is_kept_in_the_container,
    hook_timeout_is_kept_when_the_payload_runs,
    a_daemon_that_a_hook_leaves_is_not_waited_for,
    failing_start_container_hook_ends_the_container,
    failing_poststart_hook_ends_the_container,
    relative_hook_path_is_refused,
    poststop_hooks_run_after_a_failed_create,
    poststop_hooks_run_after_init_was_killed,
];

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The directory to which a container's hooks write, and a bundle that mounts it at the
/// same path, so that container hooks can write there, too.
struct Diary {
    dir: PathBuf,
    bundle: Bundle,
}

impl Diary {
    fn new(t: &Test) -> Diary {
        let dir = t.make_dir("diary");
        let bundle = t.bundle().bind(&dir, dir.to_str().unwrap(), &[]);
        Diary { dir, bundle: bundle.pausing() }
    }

    /// A hook of this kind that runs a script. `$0` is the diary's directory.
    fn hook(mut self, kind: &str, script: &str) -> Self {
        let hook = json!({
            "path": "/bin/sh",
            "args": ["sh", "-c", script, self.dir],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        });
        self.bundle = self.bundle.push(&format!("/hooks/{kind}"), hook);
        self
    }

    /// A hook of every kind. KIND in the script stands for its name.
    fn every(self, script: &str) -> Self {
        KINDS.iter().fold(self, |diary, kind| diary.hook(kind, &script.replace("KIND", kind)))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    fn order(&self) -> Vec<String> {
        self.read("order").lines().map(str::to_owned).collect()
    }
}

const NOTE: &str = "echo KIND >> $0/order";

fn each_kind_runs_once_in_order(t: &Test) {
    let mut diary = Diary::new(t).every(NOTE);
    diary.bundle = diary.bundle.args(["/probe", "--exit", "0"]);
    assert_eq!(t.run(&diary.bundle).code, 0);
    let mut order = diary.order();
    // poststart may come before or after a payload this short, but never after poststop.
    assert_eq!(order.pop().as_deref(), Some("poststop"));
    assert_eq!(order, KINDS[..5]);
}

fn each_kind_runs_at_its_verb(t: &Test) {
    let diary = Diary::new(t).every(NOTE);
    let container = t.create(&diary.bundle);
    assert_eq!(diary.order(), KINDS[..3]);
    container.start();
    assert_eq!(diary.order(), KINDS[..5]);
    container.stop();
    assert_eq!(diary.order(), KINDS[..5]);
    container.verb("delete").ok();
    assert_eq!(diary.order(), KINDS);
}

fn state_of(diary: &Diary, kind: &str) -> Value {
    let text = diary.read(kind);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind}: {e} in {text:?}"))
}

/// Runs a container from create to delete. Each hook saves its stdin.
fn lived(t: &Test) -> (Diary, String, i32) {
    let mut diary = Diary::new(t).every("cat > $0/KIND");
    diary.bundle = diary.bundle.set("/annotations", json!({ "org.example": "yes" }));
    let container = t.start(&diary.bundle);
    container.stop();
    container.verb("delete").ok();
    let (id, pid) = (container.id.clone(), container.init.pid);
    (diary, id, pid)
}

fn state_on_stdin_has_the_right_status(t: &Test) {
    let (diary, _, _) = lived(t);
    for (kind, status) in [
        // As the specification's own test suite wants it: "after the start operation is called".
        ("prestart", "created"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ] {
        assert_eq!(state_of(&diary, kind)["status"], status, "{kind}");
    }
}

fn state_on_stdin_has_everything(t: &Test) {
    let (diary, id, pid) = lived(t);
    for kind in KINDS {
        let state = state_of(&diary, kind);
        assert_eq!(state["id"], id.as_str(), "{kind}");
        assert_eq!(state["bundle"], diary.bundle.dir.to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"]["org.example"], "yes", "{kind}");
        assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{kind}");
    }
    for kind in ["prestart", "createRuntime", "poststart"] {
        assert_eq!(state_of(&diary, kind)["pid"], pid, "{kind}");
    }
}

fn several_of_a_kind_run_in_order(t: &Test) {
    let mut diary = Diary::new(t);
    for kind in KINDS {
        for n in 1..4 {
            diary = diary.hook(kind, &format!("echo {kind}{n} >> $0/order"));
        }
    }
    let container = t.start(&diary.bundle);
    container.stop();
    container.verb("delete").ok();
    let order = diary.order();
    for kind in KINDS {
        let own: Vec<_> = order.iter().filter_map(|line| line.strip_prefix(kind)).collect();
        assert_eq!(own, ["1", "2", "3"], "{kind}: {order:?}");
    }
}

fn args_and_env_are_the_hooks_own(t: &Test) {
    let mut diary = Diary::new(t);
    let hook = json!({
        "path": "/usr/bin/env",
        "args": ["other-name", "sh", "-c", "env > $0; echo \"$@\" >> $0", diary.dir.join("env"), "a b", "c"],
        "env": ["PATH=/usr/bin:/bin", "ONLY=this"],
    });
    diary.bundle = diary.bundle.push("/hooks/createRuntime", hook);
    let call = t.verb(["create", "--bundle"]).arg(diary.bundle.lay()).env("LEAKED", "yes");
    let id = t.id();
    t.will_delete(&id);
    call.arg(&id).ok();
    let text = diary.read("env");
    assert!(text.contains("ONLY=this") && text.contains("a b c") && !text.contains("LEAKED"), "{text}");
}

/// The kinds of hook that are programs of the host.
const HOSTS: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

/// Runs a container with hooks that have no `env`. KIND in the script is the name of the
/// kind, and DIARY is the directory of the diary.
fn lived_without_env(t: &Test, script: &str, env: Option<Value>) -> Diary {
    let mut diary = Diary::new(t);
    for kind in KINDS {
        let script = script.replace("KIND", kind).replace("DIARY", diary.dir.to_str().unwrap());
        let mut hook = json!({ "path": "/bin/busybox", "args": ["sh", "-c", script] });
        if kind == "startContainer" {
            hook["path"] = json!("/bin/sh");
        }
        if let Some(env) = &env {
            hook["env"] = env.clone();
        }
        diary.bundle = diary.bundle.push(&format!("/hooks/{kind}"), hook);
    }
    let set = json!(["PATH=/bin", "FROM=container", "LD_PRELOAD=/evil.so"]);
    diary.bundle = diary.bundle.set("/process/env", set).set("/process/cwd", json!("/tmp"));
    let id = t.id();
    t.will_delete(&id);
    for verb in ["create", "start", "kill", "delete"] {
        let call = t.verb([verb]).env("FROM", "runtime").cwd("/var");
        let call = if verb == "create" { call.arg("--bundle").arg(diary.bundle.lay()) } else { call };
        let call = call.arg(&id);
        let call = if verb == "kill" { call.arg("KILL") } else { call };
        if verb == "delete" {
            let state: Value = serde_json::from_str(&t.verb(["state", &id]).ok().stdout).unwrap();
            if let Some(pid) = state["pid"].as_i64().filter(|pid| *pid > 0) {
                assert!(PidFd::open(pid as i32).ended());
            }
        }
        call.ok();
    }
    diary
}

fn without_env_a_hook_has_the_runtimes(t: &Test) {
    let diary = lived_without_env(t, "env > DIARY/KIND", None);
    for kind in HOSTS {
        let env = diary.read(kind);
        assert!(env.contains("FROM=runtime\n"), "{kind}: {env}");
        // Otherwise programs of the host would load libraries that the image chooses
        // (CVE-2025-23266).
        assert!(!env.contains("LD_PRELOAD"), "{kind}: {env}");
    }
}

fn without_env_a_start_container_hook_has_the_payloads(t: &Test) {
    let env = lived_without_env(t, "env > DIARY/KIND", None).read("startContainer");
    for pair in ["FROM=container\n", "PATH=/bin\n", "HOME=/root\n"] {
        assert!(env.contains(pair), "{pair} is not in {env}");
    }
}

fn an_empty_env_is_empty(t: &Test) {
    let diary = lived_without_env(t, "env > DIARY/KIND", Some(json!([])));
    for kind in KINDS {
        let env = diary.read(kind);
        // Variables that a shell sets by itself.
        let mut names: Vec<_> = env.lines().filter_map(|line| line.split('=').next()).collect();
        names.retain(|name| !["PATH", "PWD", "SHLVL", "_"].contains(name));
        assert_eq!(names, [""; 0], "{kind}");
    }
}

fn hooks_start_in_the_bundle(t: &Test) {
    let diary = lived_without_env(t, "pwd > DIARY/KIND", None);
    for kind in HOSTS {
        assert_eq!(diary.read(kind).trim(), diary.bundle.dir.to_str().unwrap(), "{kind}");
    }
    assert_eq!(diary.read("startContainer"), "/tmp\n");
}

fn container_hooks_read_the_pid_of_the_container(t: &Test) {
    let (diary, _, _) = lived(t);
    for kind in ["createContainer", "startContainer"] {
        assert_eq!(state_of(&diary, kind)["pid"], 1, "{kind}");
    }
}

const NOTE_FDS: &str = "exec > $0/KIND; for fd in /proc/self/fd/*; do test -e $fd && echo $fd; done; true";

/// The hooks that ran [`NOTE_FDS`] had no other descriptors.
fn assert_only_stdio(diary: &Diary) {
    for kind in KINDS {
        let fds = diary.read(kind);
        assert_eq!(fds, "/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n", "{kind}");
    }
}

fn a_hook_has_only_stdio(t: &Test) {
    let diary = Diary::new(t).every(NOTE_FDS);
    let (_reader, writer) = pipe();
    let container = Container::create(t, &diary.bundle, |call| call.arg("--preserve-fds=1").pass(writer, 3));
    container.start();
    container.stop();
    container.verb("delete").ok();
    assert_only_stdio(&diary);
}

/// The caller has left 900 descriptors of the host's root open.
fn leaked_descriptors_reach_nobody(t: &Test) {
    let diary = Diary::new(t).every(NOTE_FDS);
    fn leak(call: Call<'_>) -> Call<'_> {
        call.leak(fs::File::open("/").expect("open /").into(), 3..903)
    }
    let container = Container::create(t, &diary.bundle, leak);
    leak(container.verb("start")).ok();
    let listed = fs::read_dir(format!("/proc/{}/fd", container.init.pid)).expect("list").count();
    assert_eq!(listed, 3, "init's descriptors");
    // The attack takes place: with a flag, the container gets them all.
    for (preserved, count) in [("0", 3), ("900", 903)] {
        let seen = leak(container.exec(["--preserve-fds", preserved], ["/probe"])).out().report();
        assert_eq!(seen["fds"].as_object().expect("an object").len(), count, "{}", seen["fds"]);
    }
    container.stop();
    leak(container.verb("delete")).ok();
    assert_only_stdio(&diary);
}

fn a_hook_has_default_signals(t: &Test) {
    let mut diary = Diary::new(t);
    for kind in KINDS {
        // The hook is no shell, because some shells ignore signals for their children.
        let args = json!(["cp", "/proc/self/status", diary.dir.join(kind)]);
        diary.bundle =
            diary.bundle.push(&format!("/hooks/{kind}"), json!({ "path": "/bin/cp", "args": args }));
    }
    let script = "trap '' INT HUP USR1; exec \"$0\" \"$@\"";
    let id = t.id();
    t.will_delete(&id);
    let call = t.call("/bin/sh").args(["-c", script]).arg(&*t.runtime.borrow()).arg("--root").arg(t.root());
    call.args(["run", "--detach", "--bundle"]).arg(diary.bundle.lay()).arg(&id).ok();
    for kind in &KINDS[..5] {
        let status = diary.read(kind);
        let masks: Vec<_> = status
            .lines()
            .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
            .filter_map(|line| line.split_once('\t'))
            .collect();
        assert_eq!(masks.len(), 2, "{kind}: {status}");
        for (name, mask) in masks {
            // No program ignores real-time signals for its children.
            let mask = u64::from_str_radix(mask, 16).expect("a mask") & 0x7fff_ffff;
            assert_eq!(mask, 0, "{kind}: {name} {status}");
        }
    }
}

const NAMESPACES: &str = "for n in mnt net uts ipc; do readlink /proc/self/ns/$n; done > $0/KIND";

fn links(pid: &str) -> String {
    ["mnt", "net", "uts", "ipc"]
        .map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap())
        .map(|link| format!("{}\n", link.display()))
        .concat()
}

fn host_hooks_run_in_the_hosts_namespaces(t: &Test) {
    let diary = Diary::new(t).every(NAMESPACES);
    let container = t.start(&diary.bundle);
    container.stop();
    container.verb("delete").ok();
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(diary.read(kind), links("self"), "{kind}");
    }
}

fn container_hooks_run_in_the_containers_namespaces(t: &Test) {
    let diary = Diary::new(t).every(NAMESPACES);
    let container = t.start(&diary.bundle);
    let inside = links(&container.init.pid.to_string());
    for kind in ["createContainer", "startContainer"] {
        assert_eq!(diary.read(kind), inside, "{kind}");
    }
}

fn create_container_hooks_see_the_mounts_before_pivot(t: &Test) {
    let diary = Diary::new(t);
    // The host's tree still exists, and the container's mounts are below it.
    let config = diary.bundle.dir.join("config.json");
    let script = format!("test -e {} && cat /proc/self/mountinfo > $0/mounts", config.display());
    let diary = diary.hook("createContainer", &script);
    let _container = t.create(&diary.bundle);
    let text = diary.read("mounts");
    for place in ["/proc", "/dev/pts", "/sys"] {
        let point = diary.bundle.inside(place);
        assert!(text.contains(&format!(" {} ", point.display())), "{place}: {text}");
    }
}

fn start_container_hooks_see_the_container_only(t: &Test) {
    let diary = Diary::new(t).hook("startContainer", "ls / > $0/root");
    let _container = t.start(&diary.bundle);
    let text = diary.read("root");
    assert!(text.lines().any(|name| name == "probe"), "{text}");
}

fn prestart_hooks_run_when_namespaces_exist(t: &Test) {
    // Network plugins do the same: they look up the pid, and enter its network namespace.
    let script = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); \
                  nsenter --net=/proc/$pid/ns/net readlink /proc/self/ns/net > $0/KIND";
    for kind in ["prestart", "createRuntime"] {
        let diary = Diary::new(t).hook(kind, &script.replace("KIND", kind));
        let container = t.create(&diary.bundle);
        let inside = fs::read_link(format!("/proc/{}/ns/net", container.init.pid)).unwrap();
        assert_eq!(diary.read(kind).trim(), inside.to_str().unwrap(), "{kind}");
    }
}

fn a_hook_that_never_reads_stdin_is_fine(t: &Test) {
    // The state is larger than a pipe's buffer, so its writer gets EPIPE.
    let mut diary = Diary::new(t).every("exec <&-; echo KIND >> $0/order");
    diary.bundle = diary.bundle.set("/annotations", json!({ "long": "x".repeat(100_000) }));
    let container = t.start(&diary.bundle);
    container.stop();
    container.verb("delete").ok();
    let order = diary.order();
    assert!(KINDS.iter().all(|kind| order.contains(&(*kind).to_owned())), "{order:?}");
}

fn failing_hooks_before_start_fail_create(t: &Test) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let diary = Diary::new(t).hook(kind, "echo because >&2; exit 3");
        let out = t.refused(&diary.bundle.clone());
        out.one_clear_line(&[&format!("/hooks/{kind}/0"), "because"]);
        assert!(diary.order().is_empty());
    }
}

fn failing_start_container_hook_fails_start(t: &Test) {
    let mut diary = Diary::new(t).hook("startContainer", "exit 3");
    diary.bundle = diary.bundle.args(["touch", "/started"]);
    let container = t.create(&diary.bundle);
    let out = container.verb("start").out();
    container.wait();
    assert!(!diary.bundle.inside("/started").exists(), "the payload ran");
    out.one_clear_line(&["/hooks/startContainer/0"]);
}

fn failing_poststop_hook_lets_delete_succeed(t: &Test) {
    let diary = Diary::new(t).hook("poststop", "exit 3").hook("poststop", "echo second >> $0/order");
    let container = t.start(&diary.bundle);
    container.stop();
    container.verb("delete").ok();
    assert_eq!(diary.order(), ["second"], "the others still run");
    container.verb("state").out().fails(&["does not exist"]);
}

fn with_hook(t: &Test, hook: &Value) -> Bundle {
    t.bundle().push("/hooks/createRuntime", hook.clone())
}

fn a_missing_hook_is_named(t: &Test) {
    let out = t.refused(&with_hook(t, &json!({ "path": "/no/such/hook" })));
    out.one_clear_line(&["/hooks/createRuntime/0"]);
    out.says(&["/no/such/hook"]);
}

fn hook_timeout_is_kept(t: &Test) {
    let hook = json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }]);
    for kind in ["prestart", "createRuntime"] {
        let out = t.refused(&t.bundle().set("/hooks", json!({ kind: hook })));
        out.one_clear_line(&[&format!("/hooks/{kind}/0"), "timeout"]);
    }
}

fn hook_timeout_ends_its_children_too(t: &Test) {
    let pid = t.path("pid");
    let script = "sleep 1000 & echo $! > \"$0\"; echo still waiting >&2; wait";
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script, pid], "timeout": 1,
        "env": ["PATH=/usr/bin:/bin"] });
    let out = t.refused(&with_hook(t, &hook));
    out.one_clear_line(&["/hooks/createRuntime/0", "timeout", "still waiting"]);
    let pid = fs::read_to_string(pid).expect("the hook ran");
    // The process has ended, and may have been reaped already.
    if fs::exists(format!("/proc/{}", pid.trim())).unwrap() {
        assert!(PidFd::open(pid.trim().parse().unwrap()).ended());
    }
}

fn hook_timeout_is_kept_in_the_container(t: &Test) {
    let hook = json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }]);
    let bundle = t.bundle().set("/hooks", json!({ "createContainer": hook }));
    t.refused(&bundle).one_clear_line(&["/hooks/createContainer/0", "timeout"]);
    let container = t.create(&t.bundle().set("/hooks", json!({ "startContainer": hook })));
    container.verb("start").out().one_clear_line(&["/hooks/startContainer/0", "timeout"]);
    container.wait();
}

fn hook_timeout_is_kept_when_the_payload_runs(t: &Test) {
    let hook = json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }]);
    let bundle = t.bundle().pausing();
    let container = t.create(&bundle.clone().set("/hooks", json!({ "poststart": hook })));
    container.verb("start").out().one_clear_line(&["/hooks/poststart/0", "timeout"]);
    container.wait();
    let container = t.start(&bundle.set("/hooks", json!({ "poststop": hook })));
    container.stop();
    container.verb("delete").ok().says(&["/hooks/poststop/0", "timeout"]);
}

/// The daemon holds the pipe of the hook's output open, and has left the hook's process
/// group.
fn a_daemon_that_a_hook_leaves_is_not_waited_for(t: &Test) {
    let pid = t.path("pid");
    let script = "setsid sleep 1000 & echo $! > \"$0\"";
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script, pid], "timeout": 100,
        "env": ["PATH=/usr/bin:/bin"] });
    let _container = t.create(&with_hook(t, &hook));
    let daemon = PidFd::from_file(&{
        let text = fs::read_to_string(&pid).expect("the hook ran");
        t.make_file("digits", text.trim())
    });
    assert!(daemon.is_alive());
    daemon.kill();
    assert!(daemon.ended());
}

/// runtime.md, steps 7 and 12: the container is stopped and destroyed, and the poststop
/// hooks run.
fn failing_start_container_hook_ends_the_container(t: &Test) {
    let diary = Diary::new(t).hook("startContainer", "exit 3").hook("poststop", "echo poststop >> $0/order");
    let container = t.create(&diary.bundle);
    container.verb("start").out().one_clear_line(&["/hooks/startContainer/0"]);
    container.wait();
    assert_eq!(diary.order(), ["poststop"]);
    container.verb("state").out().fails(&["does not exist"]);
}

/// runtime.md, steps 9 and 12.
fn failing_poststart_hook_ends_the_container(t: &Test) {
    let diary = Diary::new(t)
        .hook("poststart", "exit 3")
        .hook("poststart", "echo second >> $0/order")
        .hook("poststop", "echo poststop >> $0/order");
    let container = t.create(&diary.bundle);
    container.verb("start").out().one_clear_line(&["/hooks/poststart/0"]);
    assert_eq!(container.wait(), 128 + libc::SIGKILL);
    assert_eq!(diary.order(), ["poststop"]);
    container.verb("state").out().fails(&["does not exist"]);
    t.run(&diary.bundle).one_clear_line(&["/hooks/poststart/0"]);
    assert_eq!(diary.order(), ["poststop", "poststop"]);
}

fn relative_hook_path_is_refused(t: &Test) {
    let out = t.refused(&with_hook(t, &json!({ "path": "bin/true" })));
    out.one_clear_line(&["/hooks/createRuntime/0/path"]);
}

fn poststop_hooks_run_after_a_failed_create(t: &Test) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let diary = Diary::new(t).hook(kind, "exit 3").hook("poststop", "echo poststop >> $0/order");
        t.refused(&diary.bundle).one_clear_line(&[&format!("/hooks/{kind}/0"), "exit status 3"]);
        assert_eq!(diary.order(), ["poststop"], "{kind}");
    }
}

/// Init dies while a createContainer hook runs, and sends no message.
fn poststop_hooks_run_after_init_was_killed(t: &Test) {
    let mut diary = Diary::new(t).hook("createContainer", "kill -9 $PPID; read forever");
    diary = diary.hook("poststop", "echo poststop >> $0/order");
    // Only so the hook can kill init.
    diary.bundle = diary.bundle.without_namespace("pid");
    t.refused(&diary.bundle).one_clear_line(&["init was killed"]);
    assert_eq!(diary.order(), ["poststop"]);
}
