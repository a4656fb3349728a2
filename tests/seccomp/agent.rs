//! A seccomp agent. It listens on a socket, takes one listener per connection, and answers
//! calls until no process is left that could make one.

use crate::harness::{Bundle, PATIENCE, PidFd, Test, accept, receive};
use nix::poll::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    ip: u64,
    args: [u64; 6],
}

#[repr(C)]
#[derive(Default)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const CONTINUE: u32 = 1;

nix::ioctl_readwrite!(next_call, b'!', 0, Notification);
nix::ioctl_readwrite!(answer, b'!', 1, Answer);

pub struct Agent {
    pub path: PathBuf,
    states: Receiver<Value>,
}

impl Agent {
    /// Calls with `number` return `value`. The kernel executes all other calls.
    pub fn listen(t: &Test, number: libc::c_long, value: i64) -> Agent {
        let path = t.path("agent");
        let socket = UnixListener::bind(&path).expect("bind the agent's socket");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
        let (send, states) = channel();
        // The thread may end only with the test program, because a connection may never
        // come.
        std::thread::spawn(move || {
            for connection in socket.incoming() {
                let (state, listener) = take(&connection.expect("a connection"));
                if send.send(state).is_err() {
                    return;
                }
                std::thread::spawn(move || serve(&listener, number, value));
            }
        });
        Agent { path, states }
    }

    /// Returns the message of the runtime with the next listener.
    pub fn state(&self) -> Value {
        self.states.recv_timeout(PATIENCE).expect("a listener")
    }

    /// Checks that no further listener has come.
    pub fn is_idle(&self) -> bool {
        self.states.try_recv().is_err()
    }
}

/// An agent that takes a listener and never answers.
pub struct Silent {
    path: PathBuf,
    socket: UnixListener,
}

impl Silent {
    pub fn listen(t: &Test) -> Silent {
        let path = t.path("agent");
        let socket = UnixListener::bind(&path).expect("bind the agent's socket");
        Silent { path, socket }
    }

    /// Kills `create` while init waits for the answer, and deletes the container.
    pub fn holds_nobody_for_ever(&self, t: &Test, bundle: Bundle) {
        let calls = json!([{ "names": ["read", "recvmsg", "recvfrom"], "action": "SCMP_ACT_NOTIFY" }]);
        let bundle = bundle.set("/linux/seccomp/defaultAction", json!("SCMP_ACT_ALLOW"));
        let bundle = bundle.set("/linux/seccomp/syscalls", calls);
        let (bundle, id) = (bundle.set("/linux/seccomp/listenerPath", json!(self.path)), t.id());
        t.will_delete(&id);
        let create = t.verb(["create", "--bundle"]).arg(bundle.lay()).arg(&id).spawn();
        let (init, _listener) = self.asked();
        create.kill();
        assert_eq!(create.out().code, 137);
        assert!(init.is_alive(), "it waits");
        t.verb(["delete", "--force", &id]).ok();
        assert!(init.ended(), "init outlives its container");
    }

    /// Waits until a process waits for its answer. Returns that process and the listener.
    fn asked(&self) -> (PidFd, OwnedFd) {
        let (state, listener) = take(&accept(&self.socket));
        let timeout = nix::poll::PollTimeout::try_from(PATIENCE).expect("a timeout");
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, timeout), Ok(1), "nobody asks");
        (PidFd::open(state["pid"].as_i64().expect("a pid") as i32), listener)
    }
}

/// Reads to the end of the connection, which the runtime must close.
fn take(stream: &UnixStream) -> (Value, OwnedFd) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let (mut text, mut listeners) = (Vec::new(), Vec::new());
    loop {
        let (part, fds) = receive(stream).expect("recvmsg");
        listeners.extend(fds);
        assert!(listeners.len() <= 1, "exactly one descriptor");
        if part.is_empty() {
            break;
        }
        text.extend(part);
    }
    let state = serde_json::from_slice(&text).expect("the state is JSON");
    (state, listeners.pop().expect("a listener came along"))
}

fn serve(listener: &OwnedFd, number: libc::c_long, value: i64) {
    loop {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, nix::poll::PollTimeout::NONE).expect("poll");
        if !fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN)) {
            // POLLHUP: the last process under the filter has ended.
            return;
        }
        let mut call = Notification::default();
        // SAFETY: the kernel fills in one notification, which is the buffer's type.
        if unsafe { next_call(listener.as_raw_fd(), &raw mut call) }.is_err() {
            continue;
        }
        let ours = libc::c_long::from(call.number) == number;
        let mut reply = Answer {
            id: call.id,
            value: if ours { value } else { 0 },
            flags: if ours { 0 } else { CONTINUE },
            ..Answer::default()
        };
        // SAFETY: the kernel reads one answer. The caller may have ended.
        let _ = unsafe { answer(listener.as_raw_fd(), &raw mut reply) };
    }
}
