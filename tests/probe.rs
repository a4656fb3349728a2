//! The payload that reports, as one JSON document, what it sees inside.
//!
//! `/probe QUESTION…` reports and ends; each question is `VERB:PATH` and its
//! answer stands under `asked`. `/probe --MODE …` does one other thing, see
//! `modes`. Nothing here may be dangerous: whether a file can be written is
//! found by opening it, and it is closed again without a write.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use serde_json::{Map, Value, json};
use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;

pub fn is_called() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&name).file_name().is_some_and(|n| n == "probe")
}

pub fn main() -> i32 {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--signals") => signals(),
        Some("--pause") => pause(),
        Some("--exit") => args[1].parse().unwrap_or(1),
        Some("--die") => die(&args[1]),
        Some("--cat") => cat(),
        Some("--count") => count(&args[1..]),
        Some("--storm") => crate::storm::main(&args[1..]),
        Some("--storm-worker") => crate::storm::worker(&args[1..]),
        Some("--notify") => notify(&args[1..]),
        Some("--answer") => {
            let (verb, what) = args[1].split_once(':').unwrap_or_default();
            say(&answer(verb, what).to_string());
            0
        }
        Some(fill) if fill.starts_with("--fill-keyrings=") => fill_keyrings(fill),
        Some("--attack-exe") => attack_exe(&args[1]),
        Some("--hold-fds") => hold_fds(),
        Some("--attack-root") => attack_root(&args[1], &args[2]),
        Some("--report-pause") => {
            say(&report(&[]).to_string());
            pause()
        }
        _ => {
            say(&report(&args).to_string());
            0
        }
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Takes every signal and prints its name. Only KILL ends it.
fn signals() -> i32 {
    let all = SigSet::all();
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None);
    say("ready");
    loop {
        match all.wait() {
            Ok(signal) => say(signal.as_str()),
            Err(_) => return 1,
        }
    }
}

fn pause() -> i32 {
    loop {
        nix::unistd::pause();
    }
}

/// Ends by a signal sent to itself (only as a process that is not pid 1).
fn die(signal: &str) -> i32 {
    if let Ok(signal) = signal.parse::<Signal>() {
        let _ = nix::sys::signal::raise(signal);
    }
    1
}

/// Takes keys until the user may have no more, and keeps them until stdin ends.
fn fill_keyrings(count: &str) -> i32 {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;
    let count = count.split_once('=').and_then(|(_, count)| count.parse::<u32>().ok()).unwrap_or(0);
    let none: *const libc::c_char = std::ptr::null();
    // SAFETY: no name: an anonymous session keyring, which ends with this process.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, none) };
    for number in 0..count {
        let name = CString::new(format!("key{number}")).expect("a name");
        let kind = c"keyring".as_ptr();
        // SAFETY: both strings outlive the call; a keyring has no payload.
        let made = unsafe {
            libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), none, 0, KEY_SPEC_SESSION_KEYRING)
        };
        if made < 0 {
            say(if Errno::last() == Errno::EDQUOT { "full" } else { "failed" });
            return cat();
        }
    }
    say("not full");
    1
}

/// Sends these messages to the service manager, reports that on stdout, and keeps running.
fn notify(words: &[String]) -> i32 {
    let at = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() else { return 1 };
    for word in words {
        if socket.send_to(word.as_bytes(), &at).is_err() {
            return 1;
        }
    }
    say("told");
    pause()
}

/// Copies stdin to stdout until stdin ends.
fn cat() -> i32 {
    i32::from(io::copy(&mut io::stdin(), &mut io::stdout()).is_err())
}

/// Prints a count for each line of stdin, so that a test sees where it continues. Returns 7
/// at the end of stdin. `held` names what it holds open: `lock:FILE`; `socket:PATH`, a
/// datagram socket to which it also sends the count; `in-flight:PORT`, a connection to
/// itself that it never accepts; `connected:PORT`, one that it accepts, and whose end it
/// reports.
fn count(held: &[String]) -> i32 {
    let mut kept: Vec<std::os::fd::OwnedFd> = Vec::new();
    let mut socket = None;
    let mut connection = None;
    for what in held {
        let (kind, at) = what.split_once(':').unwrap_or_default();
        match kind {
            "lock" => {
                let file = fs::OpenOptions::new().create(true).append(true).open(at).expect("open the file");
                flock(&file).expect("lock the file");
                kept.push(file.into());
            }
            "socket" => {
                let end = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
                end.connect(at).expect("connect");
                socket = Some(end);
            }
            _ => {
                let listener = std::net::TcpListener::bind(format!("127.0.0.1:{at}")).expect("listen");
                let stream = std::net::TcpStream::connect(listener.local_addr().expect("address"));
                if kind == "connected" {
                    kept.push(listener.accept().expect("accept").0.into());
                    connection = stream.ok();
                } else {
                    kept.extend([listener.into(), stream.expect("connect").into()]);
                }
            }
        }
    }
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        match io::stdin().read_line(&mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => say(&number.to_string()),
        }
        if let Some(connection) = &mut connection {
            say(if connection.write_all(b"x").is_ok() { "open" } else { "closed" });
        }
        if let Some(socket) = &socket {
            let _ = socket.send(number.to_string().as_bytes());
        }
    }
    drop(kept);
    7
}

/// Takes a lock on a file, unless another process has one.
fn flock(file: &fs::File) -> nix::Result<()> {
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// CVE-2019-5736: keeps every foreign binary in /proc open, and tries to open it again for
/// writing, until the file `until` exists. The binary is the test's own copy, so a
/// successful attack really writes.
fn attack_exe(until: &str) -> i32 {
    let own: Vec<u64> = ["/probe", "/bin/busybox"].iter().map(|f| inode(f)).collect();
    let mut held: Vec<fs::File> = Vec::new();
    let mut seen = 0;
    say("ready");
    while !std::path::Path::new(until).exists() {
        for pid in numbers("/proc") {
            let exe = format!("/proc/{pid}/exe");
            // The opened file counts. By now, the process may run another program.
            if let Ok(file) = fs::File::open(&exe)
                && file.metadata().is_ok_and(|meta| !own.contains(&meta.ino()))
            {
                if seen == 0 {
                    say("saw");
                }
                seen += 1;
                held.push(file);
            }
        }
        for file in &held {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            // A sealed file in memory can be opened, but not written to.
            if let Ok(mut victim) = fs::OpenOptions::new().append(true).open(path)
                && victim.write_all(b"overwritten").is_ok()
            {
                say("written");
                return 1;
            }
        }
        held.truncate(64);
    }
    say(&format!("seen {seen}"));
    0
}

/// Keeps as many descriptors in flight as the kernel allows its user, until stdin ends.
fn hold_fds() -> i32 {
    use nix::sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
    };
    let pair = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::empty());
    let (from, _to) = pair.expect("socketpair");
    let rights = [ControlMessage::ScmRights(&[0; 20])];
    let iov = [io::IoSlice::new(b"x")];
    let flags = MsgFlags::MSG_DONTWAIT;
    let failed = loop {
        if let Err(errno) = sendmsg::<()>(from.as_raw_fd(), &iov, &rights, flags, None) {
            break errno;
        }
    };
    say(&failed.to_string());
    let _ = io::stdin().read(&mut [0]);
    0
}

/// Opens the host's file `victim` through the root directory of every process that it sees,
/// until the file `until` exists. Prints how many other processes it saw.
fn attack_root(victim: &str, until: &str) -> i32 {
    let mut seen = std::collections::BTreeSet::new();
    say("ready");
    while !std::path::Path::new(until).exists() {
        for pid in numbers("/proc") {
            if fs::File::open(format!("/proc/{pid}/root{victim}")).is_ok() {
                say("reached");
                return 1;
            }
            seen.insert(pid);
        }
    }
    say(&format!("seen {}", seen.len() - 1));
    0
}

fn inode(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.ino())
}

fn report(questions: &[String]) -> Value {
    let mut asked = Map::new();
    for question in questions {
        // Anything else is just an argument.
        if let Some((verb, what)) = question.split_once(':') {
            asked.insert(question.clone(), answer(verb, what));
        }
    }
    json!({
        // Before this process opens any descriptor.
        "fds": open_files(),
        "argv": std::env::args().collect::<Vec<_>>(),
        "env": std::env::vars().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        "cwd": std::env::current_dir().ok(),
        "pid": std::process::id(),
        "ids": ids(),
        "status": status(),
        "rlimits": rlimits(),
        "names": names(),
        "mounts": mounts(),
        "ns": namespaces(),
        "oom_score_adj": line("/proc/self/oom_score_adj"),
        "label": label(),
        "cgroup": text("/proc/self/cgroup"),
        "timens": text("/proc/self/timens_offsets"),
        "tty": terminal(),
        "keyring": keyring(),
        "pdeathsig": nix::sys::prctl::get_pdeathsig().ok().flatten().map(|s| s.to_string()),
        "loopback_up": loopback_is_up(),
        "asked": asked,
    })
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn line(path: &str) -> Option<String> {
    text(path).map(|text| text.trim().to_owned())
}

fn numbers(dir: &str) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn open_files() -> Value {
    let mut open = Map::new();
    for fd in numbers("/proc/self/fd") {
        // The descriptor of the listing itself is closed by now.
        if let Ok(target) = fs::read_link(format!("/proc/self/fd/{fd}")) {
            open.insert(fd.to_string(), json!(target));
        }
    }
    open.into()
}

fn ids() -> Value {
    use nix::unistd::{getgroups, getpgrp, getresgid, getresuid, getsid};
    let (uid, gid) = (getresuid().expect("ids"), getresgid().expect("ids"));
    let groups = getgroups().unwrap_or_default();
    json!({
        "uid": [uid.real.as_raw(), uid.effective.as_raw(), uid.saved.as_raw()],
        "gid": [gid.real.as_raw(), gid.effective.as_raw(), gid.saved.as_raw()],
        "groups": groups.iter().map(|gid| gid.as_raw()).collect::<Vec<_>>(),
        "session": getsid(None).map_or(-1, |sid| sid.as_raw()),
        "group": getpgrp().as_raw(),
    })
}

/// All of /proc/self/status: capabilities, signals, umask, no_new_privs.
fn status() -> Value {
    let text = text("/proc/self/status").unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), json!(value.trim()))).collect::<Map<_, _>>().into()
}

fn rlimits() -> Value {
    use nix::sys::resource::{Resource, getrlimit};
    let all = [
        ("RLIMIT_AS", Resource::RLIMIT_AS),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE),
        ("RLIMIT_CPU", Resource::RLIMIT_CPU),
        ("RLIMIT_DATA", Resource::RLIMIT_DATA),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
        ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
        ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
        ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", Resource::RLIMIT_NICE),
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
        ("RLIMIT_RSS", Resource::RLIMIT_RSS),
        ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
        ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK),
    ];
    let pairs = all.into_iter().map(|(name, resource)| {
        let (soft, hard) = getrlimit(resource).unwrap_or_default();
        (name.to_owned(), json!([soft, hard]))
    });
    pairs.collect::<Map<_, _>>().into()
}

/// struct sched_attr, field by field, as sched_getattr(2) fills it.
fn scheduler() -> Value {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let mut attr = Attr::default();
    // SAFETY: the kernel writes no more than the size that it is given.
    let rc = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size_of::<Attr>(), 0) };
    assert_eq!(rc, 0, "sched_getattr");
    json!({
        "policy": attr.policy, "flags": attr.flags, "nice": attr.nice, "priority": attr.priority,
        "runtime": attr.runtime, "deadline": attr.deadline, "period": attr.period,
    })
}

/// Class and level of the I/O priority.
fn io_priority() -> Value {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: numbers only.
    let value = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) };
    json!([value >> 13, value & 7])
}

/// The memory policy's mode with its flags, and the first 64 nodes.
fn memory_policy() -> Value {
    let (mut mode, mut nodes) = (-1 as libc::c_int, [0u64; 128]);
    let bits = 8 * size_of_val(&nodes);
    // SAFETY: the kernel writes one int, and no more bits than it is told.
    let rc = unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nodes.as_mut_ptr(), bits, 0_usize, 0)
    };
    if rc == 0 { json!([mode, nodes[0]]) } else { Value::Null }
}

/// The security label: AppArmor's, or that of the module without a directory of its own.
fn label() -> Option<String> {
    line("/proc/self/attr/apparmor/current").or_else(|| line("/proc/self/attr/current"))
}

fn names() -> Value {
    let names = nix::sys::utsname::uname().expect("uname");
    json!({
        "host": names.nodename().to_string_lossy(),
        "domain": names.domainname().to_string_lossy(),
    })
}

fn mounts() -> Value {
    let text = text("/proc/self/mountinfo").unwrap_or_default();
    text.lines().map(mount).collect::<Vec<_>>().into()
}

/// One line of mountinfo; `tags` are the propagation fields.
fn mount(line: &str) -> Value {
    let (left, right) = line.split_once(" - ").unwrap_or((line, ""));
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    json!({
        "device": left[2], "root": left[3], "at": left[4],
        "options": left[5].split(',').collect::<Vec<_>>(),
        "tags": left[6..],
        "type": right[0],
        "super": right.get(2).map(|s| s.split(',').collect::<Vec<_>>()),
    })
}

fn namespaces() -> Value {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let links = kinds.map(|kind| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok();
        (kind.to_owned(), json!(link))
    });
    links.into_iter().collect::<Map<_, _>>().into()
}

fn terminal() -> Value {
    // SAFETY: winsize is plain integers; TIOCGWINSZ fills it.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes one winsize, and that is what it gets.
    let rc = unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size) };
    json!({
        "stdin": nix::unistd::isatty(io::stdin()).unwrap_or(false),
        "stdout": nix::unistd::isatty(io::stdout()).unwrap_or(false),
        "controlling": fs::File::open("/dev/tty").is_ok(),
        "size": (rc == 0).then_some([size.ws_row, size.ws_col]),
    })
}

/// The session keyring's description: type;uid;gid;permissions;name.
fn keyring() -> Option<String> {
    const KEYCTL_DESCRIBE: libc::c_long = 6;
    const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;
    let mut name = [0u8; 256];
    // SAFETY: the kernel writes at most the length it is told.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_DESCRIBE,
            KEY_SPEC_SESSION_KEYRING,
            name.as_mut_ptr(),
            name.len(),
        )
    };
    let length = usize::try_from(length).ok()?.saturating_sub(1);
    Some(String::from_utf8_lossy(name.get(..length)?).into_owned())
}

fn loopback_is_up() -> bool {
    let flags = line("/sys/class/net/lo/flags").unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16);
    let answers = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| std::net::TcpStream::connect(listener.local_addr()?));
    answers.is_ok() && flags.is_ok_and(|flags| flags & 1 == 1)
}

fn answer(verb: &str, what: &str) -> Value {
    let done = match verb {
        "read" => read(what),
        "text" => fs::read_to_string(what).map(Value::from),
        "write" => open(never_wait().write(true), what),
        "create" => create(what),
        "mkdir" => fs::create_dir(what).map(|()| json!("ok")),
        // Only if asked by name, because seccomp profiles don't allow all of these calls.
        "self" if what == "scheduling" => Ok(json!({
            "scheduler": scheduler(),
            "io_priority": io_priority(),
            "memory_policy": memory_policy(),
            // SAFETY: this value only reads the personality.
            "personality": unsafe { libc::personality(0xffff_ffff) },
        })),
        "stat" => fs::symlink_metadata(what).map(|meta| stat(&meta)),
        "lock" => fs::OpenOptions::new().append(true).open(what).map(|file| match flock(&file) {
            Ok(()) => json!("ok"),
            Err(_) => json!("held"),
        }),
        "link" => fs::read_link(what).map(|target| json!(target)),
        "list" => list(what),
        "mknod" => mknod(what),
        "xattr" => xattr(what),
        "call" => call(what),
        "call32" => call32(what),
        "child" => return child(what),
        "exec" => std::process::Command::new(what).output().map(|out| json!(out.status.code())),
        other => panic!("the probe has no question {other}"),
    };
    done.unwrap_or_else(|error| match error.raw_os_error() {
        Some(code) => json!(format!("{:?}", Errno::from_raw(code))),
        None => json!(error.to_string()),
    })
}

/// A FIFO without a peer or a silent terminal must not block the probe.
fn never_wait() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.custom_flags(libc::O_NONBLOCK);
    options
}

fn open(options: &fs::OpenOptions, path: &str) -> io::Result<Value> {
    options.open(path).map(|_| json!("ok"))
}

fn read(path: &str) -> io::Result<Value> {
    let read = never_wait().read(true).open(path)?.read(&mut [0; 16])?;
    Ok(json!(if read == 0 { "empty" } else { "ok" }))
}

fn create(path: &str) -> io::Result<Value> {
    open(fs::OpenOptions::new().write(true).create_new(true), path)
}

fn stat(meta: &fs::Metadata) -> Value {
    let kind = meta.file_type();
    let letter = match () {
        () if kind.is_dir() => "d",
        () if kind.is_symlink() => "l",
        () if kind.is_char_device() => "c",
        () if kind.is_block_device() => "b",
        () if kind.is_fifo() => "p",
        () if kind.is_socket() => "s",
        () => "f",
    };
    json!({
        "type": letter,
        "mode": format!("{:o}", meta.mode() & 0o7777),
        "uid": meta.uid(), "gid": meta.gid(),
        "device": format!("{}:{}", libc::major(meta.rdev()), libc::minor(meta.rdev())),
        "inode": meta.ino(),
        "links": meta.nlink(),
        "changed": meta.mtime(),
        "filesystem": meta.dev(),
    })
}

fn list(path: &str) -> io::Result<Value> {
    let mut names: Vec<String> =
        fs::read_dir(path)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(json!(names))
}

/// `call:39` or `call:41,40,1,0`: a system call by number, with its arguments.
fn call(what: &str) -> io::Result<Value> {
    let [number, a, b, c, d, e, f] = numbers_of(what);
    // SAFETY: the tests pass numbers that are no addresses of anything.
    let ret = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(json!(ret)) }
}

fn numbers_of(what: &str) -> [libc::c_long; 7] {
    let mut all = [0; 7];
    for (place, number) in all.iter_mut().zip(what.split(',')) {
        *place = number.parse::<u64>().expect("a number") as libc::c_long;
    }
    all
}

/// The same by the entry of 32-bit programs, with up to three arguments.
#[cfg(target_arch = "x86_64")]
fn call32(what: &str) -> io::Result<Value> {
    let [number, a, b, c, ..] = numbers_of(what);
    let ret: i32;
    // SAFETY: the kernel preserves all registers but eax; rbx, which LLVM keeps
    // for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {b}, rbx", "int 0x80", "xchg {b}, rbx",
            b = inout(reg) a => _, inlateout("eax") number as i32 => ret, in("ecx") b as i32, in("edx") c as i32,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if ret < 0 { Err(io::Error::from_raw_os_error(-ret)) } else { Ok(json!(ret)) }
}

#[cfg(not(target_arch = "x86_64"))]
fn call32(_: &str) -> io::Result<Value> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// `child:QUESTION`: a child answers. Returns how the child ended if it did not answer.
fn child(question: &str) -> Value {
    let out =
        std::process::Command::new("/proc/self/exe").arg0("probe").arg("--answer").arg(question).output();
    let out = match out {
        Ok(out) => out,
        Err(error) => return json!(error.to_string()),
    };
    use std::os::unix::process::ExitStatusExt;
    match out.status.signal() {
        Some(signal) => json!(format!("signal {signal}")),
        None => serde_json::from_slice(&out.stdout).unwrap_or(Value::Null),
    }
}

/// `mknod:c 1:11 /dev/x` makes a device node.
fn mknod(what: &str) -> io::Result<Value> {
    let parts: Vec<&str> = what.split([' ', ':']).collect();
    let number = |at: usize| parts[at].parse::<u32>().expect("a device number");
    let kind = if parts[0] == "b" { libc::S_IFBLK } else { libc::S_IFCHR };
    let path = CString::new(parts[3]).expect("a path");
    let device = libc::makedev(number(1), number(2));
    // SAFETY: the path is a C string that outlives the call.
    let rc = unsafe { libc::mknod(path.as_ptr(), kind | 0o666, device) };
    if rc == 0 { Ok(json!("ok")) } else { Err(io::Error::last_os_error()) }
}

/// `xattr:user.name /path` is the value of an extended attribute.
fn xattr(what: &str) -> io::Result<Value> {
    let (name, path) = what.split_once(' ').expect("a name and a path");
    let [name, path] = [name, path].map(|text| CString::new(text).expect("no NUL"));
    let mut value = [0u8; 256];
    // SAFETY: two C strings, and a buffer with its length.
    let length =
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(json!(String::from_utf8_lossy(&value[..length])))
}
