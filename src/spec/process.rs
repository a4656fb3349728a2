//! `process`: what is executed, and as whom.

use super::plan::{Capabilities, Process, Rlimit};
use super::{c_string, unsupported};
use crate::error::{Error, Result};
use crate::sys::pty::Size;
use oci_spec::runtime::{
    Capabilities as Names, LinuxCapabilities, PosixRlimit, PosixRlimitType, Process as SpecProcess,
};
use std::ffi::CString;
use std::str::FromStr;

/// Resolves the process at the pointer `at` (`/process`, or empty for a
/// process file).
pub fn resolve(process: &SpecProcess, at: &str) -> Result<Process> {
    unsupported::refuse_process(process, at)?;
    let user = process.user();
    Ok(Process {
        terminal: process.terminal().unwrap_or(false),
        console_size: process.console_size().and_then(|size| {
            let size = Size {
                rows: u16::try_from(size.height()).unwrap_or(u16::MAX),
                columns: u16::try_from(size.width()).unwrap_or(u16::MAX),
            };
            (size != Size::default()).then_some(size)
        }),
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        umask: umask(user.umask(), at)?,
        args: args(process, at)?,
        env: c_strings(process.env().iter().flatten(), &format!("{at}/env"))?,
        cwd: cwd(process, at)?,
        capabilities: process.capabilities().as_ref().map(|caps| capabilities(caps, at)).transpose()?,
        rlimits: rlimits(process.rlimits().iter().flatten(), at)?,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: oom_score_adj(process.oom_score_adj(), at)?,
    })
}

fn umask(umask: Option<u32>, at: &str) -> Result<Option<u32>> {
    match umask {
        Some(bits) if bits > 0o777 => Err(Error::config(
            format!("{at}/user/umask"),
            format!("{bits} is not a umask; the largest is 511 (octal 777)"),
        )),
        other => Ok(other),
    }
}

fn args(process: &SpecProcess, at: &str) -> Result<Vec<CString>> {
    let at = format!("{at}/args");
    let args = c_strings(process.args().iter().flatten(), &at)?;
    match args.first() {
        None => Err(Error::config(at, "process args must not be empty")),
        Some(name) if name.is_empty() => Err(Error::config(format!("{at}/0"), "must name an executable")),
        Some(_) => Ok(args),
    }
}

fn c_strings<'a>(values: impl Iterator<Item = &'a String>, at: &str) -> Result<Vec<CString>> {
    values.enumerate().map(|(i, value)| c_string(value, &format!("{at}/{i}"))).collect()
}

fn cwd(process: &SpecProcess, at: &str) -> Result<CString> {
    let at = format!("{at}/cwd");
    let cwd = process.cwd().to_string_lossy();
    if !cwd.starts_with('/') {
        return Err(Error::config(at, "must be an absolute path").on(cwd.into_owned()));
    }
    c_string(&cwd, &at)
}

fn oom_score_adj(value: Option<i32>, at: &str) -> Result<Option<i32>> {
    match value {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Error::config(format!("{at}/oomScoreAdj"), format!("{score} is outside -1000 to 1000")))
        }
        other => Ok(other),
    }
}

fn capabilities(caps: &LinuxCapabilities, at: &str) -> Result<Capabilities> {
    let out = Capabilities {
        bounding: bits(caps.bounding()),
        effective: bits(caps.effective()),
        inheritable: bits(caps.inheritable()),
        permitted: bits(caps.permitted()),
        ambient: bits(caps.ambient()),
    };
    let extra = out.effective & !out.permitted;
    if extra != 0 {
        return Err(Error::config(
            format!("{at}/capabilities/effective"),
            format!("{} is not in the permitted set", capability_name(extra.trailing_zeros())),
        ));
    }
    Ok(out)
}

fn bits(names: &Option<Names>) -> u64 {
    names.iter().flatten().fold(0, |bits, name| {
        // Every name of the spec is known to the caps crate, under its full spelling.
        let cap = caps::Capability::from_str(&format!("CAP_{name}"));
        bits | cap.map_or(0, |cap| 1 << cap.index())
    })
}

/// The name of a capability number, for messages.
pub fn capability_name(number: u32) -> String {
    let name = caps::all().into_iter().find(|cap| u32::from(cap.index()) == number);
    name.map_or_else(|| format!("capability {number}"), |cap| cap.to_string())
}

fn rlimits<'a>(limits: impl Iterator<Item = &'a PosixRlimit>, at: &str) -> Result<Vec<Rlimit>> {
    let mut out: Vec<Rlimit> = Vec::new();
    for (i, limit) in limits.enumerate() {
        let at = format!("{at}/rlimits/{i}");
        let rlimit = Rlimit { resource: resource(limit.typ()), soft: limit.soft(), hard: limit.hard() };
        if out.iter().any(|other| other.resource == rlimit.resource) {
            return Err(Error::config(at, format!("a second entry for {}", limit.typ())));
        }
        if rlimit.soft > rlimit.hard {
            return Err(Error::config(at, format!("the soft limit of {} is above its hard limit", limit.typ())));
        }
        out.push(rlimit);
    }
    Ok(out)
}

fn resource(typ: PosixRlimitType) -> u32 {
    match typ {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}
