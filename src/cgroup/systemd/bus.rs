//! A connection to systemd by D-Bus.
//!
//! The runtime sends as much as it can before it waits for an answer. Authentication,
//! `Hello` and the match rule leave in one write, and the call itself does not wait for
//! their answers. Every wait has a time limit. Its error says what the runtime waited
//! for, and how long.

use super::session::Which;
use super::wire::{self, Call, Message, Value};
use crate::error::{Context, Error, Result, without_engines_words};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
/// systemd's own socket, which only root may use and which has no bus in between.
const PRIVATE: &str = "unix:path=/run/systemd/private";

const BUS: &str = "org.freedesktop.DBus";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// The time limit for systemd's answers, unless SYSTEMD_BUS_TIMEOUT sets another. runc
/// has the same.
const TIMEOUT: Duration = Duration::from_secs(30);

static SENT: AtomicU32 = AtomicU32::new(0);
static RECEIVED: AtomicU32 = AtomicU32::new(0);

/// Returns how many messages this process has sent and received.
pub fn traffic() -> (u32, u32) {
    (SENT.load(Ordering::Relaxed), RECEIVED.load(Ordering::Relaxed))
}

/// An open connection.
pub struct Bus {
    socket: OwnedFd,
    /// For error messages.
    address: String,
    /// Whether a bus is in between. If not, systemd itself is at the other end.
    is_bus: bool,
    authenticated: bool,
    serial: u32,
    /// Bytes to send.
    out: Vec<u8>,
    /// Received bytes that are not decoded yet.
    inbox: Vec<u8>,
    /// Jobs that ended while the runtime waited for something else.
    jobs: Vec<Job>,
    timeout: Duration,
    /// The deadline of every wait.
    end: Instant,
}

/// A job of systemd that has ended.
struct Job {
    path: String,
    result: String,
}

/// systemd's refusal of a call.
#[derive(Debug)]
pub struct Refusal {
    /// The name of the D-Bus error, like `org.freedesktop.systemd1.UnitExists`.
    pub name: String,
    pub text: String,
}

impl Bus {
    /// Connects, and queues the authentication.
    pub fn open(which: &Which) -> Result<Bus> {
        let timeout = parse_timeout(std::env::var("SYSTEMD_BUS_TIMEOUT").ok().as_deref());
        let uid = super::session::claimed_uid(which);
        match which {
            Which::User(address) => Bus::connect(address, true, uid, timeout),
            Which::System => {
                let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().filter(|a| !a.is_empty());
                let address = address.as_deref().unwrap_or(SYSTEM_BUS);
                // If no bus is installed, or the bus is restarting, root can ask systemd
                // directly.
                Bus::connect(address, true, uid, timeout).or_else(|error| {
                    let is_down = error.is(Errno::ENOENT) || error.is(Errno::ECONNREFUSED);
                    let private =
                        if is_down { Bus::connect(PRIVATE, false, uid, timeout).ok() } else { None };
                    private.ok_or(error)
                })
            }
        }
    }

    fn connect(address: &str, is_bus: bool, uid: u32, timeout: Duration) -> Result<Bus> {
        let end = Instant::now() + timeout;
        let mut last = Error::msg("no such address").on(address.to_owned());
        for place in parse_addresses(address).map_err(|e| e.on(address.to_owned()))? {
            match connect_to(&place, timeout) {
                Ok(socket) => {
                    let mut bus = Bus {
                        socket,
                        address: address.to_owned(),
                        is_bus,
                        authenticated: false,
                        serial: 0,
                        out: authentication(uid),
                        inbox: Vec::new(),
                        jobs: Vec::new(),
                        timeout,
                        end,
                    };
                    bus.queue_hello();
                    return Ok(bus);
                }
                Err(Errno::EAGAIN) => last = timed_out("connect to the bus", address, timeout),
                Err(errno) => last = Error::os("connect to the bus", errno).on(address.to_owned()),
            }
        }
        Err(last.hint("start systemd and its D-Bus socket, or leave out --systemd-cgroup"))
    }

    /// Refuses a systemd outside of this pid namespace. Such a systemd would take a pid
    /// of this namespace for another process, and move that process into the unit.
    pub fn check_pids(&self) -> Result<()> {
        let peer = getsockopt(&self.socket, sockopt::PeerCredentials).op("getsockopt SO_PEERCRED")?;
        match peer.pid() {
            0 => Err(Error::msg("systemd is outside of this pid namespace: it would move another process")
                .on(self.address.clone())
                .hint(
                    "leave out --systemd-cgroup: the cgroupfs driver does not pass pids to other processes",
                )),
            _ => Ok(()),
        }
    }

    fn queue_hello(&mut self) {
        if self.is_bus {
            self.queue(&Call {
                destination: BUS,
                path: "/org/freedesktop/DBus",
                interface: BUS,
                member: "Hello",
                args: &[],
            });
        }
    }

    /// Subscribes to the signals about jobs of one unit. Without a bus that is not
    /// needed: systemd sends them, because this connection creates the jobs.
    pub fn watch_jobs(&mut self, unit: &str) {
        if self.is_bus {
            let rule = format!(
                "type='signal',sender='{SYSTEMD}',path='{MANAGER_PATH}',interface='{MANAGER}',member='JobRemoved',arg2='{unit}'"
            );
            let args = [Value::text(rule)];
            self.queue(&Call {
                destination: BUS,
                path: "/org/freedesktop/DBus",
                interface: BUS,
                member: "AddMatch",
                args: &args,
            });
        }
    }

    /// Calls a method of systemd's manager. Returns the call's serial number, for
    /// [`Bus::wait_for_answer`].
    pub fn call(&mut self, member: &str, args: &[Value]) -> Result<u32> {
        let serial =
            self.queue(&Call { destination: SYSTEMD, path: MANAGER_PATH, interface: MANAGER, member, args });
        self.send_queued(member)?;
        Ok(serial)
    }

    fn queue(&mut self, call: &Call) -> u32 {
        self.serial += 1;
        SENT.fetch_add(1, Ordering::Relaxed);
        self.out.extend(call.encode(self.serial));
        self.serial
    }

    /// Waits for the answer to a call. Returns its text arguments, or systemd's refusal.
    pub fn wait_for_answer(
        &mut self,
        serial: u32,
        member: &str,
    ) -> Result<std::result::Result<Vec<String>, Refusal>> {
        loop {
            match self.next_message(member)? {
                Message::Return { to, texts } if to == serial => return Ok(Ok(texts)),
                Message::Error { to, name, text } if to == serial => return Ok(Err(Refusal { name, text })),
                // The bus refused `Hello` or the match rule, and the call needs both.
                Message::Error { name, text, .. } => return Err(self.refused(&name, &text)),
                other => self.keep_ended_job(other),
            }
        }
    }

    /// Waits until a job has ended, and returns its result. `done` means success.
    pub fn wait_for_job(&mut self, path: &str, member: &str) -> Result<String> {
        let what = format!("{member} (its job)");
        loop {
            if let Some(at) = self.jobs.iter().position(|job| job.path == path) {
                return Ok(self.jobs.swap_remove(at).result);
            }
            match self.next_message(&what)? {
                Message::Error { name, text, .. } => return Err(self.refused(&name, &text)),
                other => self.keep_ended_job(other),
            }
        }
    }

    /// Returns the error for a refusal that answers none of the awaited calls.
    fn refused(&self, name: &str, text: &str) -> Error {
        let text = without_engines_words(text);
        Error::msg(format!("the bus refused: {name}: {text}")).on(self.address.clone())
    }

    fn keep_ended_job(&mut self, message: Message) {
        if let Message::Signal { interface, member, texts } = message
            && (interface.as_str(), member.as_str()) == (MANAGER, "JobRemoved")
            && let [path, _unit, result] = &texts[..]
        {
            self.jobs.push(Job { path: path.clone(), result: result.clone() });
        }
    }

    /// Returns the next message of any kind. `what` names the wait in an error.
    fn next_message(&mut self, what: &str) -> Result<Message> {
        loop {
            if self.authenticated {
                match wire::decode(&self.inbox) {
                    Ok(Some((message, len))) => {
                        self.inbox.drain(..len);
                        RECEIVED.fetch_add(1, Ordering::Relaxed);
                        return Ok(message);
                    }
                    Ok(None) => {}
                    Err(wire::Malformed) => {
                        return Err(Error::msg("the bus sent bytes that are not a D-Bus message")
                            .on(self.address.clone()));
                    }
                }
            } else if self.read_authentication()? {
                continue;
            }
            self.receive_bytes(what)?;
        }
    }

    /// Reads the server's answer to the authentication. Returns false if the line is not
    /// complete yet.
    fn read_authentication(&mut self) -> Result<bool> {
        const LINE_LIMIT: usize = 4096;
        let Some(end) = self.inbox.windows(2).position(|two| two == b"\r\n") else {
            if self.inbox.len() > LINE_LIMIT {
                return Err(
                    Error::msg("the process behind the socket does not speak D-Bus").on(self.address.clone())
                );
            }
            return Ok(false);
        };
        let line: Vec<u8> = self.inbox.drain(..end + 2).collect();
        if line.starts_with(b"OK ") || line == b"OK\r\n" {
            self.authenticated = true;
            return Ok(true);
        }
        let said = String::from_utf8_lossy(&line).trim_end().to_owned();
        Err(Error::msg(format!("the bus refused the authentication: {}", without_engines_words(&said)))
            .on(self.address.clone()))
    }

    fn receive_bytes(&mut self, what: &str) -> Result<()> {
        let mut buf = [0u8; 8192];
        self.wait_for_socket(PollFlags::POLLIN, what)?;
        match recv(self.socket.as_raw_fd(), &mut buf, MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::ECONNRESET) => {
                Err(Error::msg(format!("the bus closed the connection before it answered {what}"))
                    .on(self.address.clone())
                    .hint("read the log of the bus: it may have too many connections"))
            }
            Ok(len) => {
                self.inbox.extend_from_slice(&buf[..len]);
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).op_on("receive from the bus", &self.address),
        }
    }

    fn send_queued(&mut self, what: &str) -> Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while !self.out.is_empty() {
            match send(self.socket.as_raw_fd(), &self.out, flags) {
                Ok(len) => drop(self.out.drain(..len)),
                Err(Errno::EAGAIN) => self.wait_for_socket(PollFlags::POLLOUT, what)?,
                Err(Errno::EINTR) => {}
                // The peer hung up. The runtime still reads the bytes that the peer sent
                // before, because they explain more.
                Err(Errno::EPIPE) => self.out.clear(),
                Err(errno) => return Err(errno).op_on("send to the bus", &self.address),
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready. Fails at the deadline.
    fn wait_for_socket(&self, flags: PollFlags, what: &str) -> Result<()> {
        let mut fds = [PollFd::new(self.socket.as_fd(), flags)];
        match crate::sys::poll_until(&mut fds, self.end).op("poll the bus")? {
            true => Ok(()),
            false => Err(timed_out(&format!("answer {what}"), &self.address, self.timeout)),
        }
    }
}

fn timed_out(what: &str, address: &str, timeout: Duration) -> Error {
    Error::msg(format!("systemd did not {what} within {} s", timeout.as_secs_f64()))
        .on(address.to_owned())
        .hint("check whether the bus or systemd is overloaded, or set a longer SYSTEMD_BUS_TIMEOUT")
}

/// The address of a UNIX socket.
#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Path(Vec<u8>),
    Abstract(Vec<u8>),
}

/// Connects to the socket. connect(2) blocks while the bus's backlog is full, so the time
/// limit applies to it, too.
fn connect_to(place: &Socket, timeout: Duration) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let address = match place {
        Socket::Path(path) => UnixAddr::new(OsStr::from_bytes(path))?,
        Socket::Abstract(name) => UnixAddr::new_abstract(name)?,
    };
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::new(seconds, timeout.subsec_micros().into()))?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(fd)
}

/// Parses a list of addresses (D-Bus specification, "Server Addresses"). Returns those
/// that a client on the same machine can use.
fn parse_addresses(list: &str) -> Result<Vec<Socket>> {
    let mut out = Vec::new();
    for address in list.split(';').filter(|address| !address.is_empty()) {
        let Some(options) = address.strip_prefix("unix:") else { continue };
        for (key, value) in options.split(',').filter_map(|option| option.split_once('=')) {
            match key {
                "path" => out.push(Socket::Path(unescape(value)?)),
                "abstract" => out.push(Socket::Abstract(unescape(value)?)),
                _ => {}
            }
        }
    }
    if out.is_empty() { Err(Error::msg("is not a D-Bus address of the form unix:path=…")) } else { Ok(out) }
}

/// Decodes an address, in which `%2f` and the like stand for bytes with a meaning of
/// their own.
fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit =
            || bytes.next().and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return Err(Error::msg("has a % without two hexadecimal digits")),
        }
    }
    Ok(out)
}

/// Returns the authentication by the mechanism EXTERNAL. The kernel tells the server the
/// client's uid, and the client sends it, too: in decimal digits, each written in
/// hexadecimal.
fn authentication(uid: u32) -> Vec<u8> {
    let digits = uid.to_string();
    let hex: String = digits.bytes().map(|digit| format!("{digit:02x}")).collect();
    format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").into_bytes()
}

/// Parses sd-bus's variable SYSTEMD_BUS_TIMEOUT: seconds, or a number with a unit.
/// Returns the default for other text.
fn parse_timeout(given: Option<&str>) -> Duration {
    let parse = |text: &str| {
        let text = text.trim();
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
        let unit = match unit.trim() {
            "" | "s" | "sec" => Duration::from_secs(1),
            "us" => Duration::from_micros(1),
            "ms" => Duration::from_millis(1),
            "m" | "min" => Duration::from_secs(60),
            _ => return None,
        };
        unit.checked_mul(number)
    };
    given.and_then(parse).unwrap_or(TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_unix_sockets() {
        let path = |text: &str| Socket::Path(text.into());
        assert_eq!(parse_addresses("unix:path=/run/user/7/bus"), Ok(vec![path("/run/user/7/bus")]));
        assert_eq!(
            parse_addresses("tcp:host=x;unix:guid=0,path=/a%2cb;unix:abstract=n"),
            Ok(vec![path("/a,b"), Socket::Abstract(b"n".to_vec())])
        );
        for bad in ["", "tcp:host=x", "unix:", "unix:path=/a%2", "unix:path=/%zz"] {
            assert!(parse_addresses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn time_limits() {
        for (text, wanted) in [("5", 5000), ("5s", 5000), ("250ms", 250), ("2min", 120_000)] {
            assert_eq!(parse_timeout(Some(text)), Duration::from_millis(wanted), "{text}");
        }
        for default in [None, Some(""), Some("0"), Some("soon"), Some("-1"), Some("1y")] {
            assert_eq!(parse_timeout(default), TIMEOUT, "{default:?}");
        }
    }

    #[test]
    fn the_uid_is_said_in_hexadecimal_digits() {
        assert_eq!(authentication(1000), *b"\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n");
    }
}
