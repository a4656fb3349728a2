//! `exec`: another process in a running container.

use crate::harness::{
    Container, PidFd, Test, accept, cap_mask, cgroups_named, copy_cpuset, is_corten, pipe, read_line,
    read_signal, remove_cgroup,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::BufRead;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

cases![
    shares_every_namespace,
    shares_the_cgroup,
    follows_an_init_that_was_moved,
    does_not_follow_init_into_the_root_cgroup,
    does_not_follow_init_into_a_frozen_cgroup,
    takes_env_and_cwd_from_the_config,
    adds_env,
    changes_cwd,
    sets_user_and_group,
    adds_groups,
    adds_a_capability,
    an_added_capability_is_ambient_if_it_is_inheritable,
    sets_no_new_privs,
    process_file_defines_the_whole_process,
    process_file_takes_over_what_it_lacks,
    process_file_must_be_valid,
    returns_the_exit_code,
    returns_128_plus_signal,
    passes_stdin,
    runs_detached_with_a_pid_file,
    an_init_that_ends_during_exec_is_not_running,
    preserves_fds,
    passes_no_other_descriptors,
    home_comes_from_passwd,
    flags_after_the_command_belong_to_the_command,
    missing_executable_is_named,
    a_directory_is_not_executable,
    a_file_that_cannot_be_executed_is_named,
    stopped_container_is_refused,
    empty_command_is_refused,
    forwards_signals,
    does_not_end_the_container,
    many_at_once,
];

fn shares_every_namespace(t: &Test) {
    let bundle = t.bundle().namespace("cgroup").pausing();
    let container = t.start(&bundle);
    let seen = container.look([]);
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let link = std::fs::read_link(format!("/proc/{}/ns/{kind}", container.init.pid));
        assert_eq!(seen["ns"][kind], json!(link.unwrap()), "{kind}");
    }
    assert_eq!(seen["names"]["host"], "box");
    assert_ne!(seen["pid"], 1);
}

fn shares_the_cgroup(t: &Test) {
    let container = t.pausing();
    let init = std::fs::read_to_string(format!("/proc/{}/cgroup", container.init.pid));
    assert_eq!(container.look([])["cgroup"], json!(init.unwrap()));
}

/// Moves init in every hierarchy to a cgroup beside the container's, or to the root.
/// Removes the container's cgroups. Returns the new ones.
fn move_init(t: &Test, container: &Container, to_root: bool) -> Vec<PathBuf> {
    t.cgroupfs_only();
    t.needs_root("moves a process out of its cgroup");
    let mut made = Vec::new();
    for dir in cgroups_named(&container.id) {
        let parent = dir.parent().expect("a parent");
        let to = match to_root {
            true => {
                parent.ancestors().find(|dir| dir.parent().is_some_and(is_no_cgroup)).expect("a root").into()
            }
            false => parent.join(format!("{}-moved", t.token)),
        };
        if !to_root {
            std::fs::create_dir(&to).expect("a cgroup");
            copy_cpuset(&dir, &to);
        }
        std::fs::write(to.join("cgroup.procs"), container.init.pid.to_string()).expect("move init");
        std::fs::remove_dir(&dir).expect("the container's cgroup is empty");
        made.push(to);
    }
    assert!(!made.is_empty(), "the container has a cgroup");
    made
}

fn is_no_cgroup(dir: &Path) -> bool {
    !dir.join("cgroup.procs").exists()
}

/// A manager on the host may move containers.
fn follows_an_init_that_was_moved(t: &Test) {
    let container = t.pausing();
    let made = move_init(t, &container, false);
    let init = std::fs::read_to_string(format!("/proc/{}/cgroup", container.init.pid)).unwrap();
    assert!(init.contains("-moved"), "{init}");
    let seen = container.look([]);
    container.stop();
    made.iter().for_each(|dir| remove_cgroup(dir));
    assert_eq!(seen["cgroup"], json!(init));
}

fn does_not_follow_init_into_the_root_cgroup(t: &Test) {
    let container = t.pausing();
    move_init(t, &container, true);
    container.exec([], ["true"]).out().one_clear_line(&["init is in the root cgroup"]);
}

fn does_not_follow_init_into_a_frozen_cgroup(t: &Test) {
    let container = t.pausing();
    let made = move_init(t, &container, false);
    let freeze = |on: bool| {
        for dir in &made {
            let _ = std::fs::write(dir.join("freezer.state"), if on { "FROZEN" } else { "THAWED" });
            let _ = std::fs::write(dir.join("cgroup.freeze"), if on { "1" } else { "0" });
        }
    };
    freeze(true);
    let out = container.exec([], ["true"]).out();
    freeze(false);
    container.stop();
    made.iter().for_each(|dir| remove_cgroup(dir));
    out.one_clear_line(&["container's cgroup unexpectedly frozen"]);
}

fn takes_env_and_cwd_from_the_config(t: &Test) {
    let bundle = t
        .bundle()
        .set("/process/env", json!(["PATH=/bin", "COLOUR=rust"]))
        .set("/process/cwd", json!("/var"))
        .pausing();
    let seen = t.start(&bundle).look([]);
    assert_eq!(seen["cwd"], "/var");
    assert!(seen["env"].as_array().unwrap().contains(&json!("COLOUR=rust")), "{seen}");
}

fn adds_env(t: &Test) {
    let seen = t.pausing().look(["--env", "A=1", "--env", "B=two words"]);
    let env = seen["env"].as_array().unwrap();
    for one in ["A=1", "B=two words", "TERM=xterm"] {
        assert!(env.contains(&json!(one)), "{one} is not in {env:?}");
    }
}

fn changes_cwd(t: &Test) {
    let container = t.pausing();
    assert_eq!(container.look(["--cwd", "/tmp"])["cwd"], "/tmp");
    let out = container.exec(["--cwd", "tmp"], ["true"]).out();
    out.one_clear_line(&["tmp"]);
}

fn sets_user_and_group(t: &Test) {
    let container = t.pausing();
    let seen = container.look(["--user", "1000:1001"]);
    assert_eq!(seen["ids"]["uid"], json!([1000, 1000, 1000]));
    assert_eq!(seen["ids"]["gid"], json!([1001, 1001, 1001]));
    assert_eq!(seen["status"]["CapEff"], cap_mask(&[]), "no power without the root user");
    let seen = container.look(["-u", "7"]);
    assert_eq!(seen["ids"]["uid"], json!([7, 7, 7]));
    assert_eq!(seen["ids"]["gid"], json!([0, 0, 0]));
}

fn adds_groups(t: &Test) {
    let seen = t.pausing().look(["-g", "20", "-g", "30"]);
    assert_eq!(seen["ids"]["groups"], json!([20, 30]));
}

fn adds_a_capability(t: &Test) {
    let bundle = t.bundle().capabilities(&["CAP_KILL"]).pausing();
    let seen = t.start(&bundle).look(["--cap", "CAP_MKNOD"]);
    let mask = cap_mask(&["CAP_KILL", "CAP_MKNOD"]);
    for set in ["CapBnd", "CapEff", "CapPrm"] {
        assert_eq!(seen["status"][set], mask, "{set}");
    }
}

/// As in runc. A capability that is not inheritable does not become inheritable
/// (CVE-2022-29162).
fn an_added_capability_is_ambient_if_it_is_inheritable(t: &Test) {
    let bundle = t
        .bundle()
        .capabilities(&["CAP_KILL", "CAP_CHOWN", "CAP_SYSLOG"])
        .set("/process/capabilities/inheritable", json!(["CAP_CHOWN", "CAP_SYSLOG"]))
        .set("/process/capabilities/permitted", json!(["CAP_KILL", "CAP_CHOWN"]))
        .set("/process/capabilities/effective", json!(["CAP_KILL"]))
        .set("/process/capabilities/ambient", json!(["CAP_CHOWN"]));
    let container = t.start(&bundle.pausing());
    let inheritable = ["CAP_CHOWN", "CAP_SYSLOG"];
    for (added, ambient) in [("CAP_SYSLOG", &inheritable[..]), ("CAP_MKNOD", &inheritable[..1])] {
        let seen = container.look(["--user", "1000", "--cap", added]);
        assert_eq!(seen["status"]["CapAmb"], cap_mask(ambient), "{added}");
        assert_eq!(seen["status"]["CapInh"], cap_mask(&inheritable), "{added}");
        // The capabilities that a user other than root keeps over execve.
        assert_eq!(seen["status"]["CapEff"], cap_mask(ambient), "{added}");
    }
}

fn sets_no_new_privs(t: &Test) {
    let bundle = t.bundle().set("/process/noNewPrivileges", json!(false));
    let container = t.start(&bundle.pausing());
    assert_eq!(container.look([])["status"]["NoNewPrivs"], "0");
    assert_eq!(container.look(["--no-new-privs"])["status"]["NoNewPrivs"], "1");
}

fn process_file(t: &Test, process: &Value) -> String {
    let file = t.make_file("process.json", &process.to_string());
    file.to_str().unwrap().to_owned()
}

fn process_file_defines_the_whole_process(t: &Test) {
    let file = process_file(
        t,
        &json!({
            "args": ["/probe", "argument"],
            "env": ["PATH=/bin", "ONLY=this"],
            "cwd": "/etc",
            "user": { "uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 63 },
            "capabilities": { "bounding": ["CAP_CHOWN"] },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 }],
            "noNewPrivileges": true,
        }),
    );
    let container = t.pausing();
    let seen = t.verb(["exec", "--process", &file, &container.id]).out().report();
    assert_eq!(seen["argv"], json!(["/probe", "argument"]));
    assert_eq!(seen["cwd"], "/etc");
    assert_eq!(seen["ids"]["uid"], json!([5, 5, 5]));
    assert_eq!(seen["ids"]["groups"], json!([7, 8]));
    assert_eq!(seen["status"]["Umask"], "0077");
    assert_eq!(seen["status"]["CapBnd"], cap_mask(&["CAP_CHOWN"]));
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!([64, 128]));
    let env = seen["env"].as_array().unwrap();
    assert!(env.contains(&json!("ONLY=this")) && !env.contains(&json!("TERM=xterm")), "{env:?}");
}

fn process_file_takes_over_what_it_lacks(t: &Test) {
    let bundle = t
        .bundle()
        .capabilities(&["CAP_KILL"])
        .set("/process/user", json!({ "uid": 0, "gid": 0, "umask": 0o077 }))
        .set("/process/oomScoreAdj", json!(777));
    let container = t.start(&bundle.pausing());
    let file = process_file(t, &json!({ "args": ["/probe"], "cwd": "/" }));
    let seen = t.verb(["exec", "--process", &file, &container.id]).out().report();
    assert_eq!(seen["status"]["CapBnd"], cap_mask(&["CAP_KILL"]));
    assert_eq!(seen["status"]["Umask"], "0077");
    // Engines protect themselves from the OOM killer, but not the processes that they
    // execute.
    assert_eq!(seen["oom_score_adj"], "777");
    assert_eq!(seen["status"]["NoNewPrivs"], "0", "a flag that isn't there is off");
}

fn process_file_must_be_valid(t: &Test) {
    let container = t.pausing();
    let call = |file: &str| t.verb(["exec", "--process", file, &container.id]).out();
    call("/nonexistent.json").one_clear_line(&["/nonexistent.json"]);
    let broken = t.make_file("process.json", "{ \"args\": [");
    call(broken.to_str().unwrap()).one_clear_line(&["process.json"]);
    call(&process_file(t, &json!({ "cwd": "/" }))).one_clear_line(&["args"]);
    call(&process_file(t, &json!({ "args": ["true"], "cwd": "tmp" }))).one_clear_line(&["cwd"]);
    call(&process_file(t, &json!({ "args": ["true"] }))).one_clear_line(&["cwd"]);
}

fn returns_the_exit_code(t: &Test) {
    let container = t.pausing();
    for code in ["0", "1", "42", "255"] {
        let out = container.exec([], ["/probe", "--exit", code]).out();
        assert_eq!(out.code.to_string(), code, "{out:?}");
    }
}

fn returns_128_plus_signal(t: &Test) {
    let container = t.pausing();
    for (signal, code) in [("SIGKILL", 137), ("SIGSEGV", 139), ("SIGTERM", 143)] {
        let out = container.exec([], ["/probe", "--die", signal]).out();
        assert_eq!(out.code, code, "{signal}: {out:?}");
    }
}

fn passes_stdin(t: &Test) {
    let words = t.make_file("words", "through\nexec\n");
    let container = t.pausing();
    let call = container.exec([], ["/probe", "--cat"]);
    let out = call.stdin(std::fs::File::open(words).unwrap()).ok();
    assert_eq!(out.stdout, "through\nexec\n");
}

fn runs_detached_with_a_pid_file(t: &Test) {
    let (container, pid_file) = (t.pausing(), t.path("pid"));
    let (reader, writer) = pipe();
    let call = container.exec(
        ["--detach", "--pid-file", pid_file.to_str().unwrap()],
        ["sh", "-c", "read word; echo $word; exit 9"],
    );
    let (stdin, feed) = pipe();
    call.stdin(stdin).stdout(writer).ok();
    let process = PidFd::from_file(&pid_file);
    nix::unistd::write(&feed, b"go\n").expect("write to the payload");
    assert_eq!(read_line(&reader), "go");
    let status = process.reap();
    assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 9)), "{status:?}");
}

fn preserves_fds(t: &Test) {
    let (container, file) = (t.pausing(), t.make_file("gift", "kept"));
    let gift = std::fs::File::open(&file).unwrap();
    let call = container.exec(["--preserve-fds", "1"], ["sh", "-c", "cat <&3"]);
    assert_eq!(call.pass(gift.into(), 3).ok().stdout, "kept");
}

fn passes_no_other_descriptors(t: &Test) {
    let seen = t.pausing().look([]);
    let fds: Vec<_> = seen["fds"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(fds, ["0", "1", "2"], "{}", seen["fds"]);
}

fn home_comes_from_passwd(t: &Test) {
    let container = t.pausing();
    for (user, home) in [("0", "HOME=/root"), ("1000", "HOME=/home/alice"), ("4321", "HOME=/")] {
        let seen = container.look(["--user", user]);
        assert!(seen["env"].as_array().unwrap().contains(&json!(home)), "{user}: {seen}");
    }
}

fn flags_after_the_command_belong_to_the_command(t: &Test) {
    let out = t.pausing().exec([], ["echo", "--cwd", "-u", "--", "x"]).ok();
    assert_eq!(out.stdout, "--cwd -u -- x\n");
}

fn missing_executable_is_named(t: &Test) {
    let container = t.pausing();
    let out = container.exec([], ["nope"]).out();
    assert_eq!(out.code, 255, "{out:?}");
    out.says(&["nope", "executable file not found in $PATH"]);
    let out = container.exec([], ["/bin/nope"]).out();
    assert_eq!(out.code, 255, "{out:?}");
    out.says(&["/bin/nope", "no such file or directory"]);
}

fn a_directory_is_not_executable(t: &Test) {
    let out = t.pausing().exec([], ["/etc"]).out();
    assert_eq!(out.code, 255, "{out:?}");
    out.one_clear_line(&["/etc"]);
    out.says(&["/etc"]);
}

fn a_file_that_cannot_be_executed_is_named(t: &Test) {
    let bundle = t.bundle().pausing();
    bundle.script("/bin/orphan", "#!/no/such/interpreter\n");
    bundle.script("/bin/data", "no interpreter is named here\n");
    std::fs::write(bundle.inside("/etc/file"), "").unwrap();
    let container = t.start(&bundle);
    for (command, words) in [
        ("orphan", ["exec /bin/orphan: ", "no such file or directory"]),
        ("/bin/data", ["exec /bin/data: ", "exec format error"]),
        ("/etc/file", ["/etc/file", "permission denied"]),
        ("/etc/file/x", ["/etc/file/x", "not a directory"]),
        ("./nope", ["stat ./nope: ", "no such file or directory"]),
        ("etc", ["etc", "executable file not found in $PATH"]),
    ] {
        let out = container.exec([], [command]).out();
        out.fails(&words);
    }
}

fn stopped_container_is_refused(t: &Test) {
    let container = t.start(&t.bundle().args(["true"]));
    container.wait();
    container.exec([], ["true"]).out().one_clear_line(&["stopped"]);
}

fn empty_command_is_refused(t: &Test) {
    let container = t.pausing();
    container.exec([], []).out().one_clear_line(&["exec needs a command"]);
    container.exec([], [""]).out().fails(&["executable file not found in $PATH"]);
}

fn forwards_signals(t: &Test) {
    let (container, (reader, writer)) = (t.pausing(), pipe());
    let running = container.exec([], ["/probe", "--signals"]).stdout(writer).spawn();
    assert_eq!(read_line(&reader), "ready");
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.pid()), signal).expect("kill");
        assert_eq!(read_signal(&reader), signal.as_str());
    }
    container.stop();
    assert_eq!(running.out().code, 137);
}

fn does_not_end_the_container(t: &Test) {
    let container = t.pausing();
    assert_eq!(container.exec([], ["false"]).out().code, 1);
    assert_eq!(container.exec([], ["/probe", "--die", "SIGKILL"]).out().code, 137);
    assert_eq!(container.status(), "running");
}

fn many_at_once(t: &Test) {
    let container = t.pausing();
    let calls: Vec<_> = (0..8)
        .map(|n| container.exec([], ["sh", "-c", "echo $0; exit $0", &n.to_string()]).spawn())
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        let out = call.out();
        assert_eq!((out.code, out.stdout), (n as i32, format!("{n}\n")));
    }
}

/// Init ends between the runtime's look at init and setns. The kernel's ESRCH does not
/// explain this. The test delays the runtime there: it waits for the receiver of the pidfd.
fn an_init_that_ends_during_exec_is_not_running(t: &Test) {
    if !is_corten() {
        t.skip("the moment is known from corten's own steps");
    }
    let (container, path) = (t.pausing(), t.path("socket"));
    let listener = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    let address = nix::sys::socket::UnixAddr::new(&path).unwrap();
    nix::sys::socket::bind(listener.as_raw_fd(), &address).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let listener = UnixListener::from(listener);
    // Fills the backlog, so that the next connection waits.
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let (log, writer) = pipe();
    let mut call = t.runtime().args(["--debug", "exec", "--pidfd-socket"]).arg(&path);
    call.command.stderr(writer);
    let exec = call.args([&container.id, "true"]).spawn();
    let mut lines = std::io::BufReader::new(log).lines();
    // After this step, exec connects.
    assert!(lines.any(|line| line.unwrap().contains("opened the cgroups:")));
    container.stop();
    let _ = accept(&listener);
    let _ = accept(&listener);
    assert_eq!(exec.out().code, 255);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let error = rest.iter().find(|line| line.starts_with("corten: error: ")).expect("an error");
    assert!(error.contains(&format!("{}: container not running", container.id)), "{error}");
    // The attack took place: exec came this far. systemd removes the cgroup at once.
    let setns = error.contains("setns") && error.contains("ESRCH");
    assert!(setns || t.by_systemd() && error.contains("clone3: ENOENT"), "{error}");
}
