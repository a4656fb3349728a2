//! `corten run`.

use super::Context;
use super::create::CreateFlags;
use crate::container::options::Mode;
use crate::container::run;
use crate::error::Result;
use clap::Parser;

/// Create and start a container; without --detach, wait for its end and delete it
#[derive(Parser)]
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

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let mode = if args.detach { Mode::RunDetached } else { Mode::RunForeground };
    args.flags.run_with_options(&args.id, mode, context, |options| run::run(options, args.keep))
}
