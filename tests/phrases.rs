//! Phrases of runc's errors that its users, engines and its own suite look for. corten's
//! errors contain them, and often more.

use crate::harness::{Bundle, Out, Test, cgroup_v2};
use crate::terminal::Console;
use serde_json::{Value, json};
use std::fs;

cases![
    of_a_failing_hook,
    of_a_hook_that_a_filter_kills,
    of_a_sub_cgroup,
    of_a_cgroup_with_processes,
    of_a_link_in_the_place_of_proc,
    of_unified_on_cgroup_v1,
    of_memory_policies,
    of_a_deadline_on_some_cpus,
    of_an_agent_that_is_not_there,
    of_notify_for_write,
    of_memory_that_is_used_already,
    of_a_missing_interpreter,
    of_a_missing_descriptor,
    of_network_devices_without_a_namespace,
    of_terminals,
    of_verbs_in_the_wrong_state,
];

const NONE: [&str; 0] = [];

fn fails(t: &Test, bundle: &Bundle, phrases: &[&str]) -> Out {
    let out = t.run(bundle);
    out.fails(phrases);
    out
}

fn of_a_failing_hook(t: &Test) {
    let hooks = json!([{ "path": "/bin/true" }, { "path": "/bin/false" }]);
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let bundle = t.bundle().args(["sleep", "9"]).set("/hooks", json!({ kind: hooks }));
        fails(t, &bundle, &[&format!("error running {kind} hook #1: exit status 1")]);
    }
}

fn of_a_hook_that_a_filter_kills(t: &Test) {
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }] });
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "exec mkdir /dev/shm/x"] }]);
    let bundle = t.bundle().args(["true"]).set("/linux/seccomp", filter);
    let bundle = bundle.set("/hooks", json!({ "startContainer": hook }));
    fails(t, &bundle, &["error running startContainer hook #0", "bad system call"]);
}

fn of_a_sub_cgroup(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let exec = |path: &str| container.exec(["--cgroup", path], ["true"]).out();
    exec("..").fails(&["bad sub cgroup path"]);
    exec("missing").fails(&[" adding pid ", "no such file or directory"]);
    exec("whaaat:/").fails(&["unknown controller "]);
}

fn of_a_cgroup_with_processes(t: &Test) {
    t.cgroupfs_only();
    let path = json!(format!("/{}", t.token));
    let bundle = t.bundle().set("/linux/cgroupsPath", path).pausing();
    let _container = t.start(&bundle);
    fails(t, &bundle, &["container's cgroup is not empty"]);
}

fn of_a_link_in_the_place_of_proc(t: &Test) {
    for place in ["proc", "sys"] {
        let bundle = t.bundle().args(["true"]);
        let path = bundle.inside(place);
        fs::remove_dir(&path).expect("rmdir");
        std::os::unix::fs::symlink("tmp", &path).expect("symlink");
        fails(t, &bundle, &["must be mounted on ordinary directory"]);
    }
}

fn of_unified_on_cgroup_v1(t: &Test) {
    if cgroup_v2() {
        t.skip("on cgroup v2 it is in its place");
    }
    let unified = json!({ "memory.min": "131072" });
    let bundle = t.bundle().set("/linux/resources/unified", unified).args(["true"]);
    fails(t, &bundle, &["invalid configuration"]);
}

fn of_memory_policies(t: &Test) {
    let policy = |policy: Value| t.bundle().set("/linux/memoryPolicy", policy).args(["true"]);
    fails(t, &policy(json!({ "mode": "BIND", "nodes": "0" })), &["invalid memory policy mode"]);
    fails(t, &policy(json!({ "nodes": "0" })), &["invalid memory policy mode"]);
    let flags = json!({ "mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["badflag"] });
    fails(t, &policy(flags), &["invalid memory policy flag"]);
    let nodes = json!({ "mode": "MPOL_BIND", "nodes": "0-9876543210" });
    fails(t, &policy(nodes), &["invalid memory policy node"]);
    let both = ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"];
    let both = json!({ "mode": "MPOL_DEFAULT", "nodes": "0-7", "flags": both });
    fails(t, &policy(both), &["set_mempolicy", "invalid argument"]);
}

fn of_a_deadline_on_some_cpus(t: &Test) {
    if fs::read_to_string("/sys/devices/system/cpu/online").is_ok_and(|online| online.trim() == "0") {
        t.skip("there is one CPU only");
    }
    let scheduler =
        json!({ "policy": "SCHED_DEADLINE", "runtime": 42_000, "deadline": 1_000_000, "period": 1_000_000 });
    let bundle = t.bundle().set("/process/scheduler", scheduler).args(["true"]);
    let bundle = bundle.set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" }));
    fails(t, &bundle, &["process scheduler can't be used together with AllowedCPUs"]);
}

fn notifying(t: &Test, call: &str) -> Bundle {
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nonexistent/agent",
        "syscalls": [{ "names": [call], "action": "SCMP_ACT_NOTIFY" }] });
    t.bundle().set("/linux/seccomp", profile).args(["true"])
}

fn of_an_agent_that_is_not_there(t: &Test) {
    fails(t, &notifying(t, "mkdir"), &["failed to connect with seccomp agent"]);
}

fn of_notify_for_write(t: &Test) {
    fails(t, &notifying(t, "write"), &["SCMP_ACT_NOTIFY cannot be used for the write syscall"]);
}

/// On cgroup v1, the kernel itself refuses.
fn of_memory_that_is_used_already(t: &Test) {
    if !cgroup_v2() {
        t.skip("on cgroup v1 the kernel refuses such a limit");
    }
    let container = t.start(&t.bundle().pausing());
    let update = |memory: Value| {
        let file = t.make_file("resources.json", &json!({ "memory": memory }).to_string());
        t.verb(["update", "--resources"]).arg(file).arg(&container.id).out()
    };
    update(json!({ "limit": 1024, "checkBeforeUpdate": true })).fails(&["rejecting memory limit"]);
    let swap = json!({ "limit": 1024, "swap": 2048, "checkBeforeUpdate": true });
    update(swap).fails(&["rejecting memory+swap limit"]);
}

fn of_a_missing_interpreter(t: &Test) {
    let bundle = t.bundle().args(["/run.sh"]);
    bundle.script("run.sh", "#!/mmnnttbb foo bar\nsh\n");
    fails(t, &bundle, &["exec /run.sh: no such file or directory"]);
    let container = t.start(&bundle.pausing());
    container.exec(NONE, ["/run.sh"]).out().fails(&["exec /run.sh: no such file or directory"]);
}

fn of_a_missing_descriptor(t: &Test) {
    let bundle = t.bundle().args(["true"]);
    let call = t.verb(["run", "--preserve-fds=7", "--bundle"]).arg(bundle.lay()).arg(t.id());
    call.out().fails(&["preserved-fd "]);
}

fn of_network_devices_without_a_namespace(t: &Test) {
    let bundle = t.bundle().without_namespace("network").without_mount("/sys").args(["true"]);
    let bundle = bundle.set("/linux/netDevices", json!({ "dummy0": {} }));
    fails(t, &bundle, &["unable to move network devices without a NET namespace"]);
}

fn of_terminals(t: &Test) {
    let console = Console::new(t);
    let call = t.verb(["create", "--console-socket"]).arg(&console.path).arg("--bundle");
    call.arg(t.bundle().lay()).arg(t.id()).out().fails(&["cannot use console socket if"]);
    let refused = t.refused(&t.bundle().set("/process/terminal", json!(true)));
    refused.says(&["cannot allocate tty if", "will detach without setting console socket"]);
}

fn of_verbs_in_the_wrong_state(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    let say = |verb: &str, phrase: &str| t.verb([verb, &container.id]).out().fails(&[phrase]);
    say("resume", "container not paused");
    container.start();
    say("delete", "that is not stopped");
    say("start", "cannot start an already running container");
    container.kill("KILL");
    container.wait();
    say("start", "cannot start a container that has stopped");
    say("kill", "container not running");
    say("pause", "container not running");
    container.exec(NONE, ["true"]).out().fails(&["cannot exec in a stopped container"]);
}
