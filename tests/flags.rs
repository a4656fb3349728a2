//! How flags are written, and the flags of runc and crun that change the input or the
//! output of a verb.

use crate::harness::{Container, Out, PidFd, Test, cgroup_v2, copy_cpuset, pipe, read_line, receive_pidfd};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

cases![
    one_dash_works_like_two,
    a_switch_may_have_a_value,
    repeated_flags_are_no_error,
    empty_values_count_as_absent,
    single_dashes_after_the_command_belong_to_the_command,
    help_of_a_verb_that_does_not_exist_fails,
    rootless_is_true_false_or_auto,
    rootless_runs_without_cgroups,
    rootless_can_be_denied,
    config_may_be_another_file,
    spec_may_be_written_to_another_file,
    log_goes_to_a_file_with_a_prefix,
    log_level_drops_less_important_messages,
    log_goes_to_the_journal,
    log_goes_to_syslog,
    a_missing_log_socket_is_refused,
    pidfd_socket_gets_init,
    pidfd_socket_gets_the_process_of_exec,
    a_missing_pidfd_socket_is_refused,
    kill_by_regular_expression,
    delete_by_regular_expression,
    bad_regular_expressions_are_refused,
    kill_knows_real_time_signals,
    exec_in_a_sub_cgroup,
    exec_in_a_sub_cgroup_of_one_controller,
    exec_in_a_sub_cgroup_on_v2,
    invalid_sub_cgroups_are_refused,
];

fn one_dash_works_like_two(t: &Test) {
    let (bundle, id, pid_file) = (t.bundle().pausing(), t.id(), t.path("pid"));
    t.will_delete(&id);
    let call = t.call(&*t.runtime.borrow()).arg("-root").arg(t.root()).args(["-log-format=json", "run"]);
    let call = call.args(["-detach", "-no-subreaper", "-bundle"]).arg(bundle.lay());
    call.arg("-pid-file").arg(&pid_file).arg(&id).ok();
    assert!(PidFd::from_file(&pid_file).is_alive());
    let listed = t.verb(["list", "-format=json"]).ok().stdout;
    assert!(listed.contains(&id), "{listed}");
    let out = t.verb(["exec", "-env", "A=1", "-cwd", "/tmp", &id, "/probe"]).out().report();
    assert_eq!(out["cwd"], "/tmp");
    assert!(out["env"].as_array().unwrap().contains(&json!("A=1")), "{out}");
    t.verb(["delete", "-force", &id]).ok();
}

fn a_switch_may_have_a_value(t: &Test) {
    let (container, other) = (t.pausing(), t.id());
    let quiet = t.verb(["list", "--quiet=true"]).ok().stdout;
    assert_eq!(quiet.trim(), container.id);
    let table = t.verb(["list", "--quiet", "--quiet=false"]).ok().stdout;
    assert!(table.starts_with("ID"), "{table}");
    t.verb(["delete", "--force=false", &container.id]).out().fails(&["that is not stopped"]);
    t.verb(["delete", "--force=perhaps", &other]).out().fails(&["perhaps"]);
    assert_eq!(container.status(), "running");
}

fn repeated_flags_are_no_error(t: &Test) {
    let container = t.pausing();
    t.runtime().args(["--debug", "--debug", "list", "-q", "-q"]).ok();
    t.verb(["delete", "--force", "--force", &container.id]).ok();
}

fn empty_values_count_as_absent(t: &Test) {
    let (bundle, id) = (t.bundle().args(["/probe"]), t.id());
    let flags = ["--console-socket", "", "--pid-file=", "--preserve-fds", "0", "--bundle"];
    let call = t.runtime().args(["--log", ""]).arg("run").args(flags).arg(bundle.lay());
    call.arg(&id).env("XDG_RUNTIME_DIR", "").env("NOTIFY_SOCKET", "").out().report();
    let container = t.pausing();
    let seen = container.look(["--env", "EMPTY=", "--pid-file", "", "--console-socket="]);
    assert!(seen["env"].as_array().unwrap().contains(&json!("EMPTY=")), "{seen}");
}

fn single_dashes_after_the_command_belong_to_the_command(t: &Test) {
    let out = t.pausing().exec(["-cwd=/"], ["echo", "-cwd", "-detach", "-env=x"]).ok();
    assert_eq!(out.stdout, "-cwd -detach -env=x\n");
}

/// For Podman, exit code 0 means that the runtime supports the verb.
fn help_of_a_verb_that_does_not_exist_fails(t: &Test) {
    t.verb(["frobnicate", "--help"]).out().fails(&["frobnicate"]);
    assert_eq!(t.verb(["resume", "--help"]).out().code, 0);
}

/// Root can create cgroups unless they are read-only. Then root needs the flag to run
/// without cgroups, and the container stays in the caller's cgroup.
fn rootless_runs_without_cgroups(t: &Test) {
    t.cgroupfs_only();
    let bundle = t.bundle().drop("/linux/resources").args(["/probe"]);
    let script = "
        for dir in $(awk '$3 ~ /^cgroup/ { print $2 }' /proc/self/mounts); do mount -o remount,bind,ro $dir; done
        for flag in auto false; do
            if runtime --rootless $flag run \"$ID\" 2>refused; then exit 7; fi
            grep -qi 'cgroup.*read-only' refused || exit 8
        done
        cat /proc/self/cgroup >&2
        runtime --rootless=true run \"$ID\"";
    let out = t.in_private_mounts(&bundle, &t.make_dir("volume"), script).ok();
    assert_eq!(out.report()["cgroup"], out.stderr);
}

/// For a user, this is the default, unless the flag forbids it.
fn rootless_can_be_denied(t: &Test) {
    t.cgroupfs_only();
    t.as_user(&t.bundle(), []).report();
    t.global("--rootless=false");
    t.as_user(&t.bundle(), []).one_clear_line(&["cgroup", "EACCES"]);
}

fn rootless_is_true_false_or_auto(t: &Test) {
    for value in ["true", "false", "auto", "1", "F"] {
        t.runtime().args(["--rootless", value, "list", "-q"]).ok();
        t.runtime().arg(format!("--rootless={value}")).args(["list", "-q"]).ok();
    }
    let out = t.runtime().args(["--rootless", "perhaps", "list"]).out();
    out.one_clear_line(&["perhaps", "--rootless"]);
}

fn config_may_be_another_file(t: &Test) {
    let bundle = t.bundle().args(["/probe", "--exit", "3"]);
    let (dir, other) = (bundle.lay(), t.make_dir("other"));
    fs::rename(dir.join("config.json"), other.join("mine.json")).unwrap();
    for file in [other.join("mine.json"), PathBuf::from("mine.json")] {
        let call = t.verb(["run", "--config"]).arg(file).arg("--bundle").arg(dir);
        let out = call.arg(t.id()).cwd(&other).out();
        assert_eq!(out.code, 3, "{out:?}");
    }
    let call = t.verb(["create", "-f", "none.json", "--bundle"]).arg(dir).arg(t.id()).cwd(&other);
    call.out().one_clear_line(&["none.json"]);
}

fn spec_may_be_written_to_another_file(t: &Test) {
    let dir = t.make_dir("spec");
    t.verb(["spec", "--file", "mine.json", "--bundle"]).arg(&dir).ok();
    let text = fs::read(dir.join("mine.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap()["hostname"], "corten");
    let again = t.verb(["spec", "--file", "mine.json", "--bundle"]).arg(&dir).out();
    again.one_clear_line(&["mine.json", "exists"]);
}

fn log_goes_to_a_file_with_a_prefix(t: &Test) {
    let log = t.path("log");
    let call = t.runtime().arg(format!("--log=file:{}", log.display())).args(["state", "nobody"]);
    call.out().fails(&["does not exist"]);
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.contains("level=error") && text.contains("does not exist"), "{text}");
}

fn log_level_drops_less_important_messages(t: &Test) {
    let bundle = t.bundle().set("/linux/nonsense", json!(1)).args(["true"]);
    let run = |level: &[&str]| {
        let out = t.runtime().args(level).args(["run", "--bundle"]).arg(bundle.lay()).arg(t.id()).ok();
        out.stderr
    };
    assert!(run(&[]).contains("/linux/nonsense"));
    assert!(run(&["--log-level", "warning"]).contains("/linux/nonsense"));
    assert_eq!(run(&["--log-level=error"]), "");
    assert!(run(&["--log-level", "debug"]).contains("level=debug"));
    t.runtime().args(["--log-level", "loud", "list"]).out().one_clear_line(&["loud"]);
}

/// Returns what the socket of a daemon at `place` receives from a failing `state`.
fn logged_to(t: &Test, to: &str, mounts: &str) -> String {
    let (bundle, volume) = (t.bundle(), t.make_dir("volume"));
    let socket = UnixDatagram::bind(volume.join("socket")).unwrap();
    let script = format!("{mounts}; runtime --log {to} state nobody || true");
    t.in_private_mounts(&bundle, &volume, &script).ok().says(&["does not exist"]);
    let mut buf = [0; 4096];
    socket.set_nonblocking(true).unwrap();
    let len = socket.recv(&mut buf).expect("a message");
    assert!(socket.recv(&mut [0; 4096]).is_err(), "one message, one error");
    String::from_utf8_lossy(&buf[..len]).into_owned()
}

fn log_goes_to_the_journal(t: &Test) {
    let mounts = "mount -t tmpfs none /run; mkdir -p /run/systemd/journal; \
        mount --bind \"$VOLUME\" /run/systemd/journal";
    let message = logged_to(t, "journald:box", mounts);
    let fields: Vec<_> = message.lines().collect();
    assert_eq!(fields[..2], ["PRIORITY=3", "SYSLOG_IDENTIFIER=box"]);
    assert!(fields[2].starts_with("MESSAGE=") && fields[2].contains("does not exist"), "{message}");
}

fn log_goes_to_syslog(t: &Test) {
    let mounts = "mkdir dev; mount -t tmpfs none dev; mknod dev/null c 1 3; : > dev/log; \
        mount --bind \"$VOLUME/socket\" dev/log; mount --move dev /dev";
    let message = logged_to(t, "syslog:", mounts);
    assert!(message.starts_with("<11>corten[") && message.contains("does not exist"), "{message}");
}

fn a_missing_log_socket_is_refused(t: &Test) {
    let (bundle, volume) = (t.bundle(), t.make_dir("volume"));
    let script = "mount -t tmpfs none /run; runtime --log journald:x list";
    t.in_private_mounts(&bundle, &volume, script).out().one_clear_line(&["/run/systemd/journal/socket"]);
}

fn pidfd_socket_gets_init(t: &Test) {
    let path = t.path("receiver");
    let listener = UnixListener::bind(&path).unwrap();
    let bundle = t.bundle().pausing();
    let container = Container::create(t, &bundle, |call| call.arg("--pidfd-socket").arg(&path));
    assert_eq!(receive_pidfd(&listener), ("standard".into(), container.init.pid));
    let (id, pid_file) = (t.id(), t.path("pid"));
    t.will_delete(&id);
    let call = t.verb(["run", "--detach", "--pidfd-socket"]).arg(&path).arg("--bundle").arg(bundle.lay());
    call.arg("--pid-file").arg(&pid_file).arg(&id).ok();
    assert_eq!(receive_pidfd(&listener).1, PidFd::from_file(&pid_file).pid);
}

fn pidfd_socket_gets_the_process_of_exec(t: &Test) {
    let (path, pid_file) = (t.path("receiver"), t.path("pid"));
    let listener = UnixListener::bind(&path).unwrap();
    let container = t.pausing();
    let flags =
        ["--detach", "--pidfd-socket", path.to_str().unwrap(), "--pid-file", pid_file.to_str().unwrap()];
    container.exec(flags, ["/probe", "--pause"]).ok();
    let process = PidFd::from_file(&pid_file);
    assert_eq!(receive_pidfd(&listener), ("setns".into(), process.pid));
    // The process is a child of the test. The container waits until the test reaps it.
    process.kill();
    process.reap();
}

fn a_missing_pidfd_socket_is_refused(t: &Test) {
    let bundle = t.bundle();
    let call = t.verb(["create", "--pidfd-socket", "/nonexistent/socket", "--bundle"]);
    call.arg(bundle.lay()).arg(t.id()).out().one_clear_line(&["/nonexistent/socket"]);
    let container = t.pausing();
    let out = container.exec(["--pidfd-socket", "/nonexistent/socket"], ["true"]).out();
    out.one_clear_line(&["/nonexistent/socket"]);
}

fn kill_by_regular_expression(t: &Test) {
    let (one, two, other) = (t.pausing(), t.pausing(), t.pausing());
    let pattern = format!("^({}|{})$", one.id, two.id);
    t.verb(["kill", "--regex", &pattern, "KILL"]).ok();
    assert_eq!((one.wait(), two.wait()), (137, 137));
    assert_eq!(other.status(), "running");
    // A container that can't be signalled does not stop the others from getting the signal.
    t.verb(["kill", "-r", &t.token, "KILL"]).ok().says(&["container not running", &one.id]);
    assert_eq!(other.wait(), 137);
}

fn delete_by_regular_expression(t: &Test) {
    let (one, two, other) = (t.pausing(), t.pausing(), t.pausing());
    let pattern = format!("^({}|{})$", one.id, two.id);
    t.verb(["delete", "--regex", &pattern]).ok().says(&[&one.id, &two.id, "is not stopped"]);
    assert_eq!(one.status(), "running");
    t.verb(["delete", "--force", "--regex", &pattern]).ok();
    assert_eq!(t.verb(["list", "-q"]).ok().stdout.trim(), other.id);
    t.verb(["delete", "--regex", "no such container"]).ok();
}

fn bad_regular_expressions_are_refused(t: &Test) {
    for verb in ["kill", "delete"] {
        t.verb([verb, "--regex", "("]).out().one_clear_line(&["(: is not a regular expression"]);
    }
}

fn kill_knows_real_time_signals(t: &Test) {
    let (reader, writer) = pipe();
    // trap takes a number, because the C library defines the names of real-time signals.
    let script =
        "for s in 34 37 64; do trap \"echo $s\" $s; done; echo ready; while :; do sleep 1000 & wait; done";
    let container = Container::create(t, &t.bundle().shell(script), |call| call.stdout(writer));
    container.start();
    assert_eq!(read_line(&reader), "ready");
    for (given, number) in [("SIGRTMIN", "34"), ("rtmin+3", "37"), ("SIGRTMAX", "64"), ("37", "37")] {
        container.kill(given);
        assert_eq!(read_line(&reader), number, "{given}");
    }
}

fn exec_probe(t: &Test, container: &Container, flags: &[&str]) -> Out {
    t.verb(["exec"]).args(flags).args([&container.id, "/probe"]).out()
}

/// Returns the lines of /proc/self/cgroup of an exec with these flags.
fn cgroups_of(t: &Test, container: &Container, flags: &[&str]) -> Vec<String> {
    let text = exec_probe(t, container, flags).report()["cgroup"].as_str().unwrap().to_owned();
    text.lines().map(str::to_owned).collect()
}

/// Creates a cgroup below the container's in each hierarchy that has a directory.
fn make_children(container: &Container, name: &str) {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.init.pid)).unwrap();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next().unwrap(), parts.next().unwrap());
        let mount = match names {
            "" if cgroup_v2() => String::new(),
            "" => "unified".into(),
            names => names.trim_start_matches("name=").to_owned(),
        };
        let parent = Path::new("/sys/fs/cgroup").join(mount).join(path.trim_start_matches('/'));
        if parent == Path::new("/sys/fs/cgroup") || path == "/" || !parent.is_dir() {
            continue;
        }
        let child = parent.join(name);
        fs::create_dir(&child).unwrap();
        copy_cpuset(&parent, &child);
    }
}

fn exec_in_a_sub_cgroup(t: &Test) {
    let container = t.pausing();
    make_children(&container, "below");
    let own = cgroups_of(t, &container, &[]);
    let below: Vec<_> = cgroups_of(t, &container, &["--cgroup", "below"]);
    let in_own = |line: &&String| line.contains(&container.id);
    assert!(own.iter().any(|line| in_own(&line)), "{own:?}");
    for line in below.iter().filter(in_own) {
        assert!(line.ends_with("/below"), "{below:?}");
    }
    assert_eq!(cgroups_of(t, &container, &["--cgroup", "/"]), own);
}

fn exec_in_a_sub_cgroup_of_one_controller(t: &Test) {
    if cgroup_v2() {
        t.skip("controllers have trees of their own on cgroup v1 only");
    }
    let container = t.pausing();
    make_children(&container, "below");
    let seen = cgroups_of(t, &container, &["--cgroup", "memory,freezer:below"]);
    let is_below = |name: &str| {
        let line = seen.iter().find(|line| line.contains(&format!(":{name}:"))).expect("a hierarchy");
        line.ends_with("/below")
    };
    assert!(is_below("memory") && is_below("freezer") && !is_below("devices"), "{seen:?}");
    let out = exec_probe(t, &container, &["--cgroup", "nonsense:below"]);
    out.one_clear_line(&["unknown controller nonsense"]);
    exec_probe(t, &container, &["--cgroup", "memory:below", "--cgroup", "memory:below"])
        .one_clear_line(&["memory"]);
    exec_probe(t, &container, &["--cgroup", "memory:below", "--cgroup", "below"]).one_clear_line(&["below"]);
    exec_probe(t, &container, &["--cgroup", ":below"]).one_clear_line(&[":below"]);
}

fn exec_in_a_sub_cgroup_on_v2(t: &Test) {
    t.cgroupfs_only();
    let bundle = t.bundle().set("/linux/cgroupsPath", json!(format!("/{}", t.token)));
    let bundle = bundle.drop("/linux/resources").pausing();
    let mount = if cgroup_v2() { "" } else { "mount -t cgroup2 none /sys/fs/cgroup;" };
    let script = format!(
        "{mount} runtime run --detach \"$ID\"; mkdir /sys/fs/cgroup/{0}/below; \
         runtime exec --cgroup below \"$ID\" cat /proc/self/cgroup; \
         runtime exec --cgroup above \"$ID\" true || echo $?; \
         runtime exec --cgroup memory:below \"$ID\" true || echo $?; \
         runtime delete --force \"$ID\"",
        t.token
    );
    let out = t.in_private_mounts(&bundle, &t.make_dir("volume"), &script).ok();
    let lines: Vec<_> = out.stdout.lines().collect();
    assert!(lines.iter().any(|line| *line == format!("0::/{}/below", t.token)), "{out:?}");
    assert_eq!(lines[lines.len() - 2..], ["255", "255"]);
}

fn invalid_sub_cgroups_are_refused(t: &Test) {
    let container = t.pausing();
    exec_probe(t, &container, &["--cgroup", "../.."]).one_clear_line(&["bad sub cgroup path"]);
    exec_probe(t, &container, &["--cgroup", "missing"]).one_clear_line(&["missing"]);
}
