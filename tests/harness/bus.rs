//! A system bus with a systemd behind it, as far as a runtime talks to them:
//! made to keep silent, to refuse or to hang up where a test wants it.
//!
//! It moves processes into cgroups as systemd does, and forgets nothing that it
//! was asked.

use super::sys::{HeldAtExit, PATIENCE, PidFd};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What goes wrong. `at` is the name of a method, `JobRemoved`, or
/// `authentication`.
#[derive(Clone, Debug)]
pub enum Fault {
    /// From here on it says no more.
    Silence {
        at: &'static str,
    },
    HangUp {
        at: &'static str,
    },
    /// Bytes that are no D-Bus.
    Noise {
        at: &'static str,
    },
    /// An error is the answer, once.
    Refusal {
        at: &'static str,
        name: &'static str,
        text: &'static str,
    },
    /// The job ends so.
    Result(&'static str),
    /// Everything takes its time.
    Late(Duration),
    /// A process is moved when it has ended, that is to say not at all.
    TooLate,
    /// The process of the unit is held at its end (PTRACE_EVENT_EXIT) until the runtime
    /// hangs up: it has said its last, and its pidfd does not show the end yet.
    WhileItEnds,
}

/// The process that a StartTransientUnit is for.
fn pid_of(call: &Asked) -> u64 {
    call.property("PIDs").and_then(|pids| pids[0].as_u64()).expect("a pid")
}

/// A method call that came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub member: String,
    pub args: Value,
}

impl Asked {
    /// A property in the arguments of StartTransientUnit.
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.args[2].as_array()?.iter().find(|pair| pair[0] == name).map(|pair| &pair[1])
    }
}

pub struct Bus {
    socket: PathBuf,
    systemd: Arc<Systemd>,
    /// Ends with the connections that there were.
    thread: Option<JoinHandle<Vec<Served>>>,
}

/// A connection, and who serves it.
type Served = (UnixStream, JoinHandle<()>);

struct Systemd {
    faults: Mutex<Vec<Fault>>,
    asked: Mutex<Vec<Asked>>,
    /// Something was asked.
    heard: Condvar,
    /// The cgroups of units.
    dirs: Mutex<Vec<PathBuf>>,
    over: AtomicBool,
}

impl Bus {
    pub fn new(socket: PathBuf, faults: &[Fault]) -> Bus {
        let listener = UnixListener::bind(&socket).expect("bind the bus");
        let systemd = Arc::new(Systemd {
            faults: Mutex::new(faults.to_vec()),
            asked: Mutex::default(),
            heard: Condvar::new(),
            dirs: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let shared = systemd.clone();
        let thread = std::thread::spawn(move || {
            let mut served = Vec::new();
            for stream in listener.incoming().flatten() {
                if shared.over.load(Ordering::SeqCst) {
                    break;
                }
                let (shared, copy) = (shared.clone(), stream.try_clone().expect("dup"));
                let serve = move || Connection::new(stream, &shared).serve();
                served.push((copy, std::thread::spawn(serve)));
            }
            served
        });
        Bus { socket, systemd, thread: Some(thread) }
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket.display())
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.systemd.asked.lock().expect("a lock").clone()
    }

    /// The faults that have not taken place.
    pub fn faults_left(&self) -> Vec<Fault> {
        self.systemd.faults.lock().expect("a lock").clone()
    }

    /// The names of the methods.
    pub fn members(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.member).collect()
    }

    /// Waits until it has been asked for a unit; the process that is to be in it.
    pub fn init(&self) -> PidFd {
        let asked = self.systemd.asked.lock().expect("a lock");
        let is_none = |asked: &mut Vec<Asked>| asked.iter().all(|a| a.member != "StartTransientUnit");
        let (asked, late) = self.systemd.heard.wait_timeout_while(asked, PATIENCE, is_none).expect("a lock");
        assert!(!late.timed_out(), "nobody asks for a unit");
        let start = asked.iter().find(|a| a.member == "StartTransientUnit").expect("found");
        PidFd::open(start.property("PIDs").and_then(|pids| pids[0].as_i64()).expect("a pid") as i32)
    }

    /// The last StartTransientUnit.
    pub fn start(&self) -> Asked {
        let asked = self.asked();
        asked
            .into_iter()
            .rev()
            .find(|asked| asked.member == "StartTransientUnit")
            .expect("it was asked for a unit")
    }
}

/// What it made must be empty by now.
impl Drop for Bus {
    fn drop(&mut self) {
        self.systemd.over.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket);
        let served = self.thread.take().and_then(|thread| thread.join().ok());
        // A client may be gone while its unit is still being made.
        for (stream, thread) in served.unwrap_or_default() {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
        for dir in self.systemd.dirs.lock().expect("a lock").drain(..) {
            let _ = fs::remove_dir(dir);
        }
    }
}

struct Connection<'a> {
    stream: UnixStream,
    systemd: &'a Systemd,
    inbox: Vec<u8>,
    serial: Cell<u32>,
}

/// The connection is over: by the client, or by a fault.
struct Over;

impl Connection<'_> {
    fn new(stream: UnixStream, systemd: &Systemd) -> Connection<'_> {
        Connection { stream, systemd, inbox: Vec::new(), serial: Cell::new(0) }
    }

    fn serve(mut self) {
        let _ = self.talk();
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn talk(&mut self) -> Result<(), Over> {
        self.authenticate()?;
        let mut held = Vec::new();
        loop {
            let (call, serial) = self.call()?;
            self.systemd.asked.lock().expect("a lock").push(call.clone());
            self.systemd.heard.notify_all();
            self.pause();
            self.fault(&call.member)?;
            if call.member == "StartTransientUnit" {
                self.outlive(&call);
                held.extend(self.hold(&call));
            }
            match self.refusal(&call.member) {
                Some((name, text)) => self.refuse(serial, name, text)?,
                None => self.answer(&call, serial)?,
            }
        }
    }

    fn authenticate(&mut self) -> Result<(), Over> {
        let begin = b"BEGIN\r\n";
        let end = loop {
            if let Some(at) = self.inbox.windows(begin.len()).position(|part| part == begin) {
                break at + begin.len();
            }
            self.fill()?;
        };
        let text: Vec<u8> = self.inbox.drain(..end).collect();
        // The uid in decimal digits, each in hexadecimal: the tests are root's.
        assert!(text.starts_with(b"\0AUTH EXTERNAL 30\r\n"), "{:?}", String::from_utf8_lossy(&text));
        self.pause();
        self.fault("authentication")?;
        if self.refusal("authentication").is_some() {
            let _ = self.send(b"REJECTED EXTERNAL\r\n");
            return Err(Over);
        }
        self.send(b"OK 0123456789abcdef0123456789abcdef\r\n")
    }

    fn answer(&mut self, call: &Asked, serial: u32) -> Result<(), Over> {
        match call.member.as_str() {
            "Hello" => self.reply(serial, "s", &[b"\x04\0\0\0:1.7\0"]),
            "StartTransientUnit" => {
                self.enter(&call.args[0], pid_of(call));
                self.job(serial, &call.args[0])
            }
            "StopUnit" => {
                for dir in self.systemd.dirs.lock().expect("a lock").drain(..) {
                    let _ = fs::remove_dir(dir);
                }
                self.job(serial, &call.args[0])
            }
            _ => self.reply(serial, "", &[]),
        }
    }

    /// Waits until the unit's process has ended, if that is the fault.
    fn outlive(&self, call: &Asked) {
        if self.systemd.faults.lock().expect("a lock").iter().any(|f| matches!(f, Fault::TooLate)) {
            PidFd::open(pid_of(call) as i32).ended();
        }
    }

    /// Holds the unit's process at its end, if that is the fault.
    fn hold(&self, call: &Asked) -> Option<HeldAtExit> {
        let mut faults = self.systemd.faults.lock().expect("a lock");
        let index = faults.iter().position(|fault| matches!(fault, Fault::WhileItEnds))?;
        let held = HeldAtExit::hold(pid_of(call) as i32)?;
        // Who finds the fault gone knows that it took place.
        faults.remove(index);
        Some(held)
    }

    /// Makes the unit's cgroups, in the root slice, and moves the process.
    fn enter(&self, unit: &Value, pid: u64) {
        let root = Path::new("/sys/fs/cgroup");
        let mounts: &[&str] =
            if root.join("cgroup.controllers").exists() { &[""] } else { &["systemd", "unified"] };
        for mount in mounts.iter().map(|mount| root.join(mount)).filter(|mount| mount.is_dir()) {
            let dir = mount.join(unit.as_str().expect("a name"));
            fs::create_dir(&dir).expect("make a cgroup");
            self.systemd.dirs.lock().expect("a lock").push(dir.clone());
            let _ = fs::write(dir.join("cgroup.procs"), pid.to_string());
        }
    }

    /// The answer, a signal of somebody else's job, and that of this one.
    fn job(&mut self, serial: u32, unit: &Value) -> Result<(), Over> {
        self.reply(serial, "o", &[&text("/org/freedesktop/systemd1/job/42")])?;
        self.fault("JobRemoved")?;
        let mut result = "done";
        self.systemd.faults.lock().expect("a lock").retain(|fault| match fault {
            Fault::Result(how) => {
                result = how;
                false
            }
            _ => true,
        });
        self.signal("/org/freedesktop/systemd1/job/41", "failed", unit)?;
        self.pause();
        self.signal("/org/freedesktop/systemd1/job/42", result, unit)
    }

    fn signal(&mut self, job: &str, result: &str, unit: &Value) -> Result<(), Over> {
        let fields = [
            (1, "o", text("/org/freedesktop/systemd1")),
            (2, "s", text("org.freedesktop.systemd1.Manager")),
            (3, "s", text("JobRemoved")),
            (8, "g", b"\x04uoss\0".to_vec()),
        ];
        let unit = text(unit.as_str().expect("a name"));
        self.message(4, &fields, &[&42u32.to_le_bytes(), &text(job), &unit, &text(result)])
    }

    fn reply(&mut self, to: u32, signature: &str, args: &[&[u8]]) -> Result<(), Over> {
        let signature = [&[signature.len() as u8], signature.as_bytes(), &[0]].concat();
        self.message(2, &[(5, "u", to.to_le_bytes().to_vec()), (8, "g", signature)], args)
    }

    fn refuse(&mut self, to: u32, name: &str, why: &str) -> Result<(), Over> {
        let fields =
            [(4, "s", text(name)), (5, "u", to.to_le_bytes().to_vec()), (8, "g", b"\x01s\0".to_vec())];
        self.message(3, &fields, &[&text(why)])
    }

    fn message(&mut self, kind: u8, fields: &[(u8, &str, Vec<u8>)], args: &[&[u8]]) -> Result<(), Over> {
        let mut body = Vec::new();
        args.iter().for_each(|arg| append(&mut body, 4, arg));
        let mut header = Vec::new();
        for (code, signature, value) in fields {
            append(&mut header, 8, &[*code, 1, signature.as_bytes()[0], 0]);
            append(&mut header, if *signature == "g" { 1 } else { 4 }, value);
        }
        self.serial.set(self.serial.get() + 1);
        let mut out = vec![b'l', kind, 1, 1];
        for number in [body.len() as u32, self.serial.get(), header.len() as u32] {
            out.extend(number.to_le_bytes());
        }
        out.extend(header);
        append(&mut out, 8, &body);
        self.send(&out)
    }

    /// Carries out a fault that is to happen here.
    fn fault(&mut self, place: &str) -> Result<(), Over> {
        let faults = self.systemd.faults.lock().expect("a lock").clone();
        for fault in faults {
            match fault {
                Fault::Silence { at } if at == place => {
                    // Until the client has had enough.
                    let mut rest = Vec::new();
                    let _ = self.stream.read_to_end(&mut rest);
                    return Err(Over);
                }
                Fault::HangUp { at } if at == place => return Err(Over),
                Fault::Noise { at } if at == place => {
                    self.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
                    return Err(Over);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn refusal(&self, place: &str) -> Option<(&'static str, &'static str)> {
        let mut faults = self.systemd.faults.lock().expect("a lock");
        let at = faults.iter().position(|f| matches!(f, Fault::Refusal { at, .. } if *at == place))?;
        match faults.remove(at) {
            Fault::Refusal { name, text, .. } => Some((name, text)),
            _ => None,
        }
    }

    fn pause(&self) {
        let faults = self.systemd.faults.lock().expect("a lock").clone();
        for fault in faults {
            if let Fault::Late(time) = fault {
                std::thread::sleep(time);
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.stream.write_all(bytes).map_err(|_| Over)
    }

    fn fill(&mut self) -> Result<(), Over> {
        let mut buf = [0; 4096];
        match self.stream.read(&mut buf) {
            Ok(0) | Err(_) => Err(Over),
            Ok(len) => {
                self.inbox.extend_from_slice(&buf[..len]);
                Ok(())
            }
        }
    }

    /// The next call and its serial.
    fn call(&mut self) -> Result<(Asked, u32), Over> {
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        let (body_at, end) = loop {
            if self.inbox.len() >= 16 {
                let body_at = (16 + word(&self.inbox, 12) as usize).next_multiple_of(8);
                let end = body_at + word(&self.inbox, 4) as usize;
                if self.inbox.len() >= end {
                    break (body_at, end);
                }
            }
            self.fill()?;
        };
        let message: Vec<u8> = self.inbox.drain(..end).collect();
        assert_eq!((message[0], message[1], message[3]), (b'l', 1, 1), "a call");
        let fields_len = word(&message, 12) as usize;
        let fields = Reader { bytes: &message[..16 + fields_len], at: 16 }.all("(yv)");
        let field = |code: u64| fields.iter().find(|f| f[0] == code).map(|f| f[1].clone());
        let text = |code| field(code).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let mut body = Reader { bytes: &message[body_at..], at: 0 };
        let signature = text(8);
        let mut left = signature.as_str();
        let mut args = Vec::new();
        while !left.is_empty() {
            let len = one_type(left);
            args.push(body.value(&left[..len]));
            left = &left[len..];
        }
        Ok((Asked { member: text(3), args: Value::Array(args) }, word(&message, 8)))
    }
}

fn append(out: &mut Vec<u8>, align: usize, bytes: &[u8]) {
    out.resize(out.len().next_multiple_of(align), 0);
    out.extend_from_slice(bytes);
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes(), &[0]].concat()
}

fn one_type(signature: &str) -> usize {
    match signature.as_bytes()[0] {
        b'a' => 1 + one_type(&signature[1..]),
        b'(' => {
            let mut end = 1;
            while signature.as_bytes()[end] != b')' {
                end += one_type(&signature[end..]);
            }
            end + 1
        }
        _ => 1,
    }
}

/// Turns what a client wrote into JSON; what is malformed is a failed test.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn all(&mut self, signature: &str) -> Vec<Value> {
        let mut out = Vec::new();
        while self.at < self.bytes.len() {
            out.push(self.value(signature));
        }
        out
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, len: usize) -> &[u8] {
        self.at += len;
        &self.bytes[self.at - len..self.at]
    }

    fn number(&mut self, size: usize) -> u64 {
        self.align(size);
        let bytes = self.take(size);
        bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
    }

    fn text(&mut self, len: usize) -> String {
        let text = String::from_utf8(self.take(len).to_vec()).expect("UTF-8");
        assert_eq!(self.take(1), [0], "{text} ends with NUL");
        text
    }

    fn value(&mut self, signature: &str) -> Value {
        match signature.as_bytes()[0] {
            b'y' => json!(self.number(1)),
            b'b' => json!(self.number(4) != 0),
            b'n' | b'q' => json!(self.number(2)),
            b'i' | b'u' => json!(self.number(4)),
            b'x' | b't' => json!(self.number(8)),
            b's' | b'o' => {
                let len = self.number(4) as usize;
                json!(self.text(len))
            }
            b'g' => {
                let len = self.number(1) as usize;
                json!(self.text(len))
            }
            b'v' => {
                let inner = self.value("g");
                self.value(inner.as_str().expect("a signature"))
            }
            b'a' => {
                let len = self.number(4) as usize;
                let element = &signature[1..];
                self.align(if matches!(element.as_bytes()[0], b'(' | b't' | b'x') { 8 } else { 1 });
                let end = self.at + len;
                let mut out = Vec::new();
                while self.at < end {
                    out.push(self.value(element));
                }
                assert_eq!(self.at, end, "the length of an array");
                Value::Array(out)
            }
            b'(' => {
                self.align(8);
                let mut left = &signature[1..signature.len() - 1];
                let mut out = Vec::new();
                while !left.is_empty() {
                    let len = one_type(left);
                    out.push(self.value(&left[..len]));
                    left = &left[len..];
                }
                Value::Array(out)
            }
            other => panic!("{} is not read here", char::from(other)),
        }
    }
}
