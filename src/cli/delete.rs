//! `corten delete`.

use super::Context;
use crate::container::delete;
use crate::error::Result;
use clap::Parser;

/// Delete a stopped container
#[derive(Parser)]
pub struct Args {
    /// Kill it first if it runs; it is no error if there is none
    #[arg(short, long)]
    force: bool,
    /// Name of the container
    id: String,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    delete::delete(&context.root, &args.id, args.force, &context.log)?;
    Ok(0)
}
