//! Terminals: one passed over a socket, and one in the foreground.

use crate::harness::{Bundle, Call, Container, PidFd, Running, Test, accept, is_corten, read_line, receive};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

cases![
    console_socket_gets_exactly_one_fd,
    console_socket_may_have_a_long_path,
    console_is_the_payloads_terminal,
    console_has_the_configured_size,
    console_size_beyond_any_terminal_is_refused,
    console_belongs_to_the_user,
    console_in_a_user_namespace,
    console_socket_is_required_when_detached,
    console_socket_without_a_terminal_is_refused,
    a_missing_console_socket_is_refused,
    a_file_in_place_of_devpts_is_refused,
    exec_takes_a_console_socket,
    foreground_relays_both_ways,
    foreground_takes_the_callers_size,
    foreground_forwards_a_new_size,
    foreground_loses_no_output,
    foreground_passes_on_a_long_paste,
    foreground_restores_the_callers_terminal,
    foreground_exec_relays,
    foreground_output_in_a_pipe_ends_lines_as_written,
    foreground_output_on_a_terminal_starts_lines_at_the_left,
    foreground_leaves_the_output_of_others_alone,
    console_ends_lines_as_terminals_do,
    foreground_returns_the_exit_code,
];

/// The end of a console socket that an engine has.
pub struct Console {
    pub path: PathBuf,
    listener: UnixListener,
}

impl Console {
    pub fn new(t: &Test) -> Console {
        let path = t.path("console");
        let listener = UnixListener::bind(&path).expect("a console socket");
        Console { path, listener }
    }

    /// A socket whose path is longer than the 107 bytes of an address.
    fn with_long_path(t: &Test) -> Console {
        let deep = t.path("deep").join("x".repeat(100)).join("y".repeat(100));
        std::fs::create_dir_all(&deep).expect("directories");
        let dir = File::open(&deep).expect("a directory");
        let name = format!("/proc/self/fd/{}/console", dir.as_raw_fd());
        let listener = UnixListener::bind(name).expect("a console socket");
        Console { path: deep.join("console"), listener }
    }

    /// Returns the descriptors of the only message. No other message may follow.
    pub fn receive(&self) -> File {
        let stream = accept(&self.listener);
        let (name, mut fds) = receive(&stream).expect("a message");
        assert_eq!(fds.len(), 1, "exactly one fd");
        assert!((1..4096).contains(&name.len()), "{} bytes of name", name.len());
        let pty = fds.remove(0);
        assert!(nix::unistd::isatty(&pty).expect("isatty"));
        File::from(pty)
    }
}

pub fn on_a_terminal(bundle: Bundle) -> Bundle {
    bundle.set("/process/terminal", json!(true))
}

/// A container with a terminal, and the engine's end of the terminal.
pub fn with_console<'t>(t: &'t Test, bundle: &Bundle) -> (Container<'t>, File) {
    with_this_console(t, bundle, Console::new(t))
}

fn with_this_console<'t>(t: &'t Test, bundle: &Bundle, console: Console) -> (Container<'t>, File) {
    let bundle = on_a_terminal(bundle.clone());
    let container = Container::create(t, &bundle, |call| call.arg("--console-socket").arg(&console.path));
    // The message must have come before `create` returned.
    console.listener.set_nonblocking(true).expect("non-blocking");
    (container, console.receive())
}

fn report_from(mut terminal: &File) -> Value {
    let line = read_line(terminal);
    let _ = terminal.flush();
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
}

fn console_socket_gets_exactly_one_fd(t: &Test) {
    let (container, terminal) = with_console(t, &t.bundle().shell("echo hello"));
    container.start();
    assert_eq!(read_line(&terminal), "hello");
    assert_eq!(container.wait(), 0);
}

fn console_socket_may_have_a_long_path(t: &Test) {
    let console = Console::with_long_path(t);
    let (container, terminal) = with_this_console(t, &t.bundle().shell("echo hello"), console);
    container.start();
    assert_eq!(read_line(&terminal), "hello");
    assert_eq!(container.wait(), 0);
}

fn console_is_the_payloads_terminal(t: &Test) {
    let bundle = t.bundle().args(["/probe", "stat:/dev/console", "list:/dev/pts"]);
    let (container, terminal) = with_console(t, &bundle);
    container.start();
    let seen = report_from(&terminal);
    assert_eq!(seen["tty"]["stdin"], true);
    assert_eq!(seen["tty"]["stdout"], true);
    assert_eq!(seen["tty"]["controlling"], true);
    let console = &seen["asked"]["stat:/dev/console"];
    assert_eq!(console["type"], "c", "{console}");
    assert!(console["device"].as_str().unwrap().starts_with("136:"), "{console}");
    for fd in ["0", "1", "2"] {
        let target = seen["fds"][fd].as_str().unwrap().to_owned();
        assert!(target.starts_with("/dev/pts/") || target == "/dev/console", "{target}");
    }
    assert_eq!(seen["fds"].as_object().unwrap().len(), 3, "{}", seen["fds"]);
}

fn console_has_the_configured_size(t: &Test) {
    let size = json!({ "height": 41, "width": 123 });
    let bundle = t.bundle().set("/process/consoleSize", size).args(["/probe"]);
    let (container, terminal) = with_console(t, &bundle);
    container.start();
    assert_eq!(report_from(&terminal)["tty"]["size"], json!([41, 123]));
}

fn console_size_beyond_any_terminal_is_refused(t: &Test) {
    let size = json!({ "height": 40, "width": 65536 });
    let bundle = t.bundle().set("/process/consoleSize", size).args(["true"]);
    assert_eq!(t.run(&bundle).code, 0, "without a terminal the size is nothing");
    let console = Console::new(t);
    let bundle = on_a_terminal(bundle);
    let call = t.verb(["create", "--console-socket"]).arg(&console.path).arg("--bundle").arg(bundle.lay());
    call.arg(t.id()).out().one_clear_line(&["/process/consoleSize/width", "65536"]);
}

fn console_belongs_to_the_user(t: &Test) {
    let user = json!({ "uid": 1000, "gid": 1000 });
    let bundle = t.bundle().set("/process/user", user).args(["/probe", "stat:/dev/pts/0"]);
    let (container, terminal) = with_console(t, &bundle);
    container.start();
    assert_eq!(report_from(&terminal)["asked"]["stat:/dev/pts/0"]["uid"], 1000);
}

fn console_in_a_user_namespace(t: &Test) {
    let bundle = t.bundle().user_namespace().args(["/probe", "stat:/dev/pts/0"]);
    let (container, terminal) = with_console(t, &bundle);
    container.start();
    assert_eq!(report_from(&terminal)["asked"]["stat:/dev/pts/0"]["uid"], 0);
}

fn console_socket_is_required_when_detached(t: &Test) {
    let out = t.refused(&on_a_terminal(t.bundle()));
    out.one_clear_line(&["console"]);
}

fn console_socket_without_a_terminal_is_refused(t: &Test) {
    let (bundle, console) = (t.bundle(), Console::new(t));
    let call = t.verb(["create", "--console-socket"]).arg(&console.path);
    let out = call.arg("--bundle").arg(bundle.lay()).arg(t.id()).out();
    out.one_clear_line(&["console"]);
}

fn a_missing_console_socket_is_refused(t: &Test) {
    let bundle = on_a_terminal(t.bundle());
    let call = t.verb(["create", "--console-socket", "/nonexistent/sock"]);
    let out = call.arg("--bundle").arg(bundle.lay()).arg(t.id()).out();
    out.one_clear_line(&["/nonexistent/sock"]);
}

/// An image can have any file at /dev/pts/ptmx.
fn a_file_in_place_of_devpts_is_refused(t: &Test) {
    let (console, file) = (Console::new(t), t.make_file("ptmx", ""));
    let bundle = t.bundle().without_mount("/dev/pts").bind(&file, "/dev/pts/ptmx", &[]);
    let call = t.verb(["create", "--console-socket"]).arg(&console.path).arg("--bundle");
    let out = call.arg(on_a_terminal(bundle).lay()).arg(t.id()).out();
    out.one_clear_line(&["/dev/pts is not a devpts"]);
}

fn exec_takes_a_console_socket(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let (console, pid_file) = (Console::new(t), t.path("pid"));
    let call = t.verb(["exec", "--detach", "--tty", "--console-socket"]).arg(&console.path);
    call.arg("--pid-file").arg(&pid_file).args([&container.id, "/probe"]).ok();
    let process = PidFd::from_file(&pid_file);
    let seen = report_from(&console.receive());
    assert_eq!(seen["tty"]["stdin"], true);
    assert_eq!(seen["tty"]["controlling"], true);
    // An engine reaps its children. Until then, the pid namespace exists.
    process.reap();
}

fn winsize(rows: u16, columns: u16) -> nix::pty::Winsize {
    nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A terminal like a shell's: the test's end, and the end for a program.
pub fn terminal(rows: u16, columns: u16) -> (File, OwnedFd) {
    let size = winsize(rows, columns);
    let pty = nix::pty::openpty(Some(&size), None).expect("a terminal");
    for end in [&pty.master, &pty.slave] {
        // Otherwise a program that another test starts at this moment inherits it.
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("close-on-exec");
    }
    (File::from(pty.master), pty.slave)
}

/// Runs `call` in the foreground of a terminal, which is its controlling terminal and its
/// stdio.
pub fn in_foreground<'t>(call: Call<'t>, slave: &OwnedFd) -> Running<'t> {
    let copy = || slave.try_clone().expect("dup");
    let mut call = call.stdout(copy());
    call.command.stderr(copy());
    typing_at(call, slave)
}

/// The same, but stdout goes elsewhere, as in `runc run ID | tee`.
fn typing_at<'t>(call: Call<'t>, slave: &OwnedFd) -> Running<'t> {
    use std::os::unix::process::CommandExt;
    let mut call = call.stdin(slave.try_clone().expect("dup"));
    let take = || {
        nix::unistd::setsid()?;
        // SAFETY: TIOCSCTTY takes an integer; stdin is the terminal by now.
        let rc = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: setsid and ioctl are async-signal-safe.
    unsafe { call.command.pre_exec(take) };
    call.spawn()
}

/// Reads lines from a terminal until `wanted` is true for one.
pub fn line_with(terminal: &File, wanted: &str) -> String {
    loop {
        let line = read_line(terminal);
        if line.contains(wanted) {
            return line;
        }
        assert!(!line.is_empty(), "the terminal closed before {wanted:?} came");
    }
}

fn foreground_relays_both_ways(t: &Test) {
    let (mut ours, slave) = terminal(24, 80);
    let bundle = on_a_terminal(t.bundle()).shell("stty -echo; echo ready; read x; echo got $x");
    let running = in_foreground(t.run_call(&bundle), &slave);
    line_with(&ours, "ready");
    ours.write_all(b"word\n").expect("type");
    line_with(&ours, "got word");
    assert_eq!(running.out().code, 0);
}

/// The size is set from the payload's first moment on.
fn foreground_takes_the_callers_size(t: &Test) {
    let (ours, slave) = terminal(33, 77);
    let bundle = on_a_terminal(t.bundle()).args(["/probe"]);
    let bundle = bundle.set("/process/scheduler", json!({ "policy": "SCHED_OTHER" }));
    let running = in_foreground(t.run_call(&bundle).giving_way(), &slave);
    assert_eq!(report_from(&ours)["tty"]["size"], json!([33, 77]));
    assert_eq!(running.out().code, 0);
}

/// Output that a payload writes just before its end must arrive.
fn foreground_loses_no_output(t: &Test) {
    for _ in 0..10 {
        let (ours, slave) = terminal(24, 80);
        let script = "n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo line $n; done; echo last";
        let bundle = on_a_terminal(t.bundle()).shell(script);
        let running = in_foreground(t.run_call(&bundle), &slave);
        drop(slave);
        for n in 1..=300 {
            assert_eq!(read_line(&ours), format!("line {n}"));
        }
        assert_eq!(read_line(&ours), "last");
        assert_eq!(running.out().code, 0);
    }
}

/// The payload writes much output before it reads, while the test types more than all
/// buffers hold. The relay must not wait for the payload to read before it forwards the
/// output.
fn foreground_passes_on_a_long_paste(t: &Test) {
    let (mut ours, slave) = terminal(24, 80);
    let script = "stty raw -echo; echo ready; dd bs=1 count=1 of=/dev/null 2>/dev/null
        dd if=/dev/zero bs=1000 count=1000 2>/dev/null | tr '\\0' x; head -c 99999 | wc -c; echo finished";
    let running = in_foreground(t.run_call(&on_a_terminal(t.bundle()).shell(script)), &slave);
    drop(slave);
    line_with(&ours, "ready");
    let typist = ours.try_clone().expect("dup");
    let paste = "yes | head -c 100000";
    let mut typist = std::process::Command::new("sh").args(["-c", paste]).stdout(typist).spawn().expect("sh");
    let (mut seen, mut buf) = (Vec::new(), [0; 65536]);
    while !seen.ends_with(b"finished\n") {
        let len = ours.read(&mut buf).expect("read");
        seen.extend_from_slice(&buf[..len]);
    }
    typist.wait().expect("wait");
    assert_eq!(running.out().code, 0);
    let (said, rest) = seen.split_at(1_000_000);
    assert!(said.iter().all(|byte| *byte == b'x'), "something was lost");
    assert_eq!(String::from_utf8_lossy(rest).trim_start(), "99999\nfinished\n");
}

fn foreground_forwards_a_new_size(t: &Test) {
    let (ours, slave) = terminal(33, 77);
    // In the shell's `read`, a signal can get lost until there is input.
    let script = "trap 'echo now $(stty size)' WINCH; echo ready; while :; do sleep 1000 & wait; done";
    let (bundle, id) = (on_a_terminal(t.bundle()).shell(script), t.id());
    let call = t.verb(["run", "--bundle"]).arg(bundle.lay()).arg(&id);
    let running = in_foreground(call, &slave);
    line_with(&ours, "ready");
    let size = winsize(44, 99);
    // SAFETY: TIOCSWINSZ reads one winsize, and that is what it gets.
    let rc = unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(rc, 0);
    assert_eq!(line_with(&ours, "now"), "now 44 99");
    t.verb(["kill", &id, "KILL"]).ok();
    assert_eq!(running.out().code, 137);
}

fn foreground_restores_the_callers_terminal(t: &Test) {
    let (mut ours, slave) = terminal(24, 80);
    let flags = || {
        let now = nix::sys::termios::tcgetattr(&slave).expect("tcgetattr");
        (now.local_flags, now.output_flags, now.input_flags)
    };
    let before = flags();
    let bundle = on_a_terminal(t.bundle()).shell("echo ready; read x");
    let running = in_foreground(t.run_call(&bundle), &slave);
    line_with(&ours, "ready");
    assert_ne!(flags(), before, "raw while the payload runs");
    ours.write_all(b"bye\n").expect("type");
    running.out();
    assert_eq!(flags(), before);
}

fn foreground_exec_relays(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let (mut ours, slave) = terminal(25, 81);
    let script = "stty -echo; echo size $(stty size); read x; exit $x";
    let running = in_foreground(container.exec(["--tty"], ["sh", "-c", script]), &slave);
    assert_eq!(line_with(&ours, "size"), "size 25 81");
    ours.write_all(b"23\n").expect("type");
    assert_eq!(running.out().code, 23);
}

/// Scripts compare what `$(runc exec -t ID COMMAND)` gives.
fn foreground_output_in_a_pipe_ends_lines_as_written(t: &Test) {
    let script = "echo one; printf 'two\\n'; tty -s && echo tty";
    let wanted = "one\ntwo\ntty\n";
    let (_ours, slave) = terminal(24, 80);
    let bundle = on_a_terminal(t.bundle()).shell(script);
    assert_eq!(typing_at(t.run_call(&bundle), &slave).out().stdout, wanted);
    let container = t.start(&t.bundle().pausing());
    let exec = || container.exec(["--tty"], ["sh", "-c", script]);
    assert_eq!(typing_at(exec(), &slave).out().stdout, wanted);
    // runc needs a terminal of its own.
    if is_corten() {
        assert_eq!(t.run(&bundle).stdout, wanted);
        assert_eq!(exec().out().stdout, wanted);
    }
}

/// In raw mode, a terminal moves to the left only for a carriage return.
fn foreground_output_on_a_terminal_starts_lines_at_the_left(t: &Test) {
    let container = t.start(&t.bundle().pausing());
    let bundle = on_a_terminal(t.bundle()).shell("echo one; echo two");
    for call in [t.run_call(&bundle), container.exec(["--tty"], ["sh", "-c", "echo one; echo two"])] {
        let (mut ours, slave) = terminal(24, 80);
        let running = in_foreground(call, &slave);
        drop(slave);
        let mut seen = Vec::new();
        // EIO means that everything was read and the other end is closed.
        let _ = ours.read_to_end(&mut seen);
        assert_eq!(String::from_utf8_lossy(&seen), "one\r\ntwo\r\n");
        assert_eq!(running.out().code, 0);
    }
}

/// stdout is a pipe. So the terminal's output settings stay: they concern other programs,
/// such as the reader of the pipe.
fn foreground_leaves_the_output_of_others_alone(t: &Test) {
    let (mut ours, slave) = terminal(24, 80);
    let flags = || nix::sys::termios::tcgetattr(&slave).expect("tcgetattr");
    let before = flags();
    let (reader, writer) = crate::harness::pipe();
    let bundle = on_a_terminal(t.bundle()).shell("echo ready; read x");
    let running = typing_at(t.run_call(&bundle).stdout(writer), &slave);
    assert_eq!(read_line(&reader), "ready");
    assert_ne!(flags().local_flags, before.local_flags, "raw while the payload runs");
    assert_eq!(flags().output_flags, before.output_flags);
    ours.write_all(b"bye\n").expect("type");
    assert_eq!(running.out().code, 0);
}

/// The clients of engines expect this.
fn console_ends_lines_as_terminals_do(t: &Test) {
    let (container, mut terminal) = with_console(t, &t.bundle().shell("echo hello"));
    container.start();
    let mut seen = [0; 7];
    terminal.read_exact(&mut seen).expect("read");
    assert_eq!(&seen, b"hello\r\n");
}

fn foreground_returns_the_exit_code(t: &Test) {
    let (_ours, slave) = terminal(24, 80);
    let bundle = on_a_terminal(t.bundle()).args(["/probe", "--exit", "12"]);
    assert_eq!(in_foreground(t.run_call(&bundle), &slave).out().code, 12);
}
