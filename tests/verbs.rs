//! Every verb but `exec`, with its flags and its refusals.

use crate::harness::{Container, Test, cgroup_v2, is_root, pipe, read_line};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

cases![
    version_names_itself_and_the_spec,
    help_succeeds,
    unknown_verb_or_flag_is_refused,
    spec_writes_a_config_once,
    spec_writes_into_the_current_directory,
    spec_rootless_has_a_user_namespace,
    spec_has_a_cgroup_namespace_on_version_2_alone,
    spec_output_runs,
    features_are_complete,
    help_of_a_verb,
    verbs_change_and_delete_a_foreground_container,
    features_of_the_host,
    features_of_the_host_for_a_user,
    a_container_lives_from_create_to_delete,
    create_does_not_start_the_payload,
    state_has_the_right_values,
    state_of_unknown_is_refused,
    run_returns_the_exit_code,
    run_returns_128_plus_signal,
    run_under_an_ignored_sigchld,
    run_takes_the_bundle_from_the_current_directory,
    run_detached_returns_at_once,
    run_keeps_the_container_when_asked,
    run_passes_stdin_and_stdout,
    run_reports_a_missing_executable,
    run_forwards_signals,
    list_of_nothing_is_empty,
    list_in_all_formats,
    list_refuses_an_unknown_format,
    kill_sends_term_by_default,
    kill_knows_numbers_and_names,
    kill_all_reaches_every_process,
    kill_ends_all_that_share_the_hosts_pids,
    kill_with_no_signal_asks_whether_it_runs,
    kill_ends_a_created_container,
    kill_refuses_an_unknown_signal,
    kill_of_a_stopped_container_is_refused,
    start_twice_is_refused,
    start_of_a_stopped_container_is_refused,
    delete_of_a_running_container_is_refused,
    delete_with_force_ends_a_running_container,
    delete_with_force_of_a_created_container,
    delete_with_force_of_unknown_succeeds,
    unknown_container_does_not_exist,
    a_missing_id_is_refused,
    no_verb_sleeps,
    log_goes_to_a_file,
    systemd_cgroups_are_refused_clearly,
];

fn version_names_itself_and_the_spec(t: &Test) {
    let out = t.verb(["--version"]).ok();
    let first = out.stdout.lines().next().unwrap_or_default();
    assert!(first.contains(" version "), "{out:?}");
    assert!(out.stdout.lines().any(|line| line.starts_with("spec: 1.")), "{out:?}");
    assert_eq!(out.stderr, "");
}

fn help_succeeds(t: &Test) {
    let out = t.verb(["--help"]).ok();
    for verb in ["create", "start", "state", "kill", "delete", "run", "exec", "list", "spec", "features"] {
        assert!(out.stdout.contains(verb), "{verb} is not in {out:?}");
        assert!(t.verb([verb, "--help"]).ok().stdout.contains(verb));
    }
}

fn unknown_verb_or_flag_is_refused(t: &Test) {
    for args in [["frobnicate", "x"], ["list", "--frobnicate"], ["--frobnicate", "list"]] {
        t.verb(args).out().fails(&["frobnicate"]);
    }
}

fn spec_in(t: &Test, flags: &[&str]) -> Value {
    let dir = t.make_dir("spec");
    t.verb(["spec", "--bundle"]).arg(&dir).args(flags).ok();
    let text = std::fs::read(dir.join("config.json")).expect("spec writes config.json");
    serde_json::from_slice(&text).expect("config.json is JSON")
}

fn spec_writes_a_config_once(t: &Test) {
    let dir = t.make_dir("spec");
    t.verb(["spec", "--bundle"]).arg(&dir).ok();
    let written = std::fs::read(dir.join("config.json")).expect("config.json");
    let config: Value = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], json!(true));
    assert_eq!(config["root"], json!({ "path": "rootfs", "readonly": true }));
    let mounts = config["mounts"].as_array().expect("mounts");
    let places: Vec<_> = mounts.iter().map(|m| m["destination"].as_str().unwrap()).collect();
    let all = ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"];
    assert_eq!(places, all);
    let again = t.verb(["spec", "--bundle"]).arg(&dir).out();
    again.one_clear_line(&["config.json"]);
    assert_eq!(std::fs::read(dir.join("config.json")).unwrap(), written, "overwritten");
}

fn spec_writes_into_the_current_directory(t: &Test) {
    let dir = t.make_dir("spec");
    t.verb(["spec"]).cwd(&dir).ok();
    assert!(dir.join("config.json").is_file());
}

fn spec_rootless_has_a_user_namespace(t: &Test) {
    let config = spec_in(t, &["--rootless"]);
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    let kinds: Vec<_> = namespaces.iter().map(|n| n["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"user") && !kinds.contains(&"network"), "{kinds:?}");
    assert_eq!(config["linux"]["uidMappings"][0]["containerID"], 0);
    assert_eq!(config["linux"]["gidMappings"][0]["size"], 1);
}

fn spec_has_a_cgroup_namespace_on_version_2_alone(t: &Test) {
    for flags in [&[][..], &["--rootless"]] {
        let config = spec_in(t, flags);
        let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
        assert_eq!(namespaces.contains(&json!({ "type": "cgroup" })), cgroup_v2(), "{namespaces:?}");
    }
}

fn spec_output_runs(t: &Test) {
    let mut bundle = t.bundle();
    bundle.config = spec_in(t, if is_root() { &[] } else { &["--rootless"] });
    let bundle = bundle.set("/process/terminal", json!(false)).shell("echo from inside");
    let out = t.run(&bundle);
    assert_eq!((out.code, out.stdout.as_str()), (0, "from inside\n"), "{out:?}");
}

fn features_are_complete(t: &Test) {
    let out = t.verb(["features"]).ok();
    assert_eq!(out.stderr, "");
    let features: Value = serde_json::from_str(&out.stdout).expect("features is JSON");
    for version in ["ociVersionMin", "ociVersionMax"] {
        assert!(features[version].as_str().is_some_and(|v| v.starts_with("1.")), "{version}");
    }
    let has = |at: &str, all: &[&str]| {
        let list = features.pointer(at).and_then(Value::as_array).cloned();
        let list = list.unwrap_or_else(|| panic!("{at} is not in {features}"));
        for one in all {
            assert!(list.contains(&json!(one)), "{at} lacks {one}");
        }
    };
    has(
        "/hooks",
        &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
    );
    has("/mountOptions", &["ro", "rw", "rbind", "rprivate", "rshared", "rslave", "nosuid", "rro"]);
    has("/linux/namespaces", &["cgroup", "ipc", "mount", "network", "pid", "user", "uts"]);
    has("/linux/capabilities", &["CAP_CHOWN", "CAP_SYS_ADMIN"]);
}

fn a_container_lives_from_create_to_delete(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    let out = container.exec([], ["echo", "hello"]).ok();
    assert_eq!(out.stdout, "hello\n");
    container.stop();
    assert_eq!(container.status(), "stopped");
    container.verb("delete").ok();
    container.verb("state").out().one_clear_line(&["does not exist"]);
}

fn create_does_not_start_the_payload(t: &Test) {
    let bundle = t.bundle().args(["touch", "/started"]);
    let container = t.create(&bundle);
    assert!(!bundle.inside("/started").exists());
    container.start();
    assert_eq!(container.wait(), 0);
    assert!(bundle.inside("/started").exists());
}

fn state_has_the_right_values(t: &Test) {
    let bundle = t.bundle().pausing().set("/annotations", json!({ "org.example": "yes" }));
    let container = t.create(&bundle);
    let state = container.state();
    assert_eq!(state["id"], container.id.as_str());
    assert_eq!(state["pid"], container.init.pid);
    assert_eq!(state["bundle"], bundle.dir.to_str().unwrap());
    assert_eq!(state["annotations"]["org.example"], "yes");
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    container.start();
    assert_eq!(container.state()["pid"], container.init.pid);
    container.stop();
    let state = container.state();
    assert_eq!(state["status"], "stopped");
    assert_eq!(state["pid"], 0);
}

fn state_of_unknown_is_refused(t: &Test) {
    let out = t.verb(["state", "nobody"]).out();
    out.one_clear_line(&["nobody"]);
    out.says(&["does not exist"]);
    assert_eq!(out.stdout, "");
}

fn run_returns_the_exit_code(t: &Test) {
    for code in ["0", "1", "42", "255"] {
        let out = t.run(&t.bundle().args(["/probe", "--exit", code]));
        assert_eq!(out.code.to_string(), code, "{out:?}");
        assert_eq!(out.stderr, "");
    }
}

fn run_under_an_ignored_sigchld(t: &Test) {
    use std::os::unix::process::CommandExt;
    let mut call = t.run_call(&t.bundle().args(["/probe", "--exit", "7"]));
    // SAFETY: signal is async-signal-safe.
    let ignore = || match unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: see above.
    unsafe { call.command.pre_exec(ignore) };
    assert_eq!(call.out().code, 7);
}

fn run_returns_128_plus_signal(t: &Test) {
    // No process of a pid namespace can kill its pid 1 from inside. So the container shares
    // the host's pid namespace.
    let bundle = t.bundle().without_namespace("pid");
    for (signal, code) in [("SIGKILL", 137), ("SIGTERM", 143), ("SIGUSR1", 138)] {
        let out = t.run(&bundle.clone().args(["/probe", "--die", signal]));
        assert_eq!(out.code, code, "{signal}: {out:?}");
    }
}

fn run_takes_the_bundle_from_the_current_directory(t: &Test) {
    let bundle = t.bundle().args(["/probe", "--exit", "3"]);
    let out = t.verb(["run"]).arg(t.id()).cwd(bundle.lay()).out();
    assert_eq!(out.code, 3, "{out:?}");
}

fn run_detached_returns_at_once(t: &Test) {
    let container = Container::run_detached(t, &t.bundle().pausing());
    assert_eq!(container.status(), "running");
    assert_eq!(container.state()["pid"], container.init.pid);
    container.stop();
    assert_eq!(container.status(), "stopped");
}

fn run_keeps_the_container_when_asked(t: &Test) {
    let (bundle, id) = (t.bundle().args(["/probe", "--exit", "4"]), t.id());
    t.will_delete(&id);
    let out = t.verb(["run", "--keep", "--bundle"]).arg(bundle.lay()).arg(&id).out();
    assert_eq!(out.code, 4, "{out:?}");
    let state: Value = serde_json::from_str(&t.verb(["state", &id]).ok().stdout).unwrap();
    assert_eq!(state["status"], "stopped");
    t.verb(["delete", &id]).ok();
}

fn run_passes_stdin_and_stdout(t: &Test) {
    let words = t.make_file("words", "one\ntwo\n");
    let bundle = t.bundle().shell("cat; echo err >&2");
    let out = t.run_call(&bundle).stdin(std::fs::File::open(words).unwrap()).ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("one\ntwo\n", "err\n"));
}

fn run_reports_a_missing_executable(t: &Test) {
    let out = t.run(&t.bundle().args(["/nope"]));
    out.one_clear_line(&["/nope"]);
    out.says(&["no such file or directory"]);
}

fn run_forwards_signals(t: &Test) {
    let (reader, writer) = crate::harness::pipe();
    let bundle = t.bundle().args(["/probe", "--signals"]);
    let running = t.run_call(&bundle).stdout(writer).spawn();
    assert_eq!(crate::harness::read_line(&reader), "ready");
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGTERM] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.pid()), signal).expect("kill");
        assert_eq!(crate::harness::read_signal(&reader), signal.as_str());
    }
    let id = t.verb(["list", "-q"]).ok().stdout;
    t.verb(["kill", id.trim(), "KILL"]).ok();
    assert_eq!(running.out().code, 137);
}

fn list_of_nothing_is_empty(t: &Test) {
    assert_eq!(t.verb(["list", "-q"]).ok().stdout, "");
    assert_eq!(t.verb(["list"]).ok().stdout.lines().count(), 1, "only the headings");
    let list: Value = serde_json::from_str(&t.verb(["list", "-f", "json"]).ok().stdout).unwrap();
    assert!(list.is_null() || list == json!([]), "{list}");
}

fn list_in_all_formats(t: &Test) {
    let (one, two) = (t.create(&t.bundle().pausing()), t.start(&t.bundle().pausing()));
    let quiet = t.verb(["list", "--quiet"]).ok().stdout;
    let mut ids: Vec<_> = quiet.lines().collect();
    ids.sort_unstable();
    assert_eq!(ids, [&one.id, &two.id]);

    let table = t.verb(["list"]).ok().stdout;
    let heads: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row = table.lines().find(|line| line.starts_with(&two.id)).expect("a row");
    let row: Vec<_> = row.split_whitespace().collect();
    assert_eq!(row[1..3], [two.init.pid.to_string().as_str(), "running"]);
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().expect("a user").name;
    assert_eq!(row[5], user);

    let json = t.verb(["list", "--format", "json"]).ok().stdout;
    let json: Value = serde_json::from_str(&json).expect("list is JSON");
    let entry = json.as_array().unwrap().iter().find(|c| c["id"] == one.id.as_str());
    let entry = entry.expect("an entry");
    assert_eq!((&entry["status"], &entry["owner"]), (&json!("created"), &json!(user)));
    assert_eq!(entry["pid"], one.init.pid);
}

fn list_refuses_an_unknown_format(t: &Test) {
    t.verb(["list", "--format", "yaml"]).out().one_clear_line(&["yaml"]);
}

/// A container whose payload prints every signal that it gets.
fn listening(t: &Test) -> (Container<'_>, std::fs::File) {
    let (reader, writer) = crate::harness::pipe();
    let bundle = t.bundle().args(["/probe", "--signals"]);
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    assert_eq!(crate::harness::read_line(&reader), "ready");
    (container, reader)
}

fn kill_sends_term_by_default(t: &Test) {
    let (container, heard) = listening(t);
    container.verb("kill").ok();
    assert_eq!(crate::harness::read_line(&heard), "SIGTERM");
}

fn kill_knows_numbers_and_names(t: &Test) {
    let (container, heard) = listening(t);
    for (given, received) in [
        ("10", "SIGUSR1"),
        ("SIGUSR2", "SIGUSR2"),
        ("HUP", "SIGHUP"),
        ("winch", "SIGWINCH"),
        ("sigint", "SIGINT"),
    ] {
        container.kill(given);
        assert_eq!(crate::harness::read_line(&heard), received, "kill {given}");
    }
}

fn kill_all_reaches_every_process(t: &Test) {
    // Without a pid namespace of its own, only the cgroup identifies the container's
    // processes.
    let bundle = t.bundle().without_namespace("pid").shell("sleep 1000 & echo $!; wait");
    let (reader, writer) = crate::harness::pipe();
    let container = Container::create(t, &bundle, |call| call.stdout(writer));
    container.start();
    let child = crate::harness::read_line(&reader).parse().expect("a pid");
    let child = crate::harness::PidFd::open(child);
    t.verb(["kill", "--all", &container.id, "KILL"]).ok();
    assert!(child.ended(), "kill --all missed a child");
    assert_eq!(container.wait(), 137);
}

/// No other process would reap them. The init of the second container has ended before.
fn kill_ends_all_that_share_the_hosts_pids(t: &Test) {
    for script in ["sleep 1000 & echo $!; wait", "sleep 1000 & echo $!"] {
        let bundle = t.bundle().without_namespace("pid").shell(script);
        let (reader, writer) = crate::harness::pipe();
        let container = Container::create(t, &bundle, |call| call.stdout(writer));
        container.start();
        let child = crate::harness::read_line(&reader).parse().expect("a pid");
        let child = crate::harness::PidFd::open(child);
        if !script.ends_with("wait") {
            assert_eq!(container.wait(), 0);
        }
        assert!(child.is_alive());
        t.verb(["kill", &container.id, "KILL"]).ok();
        assert!(child.ended(), "kill missed a child of: {script}");
    }
}

fn kill_with_no_signal_asks_whether_it_runs(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    t.verb(["kill", &container.id, "0"]).ok();
    assert_eq!(container.status(), "running");
    container.stop();
    t.verb(["kill", &container.id, "0"]).out().fails(&["container not running"]);
}

fn kill_ends_a_created_container(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    container.stop();
    assert_eq!(container.status(), "stopped");
    container.verb("delete").ok();
}

fn kill_refuses_an_unknown_signal(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    for signal in ["SIGNONSENSE", "999", "-5"] {
        let out = t.verb(["kill", "--", &container.id, signal]).out();
        out.one_clear_line(&["signal"]);
    }
    assert_eq!(container.status(), "running");
}

fn kill_of_a_stopped_container_is_refused(t: &Test) {
    let container = t.start(&t.bundle().args(["true"]));
    assert_eq!(container.wait(), 0);
    let out = container.verb("kill").arg("KILL").out();
    out.one_clear_line(&["container not running"]);
    out.says(&["container not running"]);
}

fn start_twice_is_refused(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    container.verb("start").out().one_clear_line(&["running"]);
    assert_eq!(container.status(), "running");
}

fn start_of_a_stopped_container_is_refused(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    container.stop();
    container.verb("start").out().one_clear_line(&["stopped"]);
}

fn delete_of_a_running_container_is_refused(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    container.verb("delete").out().one_clear_line(&["running"]);
    assert_eq!(container.status(), "running");
}

fn delete_with_force_ends_a_running_container(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    t.verb(["delete", "--force", &container.id]).ok();
    assert_eq!(container.wait(), 137);
    container.verb("state").out().one_clear_line(&["does not exist"]);
}

fn delete_with_force_of_a_created_container(t: &Test) {
    let bundle = t.bundle().args(["touch", "/started"]);
    let container = t.create(&bundle);
    t.verb(["delete", "-f", &container.id]).ok();
    assert_eq!(container.wait(), 137);
    assert!(!bundle.inside("/started").exists());
}

fn delete_with_force_of_unknown_succeeds(t: &Test) {
    let out = t.verb(["delete", "--force", "nobody"]).ok();
    assert_eq!(out.stdout, "");
}

fn unknown_container_does_not_exist(t: &Test) {
    for verb in ["start", "state", "kill", "delete"] {
        let out = t.verb([verb, "nobody"]).out();
        out.one_clear_line(&["nobody"]);
        out.says(&["does not exist"]);
    }
    let out = t.verb(["exec", "nobody", "true"]).out();
    out.one_clear_line(&["nobody"]);
    out.says(&["does not exist"]);
}

fn a_missing_id_is_refused(t: &Test) {
    for verb in ["create", "start", "state", "kill", "delete", "run", "exec"] {
        t.verb([verb]).out().one_clear_line(&["required", "<ID>"]);
    }
}

/// No verb sleeps or polls. strace shows what each verb waits for.
fn no_verb_sleeps(t: &Test) {
    let bundle = t.bundle().pausing();
    let dir = bundle.lay().to_str().expect("UTF-8");
    let (one, two, three) = (t.id(), t.id(), t.id());
    let ended = t.bundle().args(["true"]);
    let ended = ended.lay().to_str().expect("UTF-8");
    [&one, &two].iter().for_each(|id| t.will_delete(id));
    for call in [
        &["create", "--bundle", dir, &one][..],
        &["state", &one],
        &["start", &one],
        &["list"],
        &["exec", &one, "true"],
        &["ps", "--format", "json", &one],
        &["events", "--stats", &one],
        &["update", "--pids-limit", "100", &one],
        &["pause", &one],
        &["resume", &one],
        &["delete", "--force", &one],
        &["run", "--detach", "--bundle", dir, &two],
        &["pause", &two],
        &["kill", &two, "KILL"],
        &["delete", "--force", &two],
        &["run", "--bundle", ended, &three],
        &["features"],
    ] {
        let log = t.path("strace");
        let waits = "trace=nanosleep,clock_nanosleep,poll,ppoll,select,pselect6,epoll_wait,epoll_pwait,\
            epoll_pwait2,sched_yield";
        // Only the runtime's own process: a payload may sleep.
        let strace =
            t.call("/usr/bin/strace").args(["-qq", "-e", waits, "-e", "signal=none", "-o"]).arg(&log);
        let runtime = t.runtime.borrow().clone();
        strace.arg(runtime).arg("--root").arg(t.root()).args(call).ok();
        let waits = std::fs::read_to_string(&log).expect("a log");
        let count = |name: &str| waits.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(count("nanosleep") + count("clock_nanosleep") + count("select"), 0, "{call:?}: {waits}");
        // Version 1 does not report when all processes are frozen. The runtime has to look
        // until they are, which may take many looks on a busy machine.
        assert!(count("sched_yield") == 0 || call[0] == "pause", "{call:?}: {waits}");
        let others = waits.lines().count() - count("sched_yield");
        assert!(others < 100, "a loop: {call:?}: {waits}");
        for line in waits.lines().filter(|line| line.starts_with("poll")) {
            // poll([{fd=7, events=POLLIN}], 1, -1)    = 1 ([…])
            let args = line.split(" = ").next().unwrap_or_default().trim_end().trim_end_matches(')');
            let timeout = args.rsplit(", ").next().and_then(|timeout| timeout.parse::<i32>().ok());
            let timeout = timeout.unwrap_or_else(|| panic!("no timeout: {line}"));
            assert!(timeout == -1 || timeout >= 1000, "{call:?} looks again and again: {line}");
        }
    }
}

fn log_goes_to_a_file(t: &Test) {
    let log = t.path("log");
    t.runtime().arg("--log").arg(&log).args(["state", "nobody"]).out().fails(&["does not exist"]);
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.contains("level=error") && text.contains("does not exist"), "{text}");

    let debug = t.path("log");
    t.runtime()
        .arg("--debug")
        .arg("--log")
        .arg(&debug)
        .args(["run", "--bundle"])
        .arg(t.bundle().args(["true"]).lay())
        .arg(t.id())
        .ok();
    let text = std::fs::read_to_string(&debug).expect("a log");
    assert!(text.contains("level=debug"), "{text}");
}

fn systemd_cgroups_are_refused_clearly(t: &Test) {
    if std::path::Path::new("/run/systemd/system").exists() {
        t.skip("systemd runs here");
    }
    let bundle = t.bundle();
    let call = t.runtime().arg("--systemd-cgroup").args(["run", "--bundle"]);
    call.arg(bundle.lay()).arg(t.id()).out().one_clear_line(&["systemd"]);
}

/// `run` waits for the container. Meanwhile other verbs change it, and delete it.
fn verbs_change_and_delete_a_foreground_container(t: &Test) {
    let bundle = t.bundle().shell("echo on; while :; do sleep 1000 & wait; done");
    let (reader, writer) = pipe();
    let id = t.id();
    t.will_delete(&id);
    let run = t.verb(["run", "--bundle"]).arg(bundle.lay()).arg(&id).stdout(writer).spawn();
    assert_eq!(read_line(&reader), "on");
    let says = |status: &str| t.verb(["state", &id]).ok().stdout.contains(&format!("\"{status}\""));
    t.verb(["pause", &id]).ok();
    assert!(says("paused"));
    t.verb(["resume", &id]).ok();
    assert!(says("running") && run.is_alive());
    t.verb(["update", "--pids-limit", "77", &id]).ok();
    let limits = crate::harness::cgroups_named(&id).into_iter().map(|dir| dir.join("pids.max"));
    let limits: Vec<_> = limits.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    assert!(limits.iter().all(|limit| limit == "77\n"), "{limits:?}");
    t.verb(["delete", "--force", &id]).ok();
    let out = run.out();
    assert_eq!(out.code, 128 + libc::SIGKILL, "{out:?}");
    assert_eq!(t.verb(["list", "--quiet"]).ok().stdout, "");
}

fn help_of_a_verb(t: &Test) {
    let help = t.verb(["help", "delete"]).ok().stdout;
    assert_eq!(help, t.verb(["delete", "--help"]).ok().stdout);
    assert!(help.contains("--force"), "{help}");
    let all = t.verb(["help"]).ok().stdout;
    assert_eq!(all, t.verb(["-h"]).ok().stdout);
    assert!(all.contains("delete"), "{all}");
    t.verb(["help", "nothing"]).out().one_clear_line(&["nothing", "no such command"]);
}

/// What this machine allows. The test finds this out in other ways.
fn features_of_the_host(t: &Test) {
    let features = |args: &[&str]| -> Value {
        serde_json::from_str(&t.verb(["features"]).args(args).ok().stdout).expect("JSON")
    };
    let (plain, mut all) = (features(&[]), features(&["--host"]));
    assert_eq!(crate::harness::schema::violations(&all, "features-schema.json"), [""; 0]);
    let host = all.as_object_mut().unwrap().remove("host").expect("host");
    assert_eq!(all, plain, "the rest is the same");
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(host["kernel"], text("/proc/sys/kernel/osrelease").trim());
    // Every test of the suite needs these.
    for place in ["mountApi/bind", "mountApi/newFilesystem", "mountApi/attach", "idMappings"] {
        assert_eq!(host.pointer(&format!("/{place}/enabled")), Some(&json!(true)), "{place}: {host}");
    }
    assert_eq!(host["idmap"]["tmpfs"]["enabled"], crate::harness::linux() >= (6, 3), "{host}");
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
        let name = match kind {
            "mount" => "mnt",
            "network" => "net",
            other => other,
        };
        let there = std::path::Path::new(&format!("/proc/self/ns/{name}")).exists();
        assert_eq!(host["namespaces"][kind]["enabled"], there, "{kind}");
    }
    let checkpoint = &host["checkpoint"];
    let mut path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    path.retain(|dir| dir.join("criu").exists());
    if path.is_empty() {
        assert_eq!(checkpoint["enabled"], false);
        assert!(checkpoint["why"].as_str().unwrap().contains("criu is not installed"), "{checkpoint}");
    }
    // No kernel can map the ids of these filesystems, and the output gives the reason.
    for fs in ["proc", "sysfs"] {
        assert_eq!(host["idmap"][fs]["enabled"], false, "{fs}");
        assert!(host["idmap"][fs]["why"].as_str().unwrap().contains(fs), "{host}");
    }
    let lsm = text("/sys/kernel/security/lsm");
    if !lsm.is_empty() {
        let listed = |name: &str| lsm.trim().split(',').any(|module| module == name);
        assert_eq!(host["landlock"]["enabled"], listed("landlock"));
        assert_eq!(host["selinux"]["enabled"], listed("selinux"));
    }
    let known: Vec<_> =
        text("/proc/sys/kernel/seccomp/actions_avail").split_whitespace().map(str::to_owned).collect();
    let shown = host["seccomp"]["actions"].as_array().unwrap();
    assert_eq!(shown.len(), known.len(), "{shown:?} {known:?}");
    assert_eq!(host["seccomp"]["notify"]["enabled"], known.iter().any(|action| action == "user_notif"));
    let version = if crate::harness::cgroup_v2() { "v2" } else { "v1 hybrid" };
    assert!(version.contains(host["cgroup"]["version"].as_str().unwrap()), "{host}");
    let controllers = host["cgroup"]["controllers"].as_array().unwrap();
    for name in ["memory", "pids", "cpu"] {
        assert_eq!(controllers.contains(&json!(name)), crate::harness::has_controller(name), "{name}");
    }
    let flags: Vec<_> = plain["linux"]["seccomp"]["supportedFlags"].as_array().unwrap().clone();
    assert_eq!(host["seccomp"]["supportedFlags"], json!(flags));
}

fn features_of_the_host_for_a_user(t: &Test) {
    let user = Test::USER.to_string();
    let call = t.call("/usr/bin/setpriv").args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    let call = call.arg(&*t.runtime.borrow()).args(["features", "--host"]).cwd("/");
    let features: Value = serde_json::from_str(&call.ok().stdout).expect("JSON");
    let host = &features["host"];
    assert_eq!(host["privileged"], false);
    assert_eq!(host["idmap"]["enabled"], false);
    assert!(host["idmap"]["why"].as_str().unwrap().contains("CAP_SYS_ADMIN"), "{host}");
    // The user of the tests has no range of ids.
    assert_eq!(host["idMappings"]["enabled"], false, "{host}");
    assert_eq!(host["cgroup"]["mayMake"]["enabled"], false, "{host}");
    // In a user namespace of the user's own, this may work.
    assert_eq!(host["mountApi"]["attach"]["enabled"], host["namespaces"]["user"]["enabled"], "{host}");
}
