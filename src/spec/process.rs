//! `process`: what to execute, and as whom (config.md "Process").

use super::config::{Capabilities as Names, Process as Config, Rlimit as ConfigRlimit};
use super::plan::{Capabilities, Process, Rlimit};
use super::{c_string, sched};
use crate::error::{Error, Result};
use crate::sys::pty::Size;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::str::FromStr;

/// Resolves the process at the JSON pointer `at`: `/process`, or empty for the file of
/// `exec --process`.
pub fn resolve(process: &Config, at: &str, warnings: &mut Vec<String>) -> Result<Process> {
    if !process.user.username.is_empty() {
        warnings.push(format!("{at}/user/username: is for Windows, and ignored"));
    }
    let capabilities = match &process.capabilities {
        Some(names) => capabilities(names, &format!("{at}/capabilities"), warnings)?,
        // As in runc and crun, a process without `capabilities` has none.
        None => Capabilities::default(),
    };
    Ok(Process {
        terminal: process.terminal,
        console_size: console_size(process, at)?,
        bare_newlines: false,
        uid: check_id(process.user.uid, &format!("{at}/user/uid"))?,
        gid: check_id(process.user.gid, &format!("{at}/user/gid"))?,
        additional_gids: groups(process, at)?,
        keep_groups: false,
        umask: umask(process.user.umask, at)?,
        args: args(process, at)?,
        env: environment(process, at)?,
        cwd: cwd(process, at)?,
        capabilities,
        rlimits: rlimits(&process.rlimits, at)?,
        no_new_privileges: process.no_new_privileges,
        oom_score_adj: oom_score_adj(process.oom_score_adj, at)?,
        scheduler: {
            let resolve = |s| sched::scheduler(s, &format!("{at}/scheduler"), warnings);
            process.scheduler.as_ref().map(resolve).transpose()?
        },
        io_priority: {
            let resolve = |p| sched::io_priority(p, &format!("{at}/ioPriority"));
            process.io_priority.as_ref().map(resolve).transpose()?
        },
        cpu_affinity: {
            let resolve = |a| sched::affinity(a, &format!("{at}/execCPUAffinity"));
            process.exec_cpu_affinity.as_ref().map(resolve).transpose()?.unwrap_or_default()
        },
        apparmor: label(&process.apparmor_profile, &format!("{at}/apparmorProfile"))?,
        selinux: label(&process.selinux_label, &format!("{at}/selinuxLabel"))?,
        personality: None,
        memory_policy: None,
    })
}

/// Refuses the last id, 4294967295. To the kernel this id means "no change", so the
/// payload would stay root.
fn check_id(id: u32, at: &str) -> Result<u32> {
    if id == u32::MAX { Err(Error::config(at, format!("{id} is not an id"))) } else { Ok(id) }
}

fn groups(process: &Config, at: &str) -> Result<Vec<u32>> {
    let gids = process.user.additional_gids.iter().enumerate();
    gids.map(|(i, gid)| check_id(*gid, &format!("{at}/user/additionalGids/{i}"))).collect()
}

/// Resolves `env`. If a name has two values, the later counts, as in runc; getenv(3)
/// would find the first.
fn environment(process: &Config, at: &str) -> Result<Vec<CString>> {
    let at = format!("{at}/env");
    let mut names = BTreeSet::new();
    let mut env = Vec::with_capacity(process.env.len());
    for (i, pair) in process.env.iter().enumerate().rev() {
        let Some((name, _)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::config(format!("{at}/{i}"), "must be NAME=VALUE").on(pair.clone()));
        };
        if names.insert(name) {
            env.push(c_string(pair, &format!("{at}/{i}"))?);
        }
    }
    env.reverse();
    Ok(env)
}

/// Resolves `consoleSize`. A process without a terminal may have any size. Returns `None`
/// if the size is absent or 0 by 0.
fn console_size(process: &Config, at: &str) -> Result<Option<Size>> {
    let Some(given) = &process.console_size else { return Ok(None) };
    if !process.terminal && given.height.max(given.width) > u16::MAX.into() {
        return Ok(None);
    }
    let cells = |count: u64, field: &str| {
        let wrong = || Error::config(format!("{at}/consoleSize/{field}"), format!("{count} is above 65535"));
        u16::try_from(count).map_err(|_| wrong())
    };
    let size = Size { rows: cells(given.height, "height")?, columns: cells(given.width, "width")? };
    Ok((size != Size::default()).then_some(size))
}

/// Resolves a label of a security module. A label must be one line: with a second line,
/// the text would say more than the label.
fn label(text: &str, at: &str) -> Result<Option<String>> {
    if text.contains(['\0', '\n']) {
        return Err(Error::config(at, "must be one line").on(format!("{text:?}")));
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

/// Returns whether crun's annotation asks to keep the caller's groups instead of
/// `additionalGids`. The annotation is for users who reach shared files through a group
/// that their user namespace cannot map.
pub fn keeps_original_groups(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get("run.oci.keep_original_groups").is_some_and(|value| value == "1")
}

/// Resolves the umask of the payload. The default is 0022, as in runc and crun, whatever
/// umask the caller has. The umask of daemons is 0: with it, everybody could write to the
/// files of the images that they build.
fn umask(umask: Option<u32>, at: &str) -> Result<u32> {
    match umask.unwrap_or(0o022) {
        bits if bits > 0o777 => Err(Error::config(
            format!("{at}/user/umask"),
            format!("{bits} is not a umask; the largest is 511 (octal 777)"),
        )),
        bits => Ok(bits),
    }
}

fn args(process: &Config, at: &str) -> Result<Vec<CString>> {
    let at = format!("{at}/args");
    let args = c_strings(&process.args, &at)?;
    match args.first() {
        None => Err(Error::config(at, "process args must not be empty")),
        Some(name) if name.is_empty() => {
            // These are runc's words. Podman and Docker choose the exit code 127 by them.
            // Engines pass such a list if a container has no command.
            let text = "exec: \"\": executable file not found in $PATH";
            Err(Error::config(format!("{at}/0"), text).hint("name a command, in the image or in the call"))
        }
        Some(_) => Ok(args),
    }
}

fn c_strings(values: &[String], at: &str) -> Result<Vec<CString>> {
    values.iter().enumerate().map(|(i, value)| c_string(value, &format!("{at}/{i}"))).collect()
}

fn cwd(process: &Config, at: &str) -> Result<CString> {
    let at = format!("{at}/cwd");
    if !process.cwd.starts_with('/') {
        return Err(Error::config(at, "must be an absolute path").on(process.cwd.clone()));
    }
    c_string(&process.cwd, &at)
}

fn oom_score_adj(value: Option<i64>, at: &str) -> Result<Option<i32>> {
    let Some(score) = value else { return Ok(None) };
    let valid = i32::try_from(score).ok().filter(|score| (-1000..=1000).contains(score));
    let wrong = || Error::config(format!("{at}/oomScoreAdj"), format!("{score} is outside -1000 to 1000"));
    valid.map(Some).ok_or_else(wrong)
}

fn capabilities(names: &Names, at: &str, warnings: &mut Vec<String>) -> Result<Capabilities> {
    let mut bits_of_set =
        |set: &[String], field: &str| capability_bits(set, &format!("{at}/{field}"), warnings);
    let out = Capabilities {
        bounding: bits_of_set(&names.bounding, "bounding"),
        effective: bits_of_set(&names.effective, "effective"),
        inheritable: bits_of_set(&names.inheritable, "inheritable"),
        permitted: bits_of_set(&names.permitted, "permitted"),
        ambient: bits_of_set(&names.ambient, "ambient"),
    };
    let extra = out.effective & !out.permitted;
    if extra != 0 {
        return Err(Error::config(
            format!("{at}/effective"),
            format!("{} is not in the permitted set", capability_name(extra.trailing_zeros())),
        ));
    }
    Ok(out)
}

/// Returns the bits of the named capabilities. config.md wants a warning for an unknown
/// capability, and no error.
fn capability_bits(names: &[String], at: &str, warnings: &mut Vec<String>) -> u64 {
    let mut bits = 0;
    for name in names {
        match caps::Capability::from_str(name) {
            Ok(cap) => bits |= 1 << cap.index(),
            Err(_) => warnings.push(format!("{at}: unknown capability {name:?} is ignored")),
        }
    }
    bits
}

/// Returns the name of a capability number, for messages.
pub fn capability_name(number: u32) -> String {
    let name = caps::all().into_iter().find(|cap| u32::from(cap.index()) == number);
    name.map_or_else(|| format!("capability {number}"), |cap| cap.to_string())
}

fn rlimits(limits: &[ConfigRlimit], at: &str) -> Result<Vec<Rlimit>> {
    let mut out: Vec<Rlimit> = Vec::new();
    for (i, limit) in limits.iter().enumerate() {
        let at = format!("{at}/rlimits/{i}");
        let resource = find_resource(&limit.kind).ok_or_else(|| {
            Error::config(format!("{at}/type"), "is not a resource limit").on(limit.kind.clone())
        })?;
        if out.iter().any(|other| other.resource == resource) {
            return Err(Error::config(at, format!("a second entry for {}", limit.kind)));
        }
        if limit.soft > limit.hard {
            return Err(Error::config(
                at,
                format!("the soft limit of {} is above its hard limit", limit.kind),
            ));
        }
        out.push(Rlimit { resource, soft: limit.soft, hard: limit.hard });
    }
    Ok(out)
}

/// Returns the kernel's number of a resource (asm-generic/resource.h). libc's constants
/// differ in their type from one C library to the next.
fn find_resource(name: &str) -> Option<u32> {
    const NAMES: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let name = name.strip_prefix("RLIMIT_")?;
    NAMES.iter().zip(0..).find(|(known, _)| **known == name).map(|(_, number)| number)
}
