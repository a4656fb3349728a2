//! `corten restore`.

use super::checkpoint::CriuFlags;
use super::create::signals_for;
use super::{Context, bundle, non_empty};
use crate::container::checkpoint::restore;
use crate::container::options::{Mode, Options};
use crate::error::{Error, Result};
use clap::Parser;
use std::path::PathBuf;

/// Restore a container from a checkpoint
#[derive(Parser)]
pub struct Args {
    #[command(flatten)]
    common: CriuFlags,
    /// Root directory of the bundle, with config.json and rootfs [default: .]
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Unix socket that receives the master end of the payload's terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Detach from the container's process: return as soon as it runs
    #[arg(short, long)]
    detach: bool,
    /// File to write the pid of the container's init process to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// No effect: corten is never a subreaper
    #[arg(long)]
    no_subreaper: bool,
    /// Refused: CRIU always uses pivot_root
    #[arg(long)]
    no_pivot: bool,
    /// LSM profile of the processes, instead of the saved one
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// LSM mount context, instead of the saved one
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// Name of the new container
    id: String,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    if args.no_pivot {
        return Err(Error::msg("restore does not support --no-pivot: CRIU uses pivot_root"));
    }
    let mode = if args.detach { Mode::RunDetached } else { Mode::RunForeground };
    let named = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    restore::restore(&restore::Options {
        create: Options {
            root: &context.root,
            log: &context.log,
            id: &args.id,
            bundle: &bundle(args.bundle.as_deref())?,
            config: None,
            pid_file: non_empty(args.pid_file.as_deref()),
            console_socket: non_empty(args.console_socket.as_deref()),
            pidfd_socket: None,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            listen_fds: 0,
            driver: context.driver,
            rootless: context.rootless,
            notify: false,
            mode,
            signals: signals_for(mode)?,
        },
        flags: args.common.flags()?,
        lsm_profile: named(&args.lsm_profile).as_deref(),
        lsm_mount_context: named(&args.lsm_mount_context).as_deref(),
    })
}
