//! `corten checkpoint`.

use super::{Context, non_empty};
use crate::container::checkpoint;
use crate::criu::flags::Flags;
use crate::criu::{CgroupsMode, NetworkLock};
use crate::error::{Context as _, Error, Result};
use clap::Parser;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// Checkpoint a running container; `corten restore` restores it
#[derive(Parser)]
pub struct Args {
    #[command(flatten)]
    common: CriuFlags,
    /// Directory of the images of an earlier --pre-dump, relative to --image-path
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Leave the container running after the checkpoint
    #[arg(long)]
    leave_running: bool,
    /// Skip TCP connections that are not yet established
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Link open files that were deleted to a name again
    #[arg(long)]
    link_remap: bool,
    /// File descriptor that gets a NUL byte once lazy pages are ready
    #[arg(long, value_name = "FD", allow_negative_numbers = true, default_value_t = -1)]
    status_fd: RawFd,
    /// Page server that receives the memory, instead of the image files
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Dump the memory only, and leave the container running
    #[arg(long)]
    pre_dump: bool,
    /// Name of the container
    id: String,
}

/// What `checkpoint` and `restore` have in common.
#[derive(clap::Args)]
pub struct CriuFlags {
    /// Directory of CRIU's image files [default: ./checkpoint]
    #[arg(long, value_name = "DIR")]
    image_path: Option<PathBuf>,
    /// Directory of CRIU's log and sockets [default: the directory of the images]
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// Allow open TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Close TCP connections
    #[arg(long)]
    tcp_close: bool,
    /// Allow external Unix sockets, whose peer is outside of the container
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow shell jobs: stdin, stdout and stderr may be a terminal of the host
    #[arg(long)]
    shell_job: bool,
    /// Handle file locks
    #[arg(long)]
    file_locks: bool,
    /// Enable auto deduplication of the memory images
    #[arg(long)]
    auto_dedup: bool,
    /// Use userfaultfd to restore memory pages lazily
    #[arg(long)]
    lazy_pages: bool,
    /// Cgroups mode: how CRIU saves and restores cgroups
    #[arg(long, value_name = "MODE", value_enum, default_value_t = CgroupsMode::Soft, hide_default_value = true)]
    manage_cgroups_mode: CgroupsMode,
    /// Method that locks TCP connections
    #[arg(long, value_name = "METHOD", value_enum)]
    network_lock: Option<NetworkLock>,
    /// Create the namespace, but do not restore its properties; corten always does so
    #[arg(long, value_name = "network")]
    empty_ns: Vec<String>,
}

impl CriuFlags {
    /// Returns CRIU's options as the flags say.
    pub fn flags(&self) -> Result<Flags> {
        if let Some(other) = self.empty_ns.iter().find(|kind| *kind != "network") {
            return Err(Error::msg("--empty-ns: this namespace is not supported")
                .on(other.clone())
                .hint("network"));
        }
        let images = non_empty(self.image_path.as_deref()).unwrap_or(Path::new("checkpoint"));
        Ok(Flags {
            images: absolute(images)?,
            work: non_empty(self.work_path.as_deref()).map(absolute).transpose()?,
            tcp_established: self.tcp_established,
            tcp_close: self.tcp_close,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            cgroups: self.manage_cgroups_mode,
            network_lock: self.network_lock,
        })
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).op_on("find", path.display())
}

pub fn run(args: Args, context: &Context) -> Result<i32> {
    let flags = args.common.flags()?;
    let status_fd = (args.status_fd != -1).then_some(args.status_fd);
    if status_fd.is_some() && !flags.lazy_pages {
        return Err(Error::msg("--status-fd needs --lazy-pages"));
    }
    let page_server = args.page_server.as_deref().filter(|text| !text.is_empty());
    checkpoint::checkpoint(&checkpoint::Options {
        root: &context.root,
        log: &context.log,
        id: &args.id,
        flags,
        parent: non_empty(args.parent_path.as_deref()).map(Path::to_path_buf),
        pre_dump: args.pre_dump,
        leave_running: args.leave_running,
        tcp_skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        status_fd,
        page_server: page_server.map(address).transpose()?,
    })?;
    Ok(0)
}

/// Parses `ADDRESS:PORT`. An IPv6 address is in brackets.
fn address(text: &str) -> Result<(String, u16)> {
    let wrong = || Error::msg("--page-server must be ADDRESS:PORT").on(format!("{text:?}"));
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    match (bare, port.parse()) {
        ("", _) | (_, Err(_)) => Err(wrong()),
        (bare, Ok(port)) => Ok((bare.into(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        assert_eq!(address("10.0.0.1:27"), Ok(("10.0.0.1".into(), 27)));
        assert_eq!(address("[::1]:27"), Ok(("::1".into(), 27)));
        for wrong in ["10.0.0.1", ":27", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:65536"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
