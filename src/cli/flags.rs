//! Rewrites flags from the form that runc's parser takes to the form that clap takes.
//! Engines were written for runc's parser, Go's `flag` package.
//!
//! Go's parser takes one dash instead of two (containerd sends `-no-subreaper`). It also
//! takes a value for a flag that needs none (`--detach=true`). And runc treats an empty
//! path as no path. clap does none of this, so the runtime rewrites the arguments first.

use clap::{Arg, Command};
use std::any::TypeId;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Returns the arguments of `command` in clap's form. The first argument is the name of
/// the command.
pub fn rewrite_for_clap(command: &Command, args: &[OsString]) -> Vec<OsString> {
    // The arguments after the name of a container stay as they are if they may be a
    // command with flags of its own.
    let stops = command.is_allow_external_subcommands_set()
        || command.get_arguments().any(Arg::is_trailing_var_arg_set);
    let mut out: Vec<OsString> = Vec::with_capacity(args.len());
    let mut rest = args.iter();
    out.extend(rest.next().cloned());
    while let Some(arg) = rest.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" || (stops && !is_flag(bytes)) {
            out.push(arg.clone());
            break;
        }
        match long_flag(command, bytes) {
            Some((flag, value)) => push_long(&mut out, flag, value, &mut rest),
            None => {
                let flag = wants_value(command, bytes);
                let value = flag.and_then(|_| rest.next());
                if !is_no_path(flag, value.map(|value| value.as_bytes())) {
                    out.push(arg.clone());
                    out.extend(value.cloned());
                }
            }
        }
    }
    out.extend(rest.cloned());
    out
}

fn is_flag(arg: &[u8]) -> bool {
    arg.len() > 1 && arg.starts_with(b"-")
}

/// Returns the flag whose whole name stands after one or two dashes in `arg`, and its
/// value.
fn long_flag<'c, 'a>(command: &'c Command, arg: &'a [u8]) -> Option<(&'c Arg, Option<&'a [u8]>)> {
    let name = arg.strip_prefix(b"-")?;
    let name = name.strip_prefix(b"-").unwrap_or(name);
    let (name, value) = match name.iter().position(|byte| *byte == b'=') {
        Some(at) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    };
    // A single letter after a dash is a short flag.
    if name.len() < 2 {
        return None;
    }
    let flag =
        command.get_arguments().find(|flag| flag.get_long().is_some_and(|long| long.as_bytes() == name))?;
    Some((flag, value))
}

fn push_long<'a>(
    out: &mut Vec<OsString>,
    flag: &Arg,
    value: Option<&[u8]>,
    rest: &mut impl Iterator<Item = &'a OsString>,
) {
    let mut word = format!("--{}", flag.get_long().unwrap_or_default()).into_bytes();
    match (takes_value(flag), value.map(truth)) {
        (false, Some(Some(true))) => {}
        // The later flag counts, so `--detach=false` removes an earlier `--detach`.
        (false, Some(Some(false))) => {
            let short = flag.get_short().map(|short| format!("-{short}").into_bytes());
            return out
                .retain(|other| other.as_bytes() != word && short.as_deref() != Some(other.as_bytes()));
        }
        (true, None) => {
            let value = rest.next();
            if !is_no_path(Some(flag), value.map(|value| value.as_bytes())) {
                out.push(OsString::from_vec(word));
                out.extend(value.cloned());
            }
            return;
        }
        (true, Some(_)) if is_no_path(Some(flag), value) => return,
        _ => {
            if let Some(value) = value {
                word.push(b'=');
                word.extend_from_slice(value);
            }
        }
    }
    out.push(OsString::from_vec(word));
}

/// Parses a bool as Go's `strconv.ParseBool` does. Returns `None` for any other text.
pub fn truth(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

fn takes_value(flag: &Arg) -> bool {
    flag.get_action().takes_values()
}

/// Returns whether the value is an empty path. Engines pass an empty path if there is
/// none. An empty number or duration is a mistake.
fn is_no_path(flag: Option<&Arg>, value: Option<&[u8]>) -> bool {
    let is_path = |flag: &Arg| flag.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    value == Some(b"") && flag.is_some_and(is_path)
}

/// Returns the last flag of a bundle of short flags (or the only one) if its value is the
/// next argument.
fn wants_value<'c>(command: &'c Command, arg: &[u8]) -> Option<&'c Arg> {
    let letters = arg.strip_prefix(b"-").filter(|letters| !letters.starts_with(b"-"))?;
    let valued = |letter: &u8| {
        let is_it =
            |flag: &&Arg| flag.get_short().is_some_and(|short| u32::from(short) == u32::from(*letter));
        command.get_arguments().find(is_it).filter(|flag| takes_value(flag))
    };
    // The rest of the bundle after the first flag with a value is the value. If there is
    // no rest, the value is the next argument.
    let at = letters.iter().position(|letter| valued(letter).is_some())?;
    if at + 1 == letters.len() { valued(&letters[at]) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn command() -> Command {
        Command::new("x")
            .arg(Arg::new("bundle").long("bundle").short('b').value_parser(clap::value_parser!(PathBuf)))
            .arg(Arg::new("count").long("count"))
            .arg(Arg::new("detach").long("detach").short('d').action(ArgAction::SetTrue))
            .arg(Arg::new("id"))
    }

    fn turned(command: &Command, args: &str) -> String {
        let args: Vec<OsString> = args.split(' ').map(Into::into).collect();
        let out: Vec<_> = rewrite_for_clap(command, &args)
            .into_iter()
            .map(|arg| arg.into_string().unwrap_or_default())
            .collect();
        out.join(" ")
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        for (given, want) in [
            ("x -bundle d -detach id", "x --bundle d --detach id"),
            ("x -bundle=d id -detach", "x --bundle=d id --detach"),
            ("x --detach=true id", "x --detach id"),
            ("x -d --detach=false id", "x id"),
            ("x --detach=maybe id", "x --detach=maybe id"),
            ("x -db -detach id", "x -db -detach id"),
            ("x -b -detach id", "x -b -detach id"),
            ("x --bundle -detach id", "x --bundle -detach id"),
            ("x -unknown - id", "x -unknown - id"),
            ("x -- -detach", "x -- -detach"),
            ("x --bundle= --detach", "x --detach"),
            ("x --count= --detach", "x --count= --detach"),
            ("x --bundle  --detach", "x --detach"),
            ("x -b  --detach", "x --detach"),
        ] {
            assert_eq!(turned(&command(), given), want, "{given}");
        }
    }

    #[test]
    fn a_commands_own_flags_are_left_alone() {
        let trailing = Arg::new("command").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
        let command = command().arg(trailing);
        assert_eq!(turned(&command, "x -detach id sh -detach"), "x --detach id sh -detach");
    }
}
