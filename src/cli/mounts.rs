//! `corten mounts`.

use super::{Context, file_or_stdin};
use crate::container::mounts;
use crate::error::Result;
use clap::{Parser, ValueEnum};

/// Add or remove mounts of a running container: either all listed mounts, or none
///
/// FILE holds a JSON list in the form of `mounts` in config.json. To remove a
/// mount, its destination is enough. A missing destination is created.
#[derive(Parser)]
pub struct Args {
    /// Whether to add or remove the mounts
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
