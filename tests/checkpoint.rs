//! `checkpoint` and `restore`, with a CRIU that works on this machine: the one
//! that $CRIU names, or one in $PATH.

use crate::harness::{Bundle, Call, Container, Test, pipe, read_line};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

cases![
    a_restored_payload_goes_on_where_it_was,
    a_restored_container_is_one_like_others,
    a_restored_payload_sees_what_it_saw,
    a_restored_user_is_the_same,
    leave_running_leaves_it_running,
    stdio_may_be_files,
    restore_in_the_foreground_returns_the_exit_code,
    pre_dumps_are_a_parent,
    file_locks_are_kept,
    tcp_connections_are_kept,
    bind_mounts_come_from_the_bundle,
    without_criu_nothing_happens,
    an_old_criu_is_refused,
    only_what_runs_is_checkpointed,
    a_failed_restore_leaves_nothing,
];

/// A CRIU that can do its work here, or why there is none.
fn works() -> &'static Result<PathBuf, String> {
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
fn needs_criu(t: &Test) {
    match works() {
        Err(reason) => t.skip(reason),
        Ok(dir) => t.var("PATH", &format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default())),
    }
}

/// A payload that counts the lines it is sent.
struct Counter<'t> {
    container: Container<'t>,
    to: File,
    from: File,
}

/// Pipes for a payload's stdin and stdout, and our ends of them.
fn pipes() -> ((OwnedFd, OwnedFd), (File, File)) {
    let ((stdin, to), (from, stdout)) = (pipe(), pipe());
    ((stdin.into(), stdout), (File::from(to), from))
}

impl<'t> Counter<'t> {
    fn start(t: &'t Test, bundle: &Bundle) -> Counter<'t> {
        let ((stdin, stdout), (to, from)) = pipes();
        let container = Container::create(t, bundle, |call| call.stdin(stdin).stdout(stdout));
        container.start();
        Counter { container, to, from }
    }

    fn restore(t: &'t Test, bundle: &Bundle, images: &Path, flags: &[&str]) -> Counter<'t> {
        let ((stdin, stdout), (to, from)) = pipes();
        let container = Container::restored(t, bundle, |call| {
            call.arg("--image-path").arg(images).args(flags).stdin(stdin).stdout(stdout)
        });
        Counter { container, to, from }
    }

    /// The next answer.
    fn next(&mut self) -> String {
        self.to.write_all(b"x\n").expect("write to the payload");
        read_line(&self.from)
    }

    fn checkpoint(&self, t: &'t Test, images: &Path, flags: &[&str]) -> Call<'t> {
        let call = t.verb(["checkpoint", "--image-path"]).arg(images);
        call.args(flags).arg(&self.container.id)
    }
}

fn counting(t: &Test) -> Bundle {
    t.bundle().args(["/probe", "--count"])
}

fn a_restored_payload_goes_on_where_it_was(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (counting(t), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    assert_eq!(counter.next(), "2");
    counter.checkpoint(t, &images, &[]).ok();
    assert_eq!(counter.container.wait(), 137, "criu has ended it");
    counter.container.verb("state").out().says(&["does not exist"]);
    for _ in 0..2 {
        let mut again = Counter::restore(t, &bundle, &images, &[]);
        assert_eq!(again.next(), "3");
        assert_eq!(again.next(), "4");
        assert_eq!(again.container.state()["pid"], again.container.init.pid);
        again.container.stop();
    }
}

fn a_restored_container_is_one_like_others(t: &Test) {
    needs_criu(t);
    let images = t.path("images");
    let bundle = counting(t).set("/linux/resources/pids", json!({ "limit": 20 }));
    let counter = Counter::start(t, &bundle);
    counter.checkpoint(t, &images, &[]).ok();
    assert_eq!(counter.container.wait(), 137);
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
    let ps = container.verb("ps").args(["--format", "json"]).ok().stdout;
    assert_eq!(serde_json::from_str::<Value>(&ps).expect("JSON"), json!([container.init.pid]));
    assert_eq!(again.next(), "1");
    drop(again.to);
    assert_eq!(again.container.verb("wait").out().code, 7);
    assert_eq!(again.container.state()["exit"]["status"], 7);
    assert_eq!(again.container.status(), "stopped");
    assert_eq!(again.container.wait(), 7);
    again.container.verb("delete").ok();
}

/// What a payload sees, but for the numbers that each container has of its own.
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

/// The bundle's payload runs the probe for each line that it gets.
fn check_sees_the_same(t: &Test, bundle: &Bundle) {
    let images = t.path("images");
    let mut counter = Counter::start(t, bundle);
    counter.to.write_all(b"x\n").expect("write");
    let before = seen(&counter.from);
    counter.checkpoint(t, &images, &[]).ok();
    assert_eq!(counter.container.wait(), 137);
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
    // Podman says it twice.
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
    let (bundle, images) = (t.bundle().args(["/probe", "--count"]), t.path("images"));
    let (stdin, to) = pipe_in();
    // Output is a file of the host's, as always here.
    let container = Container::create(t, &bundle, |call| call.stdin(stdin));
    container.start();
    t.verb(["checkpoint", "--image-path"]).arg(&images).arg(&container.id).ok();
    assert_eq!(container.wait(), 137);
    drop(to);
    let (stdin, mut to) = pipe_in();
    let again = Container::restored(t, &bundle, |call| call.arg("--image-path").arg(&images).stdin(stdin));
    to.write_all(b"x\n").expect("write");
    drop(to);
    assert_eq!(again.wait(), 7);
    assert_eq!(again.output(), "1\n");
    assert_eq!(container.output(), "");
}

fn pipe_in() -> (OwnedFd, File) {
    let (stdin, to) = pipe();
    (stdin.into(), File::from(to))
}

fn restore_in_the_foreground_returns_the_exit_code(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (counting(t), t.path("images"));
    let counter = Counter::start(t, &bundle);
    counter.checkpoint(t, &images, &[]).ok();
    assert_eq!(counter.container.wait(), 137);
    let ((stdin, stdout), (mut to, from)) = pipes();
    let id = t.id();
    let call = t.verb(["restore", "--bundle"]).arg(bundle.lay()).arg("--image-path").arg(&images).arg(&id);
    let running = call.stdin(stdin).stdout(stdout).spawn();
    to.write_all(b"x\n").expect("write");
    assert_eq!(read_line(&from), "1");
    drop(to);
    assert_eq!(running.out().code, 7);
    t.verb(["state", &id]).out().says(&["does not exist"]);
}

fn pre_dumps_are_a_parent(t: &Test) {
    needs_criu(t);
    let (bundle, all) = (counting(t), t.make_dir("all"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    let out = counter.checkpoint(t, &all.join("1"), &["--pre-dump"]).out();
    if out.code != 0 && out.stderr.contains("memory tracking") {
        t.skip("this kernel tracks no memory (CONFIG_MEM_SOFT_DIRTY)");
    }
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(counter.next(), "2");
    counter.checkpoint(t, &all.join("2"), &["--pre-dump", "--parent-path", "../1"]).ok();
    assert_eq!(counter.next(), "3");
    counter.checkpoint(t, &all.join("3"), &["--parent-path", "../2"]).ok();
    assert_eq!(counter.container.wait(), 137);
    let pages = |dir: &str| {
        let files = std::fs::read_dir(all.join(dir)).expect("images").flatten();
        let pages = files.filter(|file| file.file_name().to_string_lossy().starts_with("pages-"));
        pages.map(|file| file.metadata().expect("a size").len()).sum::<u64>()
    };
    assert!(pages("3") < pages("1"), "{} of {} bytes", pages("3"), pages("1"));
    let mut again = Counter::restore(t, &bundle, &all.join("3"), &[]);
    assert_eq!(again.next(), "4");
}

fn file_locks_are_kept(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (t.bundle().args(["/probe", "--count", "/lock"]), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    counter.checkpoint(t, &images, &[]).out().one_clear_line(&["file lock", "dump.log"]);
    assert_eq!(counter.container.status(), "running");
    counter.checkpoint(t, &images, &["--file-locks"]).ok();
    assert_eq!(counter.container.wait(), 137);
    let mut again = Counter::restore(t, &bundle, &images, &["--file-locks"]);
    assert_eq!(again.next(), "2");
    let out = again.container.exec([], ["/probe", "lock:/lock"]).out();
    assert_eq!(out.report()["asked"]["lock:/lock"], "held");
}

fn tcp_connections_are_kept(t: &Test) {
    needs_criu(t);
    let script = "sleep 1000 | nc -lp 7000 & until nc 127.0.0.1 7000; do :; done";
    let (bundle, images) = (t.bundle().shell(script), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "x");
    counter.checkpoint(t, &images, &[]).out().one_clear_line(&["dump.log"]);
    assert_eq!(counter.next(), "x");
    let out = counter.checkpoint(t, &images, &["--tcp-established"]).out();
    if out.stderr.contains("Can't get 1:16 opt") {
        t.skip("this criu knows no TCP of this kernel (4.2 and later do)");
    }
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(counter.container.wait(), 137);
    let mut again = Counter::restore(t, &bundle, &images, &["--tcp-established"]);
    assert_eq!(again.next(), "x");
}

fn bind_mounts_come_from_the_bundle(t: &Test) {
    needs_criu(t);
    let (first, second, images) = (t.make_dir("first"), t.make_dir("second"), t.path("images"));
    for (dir, text) in [(&first, "one"), (&second, "two")] {
        std::fs::write(dir.join("name"), text).expect("write");
        std::fs::create_dir(dir.join("below")).expect("mkdir");
    }
    let file = t.make_file("file", "a file");
    let with = |dir: &Path| {
        let bundle =
            t.bundle().shell("while read x; do cat /link/data/name /f /link/data/below/f; echo; done");
        std::os::unix::fs::symlink("/etc", bundle.inside("/link")).expect("symlink");
        let bundle = bundle.bind(dir, "/link/data", &[]).bind(&file, "/f", &["ro"]);
        bundle.bind(&file, "/link/data/below/f", &[])
    };
    let mut counter = Counter::start(t, &with(&first));
    assert_eq!(counter.next(), "onea filea file");
    counter.checkpoint(t, &images, &[]).ok();
    assert_eq!(counter.container.wait(), 137);
    // Another rootfs, where no mount point has been made yet.
    let mut again = Counter::restore(t, &with(&second), &images, &[]);
    assert_eq!(again.next(), "twoa filea file");
    let mounts = again.container.look([])["mounts"].clone();
    let data = mounts.as_array().expect("mounts").iter().find(|mount| mount["at"] == "/f");
    assert!(data.expect("the mount")["options"].as_array().expect("options").contains(&json!("ro")));
}

fn without_criu_nothing_happens(t: &Test) {
    let container = t.start(&t.bundle().args(["/probe", "--pause"]));
    let images = t.path("images");
    let nowhere = t.make_dir("nowhere");
    let call = t.verb(["checkpoint", "--image-path"]).arg(&images).arg(&container.id);
    call.env("PATH", &nowhere).out().one_clear_line(&["criu is not installed", "3.15"]);
    assert!(!images.exists());
    assert_eq!(container.status(), "running");
    std::fs::create_dir(&images).expect("mkdir");
    std::fs::write(images.join("descriptors.json"), "[]").expect("write");
    let bundle = t.bundle();
    let call = t.verb(["restore", "--bundle"]).arg(bundle.lay()).arg("--image-path").arg(&images).arg(t.id());
    call.env("PATH", &nowhere).out().one_clear_line(&["criu is not installed", "3.15"]);
}

fn an_old_criu_is_refused(t: &Test) {
    let container = t.start(&t.bundle().args(["/probe", "--pause"]));
    let dir = t.make_dir("old");
    // `criu_resp`: the type VERSION, success, and 3.14.
    let script = "#!/bin/sh\n/bin/busybox dd bs=4096 count=1 <&\"$2\" >/dev/null 2>&1\nprintf '\\010\\012\\020\\001\\122\\004\\010\\003\\020\\016' >&\"$2\"\n";
    std::fs::write(dir.join("criu"), script).expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.join("criu"), mode).expect("chmod");
    let call = t.verb(["checkpoint", "--image-path"]).arg(t.path("images")).arg(&container.id);
    call.env("PATH", &dir).out().one_clear_line(&["3.15", "3.14"]);
    assert_eq!(container.status(), "running");
}

fn only_what_runs_is_checkpointed(t: &Test) {
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
