//! `corten start`.

use super::Context;
use super::words::Words;
use crate::container::start;
use crate::error::Result;
use clap::Parser;

/// Start a created container
#[derive(Parser)]
#[cfg_attr(test, derive(Debug))]
pub struct Args {
    /// Name of the container
    id: String,
}

impl Args {
    /// Reads the arguments without clap, if they are plain (`plain.rs`).
    pub fn read_plain(words: &mut Words) -> Option<Self> {
        Some(Args { id: words.only_id()? })
    }
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    start::start(&context.root, &args.id, &context.log)?;
    Ok(0)
}
