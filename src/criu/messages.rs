//! The messages of CRIU's RPC that the runtime uses: `criu_req`, `criu_opts` and
//! `criu_resp` of CRIU's `images/rpc.proto`.

use super::wire::{self, Message};
use crate::error::Result;

/// The type of a request: `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// Fields of `criu_opts` that hold a number or a boolean.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    ImagesDirFd = 1,
    Pid = 2,
    LeaveRunning = 3,
    ExtUnixSk = 4,
    TcpEstablished = 5,
    EvasiveDevices = 6,
    ShellJob = 7,
    FileLocks = 8,
    LogLevel = 9,
    NotifyScripts = 12,
    TrackMem = 15,
    AutoDedup = 16,
    WorkDirFd = 17,
    LinkRemap = 18,
    RestoreSibling = 26,
    ManageCgroupsMode = 34,
    EmptyNs = 38,
    TcpSkipInFlight = 46,
    LazyPages = 48,
    OrphanPtsMaster = 50,
    TcpClose = 52,
    NetworkLock = 64,
}

/// Fields of `criu_opts` that hold a text.
#[derive(Debug, Clone, Copy)]
pub enum Text {
    LogFile = 10,
    Root = 13,
    ParentImages = 14,
    External = 37,
    FreezeCgroup = 44,
    ConfigFile = 51,
    LsmProfile = 53,
    LsmMountContext = 63,
}

/// The options of a request: `criu_opts`.
#[derive(Debug, Clone, Default)]
pub struct Options(Message);

impl Options {
    pub fn number(&mut self, field: Number, value: u64) -> &mut Self {
        self.0.number(field as u64, value);
        self
    }

    pub fn truth(&mut self, field: Number, value: bool) -> &mut Self {
        self.number(field, value.into())
    }

    pub fn text(&mut self, field: Text, text: impl AsRef<[u8]>) -> &mut Self {
        self.0.bytes(field as u64, text.as_ref());
        self
    }

    /// Adds a mount whose source is not in the images. At a checkpoint `key` is its mount
    /// point, and `value` the name to give it. At a restore `key` is that name, and
    /// `value` its source.
    pub fn external_mount(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        self.text(Text::External, [b"mnt[", key, b"]:", value].concat())
    }

    /// Replaces the descriptor that the images call `key` by the descriptor with the
    /// number `fd` in CRIU.
    pub fn inherit_fd(&mut self, key: &str, fd: u64) -> &mut Self {
        self.0.message(27, Message::default().bytes(1, key.as_bytes()).number(2, fd));
        self
    }

    /// Restores cgroups at `path` instead of in the cgroup that the container had at the
    /// checkpoint.
    pub fn cgroup_root(&mut self, controller: &str, path: &str) -> &mut Self {
        self.0.message(25, Message::default().bytes(1, controller.as_bytes()).bytes(2, path.as_bytes()));
        self
    }

    /// Joins the namespace at `path`. `kind` is its name in /proc/PID/ns.
    pub fn join_namespace(&mut self, kind: &str, path: &[u8]) -> &mut Self {
        self.0.message(39, Message::default().bytes(1, kind.as_bytes()).bytes(2, path));
        self
    }

    /// Sends memory pages to a page server at `address` and `port`.
    pub fn page_server(&mut self, address: &str, port: u16) -> &mut Self {
        self.0.message(11, Message::default().bytes(1, address.as_bytes()).number(2, port.into()));
        self
    }

    /// Adds options that another process has encoded.
    pub fn append(&mut self, encoded: &[u8]) -> &mut Self {
        self.0.append(encoded);
        self
    }

    pub fn encoded(&self) -> &[u8] {
        self.0.encoded()
    }
}

/// Returns the question for CRIU's version. `more` keeps CRIU running for another
/// request.
pub fn version_question(more: bool) -> Message {
    let mut request = Message::default();
    request.number(1, Kind::Version as u64).truth(4, more);
    request
}

/// Returns the question whether the kernel supports `features`.
pub fn feature_question(features: Features) -> Message {
    let mut wanted = Message::default();
    wanted.truth(1, features.memory_tracking).truth(2, features.lazy_pages);
    let mut request = Message::default();
    request.number(1, Kind::FeatureCheck as u64).message(5, &wanted);
    request
}

pub fn request(kind: Kind, options: &Options) -> Message {
    let mut request = Message::default();
    request.number(1, kind as u64).message(2, &options.0);
    request
}

/// Returns the answer to a notification. `go_on` false makes CRIU give up.
pub fn notification_answer(go_on: bool) -> Message {
    let mut request = Message::default();
    request.number(1, Kind::Notify as u64).truth(3, go_on);
    request
}

/// Features that not every kernel has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Whether the kernel tracks the pages that were written since the last pre-dump.
    pub memory_tracking: bool,
    /// Whether the kernel has userfaultfd.
    pub lazy_pages: bool,
}

/// The first two numbers of a CRIU release.
pub type Version = (u64, u64);

/// A response: `criu_resp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    pub kind: u64,
    pub success: bool,
    pub errno: i32,
    pub message: String,
    /// The name of a notification.
    pub script: String,
    /// The process that the notification is about, as CRIU's pid namespace numbers it.
    pub pid: i32,
    pub version: Option<Version>,
    pub features: Features,
}

impl Response {
    pub fn decode(bytes: &[u8]) -> Result<Response> {
        let mut out = Response::default();
        for (field, value) in wire::fields(bytes)? {
            match field {
                1 => out.kind = value.number()?,
                2 => out.success = value.number()? != 0,
                5 => out.notification(value.bytes()?)?,
                7 => out.errno = value.int32()?,
                8 => out.features = parse_features(value.bytes()?)?,
                9 => out.message = value.text()?,
                10 => out.version = Some(parse_version(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(out)
    }

    pub fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u64
    }

    fn notification(&mut self, bytes: &[u8]) -> Result<()> {
        for (field, value) in wire::fields(bytes)? {
            match field {
                1 => self.script = value.text()?,
                2 => self.pid = value.int32()?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn parse_features(bytes: &[u8]) -> Result<Features> {
    let mut out = Features::default();
    for (field, value) in wire::fields(bytes)? {
        match field {
            1 => out.memory_tracking = value.number()? != 0,
            2 => out.lazy_pages = value.number()? != 0,
            _ => {}
        }
    }
    Ok(out)
}

fn parse_version(bytes: &[u8]) -> Result<Version> {
    let (mut major, mut minor) = (0, 0);
    for (field, value) in wire::fields(bytes)? {
        match field {
            1 => major = value.number()?,
            2 => minor = value.number()?,
            _ => {}
        }
    }
    Ok((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_read() {
        let mut notify = Message::default();
        notify.bytes(1, b"post-restore").number(2, 4711);
        let mut response = Message::default();
        response.number(1, Kind::Notify as u64).truth(2, true).message(5, &notify);
        let read = Response::decode(response.encoded()).expect("a response");
        assert!(read.is(Kind::Notify) && read.success);
        assert_eq!((read.script.as_str(), read.pid), ("post-restore", 4711));
    }

    #[test]
    fn a_failure_is_read() {
        let mut response = Message::default();
        // A negative number takes all ten bytes.
        response.number(1, Kind::Dump as u64).truth(2, false).number(7, (-1i64).cast_unsigned());
        response.bytes(9, b"no");
        let read = Response::decode(response.encoded()).expect("a response");
        assert_eq!((read.success, read.errno, read.message.as_str()), (false, -1, "no"));
        assert_eq!(read.version, None);
    }
}
