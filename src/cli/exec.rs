//! `corten exec`.

use super::create::signals_for;
use super::words::{Word, Words};
use super::{Context, non_empty, preserve_fds};
use crate::cgroup::SubCgroups;
use crate::container::exec;
use crate::container::options::Mode;
use crate::error::{Context as _, Error, Result};
use crate::spec::config::{Config, Process as ConfigProcess};
use crate::spec::plan::{Capabilities, Process};
use crate::spec::{self, exec_defaults};
use clap::Parser;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Execute a process in a running container
#[derive(Parser, Default)]
#[cfg_attr(test, derive(Debug))]
pub struct Args {
    /// Unix socket that receives the master end of the process's terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<OsString>,
    /// Set an environment variable; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Allocate a terminal for the process
    #[arg(short, long)]
    tty: bool,
    /// User id of the process, and its group id
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Add a group; may be repeated
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Add a capability; may be repeated
    #[arg(short, long, value_name = "NAME")]
    cap: Vec<String>,
    /// Set no_new_privs for the process
    #[arg(long)]
    no_new_privs: bool,
    /// AppArmor profile of the process
    #[arg(long, value_name = "NAME")]
    apparmor: Option<String>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// File with the process in JSON, in the form of `process` in config.json
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Detach from the process: return as soon as it runs
    #[arg(short, long)]
    detach: bool,
    /// File to write the process's pid to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Allow exec in a paused container; the process waits until the container is resumed
    #[arg(long)]
    ignore_paused: bool,
    /// Run the process in this existing cgroup below the container's
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    cgroup: Vec<String>,
    /// Pass N additional file descriptors to the process (stdio + N in total)
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Name of the container
    id: String,
    /// Command to execute; omit it with --process
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Args {
    /// Reads the arguments without clap, if they are plain (`plain.rs`).
    pub fn read_plain(words: &mut Words) -> Option<Self> {
        let mut args = Args::default();
        loop {
            match words.next_word()?? {
                Word::Flag(flag) => args.set_plain(flag, words)?,
                Word::Other(id) => {
                    args.id = id.to_str()?.to_owned();
                    args.command = words.rest()?;
                    return Some(args);
                }
            }
        }
    }

    /// Sets one flag, whose value is the next in `words`. `None` if it is not plain.
    fn set_plain(&mut self, flag: &[u8], words: &mut Words) -> Option<()> {
        match flag {
            b"--console-socket" => self.console_socket = Some(words.path()?),
            b"--pidfd-socket" => self.pidfd_socket = Some(words.path()?),
            b"--cwd" => self.cwd = Some(words.value()?.to_owned()),
            b"--env" | b"-e" => self.env.push(words.value()?.to_owned()),
            b"--tty" | b"-t" => self.tty = true,
            b"--user" | b"-u" => self.user = Some(words.text()?),
            b"--additional-gids" | b"-g" => self.additional_gids.push(words.number()?),
            b"--cap" | b"-c" => self.cap.push(words.text()?),
            b"--process" | b"-p" => self.process = Some(words.path()?),
            b"--detach" | b"-d" => self.detach = true,
            b"--pid-file" => self.pid_file = Some(words.path()?),
            b"--preserve-fds" => self.preserve_fds = words.number()?,
            _ => return None,
        }
        Some(())
    }
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let preserve_fds = preserve_fds(args.preserve_fds)?;
    let (dir, state, init) = exec::open_running(&context.root, &args.id, args.ignore_paused)?;
    let file = args.process.as_deref().map(|path| read(path, context)).transpose()?;
    // Engines write a complete process into the file, so the runtime need not read the
    // configuration again. `create` has already given the warnings about the
    // configuration.
    let lacks_nothing = |own| !state.seccomp && state.exec_defaults & !exec_defaults::given_fields(own) == 0;
    let config = match &file {
        Some(own) if lacks_nothing(own) => None,
        _ => Some(spec::parse_config(&dir.config()?, &mut Vec::new())?),
    };
    let mut process = match file {
        Some(own) => from_file(own, config.as_ref(), context)?,
        None => from_flags(&args, config.as_ref(), context)?,
    };
    let profile = config.as_ref().map_or(Ok(None), spec::resolve_seccomp)?;
    process.keep_groups = spec::keeps_original_groups(&state.annotations);
    let cgroups: Vec<String> = args.cgroup.iter().filter(|path| !path.is_empty()).cloned().collect();
    let cgroup = (!cgroups.is_empty()).then(|| SubCgroups::parse(&cgroups)).transpose()?;
    let mode = if args.detach { Mode::RunDetached } else { Mode::RunForeground };
    exec::exec(
        &dir,
        &state,
        init,
        &mut process,
        profile.as_ref(),
        &exec::Options {
            log: &context.log,
            pid_file: non_empty(args.pid_file.as_deref()),
            console_socket: non_empty(args.console_socket.as_deref()),
            pidfd_socket: non_empty(args.pidfd_socket.as_deref()),
            cgroup: cgroup.as_ref(),
            detach: args.detach,
            preserve_fds,
            signals: signals_for(mode)?,
        },
    )
}

/// Reads the file of `--process`.
fn read(path: &Path, context: &Context) -> Result<ConfigProcess> {
    let text = std::fs::read(path).op_on("read the process", path.display())?;
    let process = context.log.warnings_of(|warnings| spec::parse_process(&text, warnings));
    process.map_err(|e| e.on(path.display().to_string()))
}

/// Resolves the process of the file, with the fields that it takes over from the
/// container.
fn from_file(mut process: ConfigProcess, config: Option<&Config>, context: &Context) -> Result<Process> {
    let Some(config) = config else { return resolve(&process, "", context) };
    if let Some(own) = &config.process {
        exec_defaults::fill_missing(&mut process, own);
    }
    let mut process = resolve(&process, "", context)?;
    exec_defaults::apply_linux_fields(config, &mut process)?;
    Ok(process)
}

/// Resolves the container's own process, with the changes of the flags.
fn from_flags(args: &Args, config: Option<&Config>, context: &Context) -> Result<Process> {
    if args.command.is_empty() {
        return Err(Error::msg("exec needs a command")
            .hint("give a command: corten exec [FLAGS] ID COMMAND [ARG]..."));
    }
    let config = config.ok_or_else(|| Error::msg("the configuration was not read"))?;
    let own = config.process.as_ref();
    let mut own = own.ok_or_else(|| Error::config("/process", "is missing"))?.clone();
    for (field, flag) in
        [(&mut own.apparmor_profile, &args.apparmor), (&mut own.selinux_label, &args.process_label)]
    {
        if let Some(label) = flag {
            field.clone_from(label);
        }
    }
    let mut process = resolve(&own, "/process", context)?;
    exec_defaults::apply_linux_fields(config, &mut process)?;
    process.terminal = args.tty;
    process.args = args.command.iter().map(|arg| c_string(arg.as_bytes())).collect::<Result<_>>()?;
    for pair in &args.env {
        set_env(&mut process.env, pair.as_bytes())?;
    }
    if let Some(cwd) = &args.cwd {
        if !cwd.as_bytes().starts_with(b"/") {
            return Err(Error::msg("--cwd must be an absolute path").on(cwd.to_string_lossy()));
        }
        process.cwd = c_string(cwd.as_bytes())?;
    }
    if let Some(user) = &args.user {
        (process.uid, process.gid) = ids(user, process.gid)?;
    }
    process.additional_gids.extend(&args.additional_gids);
    process.no_new_privileges |= args.no_new_privs;
    add_capabilities(&mut process.capabilities, &args.cap)?;
    Ok(process)
}

/// Adds capabilities, but never to the inheritable set. From that set, a program with
/// file capabilities would get them, whoever executes it (CVE-2022-29162). A capability
/// that is inheritable in the container's process becomes ambient, as in runc, so that a
/// user other than root keeps it.
fn add_capabilities(sets: &mut Capabilities, names: &[String]) -> Result<()> {
    for name in names {
        let cap = caps::Capability::from_str(name)
            .map_err(|_| Error::msg("--cap: unknown capability").on(name.clone()))?;
        let bit = 1 << cap.index();
        sets.bounding |= bit;
        sets.permitted |= bit;
        sets.effective |= bit;
        sets.ambient |= bit & sets.inheritable;
    }
    Ok(())
}

fn resolve(process: &spec::config::Process, at: &str, context: &Context) -> Result<Process> {
    context.log.warnings_of(|warnings| spec::resolve_process(process, at, warnings))
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::msg("a NUL byte can't be passed to the kernel"))
}

/// Sets a variable. Removes an earlier value, so that every reader finds the later one.
fn set_env(env: &mut Vec<CString>, pair: &[u8]) -> Result<()> {
    let Some(end) = pair.iter().position(|byte| *byte == b'=').filter(|end| *end > 0) else {
        return Err(Error::msg("--env must be NAME=VALUE").on(String::from_utf8_lossy(pair)));
    };
    env.retain(|old| !old.to_bytes().starts_with(&pair[..=end]));
    env.push(c_string(pair)?);
    Ok(())
}

/// Parses `UID` or `UID:GID`. Both consist only of digits (CVE-2026-30892,
/// CVE-2016-3697). Without a group, the process gets `gid`, the group of the container's
/// process.
fn ids(text: &str, gid: u32) -> Result<(u32, u32)> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        // The last id means "no change" to the kernel.
        part.parse::<u32>().ok().filter(|id| digits && *id != u32::MAX)
    };
    let wrong = || Error::msg("--user must be UID or UID:GID, in digits").on(format!("{text:?}"));
    match text.split_once(':') {
        None => Ok((number(text).ok_or_else(wrong)?, gid)),
        Some((uid, gid)) => Ok((number(uid).ok_or_else(wrong)?, number(gid).ok_or_else(wrong)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_digits() {
        assert_eq!(ids("1", 7), Ok((1, 7)));
        assert_eq!(ids("1:2", 7), Ok((1, 2)));
        assert_eq!(ids("0:0", 7), Ok((0, 0)));
        let bad = [
            "",
            "1:",
            ":1",
            "0x1",
            "+1",
            " 1",
            "1 ",
            "4294967296",
            "4294967295",
            "1:2:3",
            "-1",
            "root",
            "1:-1",
        ];
        for bad in bad {
            assert!(ids(bad, 7).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_later_value_counts() {
        let mut env = vec![c"A=1".into(), c"AB=1".into()];
        set_env(&mut env, b"A=2").expect("valid");
        assert_eq!(env, [c"AB=1".into(), CString::from(c"A=2")]);
        assert!(set_env(&mut env, b"A").is_err());
        assert!(set_env(&mut env, b"=x").is_err());
    }
}
