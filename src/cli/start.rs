//! `corten start`.

use super::Context;
use crate::container::start;
use crate::error::Result;
use clap::Parser;

/// Start a created container
#[derive(Parser)]
pub struct Args {
    /// Name of the container
    id: String,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    start::start(&context.root, &args.id, &context.log)?;
    Ok(0)
}
