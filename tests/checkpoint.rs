//! `checkpoint` and `restore`, with a CRIU that works on this machine: $CRIU, or the one in
//! $PATH.

use crate::harness::{Bundle, Call, Container, Test, cgroup_dir, is_corten, pipe, read_line};
use crate::joins::Holder;
use crate::terminal::{Console, line_with, on_a_terminal, with_console};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

cases![
    a_restored_payload_continues_where_it_was,
    a_restored_container_works_like_any_other,
    a_restored_payload_sees_what_it_saw,
    a_restored_user_is_the_same,
    leave_running_leaves_it_running,
    stdio_may_be_files,
    restore_in_the_foreground_returns_the_exit_code,
    bind_mounts_come_from_the_bundle,
    a_terminal_goes_to_the_console_socket,
    a_terminal_is_relayed_in_the_foreground,
    hooks_run_as_for_another_container,
    namespaces_that_are_joined_stay_joined,
    configurations_that_criu_cannot_restore_are_refused,
    a_user_namespace_is_restored,
    mounts_below_a_bind_mount_are_restored,
    on_version_2_of_cgroups,
    a_service_managers_socket_is_restored,
    a_seccomp_filter_is_kept,
    sysctls_of_the_network_are_set_again,
    without_criu_both_verbs_are_refused,
    an_old_criu_is_refused,
    a_criu_that_does_not_answer_is_given_up,
    a_criu_that_was_killed_leaves_nothing_frozen,
    only_running_containers_are_checkpointed,
    a_failed_restore_leaves_nothing,
];

/// Returns a CRIU that works here, or the reason why there is none.
pub fn works() -> &'static Result<PathBuf, String> {
    static CRIU: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    CRIU.get_or_init(|| {
        let named = std::env::var_os("CRIU").filter(|path| !path.is_empty()).map(PathBuf::from);
        let dirs = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&dirs).map(|dir| dir.join("criu")).find(|file| file.is_file());
        let criu = named.or(found).ok_or("criu is not installed: see integration/criu.sh")?;
        let out =
            Command::new(&criu).arg("check").output().map_err(|e| format!("{}: {e}", criu.display()))?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        match out.status.success() {
            true => Ok(criu.parent().expect("a directory").to_path_buf()),
            false => Err(format!("criu does not work here: {}", said.lines().next().unwrap_or_default())),
        }
    })
}

/// Skips the test, or lets the runtime find CRIU.
pub fn needs_criu(t: &Test) {
    match works() {
        Err(reason) => t.skip(reason),
        Ok(dir) => t.var("PATH", &format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default())),
    }
}

/// A payload that counts the lines that it receives.
pub struct Counter<'t> {
    pub container: Container<'t>,
    pub to: File,
    pub from: File,
}

/// Pipes for the payload's stdin and stdout, and the test's ends of the pipes.
pub fn pipes() -> ((OwnedFd, OwnedFd), (File, File)) {
    let ((stdin, to), (from, stdout)) = (pipe(), pipe());
    ((stdin.into(), stdout), (File::from(to), from))
}

/// The payload's stderr is a file that every user may open, and that has no length.
fn quiet(mut call: Call) -> Call {
    call.command.stderr(std::process::Stdio::null());
    call
}

impl<'t> Counter<'t> {
    pub fn start(t: &'t Test, bundle: &Bundle) -> Counter<'t> {
        Counter::start_by(t, bundle, |call| call)
    }

    /// Creates the container. `change` adds to the call of `create`.
    pub fn start_by(t: &'t Test, bundle: &Bundle, change: impl FnOnce(Call<'t>) -> Call<'t>) -> Counter<'t> {
        let ((stdin, stdout), (to, from)) = pipes();
        let container = Container::create(t, bundle, |call| change(quiet(call).stdin(stdin).stdout(stdout)));
        container.start();
        Counter { container, to, from }
    }

    pub fn restore(t: &'t Test, bundle: &Bundle, images: &Path, flags: &[&str]) -> Counter<'t> {
        let ((stdin, stdout), (to, from)) = pipes();
        let container = Container::restored(t, bundle, |call| {
            quiet(call).arg("--image-path").arg(images).args(flags).stdin(stdin).stdout(stdout)
        });
        Counter { container, to, from }
    }

    /// Returns the next answer.
    pub fn next(&mut self) -> String {
        self.to.write_all(b"x\n").expect("write to the payload");
        read_line(&self.from)
    }

    /// Creates a checkpoint, after which CRIU ends the container.
    #[track_caller]
    pub fn checkpoint_and_end(&self, t: &'t Test, images: &Path, flags: &[&str]) {
        self.checkpoint(t, images, flags).ok();
        assert_eq!(self.container.wait(), 137, "criu has ended it");
    }

    pub fn checkpoint(&self, t: &'t Test, images: &Path, flags: &[&str]) -> Call<'t> {
        let call = t.verb(["checkpoint", "--image-path"]).arg(images);
        call.args(flags).arg(&self.container.id)
    }
}

pub fn counting(t: &Test) -> Bundle {
    t.bundle().args(["/probe", "--count"])
}

fn a_restored_payload_continues_where_it_was(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (counting(t), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    assert_eq!(counter.next(), "2");
    counter.checkpoint_and_end(t, &images, &[]);
    counter.container.verb("state").out().fails(&["does not exist"]);
    for _ in 0..2 {
        let mut again = Counter::restore(t, &bundle, &images, &[]);
        assert_eq!(again.next(), "3");
        assert_eq!(again.next(), "4");
        assert_eq!(again.container.state()["pid"], again.container.init.pid);
        again.container.stop();
    }
}

fn a_restored_container_works_like_any_other(t: &Test) {
    needs_criu(t);
    let images = t.path("images");
    let bundle = counting(t).set("/linux/resources/pids", json!({ "limit": 20 }));
    let counter = Counter::start(t, &bundle);
    counter.checkpoint_and_end(t, &images, &[]);
    let mut again = Counter::restore(t, &bundle, &images, &[]);
    let container = &again.container;
    assert_eq!(container.status(), "running");
    if let Some(limit) = crate::harness::cgroup_file(container.init.pid, "pids", "pids.max") {
        assert_eq!(limit, "20");
    }
    let dir = crate::harness::cgroup_dir(container.init.pid, "freezer").expect("a cgroup");
    assert!(dir.to_string_lossy().contains(&container.id), "{dir:?}");
    assert_eq!(container.look([])["names"]["host"], "box");
    container.verb("pause").ok();
    assert_eq!(container.status(), "paused");
    container.verb("resume").ok();
    let ps = t.verb(["ps", "--format", "json", &container.id]).ok().stdout;
    assert_eq!(serde_json::from_str::<Value>(&ps).expect("JSON"), json!([container.init.pid]));
    assert_eq!(again.next(), "1");
    drop(again.to);
    if is_corten() {
        assert_eq!(again.container.verb("wait").out().code, 7);
        assert_eq!(again.container.state()["exit"]["status"], 7);
    }
    assert!(again.container.init.ended());
    assert_eq!(again.container.status(), "stopped");
    assert_eq!(again.container.wait(), 7);
    again.container.verb("delete").ok();
}

/// Everything that the payload sees, without the numbers that differ between containers.
fn seen(from: &File) -> Value {
    let mut seen: Value = serde_json::from_str(&read_line(from)).expect("a report");
    for mount in seen["mounts"].as_array_mut().expect("mounts") {
        for field in ["device", "root"] {
            mount.as_object_mut().expect("a mount").remove(field);
        }
    }
    let mounts = seen["mounts"].as_array_mut().expect("mounts");
    mounts.sort_by_key(|mount| mount["at"].as_str().map(str::to_owned));
    let kept = |field: &String| field.starts_with("Cap") || field.starts_with("Sig") || field == "NoNewPrivs";
    seen["status"].as_object_mut().expect("fields").retain(|field, _| kept(field) && field != "SigQ");
    let same =
        ["mounts", "argv", "env", "cwd", "ids", "status", "rlimits", "names", "oom_score_adj", "label"];
    same.into_iter()
        .chain(["cgroup", "loopback_up", "asked"])
        .map(|field| (field, seen[field].clone()))
        .collect()
}

fn a_restored_payload_sees_what_it_saw(t: &Test) {
    needs_criu(t);
    let script = "while read x; do /probe list:/dev list:/proc/acpi stat:/proc/kcore stat:/etc; done";
    let bundle = t.bundle().shell(script).namespace("cgroup").set("/root/readonly", json!(true));
    check_sees_the_same(t, &bundle);
}

fn a_restored_user_is_the_same(t: &Test) {
    needs_criu(t);
    if !has_sys_resource() {
        t.skip("criu needs CAP_SYS_RESOURCE to read the limits of another user's process");
    }
    let script = "while read x; do /probe; done";
    let user = json!({ "uid": 5, "gid": 6, "additionalGids": [7] });
    check_sees_the_same(t, &t.bundle().shell(script).set("/process/user", user));
}

/// CAP_SYS_RESOURCE is number 24.
fn has_sys_resource() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    u64::from_str_radix(mask.trim(), 16).expect("hexadecimal") >> 24 & 1 == 1
}

/// The payload runs the probe for each line that it receives.
fn check_sees_the_same(t: &Test, bundle: &Bundle) {
    let images = t.path("images");
    let mut counter = Counter::start(t, bundle);
    counter.to.write_all(b"x\n").expect("write");
    let before = seen(&counter.from);
    counter.checkpoint_and_end(t, &images, &[]);
    let mut again = Counter::restore(t, bundle, &images, &[]);
    again.to.write_all(b"x\n").expect("write");
    let after = seen(&again.from);
    for (field, value) in before.as_object().expect("fields") {
        assert_eq!(&after[field], value, "{field}");
    }
}

fn leave_running_leaves_it_running(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (counting(t), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    // Podman passes the flag twice.
    counter.checkpoint(t, &images, &["--leave-running", "--leave-running"]).ok();
    assert_eq!(counter.next(), "2");
    let mut other = Counter::restore(t, &bundle, &images, &[]);
    assert_eq!(other.next(), "2");
    assert_eq!(counter.container.status(), "running");
    counter.container.verb("pause").ok();
    counter.checkpoint(t, &t.path("paused"), &["--leave-running"]).ok();
    assert_eq!(counter.container.status(), "paused");
}

fn stdio_may_be_files(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (counting(t), t.path("images"));
    let (stdin, mut to) = pipe_in();
    // stdout is a file of the host, as in all these tests. The answer to the second line is
    // not in it before the test has written the first.
    let container = Container::create(t, &bundle, |call| call.stdin(stdin));
    container.start();
    to.write_all(b"x\n").expect("write");
    while container.output().is_empty() {
        std::thread::yield_now();
    }
    t.verb(["checkpoint", "--image-path"]).arg(&images).arg(&container.id).ok();
    assert_eq!(container.wait(), 137);
    drop(to);
    // CRIU requires that a regular file has the same length as before.
    let log = t.path("log");
    std::fs::copy(&container.stdout, &log).expect("copy");
    let (stdin, mut to) = pipe_in();
    let again = Container::restored(t, &bundle, |call| {
        let file = std::fs::OpenOptions::new().append(true).open(&log).expect("open");
        call.arg("--image-path").arg(&images).stdin(stdin).stdout(file.into())
    });
    to.write_all(b"x\n").expect("write");
    drop(to);
    assert_eq!(again.wait(), 7);
    assert_eq!(std::fs::read_to_string(&log).expect("read"), "1\n2\n");
    assert_eq!(container.output(), "1\n");
}

fn pipe_in() -> (OwnedFd, File) {
    let (stdin, to) = pipe();
    (stdin.into(), File::from(to))
}

fn restore_in_the_foreground_returns_the_exit_code(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (counting(t), t.path("images"));
    let counter = Counter::start(t, &bundle);
    counter.checkpoint_and_end(t, &images, &[]);
    let ((stdin, stdout), (mut to, from)) = pipes();
    let id = t.id();
    let call = t.verb(["restore", "--bundle"]).arg(bundle.lay()).arg("--image-path").arg(&images).arg(&id);
    let running = quiet(call).stdin(stdin).stdout(stdout).spawn();
    to.write_all(b"x\n").expect("write");
    assert_eq!(read_line(&from), "1");
    drop(to);
    assert_eq!(running.out().code, 7);
    t.verb(["state", &id]).out().fails(&["does not exist"]);
}

fn bind_mounts_come_from_the_bundle(t: &Test) {
    needs_criu(t);
    let (first, second, images) = (t.make_dir("first"), t.make_dir("second"), t.path("images"));
    for (dir, text) in [(&first, "one"), (&second, "two")] {
        std::fs::write(dir.join("name"), text).expect("write");
        std::fs::create_dir(dir.join("below")).expect("mkdir");
    }
    let (file, decoy) = (t.make_file("file", "a file"), t.make_decoy());
    let with = |dir: &Path| {
        let bundle =
            t.bundle().shell("while read x; do cat /link/data/name /f /link/data/below/f; echo; done");
        std::os::unix::fs::symlink(decoy.join("dir"), bundle.inside("/link")).expect("symlink");
        let bundle = bundle.bind(dir, "/link/data", &[]).bind(&file, "/f", &["ro"]);
        bundle.bind(&file, "/link/data/below/f", &[])
    };
    let mut counter = Counter::start(t, &with(&first));
    assert_eq!(counter.next(), "onea filea file");
    counter.checkpoint_and_end(t, &images, &[]);
    // Another rootfs, in which no mount point exists yet.
    let mut again = Counter::restore(t, &with(&second), &images, &[]);
    assert_eq!(again.next(), "twoa filea file");
    let mounts = again.container.look([])["mounts"].clone();
    let data = mounts.as_array().expect("mounts").iter().find(|mount| mount["at"] == "/f");
    assert!(data.expect("the mount")["options"].as_array().expect("options").contains(&json!("ro")));
}

fn a_terminal_goes_to_the_console_socket(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (on_a_terminal(t.bundle()).shell(TALKING), t.path("images"));
    let (container, mut terminal) = with_console(t, &bundle);
    container.start();
    line_with(&terminal, "ready");
    terminal.write_all(b"a\n").expect("type");
    line_with(&terminal, "got a");
    t.verb(["checkpoint", "--image-path"]).arg(&images).arg(&container.id).ok();
    assert_eq!(container.wait(), 137);
    let console = Console::new(t);
    let again = Container::restored(t, &bundle, |call| {
        call.arg("--image-path").arg(&images).arg("--console-socket").arg(&console.path)
    });
    let mut terminal = console.receive();
    terminal.write_all(b"b\n").expect("type");
    line_with(&terminal, "got b");
    let call = t.verb(["restore", "--detach", "--bundle"]).arg(bundle.lay()).arg("--image-path").arg(&images);
    call.arg(t.id()).out().one_clear_line(&["console"]);
    again.stop();
}

const TALKING: &str = "stty -echo; echo ready; while read x; do echo got $x; done";

fn a_terminal_is_relayed_in_the_foreground(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (on_a_terminal(t.bundle()).shell(TALKING), t.path("images"));
    let (container, terminal) = with_console(t, &bundle);
    container.start();
    line_with(&terminal, "ready");
    t.verb(["checkpoint", "--image-path"]).arg(&images).arg(&container.id).ok();
    assert_eq!(container.wait(), 137);
    let (mut ours, slave) = crate::terminal::terminal(24, 80);
    let call = t.verb(["restore", "--bundle"]).arg(bundle.lay()).arg("--image-path").arg(&images).arg(t.id());
    let running = crate::terminal::in_foreground(call, &slave);
    ours.write_all(b"word\n").expect("type");
    line_with(&ours, "got word");
    // Closes the payload's stdin.
    ours.write_all(&[4]).expect("type");
    assert_eq!(running.out().code, 0);
}

fn hooks_run_as_for_another_container(t: &Test) {
    needs_criu(t);
    let (images, diary) = (t.path("images"), t.path("diary"));
    let hook = |kind: &str| {
        let script = format!(
            "echo {kind} >>{0}; cat >{0}.{kind}; readlink /proc/self/ns/net >>{0}.net",
            diary.display()
        );
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
    };
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let bundle =
        kinds.iter().fold(counting(t), |bundle, kind| bundle.set(&format!("/hooks/{kind}"), hook(kind)));
    let bundle = bundle.drop("/hooks/createContainer").drop("/hooks/startContainer");
    let told = || std::mem::take(&mut std::fs::read_to_string(&diary).expect("a diary"));
    let counter = Counter::start(t, &bundle);
    counter.checkpoint_and_end(t, &images, &[]);
    let before = told();
    assert!(before.ends_with("poststop\n"), "{before}");
    let mut again = Counter::restore(t, &bundle, &images, &[]);
    assert_eq!(told().strip_prefix(&before), Some("prestart\ncreateRuntime\n"));
    let state = std::fs::read_to_string(format!("{}.createRuntime", diary.display())).expect("a state");
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(state["pid"], again.container.init.pid);
    assert_eq!(state["id"], again.container.id.as_str());
    assert_eq!(again.next(), "1");
    again.container.stop();
    again.container.verb("delete").ok();
    assert_eq!(told().strip_prefix(&before), Some("prestart\ncreateRuntime\npoststop\n"));
    let bad = json!([{ "path": "/bin/false" }]);
    let bundle = bundle.set("/hooks/prestart", bad);
    let call = t.verb(["restore", "--detach", "--bundle"]).arg(bundle.lay()).arg("--image-path").arg(&images);
    call.arg(t.id()).out().one_clear_line(&["/hooks/prestart/0"]);
}

fn namespaces_that_are_joined_stay_joined(t: &Test) {
    needs_criu(t);
    let holder = Holder::new(t, &["--net", "--ipc", "--uts", "--fork"], "ip link set lo up; hostname held");
    let bundle = counting(t).drop("/hostname");
    let kinds = [("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
    let bundle = kinds.iter().fold(bundle, |bundle, (kind, link)| bundle.join(kind, &holder.path(link)));
    let images = t.path("images");
    let counter = Counter::start(t, &bundle);
    counter.checkpoint_and_end(t, &images, &[]);
    let mut again = Counter::restore(t, &bundle, &images, &[]);
    assert_eq!(again.next(), "1");
    let link = |path: &str| std::fs::read_link(path).expect("a namespace");
    for (_, name) in kinds {
        let own = format!("/proc/{}/ns/{name}", again.container.init.pid);
        assert_eq!(link(&own), link(&holder.path(name)), "{name}");
    }
    again.container.stop();
    drop(again);
    holder.end();
}

fn configurations_that_criu_cannot_restore_are_refused(t: &Test) {
    let host = t.start(&t.bundle().namespace("cgroup").pausing());
    let path = |link: &str| format!("/proc/{}/ns/{link}", host.init.pid);
    let container = t.start(&t.bundle().join("cgroup", &path("cgroup")).pausing());
    let call = t.verb(["checkpoint", "--image-path"]).arg(t.path("images"));
    call.arg(&container.id).out().one_clear_line(&["/linux/namespaces/5", "cgroup"]);
    let bundle = t.bundle().join("mount", &path("mnt"));
    let images = t.make_dir("images");
    std::fs::write(images.join("descriptors.json"), "[]").expect("write");
    let call = t.verb(["restore", "--bundle"]).arg(bundle.lay()).arg("--image-path").arg(&images);
    call.arg(t.id()).out().one_clear_line(&["/linux/namespaces", "mount"]);
    let bundle = t.bundle();
    let call = t.verb(["restore", "--no-pivot", "--bundle"]).arg(bundle.lay());
    call.arg(t.id()).out().one_clear_line(&["--no-pivot"]);
}

fn a_user_namespace_is_restored(t: &Test) {
    needs_criu(t);
    let images = t.path("images");
    let bundle = counting(t).user_namespace();
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    let out = counter.checkpoint(t, &images, &[]).out();
    if out.stderr.contains("Can't get rlimit") {
        t.skip("criu needs CAP_SYS_RESOURCE to read the limits of another user's process");
    }
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(counter.container.wait(), 137);
    let mut again = Counter::restore(t, &bundle, &images, &[]);
    assert_eq!(again.next(), "2");
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", again.container.init.pid)).expect("a map");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    let seen = again.container.look([]);
    assert_eq!(seen["ids"]["uid"][0], 0);
}

fn mounts_below_a_bind_mount_are_restored(t: &Test) {
    needs_criu(t);
    let volume = t.make_dir("volume");
    let bundle = t.bundle().bind(&volume, "/data", &[]).shell("read x; cat /data/below/file /rooted/file");
    let images = t.path("images");
    std::fs::create_dir(bundle.inside("/rooted")).expect("mkdir");
    let script = format!(
        "mkdir -p \"$VOLUME/below\"; mount -t tmpfs none \"$VOLUME/below\"; mount -t tmpfs none rootfs/rooted; \
         echo volume >\"$VOLUME/below/file\"; echo rooted >rootfs/rooted/file; \
         mkfifo in out; exec 9<>in; cat out & \
         runtime run --detach --bundle \"$BUNDLE\" \"$ID\" <in >out; runtime checkpoint --image-path {0} \"$ID\"; echo changed >\"$VOLUME/below/file\"; \
         echo x >in; \
         cat out & runtime restore --bundle \"$BUNDLE\" --image-path {0} \"$ID\" <in >out; wait",
        images.display()
    );
    let path =
        format!("{}:{}", works().as_ref().expect("a criu").display(), std::env::var("PATH").expect("PATH"));
    // stdout was the null device, and is the null device again.
    let out = t.in_private_mounts(&bundle, &volume, &script).env("PATH", path).out();
    assert_eq!((out.code, out.stdout.as_str()), (0, "changed\nrooted\n"), "{out:?}");
}

fn on_version_2_of_cgroups(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (t.bundle().namespace("cgroup"), t.path("images"));
    let script = format!(
        "mkfifo in; exec 9<>in; runtime run --detach --bundle \"$BUNDLE\" \"$ID\" <in >out; \
         grep -q . $GROUP/cgroup.procs; runtime checkpoint --image-path {0} \"$ID\"; test ! -e $GROUP; \
         runtime restore --detach --bundle \"$BUNDLE\" --image-path {0} \"$ID\" <in >out; \
         grep -q . $GROUP/cgroup.procs; runtime pause \"$ID\"; grep -q 'frozen 1' $GROUP/cgroup.events; \
         runtime resume \"$ID\"; echo x >in; runtime wait \"$ID\" >/dev/null; cat out; runtime delete \"$ID\"",
        images.display(),
    );
    let bundle =
        bundle.shell("read x; cat /proc/self/cgroup; test -e /sys/fs/cgroup/cgroup.procs && echo there");
    let path =
        format!("{}:{}", works().as_ref().expect("a criu").display(), std::env::var("PATH").expect("PATH"));
    let out = t.on_v2(&bundle, &script).env("PATH", path).out();
    assert_eq!(out.code, 0, "{out:?}");
    assert!(out.stdout.contains("0::/\n") && out.stdout.contains("there"), "{out:?}");
}

fn a_service_managers_socket_is_restored(t: &Test) {
    needs_criu(t);
    let images = t.path("images");
    let manager = std::os::unix::net::UnixDatagram::bind(t.path("manager")).expect("bind");
    let address = manager.local_addr().expect("an address");
    let address = address.as_pathname().expect("a path").to_owned();
    let bundle = counting(t);
    let counter = Counter::start_by(t, &bundle, |call| call.env("NOTIFY_SOCKET", &address));
    counter.checkpoint_and_end(t, &images, &[]);
    let again = Counter::restore(t, &bundle, &images, &[]);
    let mounts = again.container.look([])["mounts"].clone();
    assert!(mounts.as_array().expect("mounts").iter().any(|mount| mount["at"] == "/run/notify"), "{mounts}");
    again.container.stop();
    again.container.verb("delete").ok();
}

fn a_seccomp_filter_is_kept(t: &Test) {
    needs_criu(t);
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }] });
    let bundle =
        t.bundle().set("/linux/seccomp", profile).shell("while read x; do /probe mkdir:/tmp/x; done");
    let images = t.path("images");
    let mut counter = Counter::start(t, &bundle);
    let asked = |counter: &mut Counter| {
        let seen: Value = serde_json::from_str(&counter.next()).expect("a report");
        seen["asked"]["mkdir:/tmp/x"].clone()
    };
    assert_eq!(asked(&mut counter), "EOPNOTSUPP");
    counter.checkpoint_and_end(t, &images, &[]);
    let mut again = Counter::restore(t, &bundle, &images, &[]);
    assert_eq!(asked(&mut again), "EOPNOTSUPP");
}

fn sysctls_of_the_network_are_set_again(t: &Test) {
    needs_criu(t);
    let images = t.path("images");
    let sysctl = json!({ "net.ipv4.ip_unprivileged_port_start": "77" });
    let bundle = counting(t).set("/linux/sysctl", sysctl);
    let counter = Counter::start(t, &bundle);
    counter.checkpoint_and_end(t, &images, &[]);
    let again = Counter::restore(t, &bundle, &images, &[]);
    let out = again.container.exec([], ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]).ok();
    assert_eq!(out.stdout, "77\n");
}

fn without_criu_both_verbs_are_refused(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let images = t.path("images");
    let nowhere = t.make_dir("nowhere");
    let call = t.verb(["checkpoint", "--image-path"]).arg(&images).arg(&container.id);
    call.env("PATH", &nowhere).out().one_clear_line(&["criu is not installed", "3.15"]);
    assert!(!images.exists() || !is_corten());
    assert_eq!(container.status(), "running");
    std::fs::create_dir_all(&images).expect("mkdir");
    std::fs::write(images.join("descriptors.json"), "[]").expect("write");
    let bundle = t.bundle();
    let call = t.verb(["restore", "--bundle"]).arg(bundle.lay()).arg("--image-path").arg(&images).arg(t.id());
    call.env("PATH", &nowhere).out().one_clear_line(&["criu is not installed", "3.15"]);
}

/// A directory with a script as CRIU.
fn fake_criu(t: &Test, script: &str) -> PathBuf {
    let dir = t.make_dir("fake");
    std::fs::write(dir.join("criu"), format!("#!/bin/sh\n{script}")).expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.join("criu"), mode).expect("chmod");
    dir
}

/// A script that reads a request and answers with a `criu_resp`: the type VERSION, success, and
/// 3.MINOR.
fn answer_version(minor: u8) -> String {
    format!(
        "/bin/busybox dd bs=4096 count=1 <&\"$2\" >/dev/null 2>&1
         printf '\\010\\012\\020\\001\\122\\004\\010\\003\\020\\{minor:03o}' >&\"$2\"\n"
    )
}

fn an_old_criu_is_refused(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let dir = fake_criu(t, &answer_version(14));
    let call = t.verb(["checkpoint", "--image-path"]).arg(t.path("images")).arg(&container.id);
    call.env("PATH", &dir).out().one_clear_line(&["3.15", "3.14"]);
    assert_eq!(container.status(), "running");
}

/// The question for the version has a time limit.
fn a_criu_that_does_not_answer_is_given_up(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let dir = fake_criu(t, "exec /bin/busybox sleep 1000");
    let call = t.verb(["checkpoint", "--image-path"]).arg(t.path("images")).arg(&container.id);
    call.env("PATH", &dir).out().one_clear_line(&["criu does not answer", "ETIMEDOUT"]);
    assert_eq!(container.status(), "running");
}

/// For example by the OOM killer, in the middle of a dump.
fn a_criu_that_was_killed_leaves_nothing_frozen(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let pid = container.init.pid;
    let (freezer, value) = match cgroup_dir(pid, "freezer") {
        Some(dir) => (dir.join("freezer.state"), "FROZEN"),
        None => (cgroup_dir(pid, "").expect("a cgroup").join("cgroup.freeze"), "1"),
    };
    let was_asked = t.path("was-asked");
    let script = format!(
        "if [ -e {asked} ]; then echo {value} >{freezer}; kill -KILL $$; fi\n: >{asked}\n{answer}",
        asked = was_asked.display(),
        freezer = freezer.display(),
        answer = answer_version(19),
    );
    let dir = fake_criu(t, &script);
    let call = t.verb(["checkpoint", "--image-path"]).arg(t.path("images")).arg(&container.id);
    call.env("PATH", &dir).out().one_clear_line(&["criu ended without an answer"]);
    assert!(was_asked.exists());
    assert_eq!(container.status(), "running");
}

fn only_running_containers_are_checkpointed(t: &Test) {
    let container = t.create(&t.bundle().args(["true"]));
    let call = || t.verb(["checkpoint", "--image-path"]).arg(t.path("images"));
    call().arg(&container.id).out().one_clear_line(&["created"]);
    container.start();
    assert_eq!(container.wait(), 0);
    call().arg(&container.id).out().one_clear_line(&["stopped"]);
    call().arg("nobody").out().one_clear_line(&["does not exist"]);
}

fn a_failed_restore_leaves_nothing(t: &Test) {
    needs_criu(t);
    let (bundle, images, pid_file) = (t.bundle(), t.make_dir("images"), t.path("pid"));
    let restore = || {
        let call = t.verb(["restore", "--detach", "--pid-file"]).arg(&pid_file);
        call.arg("--bundle").arg(bundle.lay()).arg("--image-path").arg(&images).arg(t.id()).out()
    };
    restore().one_clear_line(&["descriptors.json"]);
    std::fs::write(images.join("descriptors.json"), "[\"\",\"\",\"\"]").expect("write");
    restore().one_clear_line(&["criu could not restore", "restore.log"]);
    assert!(!pid_file.exists());
}
