//! `corten run`.

use super::Context;
use super::create::CreateFlags;
use super::words::{Word, Words};
use crate::container::options::Mode;
use crate::container::run;
use crate::error::Result;
use clap::Parser;

/// Create and start a container; without --detach, wait for its end and delete it
#[derive(Parser)]
#[cfg_attr(test, derive(Debug))]
pub struct Args {
    #[command(flatten)]
    flags: CreateFlags,
    /// Detach from the container's process: return as soon as it runs
    #[arg(short, long)]
    detach: bool,
    /// Do not delete the container after it exits
    #[arg(long)]
    keep: bool,
    /// Name of the new container
    id: String,
}

impl Args {
    /// Reads the arguments without clap, if they are plain (`plain.rs`).
    pub fn read_plain(words: &mut Words) -> Option<Self> {
        let (mut flags, mut detach, mut keep, mut id) = (CreateFlags::default(), false, false, None);
        while let Some(word) = words.next_word()? {
            match word {
                Word::Flag(b"--detach" | b"-d") => detach = true,
                Word::Flag(b"--keep") => keep = true,
                Word::Flag(flag) => flags.set_plain(flag, words)?,
                Word::Other(word) if id.is_none() => id = Some(word.to_str()?.to_owned()),
                Word::Other(_) => return None,
            }
        }
        Some(Args { flags, detach, keep, id: id? })
    }
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let mode = if args.detach { Mode::RunDetached } else { Mode::RunForeground };
    args.flags.run_with_options(&args.id, mode, context, |options| run::run(options, args.keep))
}
