//! `corten resume`.

use super::Context;
use crate::container::pause;
use crate::error::Result;
use clap::Parser;

/// Resume all processes of a paused container
#[derive(Parser)]
pub struct Args {
    /// Name of the container
    id: String,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    pause::resume(&context.root, &args.id, &context.log)?;
    Ok(0)
}
