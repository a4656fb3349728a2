//! `wait`, and the record of how a container ended.

use crate::harness::{Container, Test};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::Path;

cases![
    wait_returns_the_exit_code,
    wait_returns_128_plus_signal,
    wait_reports_an_oom_kill,
    wait_reports_a_payload_that_could_not_be_executed,
    wait_of_a_created_container_spans_its_start,
    wait_knows_the_end_of_a_reaped_init,
    many_may_wait,
    wait_outlives_a_delete,
    the_record_stays_until_delete,
    run_with_keep_records_the_end,
    an_unobserved_end_is_not_invented,
    wait_of_unknown_is_refused,
];

fn started<'t>(t: &'t Test, script: &str) -> Container<'t> {
    let container = Container::create(t, &t.bundle().shell(script), |call| call);
    container.start();
    container
}

/// Returns the record without its time, which must be a valid time.
fn record(container: &Container) -> Value {
    let mut record = container.state()["exit"].clone();
    let at = record["at"].take();
    assert!(at.as_str().is_some_and(|at| at.ends_with('Z') && at.contains('T')), "{at}");
    record.as_object_mut().expect("a record").remove("at");
    record
}

fn wait_returns_the_exit_code(t: &Test) {
    let container = started(t, "exit 3");
    let out = container.verb("wait").out();
    assert_eq!((out.code, out.stdout.as_str(), out.stderr.as_str()), (3, "3\n", ""));
    assert_eq!(record(&container), json!({ "status": 3 }));
    assert_eq!(container.wait(), 3);
}

fn wait_returns_128_plus_signal(t: &Test) {
    let container = started(t, "sleep 1000");
    let waiting = container.verb("wait").spawn();
    container.kill("KILL");
    assert_eq!(waiting.out().code, 137);
    assert_eq!(record(&container), json!({ "status": 137, "signal": 9 }));
    assert_eq!(container.wait(), 137);
}

fn wait_reports_an_oom_kill(t: &Test) {
    if !Path::new("/sys/fs/cgroup/memory").exists() && !controllers().contains("memory") {
        t.skip("no memory controller");
    }
    let limits = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    let bundle = t.bundle().set("/linux/resources/memory", limits);
    let bundle = bundle.shell("exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    let told = json!({ "status": 137, "signal": 9, "oomKilled": true });
    if t.by_systemd() {
        // The cgroup is removed at once, so a process must have watched it.
        let id = t.id();
        t.will_delete(&id);
        assert_eq!(t.verb(["run", "--keep", "--bundle"]).arg(bundle.lay()).arg(&id).out().code, 137);
        let state: Value = serde_json::from_str(&t.verb(["state", &id]).ok().stdout).expect("JSON");
        assert_eq!(state["exit"]["oomKilled"], told["oomKilled"], "{state}");
        return;
    }
    let container = Container::create(t, &bundle, |call| call);
    container.start();
    assert_eq!(container.verb("wait").out().code, 137);
    assert_eq!(record(&container), told);
}

fn controllers() -> String {
    std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default()
}

fn wait_reports_a_payload_that_could_not_be_executed(t: &Test) {
    let bundle = t.bundle().args(["/broken"]);
    bundle.script("/broken", "#!/missing/interpreter\n");
    let container = Container::create(t, &bundle, |call| call);
    let out = container.verb("start").out();
    out.one_clear_line(&["/missing/interpreter"]);
    assert_eq!(container.verb("wait").out().code, 1);
    let record = record(&container);
    assert_eq!(record["status"], 1);
    assert!(record["error"].as_str().is_some_and(|error| error.contains("/missing/interpreter")), "{record}");
}

fn wait_of_a_created_container_spans_its_start(t: &Test) {
    let container = Container::create(t, &t.bundle().shell("exit 5"), |call| call);
    let waiting = container.verb("wait").spawn();
    container.start();
    assert_eq!(waiting.out().code, 5);
}

fn wait_knows_the_end_of_a_reaped_init(t: &Test) {
    let container = started(t, "sleep 1000");
    let waiting = container.verb("wait").spawn();
    let holds_a_pidfd = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", waiting.pid())).expect("fds").flatten();
        let mut links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.any(|link| link.to_string_lossy().contains("pidfd"))
    };
    while waiting.is_alive() && !holds_a_pidfd() {
        std::thread::yield_now();
    }
    let pid = nix::unistd::Pid::from_raw(waiting.pid());
    nix::sys::signal::kill(pid, Signal::SIGSTOP).expect("stop it");
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    nix::sys::signal::kill(pid, Signal::SIGCONT).expect("let it go on");
    let out = waiting.out();
    if out.code == 1 && out.stderr.contains("its exit status is unknown") {
        t.skip("the kernel forgets how a reaped process ended (before Linux 6.15)");
    }
    assert_eq!(out.code, 137, "{out:?}");
    assert_eq!(record(&container), json!({ "status": 137, "signal": 9 }));
}

fn many_may_wait(t: &Test) {
    let container = started(t, "sleep 1000");
    let waiting: Vec<_> = (0..5).map(|_| container.verb("wait").spawn()).collect();
    container.kill("TERM");
    container.kill("KILL");
    for one in waiting {
        assert_eq!(one.out().code, 137);
    }
}

fn wait_outlives_a_delete(t: &Test) {
    let container = started(t, "sleep 1000");
    let waiting = container.verb("wait").spawn();
    container.verb("delete").arg("--force").ok();
    // The call may have come too late.
    let out = waiting.out();
    assert!(out.code == 137 || out.stderr.contains("does not exist"), "{out:?}");
}

fn the_record_stays_until_delete(t: &Test) {
    let container = started(t, "exit 7");
    assert_eq!(container.verb("wait").out().code, 7);
    assert_eq!(container.wait(), 7);
    // Without the record, no process could know the exit status any more.
    assert_eq!(container.verb("wait").out().code, 7);
    assert_eq!(container.status(), "stopped");
    container.verb("delete").ok();
    container.verb("wait").out().one_clear_line(&["does not exist"]);
}

fn run_with_keep_records_the_end(t: &Test) {
    let id = t.id();
    t.will_delete(&id);
    let out = t.verb(["run", "--keep", "--bundle"]).arg(t.bundle().shell("exit 9").lay()).arg(&id).out();
    assert_eq!(out.code, 9);
    assert_eq!(t.verb(["wait", &id]).out().code, 9);
    t.verb(["delete", &id]).ok();
}

fn an_unobserved_end_is_not_invented(t: &Test) {
    let container = started(t, "exit 4");
    assert_eq!(container.wait(), 4);
    container.verb("wait").out().one_clear_line(&["its exit status is unknown"]);
    assert_eq!(container.state().get("exit"), None);
}

fn wait_of_unknown_is_refused(t: &Test) {
    t.verb(["wait", &t.id()]).out().one_clear_line(&["does not exist"]);
}
