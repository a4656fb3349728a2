//! Flags as runc's own parser takes them: Go's `flag` package, which engines
//! were written for.
//!
//! There one dash is as good as two (containerd sends `-no-subreaper`), and a
//! flag without a value may be given one all the same (`--detach=true`), and an
//! empty path is as good as none. clap knows nothing of this, so the arguments
//! are written in its way first.

use clap::{Arg, Command};
use std::any::TypeId;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The arguments of `command`, the first of which is its name, in clap's way.
pub fn in_claps_way(command: &Command, args: &[OsString]) -> Vec<OsString> {
    // What comes behind the name of a container is not for us, if it may be a
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

/// The flag that one or two dashes and its whole name stand for, and its value.
fn long_flag<'c, 'a>(command: &'c Command, arg: &'a [u8]) -> Option<(&'c Arg, Option<&'a [u8]>)> {
    let name = arg.strip_prefix(b"-")?;
    let name = name.strip_prefix(b"-").unwrap_or(name);
    let (name, value) = match name.iter().position(|byte| *byte == b'=') {
        Some(at) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    };
    // A single letter behind a single dash is the short one.
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
        // The later one counts.
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

/// Go's `strconv.ParseBool`.
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

/// An empty number or duration is a mistake; an empty path is how engines say
/// that there is none.
fn is_no_path(flag: Option<&Arg>, value: Option<&[u8]>) -> bool {
    let is_path = |flag: &Arg| flag.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    value == Some(b"") && flag.is_some_and(is_path)
}

/// The last of a bundle of short flags (or the only one), if its value is the
/// next argument.
fn wants_value<'c>(command: &'c Command, arg: &[u8]) -> Option<&'c Arg> {
    let letters = arg.strip_prefix(b"-").filter(|letters| !letters.starts_with(b"-"))?;
    let valued = |letter: &u8| {
        let is_it =
            |flag: &&Arg| flag.get_short().is_some_and(|short| u32::from(short) == u32::from(*letter));
        command.get_arguments().find(is_it).filter(|flag| takes_value(flag))
    };
    // Behind the first that takes a value there is the value, or nothing yet.
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
        let out: Vec<_> = in_claps_way(command, &args)
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
