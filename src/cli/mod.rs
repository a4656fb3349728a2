//! The command line: one verb a file, with runc's names, flags and exit codes.
//!
//! `plain.rs` reads what engines usually write. Otherwise clap parses the global flags
//! first. Then this module builds only the parser of the given verb. Building the parsers
//! of all verbs takes four times as long, and only the overview needs them.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod flags;
mod kill;
mod lacking;
mod list;
mod mounts;
mod pause;
mod plain;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;
mod wait;
mod words;

use crate::cgroup::{self, Driver};
use crate::container::Root;
use crate::error::{Context as _, Error, Result};
use crate::launch::seal;
use crate::log::{self, Format, Level, Log};
use crate::steps;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, FromArgMatches, Parser};
use nix::unistd::geteuid;
use std::ffi::OsString;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

/// What every verb gets.
struct Context {
    root: Root,
    log: Log,
    driver: Driver,
    /// Whether to run without a cgroup if the caller may not create one (`--rootless`).
    /// `None` stands for `auto`.
    rootless: Option<bool>,
}

#[derive(Parser)]
#[cfg_attr(test, derive(Debug))]
#[command(
    name = "corten",
    about = "An OCI container runtime",
    disable_version_flag = true,
    allow_external_subcommands = true,
    args_override_self = true,
    subcommand_value_name = "COMMAND"
)]
struct Globals {
    /// Root directory for storage of container state
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Log to write messages to, besides stderr: FILE, file:FILE, journald:NAME or syslog:NAME
    #[arg(long, value_name = "TO")]
    log: Option<PathBuf>,
    /// Lowest level of the messages that are logged [default: warning]
    #[arg(long, value_name = "LEVEL", value_enum)]
    log_level: Option<Level>,
    /// Format of the log
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    log_format: Format,
    /// Enable debug logging: each step of a command, and how long it took
    #[arg(long)]
    debug: bool,
    /// Use systemd to manage cgroups; cgroupsPath is then of the form slice:prefix:name
    #[arg(long)]
    systemd_cgroup: bool,
    /// Cgroup manager of new containers [default: cgroupfs]
    #[arg(long, value_name = "MANAGER", value_enum)]
    cgroup_manager: Option<Driver>,
    /// Ignore cgroup permission errors: true, false, or auto (true unless the caller is root)
    #[arg(long, value_name = "BOOL", default_value = "auto", value_parser = rootless)]
    rootless: Rootless,
    /// Print the version
    #[arg(short, long)]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(clap::Subcommand)]
#[cfg_attr(test, derive(Debug))]
enum Verb {
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// From which image of the runtime a command runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Image {
    /// From the binary itself.
    Plain,
    /// From a sealed image, because the command puts a process into a container
    /// (`launch/seal.rs`).
    Sealed,
}

/// A command in the list of commands.
struct Listed {
    name: &'static str,
    /// What it does, for the overview.
    about: &'static str,
    image: Image,
}

/// Defines everything that depends on the names of the commands, from one list of
/// commands, their images and their descriptions.
macro_rules! verbs {
    ($($verb:ident $image:ident $about:literal)+) => {
        const VERBS: &[Listed] =
            &[$(Listed { name: stringify!($verb), about: $about, image: Image::$image }),+];

        /// Returns the parsers of all commands.
        fn parsers() -> Vec<(&'static str, Command)> {
            vec![$((stringify!($verb), $verb::Args::command())),+]
        }

        /// Runs the command `name`. Returns `None` if there is no such command.
        fn run_verb(name: &OsString, args: &[OsString], context: &Context) -> Option<Result<i32>> {
            let name = name.to_str()?;
            if let Some(result) = plain::run_verb(name, args, context) {
                return Some(result);
            }
            match name {
                $(stringify!($verb) => Some(parsed(args, context, $verb::run)),)+
                _ => None,
            }
        }
    };
}

verbs! {
    checkpoint Plain "Checkpoint a running container"
    create Sealed "Create a container"
    delete Plain "Delete a container"
    events Plain "Display resource usage and out-of-memory events of a container"
    exec Sealed "Execute a process in a running container"
    features Plain "Show the supported features"
    kill Plain "Send a signal to a container"
    list Plain "List containers"
    mounts Sealed "Add or remove mounts of a running container"
    pause Plain "Suspend all processes of a container"
    ps Plain "Show the processes of a container"
    restore Sealed "Restore a container from a checkpoint"
    resume Plain "Resume all processes of a paused container"
    run Sealed "Create and start a container"
    spec Plain "Write a new config.json"
    start Plain "Start a created container"
    state Plain "Show the state of a container"
    update Plain "Update the resource limits of a container"
    wait Plain "Block until a container has ended, and print its exit status"
}

/// Whether the command runs from a sealed image. The code before libc has a list of these
/// commands, too (`sys/early.rs`).
fn is_sealed(verb: &OsString) -> bool {
    VERBS.iter().any(|listed| verb == listed.name && listed.image == Image::Sealed)
}

/// The command `help`. It is not in the list of commands, because it shows the list.
const HELP: (&str, &str) = ("help", "Show the commands, or the flags of a command");

fn listed() -> String {
    let mut verbs: Vec<_> = VERBS.iter().map(|verb| (verb.name, verb.about)).chain([HELP]).collect();
    verbs.sort_unstable();
    let lines = verbs.iter().map(|(name, does)| format!("  {name:12}{does}\n"));
    format!("Commands:\n{}\n`corten COMMAND --help` shows the flags of a command.", lines.collect::<String>())
}

/// Returns the whole command line, for the generators of completions and manual pages.
/// The runtime itself never builds it.
pub fn command() -> Command {
    let whole = Globals::command().allow_external_subcommands(false);
    let names = VERBS.iter().map(|verb| verb.name).collect::<Vec<_>>();
    let whole = whole.subcommands(parsers().into_iter().map(|(name, verb)| verb.name(name)));
    let one = clap::Arg::new("COMMAND").help("The command").value_parser(names);
    let help = Command::new(HELP.0).about(HELP.1).arg(one);
    whole.disable_help_subcommand(true).subcommand(help)
}

/// Runs the command and returns the exit status.
pub fn main(args: Vec<OsString>) -> i32 {
    let ready = crate::sys::fd::fill_stdio().op_on("open for a standard stream that is closed", "/dev/null");
    if let Err(error) = ready.and_then(|()| crate::sys::process::prepare_signals().op("signal")) {
        log::print(Level::Error, &error.to_string());
        return 1;
    }
    let plain = plain::read_globals(&args);
    let globals = match plain.map_or_else(|| parse(Globals::command(), &args), Ok) {
        Ok(globals) => globals,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return help(&args),
        Err(error) => return usage(&error),
    };
    if globals.version {
        return version();
    }
    let Some(Verb::Other(verb_args)) = &globals.verb else {
        return overview();
    };
    let level = if globals.debug { Level::Debug } else { globals.log_level.unwrap_or_default() };
    let log = match Log::new(globals.log.as_deref(), globals.log_format, level) {
        Ok(log) => log,
        Err(error) => {
            log::print(Level::Error, &error.to_string());
            return 1;
        }
    };
    let verb = verb_args[0].clone();
    let context = Context {
        root: Root(root(globals.root.as_deref())),
        log,
        driver: driver(&globals),
        rootless: globals.rootless.0,
    };
    // If the runtime is not sealed yet, `ensure` executes the runtime once more.
    let sealed = if is_sealed(&verb) { seal::ensure(&args) } else { Ok(()) };
    let result = sealed.and_then(|()| {
        steps::begin(&verb.to_string_lossy(), &context.log);
        dispatch(&verb, verb_args, &context)
    });
    if let (sent @ 1.., received) = cgroup::bus_traffic() {
        steps::note(|| format!("D-Bus: {sent} messages sent, {received} received"));
    }
    steps::finish(if result.is_ok() { "done" } else { "failed" });
    match result {
        Ok(status) => {
            context.log.finish();
            status
        }
        Err(error) => {
            context.log.fail(&lacking::explain(error));
            // As in runc, a failed `exec` returns 255. A caller can't distinguish the
            // failure from the exit status of the process, so the runtime takes a status
            // that programs rarely use.
            if verb == "exec" { 255 } else { 1 }
        }
    }
}

fn parse(command: Command, args: &[OsString]) -> Result<Globals, clap::Error> {
    let args = flags::rewrite_for_clap(&command, args);
    Globals::from_arg_matches_mut(&mut command.try_get_matches_from(args)?)
}

fn dispatch(verb: &OsString, args: &[OsString], context: &Context) -> Result<i32> {
    if let Some(result) = run_verb(verb, args, context) {
        return result;
    }
    match args.get(1).filter(|other| *other != HELP.0) {
        _ if verb != HELP.0 => Err(Error::msg("no such command")
            .on(verb.to_string_lossy())
            .hint("run `corten --help` for a list of commands")),
        None => Ok(overview()),
        Some(other) => dispatch(other, &[other.clone(), "--help".into()], context),
    }
}

/// Parses the arguments of a verb, and runs the verb. Stays a function of its own, as
/// `plain::run_with`.
#[inline(never)]
fn parsed<A: Parser>(
    args: &[OsString],
    context: &Context,
    run: fn(A, &Context) -> Result<i32>,
) -> Result<i32> {
    let command = A::command().bin_name(format!("corten {}", args[0].to_string_lossy()));
    let command = command.args_override_self(true);
    let args = flags::rewrite_for_clap(&command, args);
    match command.try_get_matches_from(args).and_then(|mut matches| A::from_arg_matches_mut(&mut matches)) {
        Ok(args) => {
            steps::done("parsed the flags");
            run(args, context)
        }
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(usage(&error)),
            _ => Err(bad_usage(&error)),
        },
    }
}

/// Returns clap's explanation in one line.
fn bad_usage(error: &clap::Error) -> Error {
    if let Some(flag) = flag_without_value(error) {
        return Error::msg(format!("flag needs an argument: {flag}"));
    }
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let what =
        lines.iter().take_while(|line| !line.starts_with("Usage:")).copied().collect::<Vec<_>>().join(" ");
    let usage = lines.iter().find(|line| line.starts_with("Usage:")).copied().unwrap_or_default();
    Error::msg(what.trim_start_matches("error: ").to_owned()).hint(usage.to_owned())
}

/// Returns the flag whose value is missing. The error is then in runc's words: Podman calls
/// `restore --lsm-mount-context`, and looks for them to know whether the runtime supports
/// pods in checkpoints.
fn flag_without_value(error: &clap::Error) -> Option<&str> {
    match (error.kind(), error.get(ContextKind::InvalidValue), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::InvalidValue, Some(ContextValue::String(value)), Some(ContextValue::String(flag)))
            if value.is_empty() =>
        {
            flag.split(' ').next()
        }
        _ => None,
    }
}

/// Prints help, or what is wrong with the global flags.
fn usage(error: &clap::Error) -> i32 {
    if error.use_stderr() {
        log::print(Level::Error, &bad_usage(error).to_string());
        return 1;
    }
    let _ = write!(std::io::stdout(), "{error}");
    0
}

/// Returns the parser of the global flags with the list of commands. Building the list in
/// every call would cost too much.
fn with_list() -> Command {
    Globals::command().after_help(listed())
}

/// Lets clap print the help for `-h` or `--help`.
fn help(args: &[OsString]) -> i32 {
    parse(with_list(), args).map_or_else(|error| usage(&error), |_| overview())
}

fn overview() -> i32 {
    let _ = write!(std::io::stdout(), "{}", with_list().render_help());
    0
}

/// Prints the version in the form that Docker, containerd and Podman parse.
fn version() -> i32 {
    let _ = writeln!(
        std::io::stdout(),
        "corten version {}\ncommit: {}\nspec: {}",
        env!("CARGO_PKG_VERSION"),
        env!("CORTEN_COMMIT"),
        crate::OCI_VERSION
    );
    0
}

/// Returns the driver from crun's flag or, without it, from runc's. Later verbs find the
/// driver in the state.
fn driver(globals: &Globals) -> Driver {
    let by_flag = if globals.systemd_cgroup { Driver::Systemd } else { Driver::Cgroupfs };
    globals.cgroup_manager.unwrap_or(by_flag)
}

/// Returns the state directory: `--root`, or /run/corten. A user's own state directory is
/// in XDG_RUNTIME_DIR.
fn root(given: Option<&Path>) -> PathBuf {
    if let Some(root) = non_empty(given) {
        return std::path::absolute(root).unwrap_or_else(|_| root.into());
    }
    let xdg = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match xdg {
        Some(dir) if is_users_own() => PathBuf::from(dir).join("corten"),
        _ => PathBuf::from("/run/corten"),
    }
}

/// The value of `--rootless`. `None` stands for `auto`.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug))]
struct Rootless(Option<bool>);

/// Parses the value of `--rootless` as runc does.
fn rootless(text: &str) -> Result<Rootless, String> {
    match text {
        "auto" | "" => Ok(Rootless(None)),
        other => match flags::truth(other.as_bytes()) {
            None => Err("true, false or auto".into()),
            known => Ok(Rootless(known)),
        },
    }
}

/// Returns whether the caller has a state directory of its own. Root of a user namespace
/// has one, too: it is the root of some user, as under rootless Podman. The exception is
/// a root whose USER is `root`: as in runc, it counts as the root of a system container.
/// Podman calls `start` without USER even if it called `create` with USER.
fn is_users_own() -> bool {
    let is_root = || std::env::var_os("USER").is_some_and(|user| user == "root");
    !geteuid().is_root() || (!is_root() && crate::sys::process::in_user_namespace())
}

/// Returns the path of a flag. An empty path (`--pid-file ""`) counts as none.
fn non_empty(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// Returns the absolute path of the bundle, which is the current directory by default.
fn bundle(given: Option<&Path>) -> Result<PathBuf> {
    let path = non_empty(given).unwrap_or(Path::new("."));
    std::path::absolute(path).op_on("find the bundle", path.display())
}

/// Checks that the descriptors 3 to 2 + `count` are open, so that the payload can inherit
/// them. Sets close-on-exec for all higher descriptors.
fn preserve_fds(count: u32) -> Result<i32> {
    let count = i32::try_from(count).map_err(|_| Error::msg("--preserve-fds: too many"))?;
    if let Some(missing) = (3..3 + count).find(|fd| !crate::sys::fd::is_open(*fd)) {
        let number = missing - 3;
        return Err(Error::msg(format!(
            "--preserve-fds: preserved-fd {number} (descriptor {missing}) is not open"
        )));
    }
    crate::sys::fd::cloexec_from(3 + count).op("close_range")?;
    Ok(count)
}

/// Reads `file`, or stdin for `-`. `what` names the operation in an error.
fn file_or_stdin(file: &str, what: &str) -> Result<Vec<u8>> {
    if file == "-" {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).op("read stdin")?;
        return Ok(text);
    }
    std::fs::read(file).op_on(what, file)
}

/// Prints a JSON document on stdout in the form of runc.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::msg(format!("JSON: {e}")))?;
    print(format!("{text}\n"))
}

fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_ref()).and_then(|()| out.flush()).op("write to stdout")?;
    steps::done("wrote to stdout");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::early::SEALED_VERBS;

    #[test]
    fn the_code_before_libc_seals_the_same_verbs() {
        let sealed = VERBS.iter().filter(|verb| verb.image == Image::Sealed);
        let mut sealed: Vec<_> = sealed.map(|verb| verb.name.as_bytes()).collect();
        let mut early = SEALED_VERBS.to_vec();
        sealed.sort_unstable();
        early.sort_unstable();
        assert_eq!(early, sealed);
    }
}
