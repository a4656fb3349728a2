//! The command lines of containerd's shim, BuildKit, conmon, Podman, Buildah and CRI-O, word
//! for word. The lines of a test are in the order in which the engine calls them.

use crate::harness::{Call, Container, Out, PidFd, Test, is_corten, pipe};
use crate::terminal::Console;
use nix::sys::wait::WaitStatus;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

cases![
    containerd_shim,
    containerd_shim_with_a_terminal,
    containerd_shim_removes_what_it_never_started,
    containerd_shim_deletes_a_running_container_by_force,
    flags_of_a_checkpoint,
    flags_of_a_restore,
    buildkit,
    conmon,
    podman,
    buildah,
    crio,
    bare_questions,
];

/// Writes a file for `exec --process`.
fn process_file(t: &Test, args: &[&str], terminal: bool) -> PathBuf {
    let process = json!({
        "args": args, "cwd": "/", "env": ["PATH=/bin", "A=1"], "terminal": terminal,
        "user": { "uid": 0, "gid": 0 },
    });
    t.make_file("process.json", &process.to_string())
}

/// Asserts that the process of this pid file, a child of the test, exits with this status.
#[track_caller]
fn exits(pid_file: &Path, status: i32) {
    let seen = PidFd::from_file(pid_file).reap();
    assert!(matches!(seen, WaitStatus::Exited(_, code) if code == status), "{seen:?}");
}

/// Asserts success without a word: engines merge stdout and stderr.
#[track_caller]
fn silent(call: Call<'_>) {
    let out = call.ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("", ""), "{out:?}");
}

/// Returns the only JSON value of a call that prints nothing else on either stream.
#[track_caller]
fn json_of(call: Call<'_>) -> Value {
    let out = call.ok();
    assert_eq!(out.stderr, "", "{out:?}");
    serde_json::from_str(&out.stdout).expect("JSON")
}

fn with_input<'t>(call: Call<'t>, text: &str) -> Call<'t> {
    let (reader, writer) = pipe();
    fs::File::from(writer).write_all(text.as_bytes()).expect("fits into the pipe");
    call.stdin(reader)
}

/// The global flags of containerd's shim. Its working directory is the bundle.
fn shim<'t>(t: &'t Test, dir: &Path) -> Call<'t> {
    t.runtime().arg("--log").arg(dir.join("log.json")).args(["--log-format", "json"]).cwd(dir)
}

fn containerd_shim(t: &Test) {
    let (bundle, id) = (t.bundle().pausing(), t.id());
    let (pid_file, exec_pid) = (t.path("pid"), t.path("exec-pid"));
    let dir = bundle.lay();
    t.will_delete(&id);
    let create = shim(t, dir).arg("create").arg("--bundle").arg(dir).arg("--pid-file").arg(&pid_file);
    silent(create.arg("--no-new-keyring").arg(&id));
    let init = PidFd::from_file(&pid_file);
    silent(shim(t, dir).args(["start", &id]));
    let exec = shim(t, dir).args(["exec", "--process"]).arg(process_file(t, &["sh", "-c", "exit 8"], false));
    silent(exec.args(["--detach", "--pid-file"]).arg(&exec_pid).arg(&id));
    exits(&exec_pid, 8);
    silent(shim(t, dir).args(["pause", &id]));
    silent(shim(t, dir).args(["resume", &id]));
    let pids = json_of(shim(t, dir).args(["ps", "--format", "json", &id]));
    assert_eq!(pids, json!([init.pid]));
    let resources = json!({ "pids": { "limit": 77 } }).to_string();
    silent(with_input(shim(t, dir).args(["update", "--resources", "-", &id]), &resources));
    silent(with_input(shim(t, dir).args(["update", "--resources=-", &id]), &resources));
    silent(shim(t, dir).args(["kill", &id, "0"]));
    silent(shim(t, dir).args(["kill", "--all", &id, "9"]));
    assert!(matches!(init.reap(), WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGKILL, _)));
    let again = shim(t, dir).args(["kill", &id, "9"]).out();
    again.fails(&["container not running"]);
    fs::remove_file(dir.join("log.json")).expect("the log of a failure");
    silent(shim(t, dir).args(["delete", &id]));
    assert_eq!(fs::read_to_string(dir.join("log.json")).unwrap_or_default(), "");
}

fn containerd_shim_with_a_terminal(t: &Test) {
    let (bundle, id) = (t.bundle().set("/process/terminal", json!(true)).pausing(), t.id());
    let (pid_file, exec_pid) = (t.path("pid"), t.path("exec-pid"));
    let (console, exec_console) = (Console::new(t), Console::new(t));
    let dir = bundle.lay();
    t.will_delete(&id);
    let create = shim(t, dir).arg("create").arg("--bundle").arg(dir).arg("--pid-file").arg(&pid_file);
    silent(create.arg("--console-socket").arg(&console.path).arg(&id));
    let terminal = console.receive();
    silent(shim(t, dir).args(["start", &id]));
    let exec = shim(t, dir).args(["exec", "--process"]).arg(process_file(t, &["tty"], true));
    let exec = exec.arg("--console-socket").arg(&exec_console.path);
    silent(exec.args(["--detach", "--pid-file"]).arg(&exec_pid).arg(&id));
    let mut seen = [0; 64];
    // Until the process has ended: it gets SIGHUP when its terminal is closed.
    let mut exec_terminal = exec_console.receive();
    let len = exec_terminal.read(&mut seen).expect("what tty prints");
    assert!(String::from_utf8_lossy(&seen[..len]).starts_with("/dev/pts/"), "{seen:?}");
    exits(&exec_pid, 0);
    silent(shim(t, dir).args(["kill", &id, "9"]));
    PidFd::from_file(&pid_file).reap();
    drop(terminal);
    silent(shim(t, dir).args(["delete", &id]));
}

/// The shim deletes a created container without `--force`.
fn containerd_shim_removes_what_it_never_started(t: &Test) {
    let (bundle, id, pid_file) = (t.bundle().pausing(), t.id(), t.path("pid"));
    let dir = bundle.lay();
    t.will_delete(&id);
    let create = shim(t, dir).arg("create").arg("--bundle").arg(dir).arg("--pid-file").arg(&pid_file);
    silent(create.arg(&id));
    silent(shim(t, dir).args(["delete", &id]));
    PidFd::from_file(&pid_file).reap();
    shim(t, dir).args(["state", &id]).out().fails(&["does not exist"]);
}

fn containerd_shim_deletes_a_running_container_by_force(t: &Test) {
    let (bundle, id, pid_file) = (t.bundle().pausing(), t.id(), t.path("pid"));
    let dir = bundle.lay();
    t.will_delete(&id);
    let create = shim(t, dir).arg("create").arg("--bundle").arg(dir).arg("--pid-file").arg(&pid_file);
    silent(create.arg("--no-pivot").arg(&id));
    silent(shim(t, dir).args(["start", &id]));
    silent(shim(t, dir).args(["delete", "--force", &id]));
    PidFd::from_file(&pid_file).reap();
    // Of a container that does not exist any more, too.
    silent(shim(t, dir).args(["delete", "--force", &id]));
}

/// Asserts that the runtime took every flag: it fails for the container that does not exist.
#[track_caller]
fn took_the_flags(out: &Out) {
    assert_eq!(out.code, 1, "{out:?}");
    out.says(&["does not exist"]);
}

/// Those of the shim, then those of Podman and CRI-O. They need no CRIU: the container does
/// not exist.
fn flags_of_a_checkpoint(t: &Test) {
    let (images, work) = (t.path("images"), t.path("work"));
    let checkpoint = || t.runtime().args(["checkpoint", "--image-path"]).arg(&images);
    let shim = checkpoint().arg("--work-path").arg(&work).args([
        "--parent-path",
        "../before",
        "--tcp-established",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--empty-ns",
        "network",
        "--leave-running",
        "nobody",
    ]);
    took_the_flags(&shim.out());
    let twice = checkpoint().arg("--work-path").arg(&work);
    took_the_flags(&twice.args(["--leave-running", "--leave-running", "nobody"]).out());
    let crio = checkpoint().args(["--file-locks", "--work-path"]).arg(&work);
    took_the_flags(&crio.arg("nobody").out());
}

/// The shim writes `-no-subreaper` with one dash.
fn flags_of_a_restore(t: &Test) {
    let (bundle, images) = (t.bundle(), t.path("no-images"));
    let restore = || t.runtime().arg("restore").arg("--image-path").arg(&images);
    let shim = restore().arg("--work-path").arg(t.path("work")).args(["--detach", "--pid-file"]);
    let shim = shim.arg(t.path("pid")).args(["-no-subreaper", "--bundle"]).arg(bundle.lay()).arg(t.id());
    let conmon = t.runtime().arg("restore").arg("--bundle").arg(bundle.lay()).arg("--pid-file");
    let conmon = conmon.arg(t.path("pid")).args(["--detach", "--image-path"]).arg(&images);
    let conmon = conmon.arg("--work-path").arg(t.path("work"));
    let conmon = conmon.args(["--tcp-established", "--ext-unix-sk", "--file-locks"]).arg(t.id());
    for call in [shim, conmon] {
        let out = call.out();
        assert_ne!(out.code, 0, "{out:?}");
        assert!(!out.stderr.contains("flag") && !out.stderr.contains("argument"), "{out:?}");
        if is_corten() {
            out.says(&["no-images"]);
        }
    }
}

/// buildkitd names no state directory, and runs with umask 0.
fn buildkit(t: &Test) {
    t.cgroupfs_only();
    let bundle = t.bundle().args(["/probe", "--exit", "4"]);
    let script = r#"
        mount -t tmpfs run /run
        unset XDG_RUNTIME_DIR
        umask 0
        build() { "$RUNTIME" $FLAGS --log "$VOLUME/log" --log-format json "$@"; }
        build run --bundle "$BUNDLE" --keep "$ID" || echo "run $?"
        build state "$ID" | grep -o '"status": *"[a-z]*"'
        build delete "$ID"
        build run --bundle "$BUNDLE" "$ID" || echo "run $?"
        build state "$ID" || echo "state $?"
        find /run -type f -perm /022"#;
    let volume = t.make_dir("volume");
    let out = t.in_private_mounts(&bundle, &volume, script).ok();
    let lines: Vec<String> = out.stdout.lines().map(|line| line.replace(' ', "")).collect();
    assert_eq!(lines, ["run4", "\"status\":\"stopped\"", "run4", "state1"], "{out:?}");
    let log = fs::read_to_string(volume.join("log")).expect("a log");
    assert_eq!(log.lines().count(), 1, "only state has failed: {log}");
}

/// conmon passes its flags on, and writes them with `=` or without.
fn conmon(t: &Test) {
    let (bundle, id) = (t.bundle().set("/process/terminal", json!(true)).pausing(), t.id());
    let (pid_file, exec_pid, log) = (t.path("pid"), t.path("exec-pid"), t.path("log"));
    let (console, exec_console) = (Console::new(t), Console::new(t));
    t.will_delete(&id);
    let conmon = || {
        let call = t.runtime().arg("--log-format=json").arg("--log").arg(&log);
        // Podman passes this to runtimes of which it knows that they take it.
        if is_corten() && !t.by_systemd() { call.args(["--cgroup-manager", "disabled"]) } else { call }
    };
    let bundle = if is_corten() { bundle.drop("/linux/resources") } else { bundle };
    let create = conmon().arg("create").arg("--bundle").arg(bundle.lay()).arg("--pid-file").arg(&pid_file);
    let create = create.args(["--no-new-keyring", "--console-socket"]).arg(&console.path);
    create.arg(&id).ok();
    // conmon needs the terminal before `create` returns.
    let _terminal = console.receive();
    let init = PidFd::from_file(&pid_file);
    t.runtime().args(["start", &id]).ok();
    let gift = fs::File::open(t.make_file("gift", "kept")).unwrap();
    let exec = conmon().arg("exec").arg("--pid-file").arg(&exec_pid).arg("--process");
    let exec = exec.arg(process_file(t, &["sh", "-c", "test -t 1 && cat <&3"], true)).arg("--detach");
    let exec = exec.args(["--preserve-fds", "1", "--tty", "--console-socket"]).arg(&exec_console.path);
    exec.arg(&id).pass(gift.into(), 3).ok();
    let mut seen = [0; 64];
    let mut exec_terminal = exec_console.receive();
    let len = exec_terminal.read(&mut seen).expect("what the gift holds");
    assert_eq!(String::from_utf8_lossy(&seen[..len]), "kept");
    exits(&exec_pid, 0);
    init.kill();
    init.reap();
    conmon().args(["delete", "--force", &id]).ok();
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "");
}

/// Podman gives no PATH, and an XDG_RUNTIME_DIR that may be empty.
fn podman(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    let id = &container.id;
    let podman = |args: &[&str]| {
        let mut call = t.runtime().args(args);
        call.command.env_clear().env("XDG_RUNTIME_DIR", "");
        call
    };
    silent(podman(&["start", id]));
    silent(podman(&["pause", id]));
    silent(podman(&["resume", id]));
    let file = t.make_file("resources.json", &json!({ "pids": { "limit": 66 } }).to_string());
    silent(podman(&[
        &format!("--log={}", t.path("log").display()),
        "update",
        &format!("--resources={}", file.display()),
        id,
    ]));
    assert_eq!(json_of(podman(&["state", id]))["status"], "running");
    silent(podman(&["kill", id, "0"]));
    silent(podman(&["kill", "--all", id, "9"]));
    assert_eq!(container.wait(), 137);
    silent(podman(&["delete", "--force", id]));
    // Whether the runtime can checkpoint.
    assert_eq!(podman(&["checkpoint", "--help"]).out().code, 0);
    assert!(podman(&["--version"]).ok().stdout.contains("version"));
}

fn buildah(t: &Test) {
    let (bundle, id, pid_file) = (t.bundle().pausing(), t.id(), t.path("pid"));
    t.will_delete(&id);
    let create = t.runtime().arg("create").arg("--bundle").arg(bundle.lay()).arg("--pid-file").arg(&pid_file);
    silent(create.arg("--no-new-keyring").arg(&id));
    let status = || json_of(t.runtime().args(["state", &id]))["status"].clone();
    assert_eq!(status(), "created");
    silent(t.runtime().args(["start", &id]));
    assert_eq!(status(), "running");
    silent(t.runtime().args(["kill", &id, "SIGKILL"]));
    // Buildah is the subreaper.
    PidFd::from_file(&pid_file).reap();
    assert_eq!(status(), "stopped");
    silent(t.runtime().args(["delete", &id]));
}

fn crio(t: &Test) {
    let (bundle, id, pid_file) = (t.bundle().pausing(), t.id(), t.path("pid"));
    t.will_delete(&id);
    let crio = |args: &[&str]| {
        let runtime = t.runtime.borrow().clone();
        t.call(runtime).arg(format!("--root={}", t.root().display())).args(t.globals()).args(args)
    };
    let create = crio(&["create", "--bundle"]).arg(bundle.lay()).arg("--pid-file").arg(&pid_file);
    silent(create.arg(&id));
    silent(crio(&["start", &id]));
    assert_eq!(json_of(crio(&["state", &id]))["status"], "running");
    // `exec` in the foreground returns the status of the process.
    let file = process_file(t, &["sh", "-c", "echo $A; exit 3"], false);
    let out = crio(&["exec", "--process"]).arg(file).arg(&id).out();
    assert_eq!((out.code, out.stdout.as_str(), out.stderr.as_str()), (3, "1\n", ""));
    let resources = json!({ "pids": { "limit": 55 } }).to_string();
    silent(with_input(crio(&["update", "--resources", "-", &id]), &resources));
    silent(crio(&["pause", &id]));
    silent(crio(&["resume", &id]));
    silent(crio(&["kill", &id, "15"]));
    silent(crio(&["kill", &id, "KILL"]));
    PidFd::from_file(&pid_file).reap();
    crio(&["kill", &id, "KILL"]).out().fails(&["container not running"]);
    silent(crio(&["delete", "--force", &id]));

    let container = Container::run_detached(t, &t.bundle().pausing());
    silent(crio(&["kill", "-a", &container.id, "KILL"]));
    assert_eq!(container.wait(), 137);
}

/// Questions without a state directory, some of them before the engine has any container.
fn bare_questions(t: &Test) {
    let runtime = t.runtime.borrow().clone();
    let bare = |args: &[&str]| t.call(&runtime).args(args);
    let features = json_of(bare(&["features"]));
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string(), "{features}");
    let version = bare(&["--version"]).ok();
    assert_eq!(version.stderr, "");
    // go-runc takes the version from the first line, and the others by what they begin with.
    let lines: Vec<_> = version.stdout.lines().collect();
    assert_eq!(lines[0].split(' ').nth(1), Some("version"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("commit: ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("spec: ")), "{lines:?}");
    assert_eq!(bare(&["checkpoint", "--help"]).out().code, 0);
    for rootless in ["true", "false", "auto"] {
        let rootless = format!("--rootless={rootless}");
        let call = t.runtime().args(["--debug", &rootless, "state", "nobody"]);
        call.out().fails(&["does not exist"]);
    }
}
