//! `corten delete`.

use super::Context;
use super::words::{Word, Words};
use crate::container::delete;
use crate::error::Result;
use clap::Parser;

/// Delete a stopped container
#[derive(Parser)]
#[cfg_attr(test, derive(Debug))]
pub struct Args {
    /// Kill the container first if it still runs; do not fail if it does not exist
    #[arg(short, long)]
    force: bool,
    /// Take ID as a regular expression: delete every container with a match in its name
    #[arg(short, long)]
    regex: bool,
    /// Name of the container
    id: String,
}

impl Args {
    /// Reads the arguments without clap, if they are plain (`plain.rs`).
    pub fn read_plain(words: &mut Words) -> Option<Self> {
        let (mut force, mut regex, mut id) = (false, false, None);
        while let Some(word) = words.next_word()? {
            match word {
                Word::Flag(b"--force" | b"-f") => force = true,
                Word::Flag(b"--regex" | b"-r") => regex = true,
                Word::Other(word) if id.is_none() => id = Some(word.to_str()?.to_owned()),
                _ => return None,
            }
        }
        Some(Args { force, regex, id: id? })
    }
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    if !args.regex {
        delete::delete(&context.root, &args.id, args.force, &context.log)?;
        return Ok(0);
    }
    for id in context.root.matching(&args.id)? {
        // As in crun, a container that can't be deleted does not stop the deletion of the
        // others.
        if let Err(error) = delete::delete(&context.root, &id, args.force, &context.log) {
            context.log.warn(error.to_string());
        }
    }
    Ok(0)
}
