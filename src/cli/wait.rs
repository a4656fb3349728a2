//! `corten wait`.

use super::{Context, print};
use crate::container::wait;
use crate::error::Result;
use clap::Parser;

/// Block until a container has ended, and print its exit status
#[derive(Parser)]
pub struct Args {
    /// Name of the container
    id: String,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let ending = wait::wait(&context.root, &args.id, &context.log)?;
    print(format!("{}\n", ending.status))?;
    Ok(ending.status)
}
