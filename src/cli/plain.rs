//! Reads a command line in its plain form, without clap.
//!
//! To build clap's parser takes two thirds of the instructions of a short command. Engines
//! write all flags in one form, `--name value` or `--name=value`. This file reads this form
//! for the verbs that engines call all the time. At anything else it gives up, and clap
//! reads the command line from its beginning: it knows all forms, the help, and what is
//! wrong. So everything that is read here must mean the same to clap. The tests compare
//! both.

use super::words::{Word, Words};
use super::{Context, Globals, Verb, create, delete, exec, kill, rootless, run, start, state};
use crate::error::Result;
use crate::steps;
use clap::ValueEnum;
use std::ffi::{OsStr, OsString};

/// Reads the global flags. `args` begins with the name of the program.
pub fn read_globals(args: &[OsString]) -> Option<Globals> {
    let words = &mut Words::new(args.get(1..)?);
    let mut globals = Globals {
        root: None,
        log: None,
        log_level: None,
        log_format: crate::log::Format::Text,
        debug: false,
        systemd_cgroup: false,
        cgroup_manager: None,
        rootless: super::Rootless(None),
        version: false,
        verb: None,
    };
    while let Some(word) = words.next_word()? {
        match word {
            Word::Flag(b"--root") => globals.root = Some(words.path()?),
            Word::Flag(b"--log") => globals.log = Some(words.path()?),
            Word::Flag(b"--log-level") => globals.log_level = Some(name_of(words.value()?)?),
            Word::Flag(b"--log-format") => globals.log_format = name_of(words.value()?)?,
            Word::Flag(b"--debug") => globals.debug = true,
            Word::Flag(b"--systemd-cgroup") => globals.systemd_cgroup = true,
            Word::Flag(b"--cgroup-manager") => globals.cgroup_manager = Some(name_of(words.value()?)?),
            Word::Flag(b"--rootless") => globals.rootless = rootless(words.value()?.to_str()?).ok()?,
            Word::Flag(b"--version" | b"-v") => globals.version = true,
            Word::Flag(_) => return None,
            Word::Other(verb) => {
                verb.to_str()?;
                let verb = std::iter::once(verb.to_owned()).chain(words.all_rest().iter().cloned());
                globals.verb = Some(Verb::Other(verb.collect()));
            }
        }
    }
    Some(globals)
}

fn name_of<T: ValueEnum>(text: &OsStr) -> Option<T> {
    T::from_str(text.to_str()?, false).ok()
}

/// Reads the arguments of a verb, and runs the verb. `None`: they are not plain, or few call
/// the verb.
pub fn run_verb(verb: &str, args: &[OsString], context: &Context) -> Option<Result<i32>> {
    let words = &mut Words::new(args.get(1..)?);
    match verb {
        "create" => run_with(create::Args::read_plain(words)?, context, create::run),
        "delete" => run_with(delete::Args::read_plain(words)?, context, delete::run),
        "exec" => run_with(exec::Args::read_plain(words)?, context, exec::run),
        "kill" => run_with(kill::Args::read_plain(words)?, context, kill::run),
        "run" => run_with(run::Args::read_plain(words)?, context, run::run),
        "start" => run_with(start::Args::read_plain(words)?, context, start::run),
        "state" => run_with(state::Args::read_plain(words)?, context, state::run),
        _ => None,
    }
}

/// Runs a verb with its arguments. Stays a function of its own for each verb: inlined, the
/// frames of all verbs would be one frame of 70 KiB, and each start would touch all its pages.
#[inline(never)]
fn run_with<A>(args: A, context: &Context, run: fn(A, &Context) -> Result<i32>) -> Option<Result<i32>> {
    steps::done("parsed the flags");
    Some(run(args, context))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{flags, parse};
    use clap::{CommandFactory, FromArgMatches};
    use std::fmt::Debug;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    /// Returns what clap reads, or `None` for an error.
    fn by_clap<A: CommandFactory + FromArgMatches>(args: &[OsString]) -> Option<A> {
        let command = A::command().args_override_self(true);
        let args = flags::rewrite_for_clap(&command, args);
        A::from_arg_matches(&command.try_get_matches_from(args).ok()?).ok()
    }

    /// Compares both readers on random command lines. Each verb must be plain often enough.
    fn compare<A: Debug>(
        pool: &str,
        plain: impl Fn(&[OsString]) -> Option<A>,
        clap: impl Fn(&[OsString]) -> Option<A>,
    ) {
        let common = "id sh 9 -1 -- - = --help -h --=x 1=2 -x --no-such";
        let mut pool: Vec<OsString> = [words(pool), words(common)].concat();
        pool.push("".into());
        let mut random: u64 = 88_172_645_463_325_252;
        let mut next = |below: usize| {
            // Marsaglia's xorshift.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % below as u64).unwrap_or(0)
        };
        let mut read = 0;
        for _ in 0..20_000 {
            let length = 1 + next(5);
            let mut line = vec![OsString::from("x")];
            line.extend((0..length).map(|_| pool[next(pool.len())].clone()));
            if let Some(args) = plain(&line) {
                let clap = clap(&line).unwrap_or_else(|| panic!("clap refuses {line:?}: {args:?}"));
                assert_eq!(format!("{args:?}"), format!("{clap:?}"), "{line:?}");
                read += 1;
            }
        }
        assert!(read > 200, "only {read} lines are plain: {pool:?}");
    }

    const CREATE: &str = "--bundle -b --bundle=/b --config -f --console-socket /s --pid-file=/p --pid-file \
        --no-pivot --no-new-keyring --preserve-fds --preserve-fds=2 --preserve-fds=x --pidfd-socket --no-subreaper";

    macro_rules! verb_is_read_like_clap {
        ($($test:ident $verb:ident $pool:expr)+) => {
            $(#[test]
            fn $test() {
                let plain = |line: &[OsString]| $verb::Args::read_plain(&mut Words::new(&line[1..]));
                compare($pool, plain, by_clap::<$verb::Args>);
            })+
        };
    }

    verb_is_read_like_clap! {
        create_is_read_like_clap create CREATE
        run_is_read_like_clap run &format!("{CREATE} --detach -d --keep")
        start_is_read_like_clap start "-v two"
        state_is_read_like_clap state "-v two"
        kill_is_read_like_clap kill "--all -a --regex -r KILL --all=true"
        delete_is_read_like_clap delete "--force -f --regex -r --force=false"
        exec_is_read_like_clap exec "--process -p /p --process=/p --env A=1 -e --cwd / --tty -t --user 1:2 \
            -u --detach -d --pid-file --additional-gids -g --cap CAP_KILL --cgroup --ignore-paused --no-new-privs"
    }

    #[test]
    fn global_flags_are_read_like_clap() {
        let pool = "--root /r --root=/r --log /l --log-level debug warn --log-format json --log-format=text \
            --debug --systemd-cgroup --cgroup-manager systemd --rootless --rootless=true auto --version -v \
            kill create --bundle";
        compare(pool, read_globals, |line| parse(Globals::command(), line).ok());
    }

    /// As containerd, Docker, Podman and CRI-O call a runtime (tests/invocations.rs).
    #[test]
    fn what_engines_write_is_plain() {
        for line in [
            "corten --root /run/c --log /l/log.json --log-format json create --bundle /b --pid-file /b/pid id",
            "corten --root /run/c --log /l/log.json --log-format json --systemd-cgroup start id",
            "corten --root /run/c --log /l --log-format json exec --process /p --console-socket /s --pid-file /f id",
            "corten --root /run/c --log /l --log-format json kill --all id 9",
            "corten --root /run/c --log /l --log-format json delete --force id",
            "corten --root=/run/c --systemd-cgroup kill id 15",
            "corten --root=/run/c state id",
            "corten run --bundle /b id",
            "corten exec id sh -c true",
        ] {
            let args = words(line);
            let Some(Verb::Other(verb)) = read_globals(&args).and_then(|globals| globals.verb) else {
                panic!("{line}: the global flags are not plain");
            };
            let rest = &mut Words::new(&verb[1..]);
            let is_plain = match verb[0].to_str() {
                Some("create") => create::Args::read_plain(rest).is_some(),
                Some("delete") => delete::Args::read_plain(rest).is_some(),
                Some("exec") => exec::Args::read_plain(rest).is_some(),
                Some("kill") => kill::Args::read_plain(rest).is_some(),
                Some("run") => run::Args::read_plain(rest).is_some(),
                Some("start") => start::Args::read_plain(rest).is_some(),
                Some("state") => state::Args::read_plain(rest).is_some(),
                other => panic!("{other:?}"),
            };
            assert!(is_plain, "{line}");
        }
    }
}
