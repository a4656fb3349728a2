//! `corten restore`.

use super::checkpoint::CriuFlags;
use super::create::signals_for;
use super::{Context, bundle, non_empty};
use crate::container::checkpoint::restore;
use crate::container::options::{Mode, Options};
use crate::error::{Error, Result};
use clap::Parser;
use std::path::PathBuf;

/// Make a container out of the files that `checkpoint` has written
#[derive(Parser)]
pub struct Args {
    #[command(flatten)]
    common: CriuFlags,
    /// Directory with the config.json and the rootfs [default: .]
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Unix socket that receives the master of the payload's terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Return as soon as the payload runs
    #[arg(short, long)]
    detach: bool,
    /// File to write the payload's pid to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Be no subreaper, which corten never is: orphans go to the caller's
    #[arg(long)]
    no_subreaper: bool,
    /// Refused: CRIU enters the root by pivot_root, and has no other way
    #[arg(long)]
    no_pivot: bool,
    /// Profile of the processes, instead of the one that they had
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// SELinux context of the mounts, instead of the one that they had
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// Name of the new container
    id: String,
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    if args.no_pivot {
        return Err(Error::msg("restore can't do with --no-pivot: criu enters the root by pivot_root"));
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
