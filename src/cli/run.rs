//! `corten run`.

use super::Context;
use super::create::CreateFlags;
use crate::container::options::Mode;
use crate::container::run;
use crate::error::Result;
use clap::Parser;

/// Create and start a container, and unless detached wait for it and delete it
#[derive(Parser)]
pub struct Args {
    #[command(flatten)]
    flags: CreateFlags,
    /// Return as soon as the payload runs
    #[arg(short, long)]
    detach: bool,
    /// Don't delete the container when its payload ends
    #[arg(long)]
    keep: bool,
    /// Name of the new container
    id: String,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let mode = if args.detach { Mode::RunDetached } else { Mode::RunForeground };
    args.flags.run_with_options(&args.id, mode, context, |options| run::run(options, args.keep))
}
