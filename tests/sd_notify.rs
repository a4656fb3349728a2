//! A container whose service manager waits for it to be ready (sd_notify(3)).

use crate::harness::{Container, PidFd, Running, Test, pipe, read_line, receive};
use serde_json::json;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

cases![
    start_tells_that_the_payload_is_ready,
    run_tells_that_the_payload_is_ready,
    run_in_the_foreground_reports_its_own_pid,
    run_listens_before_the_payload_runs,
    other_verbs_do_not_wait_for_readiness,
    manager_may_have_an_abstract_name,
    a_manager_that_cannot_be_reached_is_a_warning,
    payload_that_ends_is_not_waited_for,
    without_a_manager_there_is_no_socket,
];

/// A payload that sends these messages to its manager, and then keeps running.
fn saying(t: &Test, words: &[&str]) -> crate::harness::Bundle {
    let args = ["/probe", "--notify"].into_iter().chain(words.iter().copied());
    t.bundle().set("/process/user", json!({ "uid": 1000, "gid": 1000 })).args(args)
}

fn patient(manager: UnixDatagram) -> UnixDatagram {
    manager.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    manager
}

/// Receives the three messages. `call` does not return while the barrier's pipe is open.
fn hears(manager: &UnixDatagram, call: &Running, main_pid: i32) {
    let (ready, _) = message(manager, "ready");
    assert_eq!(ready, "READY=1\n");
    assert_eq!(message(manager, "main pid").0, format!("MAINPID={main_pid}\n"));
    let (barrier, pipe) = message(manager, "barrier");
    assert_eq!(barrier, "BARRIER=1");
    assert!(pipe.is_some() && call.is_alive());
}

fn message(manager: &UnixDatagram, what: &str) -> (String, Option<OwnedFd>) {
    let (text, mut fds) = receive(manager).unwrap_or_else(|error| panic!("{what}: {error}"));
    (String::from_utf8_lossy(&text).into_owned(), fds.pop())
}

fn start_tells_that_the_payload_is_ready(t: &Test) {
    let path = t.path("manager");
    let manager = patient(UnixDatagram::bind(&path).unwrap());
    let bundle = saying(t, &["STATUS=not yet", "READY=1\nSTATUS=now"]);
    let container = Container::create(t, &bundle, |call| call.env("NOTIFY_SOCKET", &path));
    let start = container.verb("start").env("NOTIFY_SOCKET", &path).spawn();
    hears(&manager, &start, container.init.pid);
    assert_eq!(start.out().code, 0);
    assert_eq!(container.status(), "running");
    container.stop();
    container.verb("delete").ok();
}

fn run_tells_that_the_payload_is_ready(t: &Test) {
    let (path, pid_file, id) = (t.path("manager"), t.path("pid"), t.id());
    let manager = patient(UnixDatagram::bind(&path).unwrap());
    t.will_delete(&id);
    let bundle = saying(t, &["READY=1"]);
    let call = t.verb(["run", "--detach", "--pid-file"]).arg(&pid_file).arg("--bundle").arg(bundle.lay());
    let run = call.arg(&id).env("NOTIFY_SOCKET", &path).spawn();
    let (ready, _) = message(&manager, "ready");
    assert_eq!(ready, "READY=1\n");
    let init = PidFd::from_file(&pid_file);
    assert_eq!(message(&manager, "main pid").0, format!("MAINPID={}\n", init.pid));
    drop(message(&manager, "barrier"));
    assert_eq!(run.out().code, 0);
    assert!(init.is_alive());
}

fn run_in_the_foreground_reports_its_own_pid(t: &Test) {
    let path = t.path("manager");
    let manager = patient(UnixDatagram::bind(&path).unwrap());
    let (bundle, id) = (saying(t, &["READY=1"]), t.id());
    let call = t.verb(["run", "--bundle"]).arg(bundle.lay()).arg(&id).env("NOTIFY_SOCKET", &path);
    let run = call.spawn();
    hears(&manager, &run, run.pid());
    t.verb(["kill", &id, "KILL"]).ok();
    assert_eq!(run.out().code, 137);
}

/// The payload gets the only CPU as soon as it is woken, so it sends its message before the
/// runtime does anything else.
fn run_listens_before_the_payload_runs(t: &Test) {
    let path = t.path("manager");
    let manager = patient(UnixDatagram::bind(&path).unwrap());
    let (said, writer) = pipe();
    let bundle = saying(t, &["READY=1"]).set("/process/scheduler", json!({ "policy": "SCHED_OTHER" }));
    let id = t.id();
    t.will_delete(&id);
    let call = t.verb(["run", "--bundle"]).arg(bundle.lay()).arg(&id).stdout(writer);
    let run = call.env("NOTIFY_SOCKET", &path).giving_way().spawn();
    assert_eq!(read_line(&said), "told", "the socket was not there yet");
    assert_eq!(message(&manager, "ready").0, "READY=1\n");
    drop(manager);
    t.verb(["kill", &id, "KILL"]).ok();
    assert_eq!(run.out().code, 137);
}

/// A container that never reports readiness can be paused and deleted.
fn other_verbs_do_not_wait_for_readiness(t: &Test) {
    let (path, id) = (t.path("manager"), t.id());
    let _manager = patient(UnixDatagram::bind(&path).unwrap());
    let (reader, writer) = pipe();
    t.will_delete(&id);
    let bundle = t.bundle().shell("echo on; sleep 1000");
    let call = t.verb(["run", "--detach", "--bundle"]).arg(bundle.lay()).arg(&id).stdout(writer);
    let run = call.env("NOTIFY_SOCKET", &path).spawn();
    assert_eq!(read_line(&reader), "on");
    t.verb(["pause", &id]).ok();
    t.verb(["delete", "--force", &id]).ok();
    run.out();
    assert_eq!(t.verb(["list", "--quiet"]).ok().stdout, "");
}

fn manager_may_have_an_abstract_name(t: &Test) {
    let name = SocketAddr::from_abstract_name(&t.token).unwrap();
    let manager = patient(UnixDatagram::bind_addr(&name).unwrap());
    let path = format!("@{}", t.token);
    let container = Container::create(t, &saying(t, &["READY=1"]), |call| call.env("NOTIFY_SOCKET", &path));
    let start = container.verb("start").env("NOTIFY_SOCKET", &path).spawn();
    hears(&manager, &start, container.init.pid);
    assert_eq!(start.out().code, 0);
}

/// A stale path, a path without a listener, an abstract name without a socket, and a path
/// that is too long for an address.
fn a_manager_that_cannot_be_reached_is_a_warning(t: &Test) {
    let stale = t.path("stale");
    drop(UnixDatagram::bind(&stale).unwrap());
    let paths = [
        stale.display().to_string(),
        t.path("missing").display().to_string(),
        format!("@{}", t.token),
        format!("/{}", "x".repeat(200)),
    ];
    for path in paths {
        let bundle = t.bundle().shell("echo ran");
        let out = t.run_call(&bundle).env("NOTIFY_SOCKET", &path).out();
        assert_eq!((out.code, out.stdout.as_str()), (0, "ran\n"), "{path}: {out:?}");
        out.says(&["corten: warning: ", &path]);
    }
}

fn payload_that_ends_is_not_waited_for(t: &Test) {
    let path = t.path("manager");
    let _manager = UnixDatagram::bind(&path).unwrap();
    let container = Container::create(t, &t.bundle().args(["true"]), |call| call.env("NOTIFY_SOCKET", &path));
    container.verb("start").env("NOTIFY_SOCKET", &path).ok();
    assert_eq!(container.wait(), 0);
}

fn without_a_manager_there_is_no_socket(t: &Test) {
    let seen = t.look(&t.bundle(), ["stat:/run/notify"]);
    assert_eq!(seen["asked"]["stat:/run/notify"], "ENOENT");
    let env = seen["env"].as_array().unwrap();
    assert!(!env.iter().any(|pair| pair.as_str().unwrap().starts_with("NOTIFY_SOCKET=")), "{env:?}");
}
