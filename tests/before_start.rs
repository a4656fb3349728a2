//! Containers of a user without privilege that wait for `start`: the verbs that enter them,
//! and the processes that must not.

use crate::harness::{Bundle, Call, Test, is_corten, pipe, read_line};
use crate::userns::{PLAIN, Plain, as_plain, subids, with_subids};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, recv, sendto, socket};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

cases![
    exec_enters,
    exec_enters_as_another_user,
    exec_enters_joined_namespaces,
    exec_by_root_enters,
    exec_by_root_who_may_not_trace_enters,
    exec_waits_for_a_start_on_its_way,
    exec_waits_for_a_start_that_has_not_removed_the_gate,
    exec_needs_the_profiles_leave,
    a_stopped_init_is_not_waited_for,
    nobody_but_init_answers,
    a_stranger_in_another_network_is_not_asked,
    init_takes_no_datagrams,
    a_request_does_not_outlive_its_caller,
    the_gate_is_released_before_the_socket,
    an_init_that_cannot_send_says_so,
    mounts_are_added_and_removed,
    init_is_closed_to_the_container,
    init_is_closed_to_those_whose_namespaces_it_joins,
];

/// A container of the plain user that waits for `start`. Returns its id, and the pid of its
/// init.
pub fn created(plain: &Plain, bundle: &Bundle) -> (String, i32) {
    let (dir, id) = (bundle.lay().to_str().unwrap().to_owned(), plain.t.id());
    plain.call(["create", "--bundle", &dir, &id]).ok();
    let state = plain.state(&id);
    assert_eq!(state["status"], "created");
    (id, state["pid"].as_i64().unwrap() as i32)
}

/// The kernel lets a user look into no process before it has executed the payload. So init
/// has to help.
fn exec_enters(t: &Test) {
    let plain = Plain::new(t);
    // Without no_new_privs, the filter applies while init waits.
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["accept4", "poll"], "action": "SCMP_ACT_KILL_PROCESS" }] });
    for nnp in [true, false] {
        let bundle = plain.bundle().set("/process/noNewPrivileges", json!(nnp)).pausing();
        let (id, init) = created(&plain, &bundle.set("/linux/seccomp", profile.clone()));
        for _ in 0..2 {
            let seen = plain.call(["exec", &id, "/probe"]).ok().report();
            assert_eq!(seen["ids"]["uid"], json!([0, 0, 0]));
            for kind in ["user", "pid", "mnt", "net", "ipc", "uts"] {
                let of_init = fs::read_link(format!("/proc/{init}/ns/{kind}")).unwrap();
                assert_eq!(seen["ns"][kind], json!(of_init), "{kind}");
            }
        }
        plain.call(["start", &id]).ok();
        let seen = plain.call(["exec", &id, "/probe", "text:/proc/1/cmdline"]).ok().report();
        assert_eq!(seen["asked"]["text:/proc/1/cmdline"], "/probe\0--pause\0");
        plain.call(["delete", "--force", &id]).ok();
    }
}

/// Init has the ids of another user than the caller.
fn exec_enters_as_another_user(t: &Test) {
    let plain = Plain::new(t);
    let bundle = plain
        .bundle()
        .set("/linux/uidMappings", subids())
        .set("/linux/gidMappings", subids())
        .set("/process/user", json!({ "uid": 8, "gid": 9 }))
        .pausing();
    let run = format!("run() {{ {}; }}", as_plain("\"$@\"", &plain));
    let script = format!(
        "{run}
         run create --bundle $BUNDLE $ID < /dev/null > /dev/null 2>&1 || exit 1
         run exec $ID /probe; run delete --force $ID"
    );
    let seen = with_subids(t, &bundle, &script).report();
    assert_eq!((&seen["pid"], &seen["ids"]["uid"]), (&json!(2), &json!([8, 8, 8])));
}

/// A container that joins a mount namespace has another root than that namespace. So init
/// hands out its root, too.
fn exec_enters_joined_namespaces(t: &Test) {
    let plain = Plain::new(t);
    let mut bundle = plain.bundle().drop("/linux/uidMappings").drop("/linux/gidMappings");
    for (kind, file) in [("user", "user"), ("mount", "mnt")] {
        bundle = bundle.without_namespace(kind).join(kind, &format!("/proc/OTHER/ns/{file}"));
    }
    fs::create_dir(bundle.inside("/marked")).expect("mkdir");
    let script = format!(
        "run() {{ {}; }}; cd {}; mkfifo -m 666 ready
         setpriv --reuid {PLAIN} --regid {PLAIN} --clear-groups unshare --user --map-root-user --mount sh -c 'echo > ready; exec sleep 1000' & other=$!
         read ready < ready; sed -i s/OTHER/$other/ config.json
         run create --bundle . {id} < /dev/null > /dev/null || exit 1
         run exec {id} /probe stat:/marked; readlink /proc/$other/ns/mnt >&2
         run delete --force {id}; kill $other",
        as_plain("\"$@\"", &plain),
        bundle.lay().display(),
        id = t.id()
    );
    let out = t.call("/bin/sh").args(["-c", &script]).env("RUNTIME", t.runtime.borrow().clone()).out();
    let seen = out.report();
    assert_eq!(seen["asked"]["stat:/marked"]["type"], "d");
    let own = seen["ns"]["mnt"].as_str().unwrap();
    assert!(out.stderr.contains(own), "{own}: {}", out.stderr);
}

/// Root may look into any init, also into one with other ids and another user namespace.
fn exec_by_root_enters(t: &Test) {
    for uid in [0, 8] {
        let user = json!({ "uid": uid, "gid": uid });
        let bundle = t.bundle().user_namespace().set("/process/user", user);
        let container = t.create(&bundle.pausing());
        assert_eq!(container.look([])["ids"]["uid"], json!([uid, uid, uid]));
    }
}

/// For example, root in a container: it may do everything except trace.
fn exec_by_root_who_may_not_trace_enters(t: &Test) {
    for bundle in [t.bundle(), t.bundle().user_namespace()] {
        let bundle = bundle.pausing();
        let (dir, id) = (bundle.lay().to_str().unwrap(), t.id());
        let verb = |args: &[&str]| {
            let call = t.call("/usr/bin/setpriv");
            let call = call.args(["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"]);
            call.arg(&*t.runtime.borrow()).arg("--root").arg(t.root()).args(args)
        };
        verb(&["create", "--bundle", dir, &id]).ok();
        let state: Value = serde_json::from_str(&verb(&["state", &id]).ok().stdout).unwrap();
        let seen = verb(&["exec", &id, "/probe"]).ok().report();
        for kind in ["pid", "mnt"] {
            let of_init = fs::read_link(format!("/proc/{}/ns/{kind}", state["pid"])).unwrap();
            assert_eq!(seen["ns"][kind], json!(of_init), "{kind}");
        }
        verb(&["start", &id]).ok();
        verb(&["delete", "--force", &id]).ok();
    }
}

/// Between the start gate and execve, init is closed to the user, and answers no request.
/// For example, this is so while a startContainer hook runs.
fn exec_waits_for_a_start_on_its_way(t: &Test) {
    let plain = Plain::new(t);
    exec_waits_for(&plain, |id| plain.call(["start", id]));
}

/// `start` has let init in and has not removed the gate yet: a request of `exec` gets through
/// the gate, and no answer comes.
fn exec_waits_for_a_start_that_has_not_removed_the_gate(t: &Test) {
    if !is_corten() {
        t.skip("the call is corten's own");
    }
    let plain = Plain::new(t);
    exec_waits_for(&plain, |id| {
        let strace = ["-o", "/dev/null", "-e", "trace=unlinkat", "-e", "inject=unlinkat:error=EIO"];
        let setpriv = t.call("/usr/bin/strace").args(strace).arg("/usr/bin/setpriv");
        plain.call_through(setpriv, ["start", id])
    });
}

/// Asserts that `exec` waits for `start` while a startContainer hook runs, and then enters.
fn exec_waits_for<'t>(plain: &Plain<'t>, start: impl Fn(&str) -> Call<'t>) {
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo on > /tmp/on; read go < /tmp/go"] }]);
    let bundle = plain.bundle().set("/hooks/startContainer", hook).pausing();
    let [on, go] = ["/tmp/on", "/tmp/go"].map(|path| {
        nix::unistd::mkfifo(&bundle.inside(path), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
        fs::set_permissions(bundle.inside(path), std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .unwrap();
        bundle.inside(path)
    });
    let (id, _) = created(plain, &bundle);
    let start = start(&id).spawn();
    assert_eq!(fs::read_to_string(on).unwrap(), "on\n");
    let exec = plain.call(["exec", &id, "/probe"]).spawn();
    // exec looks for the start gate before it waits, and must be alive until then.
    while exec.is_alive() && !waits_for_a_lock(exec.pid()) {
        std::thread::yield_now();
    }
    assert!(exec.is_alive(), "{:?}", exec.out());
    fs::write(go, "go\n").unwrap();
    assert_eq!(start.out().code, 0);
    assert_eq!(exec.out().report()["ids"]["uid"], json!([0, 0, 0]));
    plain.call(["delete", "--force", &id]).ok();
}

/// Returns whether the process is in fcntl(F_SETLKW), or in the call by which it waits for
/// a record lock.
fn waits_for_a_lock(pid: i32) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains("->") && line.split_whitespace().any(|word| word == pid.to_string()))
}

/// Init makes some calls to hand out its namespaces. The filter must not kill it for them.
fn exec_needs_the_profiles_leave(t: &Test) {
    let plain = Plain::new(t);
    for call in ["sendmsg", "close"] {
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": [call], "action": "SCMP_ACT_KILL_PROCESS" }] });
        let bundle = plain.bundle().set("/process/noNewPrivileges", json!(false)).pausing();
        let (id, _) = created(&plain, &bundle.set("/linux/seccomp", profile));
        plain.call(["exec", &id, "/probe"]).out().one_clear_line(&["setns", "EPERM", "sendmsg", "start"]);
        let state = plain.state(&id);
        assert_eq!(state["status"], "created", "{call}");
        plain.call(["delete", "--force", &id]).ok();
    }
}

/// Runs while init, which waits for `start`, is stopped.
fn while_stopped<T>(init: i32, act: impl FnOnce() -> T) -> T {
    let send = |signal| kill(Pid::from_raw(init), signal).expect("signal init");
    send(Signal::SIGSTOP);
    let done = act();
    send(Signal::SIGCONT);
    done
}

fn a_stopped_init_is_not_waited_for(t: &Test) {
    let plain = Plain::new(t);
    let (id, init) = created(&plain, &plain.bundle());
    let out = while_stopped(init, || plain.call(["exec", &id, "/probe"]).out());
    out.one_clear_line(&[&id, "does not hand out", "stopped"]);
    plain.call(["exec", &id, "true"]).ok();
    plain.call(["delete", "--force", &id]).ok();
}

/// The abstract name in the request that waits at the start gate. Init is stopped.
fn name_at_the_gate(plain: &Plain, id: &str) -> UnixAddr {
    let mut gate = fs::File::options().read(true).write(true).open(plain.root.join(id).join("gate")).unwrap();
    let mut request = [0; 64];
    // Blocks until the request is there.
    let length = gate.read(&mut request).expect("read the gate");
    gate.write_all(&request[..length]).expect("put it back");
    assert_eq!(request[0], b'n', "{request:?}");
    UnixAddr::new_abstract(&request[1..6]).unwrap()
}

fn stranger() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None).expect("socket")
}

/// Every process on the host, and in a container with the host's network, sees the caller's
/// name. With CAP_SYS_ADMIN, a process of the container may claim to be init. The caller
/// would enter the namespaces that it sends, and would stay in the host's namespace of each
/// kind that is missing.
fn nobody_but_init_answers(t: &Test) {
    let plain = Plain::new(t);
    let (id, init) = created(&plain, &plain.bundle());
    let exec = while_stopped(init, || {
        let exec = plain.call(["exec", &id, "/probe"]).spawn();
        let name = name_at_the_gate(&plain, &id);
        let sent = sendto(stranger().as_raw_fd(), b"x", &name, MsgFlags::empty());
        assert_eq!(sent, Err(Errno::EPERM), "a stranger's datagram");
        exec
    });
    let of_init = fs::read_link(format!("/proc/{init}/ns/mnt")).unwrap();
    assert_eq!(exec.out().report()["ns"]["mnt"], json!(of_init));
    plain.call(["delete", "--force", &id]).ok();
}

/// The abstract name of the socket by which init hands out its namespaces.
fn handout_name(plain: &Plain, id: &str) -> UnixAddr {
    let record = plain.record(id);
    UnixAddr::new_abstract(record["handout"]["name"].as_str().unwrap().as_bytes()).unwrap()
}

/// Every process on the host sees init's name, too. What it sends to init, with descriptors,
/// must not stay in init's socket.
fn init_takes_no_datagrams(t: &Test) {
    let plain = Plain::new(t);
    let (id, _) = created(&plain, &plain.bundle());
    let sent = sendto(stranger().as_raw_fd(), b"x", &handout_name(&plain, &id), MsgFlags::empty());
    assert_eq!(sent, Err(Errno::EPIPE), "a stranger's datagram");
    plain.call(["exec", &id, "true"]).ok();
    plain.call(["delete", "--force", &id]).ok();
}

/// In another network namespace, another process may have init's name, and could answer.
fn a_stranger_in_another_network_is_not_asked(t: &Test) {
    let plain = Plain::new(t);
    let (id, _) = created(&plain, &plain.bundle());
    let name = handout_name(&plain, &id);
    let squat = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("unshare");
        let socket = stranger();
        bind(socket.as_raw_fd(), &name).expect("take the name");
        (socket, fs::File::open("/proc/thread-self/ns/net").expect("open the namespace"))
    });
    let (_squatter, network) = squat.join().expect("the stranger's thread");
    let network = format!("--net=/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
    let exec = t.call("/usr/bin/nsenter").args([&network, "sh", "-c", &as_plain("exec $ID true", &plain)]);
    let exec = exec.env("RUNTIME", t.runtime.borrow().clone()).env("ID", id.clone()).out();
    exec.one_clear_line(&["setns", "EPERM", "from the network namespace of `create`"]);
    plain.call(["exec", &id, "true"]).ok();
    plain.call(["delete", "--force", &id]).ok();
}

/// When init reads the request, another process may have the name of a caller that has
/// ended.
fn a_request_does_not_outlive_its_caller(t: &Test) {
    let plain = Plain::new(t);
    let (id, init) = created(&plain, &plain.bundle());
    let another = while_stopped(init, || {
        plain.call(["exec", &id, "true"]).out().one_clear_line(&["does not hand out", "stopped"]);
        let (name, another) = (name_at_the_gate(&plain, &id), stranger());
        bind(another.as_raw_fd(), &name).expect("take the name over");
        another
    });
    // Init answers this request after the other one.
    plain.call(["exec", &id, "true"]).ok();
    let got = recv(another.as_raw_fd(), &mut [0; 64], MsgFlags::empty());
    assert_eq!(got, Err(Errno::EAGAIN), "init's namespaces");
    plain.call(["delete", "--force", &id]).ok();
}

/// While the start gate is open, init's name must belong to init: a caller that finds the
/// gate open trusts the process to which it connects. The kernel closes descriptors that a
/// process leaves open from the highest number to the lowest.
fn the_gate_is_released_before_the_socket(t: &Test) {
    let plain = Plain::new(t);
    let (id, init) = created(&plain, &plain.bundle());
    let gate = fs::metadata(plain.root.join(&id).join("gate")).unwrap();
    let bound = fs::read_to_string("/proc/net/unix").unwrap();
    let record = plain.record(&id);
    let name = format!("@{}", record["handout"]["name"].as_str().unwrap());
    let line = bound.lines().find(|line| line.ends_with(&name)).expect("init's socket");
    let socket: u64 = line.split_whitespace().nth(6).unwrap().parse().unwrap();
    let number = |inode: u64| {
        let all = fs::read_dir(format!("/proc/{init}/fd")).unwrap().map(|entry| entry.unwrap());
        let mut of = all.filter(|entry| fs::metadata(entry.path()).is_ok_and(|meta| meta.ino() == inode));
        of.next().expect("open in init").file_name().to_str().unwrap().parse::<u32>().unwrap()
    };
    let (socket, gate) = (number(socket), number(gate.ino()));
    assert!(gate > socket, "gate {gate}, socket {socket}");
    plain.call(["delete", "--force", &id]).ok();
}

/// Other processes of the same user have as many descriptors in flight as init may have
/// open.
fn an_init_that_cannot_send_says_so(t: &Test) {
    let plain = Plain::new(t);
    let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": 60, "hard": 60 }]);
    let (id, _) = created(&plain, &plain.bundle().set("/process/rlimits", limit));
    let ((reader, writer), (stdin, end)) = (pipe(), pipe());
    let hold = plain.call(["exec", &id, "/probe", "--hold-fds"]).stdin(stdin).stdout(writer).spawn();
    assert!(read_line(&reader).starts_with("ETOOMANYREFS"));
    plain.call(["exec", &id, "true"]).out().one_clear_line(&[&id, "can't hand out", "RLIMIT_NOFILE"]);
    drop(end);
    hold.out();
    plain.call(["exec", &id, "true"]).ok();
    plain.call(["delete", "--force", &id]).ok();
}

fn mounts_are_added_and_removed(t: &Test) {
    let plain = Plain::new(t);
    let bundle = plain.bundle().pausing();
    let (id, _) = created(&plain, &bundle);
    let list = json!([{ "destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["size=64k"] }]);
    let list = t.make_file("mounts.json", &list.to_string()).to_str().unwrap().to_owned();
    let count = || plain.call(["exec", &id, "grep", "-c", " /tmp tmpfs", "/proc/self/mounts"]).out().stdout;
    plain.call(["mounts", "add", &id, &list]).ok();
    assert_eq!(count(), "1\n");
    plain.call(["mounts", "remove", &id, &list]).ok();
    assert_eq!(count(), "0\n");
    plain.call(["delete", "--force", &id]).ok();
}

/// CVE-2016-9962, by a process that entered before `start`. Init has the runtime's memory,
/// descriptors and environment, and no filter or label applies to it yet.
fn init_is_closed_to_the_container(t: &Test) {
    let plain = Plain::new(t);
    let all = json!(["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    let mut bundle = plain.bundle().pausing();
    for set in ["bounding", "permitted", "effective"] {
        bundle = bundle.set(&format!("/process/capabilities/{set}"), all.clone());
    }
    let (id, init) = created(&plain, &bundle);
    let attack = ["read:/proc/1/environ", "link:/proc/1/exe", "link:/proc/1/fd/0", "link:/proc/1/cwd"];
    let look =
        || plain.call(["exec", &id, "/probe", attack[0], attack[1], attack[2], attack[3]]).ok().report();
    let seen = look();
    assert_eq!(seen["names"]["host"], bundle.config["hostname"], "the attacker is inside");
    for question in attack {
        let answer = &seen["asked"][question];
        assert!(answer == "EACCES" || answer == "EPERM", "{question}: {answer}");
    }
    let id_of_plain = PLAIN.to_string();
    let outside = t.call("/usr/bin/setpriv").args(["--reuid", &id_of_plain, "--clear-groups", "ls", "-l"]);
    outside.arg(format!("/proc/{init}/fd")).out().fails(&["Permission denied"]);
    // The payload is open to processes with the same rights.
    plain.call(["start", &id]).ok();
    assert_eq!(look()["asked"][attack[1]], "/probe");
    plain.call(["delete", "--force", &id]).ok();
}

/// The same for an init that joins a user namespace, by processes that were in it before.
/// Init creates a time namespace, and only an open process can set its offsets.
fn init_is_closed_to_those_whose_namespaces_it_joins(t: &Test) {
    let plain = Plain::new(t);
    let victim = t.path("victim");
    fs::write(&victim, "the host's").expect("write");
    let mut bundle = plain.bundle();
    for set in ["bounding", "permitted", "effective"] {
        bundle = bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_PTRACE"]));
    }
    let bundle = bundle.args(["/probe", "--attack-root", victim.to_str().unwrap(), "/tmp/until"]);
    let (dir, id) = (bundle.lay().to_str().unwrap().to_owned(), t.id());
    let (reader, writer) = pipe();
    plain.call(["create", "--bundle", &dir, &id]).stdout(writer).ok();
    plain.call(["start", &id]).ok();
    assert_eq!(read_line(&reader), "ready");
    let state = plain.state(&id);
    let link = |kind: &str| format!("/proc/{}/ns/{kind}", state["pid"]);
    let other = plain.bundle().drop("/linux/uidMappings").drop("/linux/gidMappings");
    let other = other.join("user", &link("user")).join("pid", &link("pid"));
    let other =
        other.namespace("time").set("/linux/timeOffsets", json!({ "boottime": { "secs": 2_000_000_000 } }));
    let other = other.args(["/probe", "text:/proc/uptime"]);
    let dir = other.lay().to_str().unwrap().to_owned();
    let others: Vec<_> = (0..30).map(|_| plain.call(["run", "--bundle", &dir, &t.id()]).out()).collect();
    fs::write(bundle.inside("/tmp/until"), "").expect("the sign to end");
    let seen = read_line(&reader);
    assert!(seen.starts_with("seen") && seen != "seen 0", "{seen}");
    for other in others {
        let seen = other.report();
        let uptime = seen["asked"]["text:/proc/uptime"].as_str().unwrap();
        assert!(uptime.starts_with("200"), "{uptime}");
    }
    plain.call(["delete", "--force", &id]).ok();
}
