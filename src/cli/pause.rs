//! `corten pause`.

use super::Context;
use crate::container::pause;
use crate::error::Result;
use clap::Parser;

/// Suspend all processes of a container
#[derive(Parser)]
pub struct Args {
    /// Name of the container
    id: String,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    pause::pause(&context.root, &args.id)?;
    Ok(0)
}
