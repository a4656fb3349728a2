//! `corten mounts`.

use super::{Context, file_or_stdin};
use crate::container::mounts;
use crate::error::Result;
use clap::{Parser, ValueEnum};

/// Add mounts to a running container, or remove them: all that are listed, or none
///
/// FILE holds a list in the form of config.json's mounts. To remove, the
/// destination of each is enough. A destination that is missing is made.
#[derive(Parser)]
pub struct Args {
    /// What to do
    #[arg(value_enum, value_name = "add|remove", hide_possible_values = true)]
    action: Action,
    /// Name of the container
    id: String,
    /// File with the mounts as a JSON list, or - for stdin
    file: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Action {
    Add,
    Remove,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let text = file_or_stdin(&args.file, "read the mounts")?;
    let change = match args.action {
        Action::Add => mounts::add,
        Action::Remove => mounts::remove,
    };
    change(&context.root, &args.id, &text, &context.log)?;
    Ok(0)
}
