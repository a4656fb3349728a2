//! Nothing hangs. Every wait has a limit, and an error names the process that does not end
//! or answer.

use crate::harness::{
    Container, PidFd, Running, Test, cgroup_dir, cgroup_v2, cgroups_named, is_corten, is_root, read_line,
};
use crate::pause::{freeze, remove_parents};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

cases![
    delete_names_an_init_that_does_not_die,
    delete_of_a_created_container_names_it_too,
    a_busy_container_names_the_lock_holder,
    a_hook_in_the_container_blocks_no_other_verb,
    a_frozen_cgroup_is_refused,
    nothing_starts_below_a_frozen_cgroup,
    a_frozen_cgroup_is_refused_on_v2,
    a_signal_ends_run_while_a_hook_hangs,
    a_signal_ends_an_exec_that_makes_no_progress,
    a_killed_verb_leaves_no_lock,
    a_receiver_that_never_accepts_is_an_error,
];

/// A process of the container whose `exec` has ended, so that it is a child of the test.
/// After its end, it stays a zombie until the test reaps it, and so does its pid namespace.
fn unreaped(t: &Test, container: &Container) -> PidFd {
    let pid_file = t.path("exec.pid");
    let flags = ["exec", "--detach", "--pid-file"];
    t.verb(flags).arg(&pid_file).args([&container.id, "/probe", "--pause"]).ok();
    PidFd::from_file(&pid_file)
}

fn delete_names_an_init_that_does_not_die(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let zombie = unreaped(t, &container);
    let delete = t.verb(["delete", "--force", &container.id]).spawn();
    assert!(zombie.ended());
    // Another verb can take the lock meanwhile, and gets an answer.
    container.verb("resume").out().one_clear_line(&["container not paused"]);
    assert!(delete.is_alive(), "it didn't wait");
    names(&delete.out(), &container, &zombie);
    // The container stays, and can be deleted later.
    container.verb("state").ok();
    zombie.reap();
    t.verb(["delete", "--force", &container.id]).ok();
    container.verb("state").out().fails(&["does not exist"]);
}

fn names(out: &crate::harness::Out, container: &Container, zombie: &PidFd) {
    // The words are runc's.
    out.says(&["container init still running"]);
    if is_root() {
        let (init, zombie) =
            (format!("process {} (", container.init.pid), format!("{}, child of", zombie.pid));
        let parent = format!("process {} (", std::process::id());
        out.one_clear_line(&[&init, "state S, wchan ", &zombie, &parent]);
    }
}

fn delete_of_a_created_container_names_it_too(t: &Test) {
    let container = t.create(&t.bundle().pausing());
    let zombie = unreaped(t, &container);
    let delete = container.verb("delete").spawn();
    assert!(zombie.ended());
    container.verb("resume").out().one_clear_line(&["container not paused"]);
    names(&delete.out(), &container, &zombie);
    zombie.reap();
    container.verb("delete").ok();
}

/// A FIFO to which a hook writes `on`. Every process that the hook has started holds it
/// open.
struct Hook {
    fifo: PathBuf,
    reader: File,
}

impl Hook {
    fn new(dir: &Path) -> Hook {
        let fifo = dir.join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("mkfifo");
        let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let reader = File::options().read(true).custom_flags(flags).open(&fifo).expect("a FIFO");
        Hook { fifo, reader }
    }

    /// A hook that never ends.
    fn hanging(&self) -> serde_json::Value {
        let script = "exec > $0; echo on; sleep 1000 & wait";
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script, self.fifo],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] })
    }

    fn is_on(&self) {
        assert_eq!(read_line(&self.reader), "on");
    }

    /// The end of the stream: none of the hook's processes is left.
    fn is_gone(&self) {
        assert_eq!(read_line(&self.reader), "");
    }
}

fn a_busy_container_names_the_lock_holder(t: &Test) {
    let (dir, id) = (t.make_dir("hook"), t.id());
    let hook = Hook::new(&dir);
    let bundle = t.bundle().pausing().push("/hooks/createRuntime", hook.hanging());
    t.will_delete(&id);
    let create = t.verb(["create", "--bundle"]).arg(bundle.lay()).arg(&id).spawn();
    hook.is_on();
    let out = t.verb(["delete", "--force", &id]).out();
    out.one_clear_line(&["the container is busy", &format!("process {} (", create.pid())]);
    // Any process can find the holder of the lock, and finds none after the holder has
    // ended.
    let children =
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", create.pid())).expect("children");
    let children: Vec<PidFd> =
        children.split_whitespace().map(|pid| PidFd::open(pid.parse().expect("a pid"))).collect();
    create.kill();
    create.out();
    t.verb(["delete", "--force", &id]).ok();
    children.iter().for_each(PidFd::kill);
}

/// `start` returns when the payload runs. Until then, a hook may take any time.
fn a_hook_in_the_container_blocks_no_other_verb(t: &Test) {
    let dir = t.make_dir("hook");
    let hook = Hook::new(&dir);
    let bundle = t.bundle().pausing().bind(&dir, dir.to_str().unwrap(), &[]);
    let container = t.create(&bundle.push("/hooks/startContainer", hook.hanging()));
    let start = container.verb("start").spawn();
    hook.is_on();
    container.verb("pause").ok();
    container.verb("resume").ok();
    container.update(["--cpu-share", "100"]).ok();
    assert!(start.is_alive());
    t.verb(["delete", "--force", &container.id]).ok();
    start.out();
    container.verb("state").out().fails(&["does not exist"]);
    hook.is_gone();
}

/// Creates and removes cgroups of a container's freezer.
struct Frozen<'t> {
    t: &'t Test,
    /// Returns the freezer's directory of the container, which the configuration names.
    path: String,
    dir: PathBuf,
}

impl<'t> Frozen<'t> {
    fn new(t: &'t Test, dir: &str) -> Frozen<'t> {
        let path = t.cgroups_path(dir);
        let mount = if cgroup_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/freezer" };
        let dir = Path::new(mount).join(path.trim_start_matches('/'));
        fs::create_dir_all(&dir).expect("a cgroup");
        freeze(&dir, true);
        Frozen { t, path, dir }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        freeze(&self.dir, false);
        for dir in cgroups_named(&self.t.token) {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// runc's words since 1.1.
const FROZEN: &str = "container's cgroup unexpectedly frozen";

fn a_frozen_cgroup_is_refused(t: &Test) {
    let frozen = Frozen::new(t, &format!("{0}/{0}", t.token));
    // The cgroup itself, and the one above.
    for path in [frozen.path.clone(), format!("{}/{}", frozen.path, t.token)] {
        let bundle = t.bundle().pausing().set("/linux/cgroupsPath", json!(path));
        t.refused(&bundle).one_clear_line(&[FROZEN, "/linux/cgroupsPath"]);
        t.run(&bundle).one_clear_line(&[FROZEN]);
    }
}

fn nothing_starts_below_a_frozen_cgroup(t: &Test) {
    let path = t.cgroups_path(&format!("{}/c", t.token));
    let bundle = t.bundle().pausing().set("/linux/cgroupsPath", json!(path));
    let container = t.create(&bundle);
    let parent = cgroup_dir(container.init.pid, "freezer").unwrap().parent().unwrap().to_path_buf();
    freeze(&parent, true);
    container.verb("start").out().one_clear_line(&[FROZEN]);
    freeze(&parent, false);
    container.start();
    freeze(&parent, true);
    let refused = [container.exec([], ["true"]).out(), container.exec(["--detach"], ["true"]).out()];
    freeze(&parent, false);
    for out in refused {
        out.one_clear_line(&[FROZEN]);
        assert_eq!(out.code, 255);
    }
    assert_eq!(container.exec([], ["echo", "again"]).ok().stdout, "again\n");
    remove_parents(t, container);
}

fn a_frozen_cgroup_is_refused_on_v2(t: &Test) {
    let script = "
        mkdir $GROUP $GROUP/c
        echo 1 > $GROUP/cgroup.freeze
        runtime create \"$ID\" || echo refused below
        rmdir $GROUP/c
        runtime create \"$ID\" || echo refused itself
        echo 0 > $GROUP/cgroup.freeze
        runtime create \"$ID\" > /dev/null
        echo 1 > $GROUP/cgroup.freeze
        runtime start \"$ID\" || echo not started
        runtime exec \"$ID\" true || echo not entered
        echo 0 > $GROUP/cgroup.freeze
        runtime start \"$ID\"
        runtime exec \"$ID\" echo again
        runtime delete --force \"$ID\"";
    let bundle = t.bundle().pausing();
    // `below` has another path; the cgroup itself has the path that `on_v2` gives.
    let script = script.replacen(
        "runtime create \"$ID\" || echo refused below",
        "sed 's|\\(\"cgroupsPath\": \".*\\)\"|\\1/c\"|' config.json > below.json
        runtime create --config below.json \"$ID\" || echo refused below",
        1,
    );
    let out = t.on_v2(&bundle, &script).ok();
    let said: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(said, ["refused below", "refused itself", "not started", "not entered", "again"], "{out:?}");
    if is_corten() {
        assert_eq!(out.stderr.matches(FROZEN).count(), 3, "{out:?}");
        assert_eq!(out.stderr.matches("cannot exec in a paused container").count(), 1, "{out:?}");
    }
}

/// A signal can end `run` at any time, and nothing is left.
fn a_signal_ends_run_while_a_hook_hangs(t: &Test) {
    let kinds = [
        ("prestart", Signal::SIGTERM),
        ("createRuntime", Signal::SIGINT),
        ("createContainer", Signal::SIGTERM),
        ("startContainer", Signal::SIGHUP),
        ("poststart", Signal::SIGTERM),
        ("poststop", Signal::SIGTERM),
    ];
    for (kind, signal) in kinds {
        let dir = t.make_dir("hook");
        let hook = Hook::new(&dir);
        let exits = ["/probe", "--exit", "7"];
        let bundle = if kind == "poststop" { t.bundle().args(exits) } else { t.bundle().pausing() };
        let bundle = bundle.bind(&dir, dir.to_str().unwrap(), &[]);
        let bundle = bundle.push(&format!("/hooks/{kind}"), hook.hanging());
        let run = t.run_call(&bundle).spawn();
        hook.is_on();
        kill(Pid::from_raw(run.pid()), signal).expect("kill");
        let out = run.out();
        // Later steps don't change the exit status of the payload.
        let status = if kind == "poststop" { 7 } else { 128 + signal as i32 };
        assert_eq!(out.code, status, "{kind}: {out:?}");
        out.says(&[signal.as_str()]);
        hook.is_gone();
        assert_eq!(t.verb(["list", "--quiet"]).ok().stdout, "", "{kind}");
    }
}

/// The child stops before its first instruction, or at the first instruction in its new
/// cgroup.
fn a_signal_ends_an_exec_that_makes_no_progress(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    container.verb("pause").ok();
    let procs = cgroup_dir(container.init.pid, "freezer").unwrap().join("cgroup.procs");
    let exec = container.exec(["--ignore-paused"], ["true"]).spawn();
    while fs::read_to_string(&procs).unwrap().lines().count() < 2 && exec.is_alive() {
        std::thread::yield_now();
    }
    let procs = fs::read_to_string(&procs).unwrap();
    let child = procs.lines().map(|pid| pid.parse().expect("a pid")).find(|pid| *pid != container.init.pid);
    let child = PidFd::open(child.expect("what is to be executed"));
    kill(Pid::from_raw(exec.pid()), Signal::SIGTERM).expect("kill");
    let out = exec.out();
    assert_eq!(out.code, 128 + libc::SIGTERM, "{out:?}");
    out.says(&["SIGTERM"]);
    container.verb("resume").ok();
    // On version 1 the child could not die before. Now it is a child of the test.
    if !cgroup_v2() {
        child.reap();
    }
}

/// If a verb is killed, its lock is released, whatever children it leaves. strace stops the
/// process that is to change the mounts.
fn a_killed_verb_leaves_no_lock(t: &Test) {
    t.needs_root("to trace the runtime");
    let container = t.start(&t.bundle().pausing());
    let mounts = json!([{ "destination": "/tmp", "type": "tmpfs", "source": "t" }]);
    let list = t.make_file("list", &mounts.to_string());
    let hold_up = ["-f", "-o", "/dev/null", "-e", "trace=setns", "-e", "inject=setns:delay_enter=100000000"];
    let call = t.call("/usr/bin/strace").args(hold_up).arg(&*t.runtime.borrow()).arg("--root").arg(t.root());
    let add = call.args(["mounts", "add", &container.id]).arg(&list).spawn();
    let (runtime, child) = grandchild(&add);
    runtime.kill();
    assert!(runtime.ended());
    // This command takes the lock.
    container.verb("resume").out().one_clear_line(&["container not paused"]);
    assert!(child.is_alive(), "nobody was left that could have had the lock");
    child.kill();
    add.kill();
    add.out();
    assert!(child.ended());
}

/// Returns the child of the runtime that strace has started.
fn grandchild(strace: &Running) -> (PidFd, PidFd) {
    let first = |pid: i32| {
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        list.split_whitespace().next().map(|pid| pid.parse::<i32>().expect("a pid"))
    };
    loop {
        assert!(strace.is_alive(), "the runtime has ended");
        if let Some(runtime) = first(strace.pid())
            && let Some(child) = first(runtime)
        {
            return (PidFd::open(runtime), PidFd::open(child));
        }
        std::thread::yield_now();
    }
}

fn a_receiver_that_never_accepts_is_an_error(t: &Test) {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    };
    use std::os::fd::AsRawFd;
    let path = t.path("receiver");
    let new = || socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("socket");
    let (receiver, first) = (new(), new());
    let address = UnixAddr::new(&path).expect("an address");
    bind(receiver.as_raw_fd(), &address).expect("bind");
    listen(&receiver, Backlog::new(0).expect("a backlog")).expect("listen");
    connect(first.as_raw_fd(), &address).expect("the one that is let in line");
    let call = t
        .verb(["run", "--pidfd-socket"])
        .arg(&path)
        .arg("--bundle")
        .arg(t.bundle().pausing().lay())
        .arg(t.id());
    let out = call.out();
    out.one_clear_line(&["connect to the receiver of the pidfd", path.to_str().unwrap()]);
}
