//! What containerd, Docker, Podman, Buildah and CRI-O rely on without any documentation.

use crate::harness::{Container, PidFd, Test};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

cases![
    pid_file_is_digits_only,
    pid_file_comes_with_success_only,
    json_log_has_level_msg_time,
    json_log_of_an_error_is_one_object,
    json_log_of_an_error_has_no_warnings,
    json_log_goes_with_stderr,
    failures_have_the_exit_code_of_their_verb,
    features_name_what_containerd_reads,
    errors_of_the_environment_choose_no_exit_code,
    errors_of_the_payload_choose_the_exit_code,
    errors_of_the_payload_choose_dockers_exit_code,
    nothing_is_logged_when_all_is_well,
    state_has_every_key,
    state_speaks_on_stdout_only,
    version_can_be_parsed,
    init_comes_to_the_callers_subreaper,
    detached_exec_comes_to_the_callers_subreaper,
    a_socket_leaked_at_fd_three_stays_out,
    a_flag_without_its_value_is_in_runcs_words,
    runs_without_path_and_with_empty_xdg,
    root_directory_is_made,
    shim_sequence,
    conmon_sequence,
    buildah_sequence,
    kill_of_a_dead_init_says_not_running,
    delete_works_without_the_bundle,
    state_survives_a_second_reader,
    listen_fds_are_handed_down,
];

fn pid_file_is_digits_only(t: &Test) {
    let (bundle, file) = (t.bundle().args(["/probe", "--exit", "0"]), t.path("pid"));
    t.verb(["run", "--pid-file"]).arg(&file).arg("--bundle").arg(bundle.lay()).arg(t.id()).ok();
    let text = fs::read_to_string(&file).expect("a pid file");
    assert!(!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()), "{text:?}");
}

fn pid_file_comes_with_success_only(t: &Test) {
    let (bundle, file) = (t.bundle().args(["/nope"]), t.path("pid"));
    let call = t.verb(["create", "--pid-file"]).arg(&file).arg("--bundle").arg(bundle.lay());
    call.arg(t.id()).out().fails(&["/nope", "no such file or directory"]);
    assert!(!file.exists(), "{:?}", fs::read_to_string(&file));
}

/// The JSON objects that a failing call logs, and its stderr.
fn logged(t: &Test, args: &[&str]) -> (Vec<Value>, String) {
    let log = t.path("log.json");
    let out = t.runtime().arg("--log").arg(&log).args(["--log-format", "json"]).args(args).out();
    assert_ne!(out.code, 0, "{out:?}");
    let text = fs::read_to_string(&log).expect("a log");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    (lines.collect(), out.stderr)
}

/// Returns whether the text is like `2026-01-31T12:34:56Z`, or has an offset.
fn is_rfc3339(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape.starts_with("0000-00-00T00:00:00")
        && (shape.ends_with('Z') || shape.ends_with("+00:00") || shape.ends_with("-00:00"))
}

fn json_log_has_level_msg_time(t: &Test) {
    let (entries, _) = logged(t, &["state", "nobody"]);
    let error = entries.last().expect("an entry");
    assert_eq!(error["level"], "error");
    assert!(error["msg"].as_str().unwrap().contains("does not exist"), "{error}");
    assert!(is_rfc3339(error["time"].as_str().unwrap()), "{error}");
}

fn json_log_of_an_error_is_one_object(t: &Test) {
    // Podman decodes the whole file as one object.
    let bundle = t.bundle().args(["/nope"]);
    let (entries, _) = logged(t, &["create", "--bundle", bundle.lay().to_str().unwrap(), &t.id()]);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert!(entries[0]["msg"].as_str().unwrap().contains("no such file or directory"));
}

/// Podman decodes the whole file as one object, also if the configuration has a warning.
fn json_log_of_an_error_has_no_warnings(t: &Test) {
    let bundle = t.bundle().set("/linux/nonsense", json!(1)).args(["/nope"]);
    let (entries, _) = logged(t, &["create", "--bundle", bundle.lay().to_str().unwrap(), &t.id()]);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["level"], "error");
}

/// Any code but 0 is a failure. `exec` and `run` in the foreground return the payload's, so
/// engines expect 255 of an `exec` that fails itself.
fn failures_have_the_exit_code_of_their_verb(t: &Test) {
    let bundle = t.bundle().args(["/nope"]);
    let dir = bundle.lay().to_str().unwrap();
    let container = t.pausing();
    for (args, code) in [
        (&["create", "--bundle", dir, &t.id()][..], 1),
        (&["create", "--bundle", "/nonexistent", &t.id()], 1),
        (&["run", "--bundle", dir, &t.id()], 1),
        (&["start", "nobody"], 1),
        (&["start", &container.id], 1),
        (&["state", "nobody"], 1),
        (&["kill", "nobody", "9"], 1),
        (&["pause", "nobody"], 1),
        (&["resume", "nobody"], 1),
        (&["ps", "--format", "json", "nobody"], 1),
        (&["delete", "nobody"], 1),
        (&["delete", &container.id], 1),
        (&["delete", "--force", "nobody"], 0),
        (&["exec", "nobody", "true"], 255),
        (&["exec", &container.id, "/nope"], 255),
        (&["exec", "--process", "/nonexistent", &container.id], 255),
    ] {
        let out = t.runtime().args(args).out();
        assert_eq!(out.code, code, "{args:?}: {out:?}");
        assert_eq!((out.stdout.as_str(), out.stderr.is_empty()), ("", code == 0), "{args:?}: {out:?}");
    }
}

/// containerd asks for recursive read-only mounts and for idmapped mounts like this.
fn features_name_what_containerd_reads(t: &Test) {
    let out = t.runtime().arg("features").ok();
    let features: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert!(features["mountOptions"].as_array().unwrap().contains(&json!("rro")), "{features}");
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true, "{features}");
    assert_eq!(features["linux"]["seccomp"]["enabled"], true, "{features}");
}

fn json_log_goes_with_stderr(t: &Test) {
    let (entries, stderr) = logged(t, &["kill", "nobody", "9"]);
    assert!(entries.last().unwrap()["msg"].as_str().unwrap().contains("does not exist"), "{entries:?}");
    assert!(stderr.contains("does not exist"), "{stderr:?}");
}

/// Returns the exit code that Podman chooses by the text of an error. The patterns are in
/// Podman's order (`libpod/oci_util.go`, then `libpod/define/exec_codes.go`).
fn podmans_exit_code(text: &str) -> i32 {
    let says = |words: &[&str]| words.iter().any(|word| text.to_lowercase().contains(word));
    match () {
        () if says(&["permission denied", "operation not permitted"]) => 126,
        () if says(&["executable file not found in", "no such file or directory", "open executable"]) => 127,
        () if says(&["not found", "no such file"]) => 127,
        () => 125,
    }
}

/// Returns the exit code that Docker chooses by the text of an error (`daemon/errors.go`).
fn dockers_exit_code(text: &str) -> i32 {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match () {
        () if says(&["executable file not found", "no such file or directory"]) => 127,
        () if says(&["permission denied", "is a directory"]) => 126,
        () if says(&["not a directory"]) => 127,
        () => 128,
    }
}

/// 125, or 128 for Docker, means that the runtime failed. No error of the kernel about the environment may
/// change it.
fn errors_of_the_environment_choose_no_exit_code(t: &Test) {
    let missing = t.path("missing");
    let name = missing.to_str().unwrap();
    let hook = |path: &str| json!([{ "path": path }]);
    let closed = t.make_file("closed", "");
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": name,
        "syscalls": [{ "names": ["times"], "action": "SCMP_ACT_NOTIFY" }],
    });
    let payload = t.bundle().args(["true"]);
    // Each bundle with the text that names the missing thing.
    let bundles = [
        (payload.clone().set("/root/path", json!(name)), name),
        (payload.clone().bind(&missing, "/tmp", &[]), name),
        (payload.clone().set("/hooks", json!({ "prestart": hook(name) })), name),
        (
            payload.clone().set("/hooks", json!({ "createRuntime": hook(closed.to_str().unwrap()) })),
            closed.to_str().unwrap(),
        ),
        (payload.clone().set("/hooks", json!({ "createContainer": hook(name) })), name),
        (payload.clone().set("/hooks", json!({ "startContainer": hook("/missing") })), "/missing"),
        (payload.clone().set("/linux/seccomp", seccomp), name),
        (payload.clone().join("network", name), name),
        (payload.clone().mount("/tmp", "no-such-filesystem", "none", &[]), "no-such-filesystem"),
        (payload.clone().mount("/proc/nothing", "tmpfs", "none", &[]), "/proc/nothing"),
    ];
    let judge = |out: &crate::harness::Out, reason: &str| {
        out.fails(&[reason]);
        assert_eq!(podmans_exit_code(&out.stderr), 125, "{out:?}");
        assert_eq!(podmans_exit_code(&out.stdout), 125, "{out:?}");
        assert_eq!(dockers_exit_code(&out.stderr), 128, "{out:?}");
    };
    for (bundle, reason) in &bundles {
        judge(&t.run(bundle), reason);
    }
    // Root may have any groups.
    let group = json!({ "uid": 0, "gid": 0, "additionalGids": [4_000_000_000_u32] });
    let out = t.run(&payload.clone().set("/process/user", group));
    if out.code != 0 {
        judge(&out, "additionalGids");
    }
    let bundle = payload.lay();
    let terminal = t.bundle().set("/process/terminal", json!(true));
    let pid_file = format!("{name}/pid");
    let calls = [
        (t.verb(["create", "--bundle", name]).arg(t.id()), name),
        (t.verb(["create", "--pid-file", &pid_file, "--bundle"]).arg(bundle).arg(t.id()), &pid_file),
        (
            t.call(&*t.runtime.borrow())
                .arg("--root")
                .arg(closed.join("x"))
                .args(["create", "--bundle"])
                .arg(bundle)
                .arg(t.id()),
            closed.to_str().unwrap(),
        ),
        (t.verb(["run", "--config", name, "--bundle"]).arg(bundle).arg(t.id()), name),
        (t.verb(["update", "--resources", name, "nobody"]), name),
        (
            t.verb(["restore", "--image-path", name, "--bundle"]).arg(bundle).arg(t.id()),
            if crate::harness::is_root() { name } else { "need root" },
        ),
        (t.runtime().arg("--log").arg(format!("{name}/log")).args(["state", "nobody"]), name),
        (t.verb(["create", "--console-socket", name, "--bundle"]).arg(terminal.lay()).arg(t.id()), name),
    ];
    for (call, reason) in calls {
        judge(&call.out(), reason);
    }
    // If systemd runs, root asks systemd's own socket first.
    if crate::harness::is_root() && !Path::new("/run/systemd/private").exists() {
        let bus = t.runtime().args(["--systemd-cgroup", "create", "--bundle"]).arg(payload.lay());
        let bus = bus.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={name}")).arg(t.id()).out();
        judge(&bus, name);
    }
}

fn errors_of_the_payload_choose_the_exit_code(t: &Test) {
    let bundle = t.bundle();
    bundle.script("/orphan", "#!/nope\n");
    for (args, code) in [(["/nope"], 127), (["nope"], 127), ([""], 127), (["/etc/passwd"], 126)] {
        let out = t.run(&bundle.clone().args(args));
        assert_eq!(podmans_exit_code(&out.stderr), code, "{args:?}: {out:?}");
    }
    let out = t.run(&bundle.clone().args(["/orphan"]));
    assert_eq!(podmans_exit_code(&out.stderr), 127, "{out:?}");
    let closed = bundle.inside("/closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    if crate::harness::is_root() {
        // The host's root owns the directory, and the container's root has no rights there.
        let bundle = bundle.user_namespace().set("/process/cwd", json!("/closed")).args(["true"]);
        let out = t.run(&bundle);
        assert_eq!(podmans_exit_code(&out.stderr), 126, "{out:?}");
    }
}

fn errors_of_the_payload_choose_dockers_exit_code(t: &Test) {
    let container = t.pausing();
    let payloads =
        [("/nope", 127), ("nope", 127), ("/etc/passwd", 126), ("/etc", 126), ("/etc/passwd/nope", 127)];
    for (payload, code) in payloads {
        let out = t.run(&t.bundle().args([payload]));
        assert_eq!(dockers_exit_code(&out.stderr), code, "{payload}: {out:?}");
        let out = container.exec([], [payload]).out();
        assert_eq!(dockers_exit_code(&out.stderr), code, "exec {payload}: {out:?}");
    }
    let out = t.run(&t.bundle().bind(&t.make_file("file", ""), "/tmp", &[]).args(["true"]));
    assert_eq!(dockers_exit_code(&out.stderr), 127, "a file on a directory: {out:?}");
}

fn nothing_is_logged_when_all_is_well(t: &Test) {
    let (bundle, log) = (t.bundle().args(["true"]), t.path("log.json"));
    let call = t.runtime().arg("--log").arg(&log).args(["--log-format", "json", "run", "--bundle"]);
    let out = call.arg(bundle.lay()).arg(t.id()).ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("", ""));
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "");
}

fn state_has_every_key(t: &Test) {
    let bundle = t.bundle().set("/annotations", json!({ "k": "v" }));
    let container = t.create(&bundle);
    let state = container.state();
    for (key, kind) in [
        ("ociVersion", Value::is_string as fn(&Value) -> bool),
        ("id", Value::is_string),
        ("pid", Value::is_u64),
        ("status", Value::is_string),
        ("bundle", Value::is_string),
        ("rootfs", Value::is_string),
        ("created", Value::is_string),
        ("annotations", Value::is_object),
        ("owner", Value::is_string),
    ] {
        assert!(kind(&state[key]), "{key}: {state}");
    }
    assert!(is_rfc3339(state["created"].as_str().unwrap()), "{state}");
    assert_eq!(state["rootfs"], bundle.dir.join("rootfs").to_str().unwrap());
}

fn state_speaks_on_stdout_only(t: &Test) {
    let container = t.pausing();
    assert_eq!(container.verb("state").ok().stderr, "");
    assert_eq!(t.verb(["list", "--format", "json"]).ok().stderr, "");
}

fn version_can_be_parsed(t: &Test) {
    let text = t.verb(["--version"]).ok().stdout;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("version"), "{text}");
    for start in ["commit: ", "spec: "] {
        assert!(lines.iter().any(|line| line.starts_with(start)), "{start:?}: {text}");
    }
}

fn parent_of(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("PPid:")).unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

fn init_comes_to_the_callers_subreaper(t: &Test) {
    let container = t.create(&t.bundle().args(["/probe", "--exit", "5"]));
    assert_eq!(parent_of(container.init.pid), std::process::id().to_string());
    container.start();
    assert_eq!(container.wait(), 5, "its status can be waited for");
    let detached = Container::run_detached(t, &t.bundle().pausing());
    assert_eq!(parent_of(detached.init.pid), std::process::id().to_string());
}

fn detached_exec_comes_to_the_callers_subreaper(t: &Test) {
    let (container, file) = (t.pausing(), t.path("pid"));
    let call = t.verb(["exec", "--detach", "--pid-file"]).arg(&file);
    call.args([&container.id, "sh", "-c", "exit 6"]).ok();
    let status = PidFd::from_file(&file).reap();
    assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 6)), "{status:?}");
}

fn a_socket_leaked_at_fd_three_stays_out(t: &Test) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    let bundle = t.bundle();
    let container = Container::create(t, &bundle, |call| call.pass(theirs.into(), 3));
    container.start();
    container.wait();
    let seen = container.report();
    assert_eq!(seen["fds"].as_object().unwrap().len(), 3, "{}", seen["fds"]);
    drop(ours);
}

/// Podman calls this to find out whether the runtime can restore a pod
/// (`pkg/checkpoint/crutils`).
fn a_flag_without_its_value_is_in_runcs_words(t: &Test) {
    t.runtime().args(["restore", "--lsm-mount-context"]).out().fails(&["flag needs an argument"]);
}

fn runs_without_path_and_with_empty_xdg(t: &Test) {
    let bundle = t.bundle().args(["true"]);
    let mut call = t.run_call(&bundle);
    call.command.env_clear().env("XDG_RUNTIME_DIR", "");
    call.ok();
}

fn root_directory_is_made(t: &Test) {
    let root = t.path("deep").join("er");
    let bundle = t.bundle().args(["true"]);
    let runtime = t.runtime.borrow().clone();
    let call = t.call(runtime).arg("--root").arg(&root).args(["run", "--bundle"]);
    call.arg(bundle.lay()).arg(t.id()).ok();
    assert_eq!(fs::read_dir(&root).expect("made").count(), 0);
}

/// The global flags that containerd's shim passes to every call.
fn shim<'t>(t: &'t Test, log: &std::path::Path) -> crate::harness::Call<'t> {
    t.runtime().arg("--log").arg(log).args(["--log-format", "json"])
}

fn shim_sequence(t: &Test) {
    let (bundle, id) = (t.bundle().pausing(), t.id());
    let (pid_file, exec_pid, log) = (t.path("pid"), t.path("pid"), bundle.dir.join("log.json"));
    t.will_delete(&id);
    let call = shim(t, &log).args(["create", "--bundle"]).arg(bundle.lay());
    call.arg("--pid-file").arg(&pid_file).arg(&id).cwd(&bundle.dir).ok();
    let init = PidFd::from_file(&pid_file);
    shim(t, &log).args(["start", &id]).ok();
    let process = json!({ "args": ["sh", "-c", "exit 8"], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } });
    let process = t.make_file("process.json", &process.to_string());
    let call = shim(t, &log).args(["exec", "--process"]).arg(process).args(["--detach", "--pid-file"]);
    call.arg(&exec_pid).arg(&id).ok();
    let status = PidFd::from_file(&exec_pid).reap();
    assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 8)), "{status:?}");
    shim(t, &log).args(["kill", &id, "9"]).ok();
    init.reap();
    shim(t, &log).args(["delete", &id]).ok();
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "", "no error logged");
}

fn conmon_sequence(t: &Test) {
    let (bundle, id) = (t.bundle().pausing(), t.id());
    let (pid_file, log) = (t.path("pid"), t.path("log"));
    t.will_delete(&id);
    let call = t.runtime().arg("--log-format=json").arg("--log").arg(&log).args(["create", "--bundle"]);
    call.arg(bundle.lay()).arg("--pid-file").arg(&pid_file).arg(&id).ok();
    let init = PidFd::from_file(&pid_file);
    t.verb(["start", &id]).ok();
    t.verb(["kill", &id, "9"]).ok();
    init.reap();
    t.verb(["delete", "--force", &id]).ok();
}

fn buildah_sequence(t: &Test) {
    let container = t.create(&t.bundle().args(["/probe", "--exit", "0"]));
    assert_eq!(container.status(), "created");
    container.start();
    container.wait();
    assert_eq!(container.status(), "stopped");
    container.verb("delete").ok();
}

fn kill_of_a_dead_init_says_not_running(t: &Test) {
    let container = t.pausing();
    container.stop();
    for signal in ["9", "KILL", "15"] {
        let out = container.verb("kill").arg(signal).out();
        out.fails(&["container not running"]);
    }
}

fn delete_works_without_the_bundle(t: &Test) {
    let bundle = t.bundle().args(["/probe", "--exit", "0"]);
    let container = t.start(&bundle);
    container.wait();
    fs::rename(&bundle.dir, t.path("elsewhere")).expect("rename");
    container.verb("delete").ok();
}

fn state_survives_a_second_reader(t: &Test) {
    let container = t.pausing();
    let calls: Vec<_> = (0..8).map(|_| container.verb("state").spawn()).collect();
    for call in calls {
        let out = call.out();
        let state: Value = serde_json::from_str(&out.stdout).expect("whole JSON");
        assert_eq!(state["status"], "running");
    }
}

/// Socket activation: the payload inherits the descriptors of LISTEN_FDS without a flag.
fn listen_fds_are_handed_down(t: &Test) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let bundle = t.bundle().args(["/probe"]);
    // The variables are only for the process whose pid is LISTEN_PID.
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" --root \"$1\" run --bundle \"$2\" \"$3\"";
    let call = t.call("/bin/sh").args(["-c", script]).arg(&*t.runtime.borrow()).arg(t.root());
    let call = call.arg(bundle.lay()).arg(t.id()).pass(listener.into(), 3);
    let seen = call.out().report();
    assert!(seen["fds"]["3"].as_str().is_some_and(|fd| fd.starts_with("socket:")), "{}", seen["fds"]);
    let env = seen["env"].as_array().unwrap();
    assert!(env.contains(&json!("LISTEN_FDS=1")) && env.contains(&json!("LISTEN_PID=1")), "{env:?}");
}
