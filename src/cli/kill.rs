//! `corten kill`.

use super::Context;
use super::words::{Word, Words};
use crate::container::kill;
use crate::error::{Error, Result};
use clap::Parser;
use nix::sys::signal::Signal;
use std::str::FromStr;

/// The real-time signals as runc, crun and glibc number them. musl counts from 35.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Send a signal to the container's init process
#[derive(Parser)]
#[cfg_attr(test, derive(Debug))]
pub struct Args {
    /// Send the signal to all processes of the container
    #[arg(short, long)]
    all: bool,
    /// Take ID as a regular expression: signal every container with a match in its name
    #[arg(short, long)]
    regex: bool,
    /// Name of the container
    id: String,
    /// Name or number of the signal; 0 only checks whether the container runs
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

impl Args {
    /// Reads the arguments without clap, if they are plain (`plain.rs`).
    pub fn read_plain(words: &mut Words) -> Option<Self> {
        let (mut all, mut regex, mut id, mut signal) = (false, false, None, None);
        while let Some(word) = words.next_word()? {
            match word {
                Word::Flag(b"--all" | b"-a") => all = true,
                Word::Flag(b"--regex" | b"-r") => regex = true,
                Word::Other(word) if id.is_none() => id = Some(word.to_str()?.to_owned()),
                Word::Other(word) if signal.is_none() => signal = Some(word.to_str()?.to_owned()),
                _ => return None,
            }
        }
        Some(Args { all, regex, id: id?, signal: signal.unwrap_or_else(|| "SIGTERM".into()) })
    }
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let signal = number(&args.signal).ok_or_else(|| {
        Error::msg("unknown signal").on(args.signal.clone()).hint("run `kill -l` for a list of signals")
    })?;
    if !args.regex {
        kill::kill(&context.root, &args.id, signal, args.all)?;
        return Ok(0);
    }
    for id in context.root.matching(&args.id)? {
        // As in crun, a container that can't get the signal does not keep the others from
        // it.
        if let Err(error) = kill::kill(&context.root, &id, signal, args.all) {
            context.log.warn(error.to_string());
        }
    }
    Ok(0)
}

/// Parses a signal: `9`, `KILL`, `sigkill`, `RTMIN+3`, `SIGRTMAX-1`; or 0, which is no
/// signal.
fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=RTMAX).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return real_time(RTMIN, rest);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return real_time(RTMAX, rest);
    }
    match name {
        "CLD" => Some(libc::SIGCHLD),
        "POLL" => Some(libc::SIGIO),
        _ => Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32),
    }
}

fn real_time(base: i32, offset: &str) -> Option<i32> {
    let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
    base.checked_add(offset).filter(|signal| (RTMIN..=RTMAX).contains(signal))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals() {
        for (text, signal) in [("9", 9), ("KILL", 9), ("sigkill", 9), ("SIGTERM", 15), ("CLD", 17)] {
            assert_eq!(number(text), Some(signal), "{text}");
        }
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("RTMIN+3"), Some(37));
        assert_eq!(number("SIGRTMAX"), Some(64));
        for bad in ["", "-1", "65", "NOPE", "RTMIN-1", "RTMAX+1", "9x"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
