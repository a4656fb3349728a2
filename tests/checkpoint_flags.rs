//! The flags of `checkpoint` and `restore`.

use crate::checkpoint::{Counter, counting, needs_criu, works};
use crate::harness::{Call, Running, Test, cgroup_dir, cgroup_file, has_controller, pipe, read_line};
use serde_json::json;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

cases![
    pre_dumps_are_a_parent,
    file_locks_are_kept,
    tcp_connections_are_kept,
    the_network_is_locked_as_asked,
    tcp_connections_are_closed,
    connections_in_flight_are_skipped,
    unix_sockets_may_have_external_peers,
    files_that_were_deleted_are_linked_again,
    a_terminal_of_the_host_is_a_shells_job,
    the_log_is_in_the_work_path,
    memory_goes_to_a_page_server,
    lazy_pages_are_restored_on_demand,
    images_are_freed_when_they_are_restored,
    cgroups_are_restored_as_asked,
    cgroups_of_others_are_left_alone,
    crius_own_settings_are_applied,
    flags_that_make_no_sense_are_refused,
];

fn pre_dumps_are_a_parent(t: &Test) {
    needs_criu(t);
    let (bundle, all) = (counting(t), t.make_dir("all"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    let out = counter.checkpoint(t, &all.join("1"), &["--pre-dump"]).out();
    if out.code != 0 && ["memory tracking", "missing features"].iter().any(|why| out.stderr.contains(why)) {
        t.skip("this kernel tracks no memory (CONFIG_MEM_SOFT_DIRTY)");
    }
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(counter.next(), "2");
    counter.checkpoint(t, &all.join("2"), &["--pre-dump", "--parent-path", "../1"]).ok();
    assert_eq!(counter.next(), "3");
    counter.checkpoint_and_end(t, &all.join("3"), &["--parent-path", "../2"]);
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
    let (bundle, images) = (t.bundle().args(["/probe", "--count", "lock:/lock"]), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    counter.checkpoint(t, &images, &[]).out().one_clear_line(&["file lock", "dump.log"]);
    assert_eq!(counter.container.status(), "running");
    counter.checkpoint_and_end(t, &images, &["--file-locks"]);
    let mut again = Counter::restore(t, &bundle, &images, &["--file-locks"]);
    assert_eq!(again.next(), "2");
    let out = again.container.exec([], ["/probe", "lock:/lock"]).out();
    assert_eq!(out.report()["asked"]["lock:/lock"], "held");
}

/// Copies its input to its output by way of a TCP connection.
const CONNECTED: &str = "sleep 1000 | nc -lp 7000 & until nc 127.0.0.1 7000 2>/dev/null; do :; done";

fn tcp_connections_are_kept(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (t.bundle().shell(CONNECTED), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "x");
    counter.checkpoint(t, &images, &[]).out().one_clear_line(&["dump.log"]);
    assert_eq!(counter.next(), "x");
    let out = counter.checkpoint(t, &images, &["--tcp-established"]).out();
    knows_tcp(t, &out.stderr);
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(counter.container.wait(), 137);
    let mut again = Counter::restore(t, &bundle, &images, &["--tcp-established"]);
    assert_eq!(again.next(), "x");
}

/// CRIU uses iptables-restore, or nftables itself, or does not lock.
fn the_network_is_locked_as_asked(t: &Test) {
    needs_criu(t);
    let (bundle, mut images) = (t.bundle().shell(CONNECTED), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "x");
    // This mount namespace has no iptables.
    let path = format!("{}:/usr/bin:/bin", works().as_ref().expect("a criu").display());
    let flags = ["--tcp-established", "--network-lock", "iptables"];
    let out = counter.checkpoint(t, &images, &flags).env("PATH", &path).out();
    knows_tcp(t, &out.stderr);
    out.one_clear_line(&["dump.log"]);
    assert_eq!(counter.next(), "x");
    for lock in ["nftables", "skip"] {
        let flags = ["--tcp-established", "--network-lock", lock];
        let out = counter.checkpoint(t, &images, &flags).env("PATH", &path).out();
        assert_eq!(out.code, 0, "{lock}: {out:?}");
        assert_eq!(counter.container.wait(), 137);
        counter = Counter::restore(t, &bundle, &images, &flags);
        assert_eq!(counter.next(), "x");
        images = t.path("images");
    }
}

fn tcp_connections_are_closed(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (t.bundle().args(["/probe", "--count", "connected:7000"]), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!((counter.next(), read_line(&counter.from)), ("1".into(), "open".into()));
    let out = counter.checkpoint(t, &images, &["--tcp-established"]).out();
    knows_tcp(t, &out.stderr);
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(counter.container.wait(), 137);
    let mut again = Counter::restore(t, &bundle, &images, &["--tcp-close"]);
    assert_eq!((again.next(), read_line(&again.from)), ("2".into(), "closed".into()));
}

fn knows_tcp(t: &Test, stderr: &str) {
    if stderr.contains("Can't get 1:16 opt") {
        t.skip("this criu knows no TCP of this kernel (4.2 and later do)");
    }
}

fn connections_in_flight_are_skipped(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (t.bundle().args(["/probe", "--count", "in-flight:7000"]), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    let out = counter.checkpoint(t, &images, &["--tcp-established"]).out();
    knows_tcp(t, &out.stderr);
    out.one_clear_line(&["n-flight"]);
    counter.checkpoint_and_end(t, &images, &["--tcp-established", "--tcp-skip-in-flight"]);
    let mut again = Counter::restore(t, &bundle, &images, &["--tcp-established"]);
    assert_eq!(again.next(), "2");
}

fn unix_sockets_may_have_external_peers(t: &Test) {
    needs_criu(t);
    let (dir, images) = (t.make_dir("sockets"), t.path("images"));
    let ours = UnixDatagram::bind(dir.join("log")).expect("bind");
    ours.set_read_timeout(Some(crate::harness::PATIENCE)).expect("a timeout");
    let heard = || {
        let mut buf = [0; 16];
        let len = ours.recv(&mut buf).expect("a message");
        String::from_utf8_lossy(&buf[..len]).into_owned()
    };
    // CRIU must see the peer in the same network namespace, and find it again by the path
    // to which it was bound.
    let at = dir.to_str().expect("UTF-8");
    let bundle = t.bundle().without_namespace("network").bind(&dir, at, &[]);
    let bundle = bundle.args(["/probe", "--count", &format!("socket:{at}/log")]);
    let mut counter = Counter::start(t, &bundle);
    assert_eq!((counter.next(), heard()), ("1".into(), "1".into()));
    counter.checkpoint(t, &images, &[]).out().one_clear_line(&["dump.log"]);
    counter.checkpoint_and_end(t, &images, &["--ext-unix-sk"]);
    let mut again = Counter::restore(t, &bundle, &images, &["--ext-unix-sk"]);
    assert_eq!((again.next(), heard()), ("2".into(), "2".into()));
}

fn files_that_were_deleted_are_linked_again(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (t.bundle().args(["/probe", "--count", "lock:/lock"]), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    counter.container.exec([], ["sh", "-c", "ln /lock /other; rm /lock"]).ok();
    let flags = ["--file-locks", "--link-remap"];
    counter.checkpoint(t, &images, &flags[..1]).out().one_clear_line(&["link-remap"]);
    counter.checkpoint_and_end(t, &images, &flags);
    let mut again = Counter::restore(t, &bundle, &images, &["--file-locks"]);
    assert_eq!(again.next(), "2");
    let out = again.container.exec([], ["/probe", "lock:/other"]).out();
    assert_eq!(out.report()["asked"]["lock:/other"], "held");
}

fn a_terminal_of_the_host_is_a_shells_job(t: &Test) {
    needs_criu(t);
    let images = t.path("images");
    let bundle = t.bundle().shell("echo ready; while read x; do echo got $x; done");
    let (ours, slave) = crate::terminal::terminal(24, 80);
    let id = t.id();
    t.will_delete(&id);
    let call = t.verb(["run", "--bundle"]).arg(bundle.lay()).arg(&id);
    let running = crate::terminal::in_foreground(call, &slave);
    crate::terminal::line_with(&ours, "ready");
    let checkpoint = || t.verb(["checkpoint", "--image-path"]).arg(&images);
    checkpoint().arg(&id).out().one_clear_line(&["dump.log"]);
    checkpoint().args(["--shell-job", &id]).ok();
    assert_eq!(running.out().code, 137);
    let (mut ours, slave) = crate::terminal::terminal(24, 80);
    let call =
        t.verb(["restore", "--shell-job", "--bundle"]).arg(bundle.lay()).arg("--image-path").arg(&images);
    let running = crate::terminal::in_foreground(call.arg(t.id()), &slave);
    std::io::Write::write_all(&mut ours, b"word\n").expect("type");
    crate::terminal::line_with(&ours, "got word");
    std::io::Write::write_all(&mut ours, &[4]).expect("type");
    assert_eq!(running.out().code, 0);
}

fn the_log_is_in_the_work_path(t: &Test) {
    needs_criu(t);
    let (bundle, images, work) = (counting(t), t.path("images"), t.path("work"));
    let counter = Counter::start(t, &bundle);
    // In containerd's call, the path is a symbolic link.
    let link = t.path("link");
    std::os::unix::fs::symlink(&work, &link).expect("symlink");
    std::fs::create_dir(&work).expect("mkdir");
    let work = link.to_str().expect("UTF-8");
    counter.checkpoint_and_end(t, &images, &["--work-path", work]);
    let mut again = Counter::restore(t, &bundle, &images, &["--work-path", work]);
    assert_eq!(again.next(), "1");
    for log in ["dump.log", "restore.log"] {
        assert!(Path::new(work).join(log).exists() && !images.join(log).exists(), "{log}");
    }
}

/// Returns a free port.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port().to_string()
}

/// Starts CRIU as a page server. Returns when it listens.
fn server<'t>(
    t: &'t Test,
    verb: &str,
    images: &Path,
    work: &Path,
    port: &str,
    flags: &[&str],
) -> Running<'t> {
    let (mut ready, status) = pipe();
    let call: Call<'t> = t.call(works().as_ref().expect("a criu").join("criu")).arg(verb);
    let call = call.arg("--images-dir").arg(images).arg("--work-dir").arg(work).args(flags);
    let call = call.args(["--address", "127.0.0.1", "--port", port, "--status-fd", "9"]).pass(status, 9);
    let running = call.spawn();
    let mut byte = [1];
    ready.read_exact(&mut byte).expect("criu listens");
    running
}

fn memory_goes_to_a_page_server(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (counting(t), t.make_dir("images"));
    let (pages, work, port) = (t.make_dir("pages"), t.make_dir("work"), free_port());
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    let server = server(t, "page-server", &pages, &work, &port, &[]);
    counter.checkpoint_and_end(t, &images, &["--page-server", &format!("127.0.0.1:{port}")]);
    assert_eq!(server.out().code, 0);
    let page_files = |dir: &Path| {
        let files = std::fs::read_dir(dir).expect("images").flatten();
        files.filter(|file| file.file_name().to_string_lossy().starts_with("page")).collect::<Vec<_>>()
    };
    assert!(page_files(&images).is_empty());
    for file in page_files(&pages) {
        std::fs::copy(file.path(), images.join(file.file_name())).expect("copy");
    }
    let mut again = Counter::restore(t, &bundle, &images, &[]);
    assert_eq!(again.next(), "2");
}

fn lazy_pages_are_restored_on_demand(t: &Test) {
    needs_criu(t);
    let (bundle, images, work, port) = (counting(t), t.path("images"), t.make_dir("work"), free_port());
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    let (mut ready, status) = pipe();
    let address = format!("127.0.0.1:{port}");
    let flags = ["--lazy-pages", "--page-server", &address, "--status-fd", "7"];
    let mut dump = Some(counter.checkpoint(t, &images, &flags).pass(status, 7).spawn());
    let mut byte = [1];
    if ready.read_exact(&mut byte).is_err() {
        let out = dump.take().expect("a call").out();
        if ["userfaultfd", "missing features"].iter().any(|why| out.stderr.contains(why)) {
            t.skip("this kernel has no userfaultfd");
        }
        panic!("{out:?}");
    }
    assert_eq!(byte, [0]);
    let daemon = server(t, "lazy-pages", &images, &work, &port, &["--page-server"]);
    let work = work.to_str().expect("UTF-8");
    let mut again = Counter::restore(t, &bundle, &images, &["--lazy-pages", "--work-path", work]);
    let answer = again.next();
    let out = dump.take().expect("a call").out();
    let log = std::fs::read_to_string(images.join("dump.log")).expect("a log");
    if log.contains("splice: -1: Bad file descriptor") {
        t.skip("this criu can't send lazy pages on this kernel, whatever the runtime");
    }
    assert_eq!((out.code, answer.as_str()), (0, "2"), "{out:?}");
    assert_eq!(counter.container.wait(), 137);
    assert_eq!(daemon.out().code, 0);
    assert_eq!(again.next(), "3");
}

fn images_are_freed_when_they_are_restored(t: &Test) {
    needs_criu(t);
    let (bundle, images) = (counting(t), t.path("images"));
    let counter = Counter::start(t, &bundle);
    counter.checkpoint_and_end(t, &images, &[]);
    let blocks = || std::fs::metadata(images.join("pages-1.img")).expect("pages").blocks();
    let before = blocks();
    let mut again = Counter::restore(t, &bundle, &images, &["--auto-dedup"]);
    assert_eq!(again.next(), "1");
    assert!(blocks() < before, "{} of {before}", blocks());
}

fn cgroups_are_restored_as_asked(t: &Test) {
    needs_criu(t);
    if !has_controller("pids") {
        t.skip("no pids controller");
    }
    let bundle = counting(t).set("/linux/resources/pids", json!({ "limit": 20 }));
    let images = t.path("images");
    let counter = Counter::start(t, &bundle);
    counter.container.update(["--pids-limit", "33"]).ok();
    counter.checkpoint_and_end(t, &images, &[]);
    for (mode, limit) in [("soft", "20"), ("full", "33"), ("strict", "33"), ("ignore", "20")] {
        let mut again = Counter::restore(t, &bundle, &images, &["--manage-cgroups-mode", mode]);
        assert_eq!(again.next(), "1");
        let pid = again.container.init.pid;
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
        assert!(cgroup.contains(&again.container.id), "{mode}: {cgroup}");
        assert_eq!(cgroup_file(pid, "pids", "pids.max").as_deref(), Some(limit), "{mode}");
        let seen = again.container.exec([], ["/probe", "mknod:c 1:11 /dev/x"]).out().report();
        assert_eq!(seen["asked"]["mknod:c 1:11 /dev/x"], "EPERM", "{mode}");
        again.container.stop();
        again.container.verb("delete").ok();
    }
}

/// A container without a cgroup of its own is in the test's cgroup.
fn cgroups_of_others_are_left_alone(t: &Test) {
    needs_criu(t);
    t.cgroupfs_only();
    t.global("--cgroup-manager=disabled");
    let ours = cgroup_dir(std::process::id() as i32, "pids");
    let Some(ours) = ours.filter(|dir| dir.exists()) else { t.skip("no pids controller") };
    let other = ours.join(t.id());
    let (bundle, images) = (counting(t).drop("/linux/resources"), t.path("images"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    std::fs::create_dir(&other).expect("mkdir");
    // CRIU looks at cgroups outside of the container's. The container has one during that
    // time.
    let path = format!("{}:/usr/sbin:/usr/bin:/bin", works().as_ref().expect("a criu").display());
    let call = t.call("/bin/sh").args(["-c", "echo $$ >$OTHER/cgroup.procs; exec \"$@\"", "sh"]);
    let call =
        call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(["checkpoint", "--image-path"]);
    let call = call.arg(&images).arg(&counter.container.id).env("OTHER", &other).env("PATH", path);
    let out = call.out();
    std::fs::remove_dir(&other).expect("rmdir");
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(counter.container.wait(), 137);
    let mut again = Counter::restore(t, &bundle, &images, &[]);
    assert_eq!(again.next(), "2");
    assert!(!other.exists());
}

fn crius_own_settings_are_applied(t: &Test) {
    needs_criu(t);
    let (images, settings) = (t.path("images"), t.make_file("criu.conf", "file-locks\n"));
    let bundle = t.bundle().args(["/probe", "--count", "lock:/lock"]);
    let with = |value: &str| bundle.clone().set("/annotations/org.criu.config", json!(value));
    let bundle = with(settings.to_str().expect("UTF-8"));
    let mut counter = Counter::start(t, &bundle);
    assert_eq!(counter.next(), "1");
    counter.checkpoint_and_end(t, &images, &[]);
    let mut again = Counter::restore(t, &bundle, &images, &[]);
    assert_eq!(again.next(), "2");
    again.container.stop();
    let mut counter = Counter::start(t, &with("/nonexistent/criu.conf"));
    assert_eq!(counter.next(), "1");
    let out = counter.checkpoint(t, &t.path("images"), &["--file-locks"]).out();
    out.one_clear_line(&["/annotations/org.criu.config", "/nonexistent/criu.conf"]);
}

fn flags_that_make_no_sense_are_refused(t: &Test) {
    let counter = t.start(&t.bundle().pausing());
    let refused = |flags: &[&str], words: &[&str]| {
        let call = t.verb(["checkpoint", "--image-path"]).arg(t.path("images")).args(flags);
        call.arg(&counter.id).out().one_clear_line(words);
        assert_eq!(counter.status(), "running");
    };
    refused(&["--manage-cgroups-mode", "gentle"], &["manage-cgroups-mode"]);
    refused(&["--empty-ns", "user"], &["--empty-ns", "user"]);
    refused(&["--page-server", "127.0.0.1"], &["--page-server"]);
    refused(&["--status-fd", "77"], &["--status-fd"]);
}
