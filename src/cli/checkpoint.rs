//! `corten checkpoint`.

use super::{Context, non_empty};
use crate::container::checkpoint;
use crate::criu::flags::Flags;
use crate::criu::{CgroupsMode, NetworkLock};
use crate::error::{Context as _, Error, Result};
use clap::Parser;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// Write the processes of a container to files, from which `restore` makes them again
#[derive(Parser)]
pub struct Args {
    #[command(flatten)]
    common: CriuFlags,
    /// Images of an earlier --pre-dump, relative to --image-path
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Let the container go on afterwards
    #[arg(long)]
    leave_running: bool,
    /// Leave out connections that are not yet established
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Give open files that were deleted a name again
    #[arg(long)]
    link_remap: bool,
    /// Write a NUL to this descriptor when lazy pages can be fetched
    #[arg(long, value_name = "FD", allow_negative_numbers = true, default_value_t = -1)]
    status_fd: RawFd,
    /// Send the memory there instead of writing it
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Write the memory only, and let the container go on
    #[arg(long)]
    pre_dump: bool,
    /// Name of the container
    id: String,
}

/// What `checkpoint` and `restore` have in common.
#[derive(clap::Args)]
pub struct CriuFlags {
    /// Directory of the images [default: ./checkpoint]
    #[arg(long, value_name = "DIR")]
    image_path: Option<PathBuf>,
    /// Directory of CRIU's log and sockets [default: that of the images]
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// Keep TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Close TCP connections
    #[arg(long)]
    tcp_close: bool,
    /// Allow unix sockets whose other end is outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow a terminal of the host's as stdio
    #[arg(long)]
    shell_job: bool,
    /// Keep file locks
    #[arg(long)]
    file_locks: bool,
    /// Memory is in the images once, and freed there when it is restored
    #[arg(long)]
    auto_dedup: bool,
    /// Move memory when it is needed (userfaultfd)
    #[arg(long)]
    lazy_pages: bool,
    /// What becomes of the settings of cgroups
    #[arg(long, value_name = "MODE", value_enum, default_value_t = CgroupsMode::Soft, hide_default_value = true)]
    manage_cgroups_mode: CgroupsMode,
    /// How connections are kept still
    #[arg(long, value_name = "METHOD", value_enum)]
    network_lock: Option<NetworkLock>,
    /// Namespace without its settings, which is always so
    #[arg(long, value_name = "network")]
    empty_ns: Vec<String>,
}

impl CriuFlags {
    /// Returns CRIU's options as the flags say.
    pub fn flags(&self) -> Result<Flags> {
        if let Some(other) = self.empty_ns.iter().find(|kind| *kind != "network") {
            return Err(Error::msg("--empty-ns: is not supported for this namespace")
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
        return Err(Error::msg("--status-fd goes with --lazy-pages"));
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
