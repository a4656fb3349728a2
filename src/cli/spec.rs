//! `corten spec`.

use super::{Context, bundle};
use crate::cgroup::Host;
use crate::error::{Context as _, Error, Result};
use crate::spec::default;
use clap::Parser;
use nix::unistd::{getegid, geteuid};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Write a new config.json
#[derive(Parser)]
pub struct Args {
    /// Directory to write config.json to [default: .]
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// File to write to, instead of the bundle's config.json
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write a configuration for a rootless container
    #[arg(long)]
    rootless: bool,
}

pub fn run(args: Args, _: &Context) -> Result<i32> {
    let ids = args.rootless.then(|| (geteuid().as_raw(), getegid().as_raw()));
    let text = serde_json::to_string_pretty(&default::config(ids, Host::is_v2()))
        .map_err(|e| Error::msg(format!("JSON: {e}")))?;
    let path = bundle(args.bundle.as_deref())?.join(args.file.as_deref().unwrap_or(Path::new("config.json")));
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let error = Error::msg(format!("File {name} exists. Remove it first"));
            return Err(error.on(path.display().to_string()));
        }
        other => other.op_on("create the file", path.display())?,
    };
    file.write_all(format!("{text}\n").as_bytes()).op_on("write", path.display())?;
    crate::steps::done("wrote the configuration");
    Ok(0)
}
