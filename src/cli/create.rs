//! `corten create`.

use super::words::{Word, Words};
use super::{Context, bundle, non_empty, preserve_fds};
use crate::container::create;
use crate::container::options::{Mode, Options};
use crate::container::sd_notify;
use crate::error::{Context as _, Result};
use crate::signals::Signals;
use clap::Parser;
use std::path::PathBuf;
use std::rc::Rc;

/// Create a container; `corten start` executes its payload
#[derive(Parser)]
#[cfg_attr(test, derive(Debug))]
pub struct Args {
    #[command(flatten)]
    flags: CreateFlags,
    /// Name of the new container
    id: String,
}

/// What `create` and `run` have in common.
#[derive(clap::Args, Default)]
#[cfg_attr(test, derive(Debug))]
pub struct CreateFlags {
    /// Root directory of the bundle, with config.json and rootfs [default: .]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Configuration to use instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Unix socket that receives the master end of the payload's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd of the container's init process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// File to write the pid of the container's init process to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root, for a rootfs on top of a ramdisk
    #[arg(long)]
    pub no_pivot: bool,
    /// Do not create a new session keyring; the container uses the caller's
    #[arg(long)]
    pub no_new_keyring: bool,
    /// No effect: corten is never a subreaper
    #[arg(long)]
    pub no_subreaper: bool,
    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
}

impl Args {
    /// Reads the arguments without clap, if they are plain (`plain.rs`).
    pub fn read_plain(words: &mut Words) -> Option<Self> {
        let (mut flags, mut id) = (CreateFlags::default(), None);
        while let Some(word) = words.next_word()? {
            match word {
                Word::Flag(flag) => flags.set_plain(flag, words)?,
                Word::Other(word) if id.is_none() => id = Some(word.to_str()?.to_owned()),
                Word::Other(_) => return None,
            }
        }
        Some(Args { flags, id: id? })
    }
}

impl CreateFlags {
    /// Sets one flag, whose value is the next in `words`. `None` if it is not plain.
    pub fn set_plain(&mut self, flag: &[u8], words: &mut Words) -> Option<()> {
        match flag {
            b"--bundle" | b"-b" => self.bundle = Some(words.path()?),
            b"--config" | b"-f" => self.config = Some(words.path()?),
            b"--console-socket" => self.console_socket = Some(words.path()?),
            b"--pidfd-socket" => self.pidfd_socket = Some(words.path()?),
            b"--pid-file" => self.pid_file = Some(words.path()?),
            b"--no-pivot" => self.no_pivot = true,
            b"--no-new-keyring" => self.no_new_keyring = true,
            b"--no-subreaper" => self.no_subreaper = true,
            b"--preserve-fds" => self.preserve_fds = words.number()?,
            _ => return None,
        }
        Some(())
    }

    /// Calls `make` with the options of `create` or `run`, as the flags say.
    pub fn run_with_options<T>(
        &self,
        id: &str,
        mode: Mode,
        context: &Context,
        make: impl FnOnce(&Options) -> Result<T>,
    ) -> Result<T> {
        let listen_fds = listen_fds();
        let preserve_fds = preserve_fds(self.preserve_fds + listen_fds)?;
        // As in crun, `--config` is relative to the caller's directory, not to the
        // bundle.
        let config = non_empty(self.config.as_deref())
            .map(|path| std::path::absolute(path).op_on("find the configuration", path.display()));
        let config = config.transpose()?;
        make(&Options {
            root: &context.root,
            log: &context.log,
            id,
            bundle: &bundle(self.bundle.as_deref())?,
            config: config.as_deref(),
            pid_file: non_empty(self.pid_file.as_deref()),
            console_socket: non_empty(self.console_socket.as_deref()),
            pidfd_socket: non_empty(self.pidfd_socket.as_deref()),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds,
            listen_fds,
            driver: context.driver,
            rootless: context.rootless,
            notify: sd_notify::of_manager().is_some(),
            mode,
            signals: signals_for(mode)?,
        })
    }
}

/// Holds the signals for a verb that stays in the foreground. Returns `None` for any
/// other mode.
pub fn signals_for(mode: Mode) -> Result<Option<Rc<Signals>>> {
    let is_foreground = mode == Mode::RunForeground;
    is_foreground.then(|| Signals::hold().map(Rc::new)).transpose()
}

/// Returns the number of sockets that a service manager opened for this process
/// (sd_listen_fds(3)). These sockets are for the payload.
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") == Some(std::process::id()) { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    args.flags.run_with_options(&args.id, Mode::Create, context, create::create)?;
    Ok(0)
}
