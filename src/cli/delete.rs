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
    /// ID is a regular expression: delete every container whose name has a match
    #[arg(short, long)]
    regex: bool,
    /// Name of the container
    id: String,
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
