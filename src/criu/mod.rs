//! CRIU, which does the work of `checkpoint` and `restore`, through its RPC.
//!
//! `criu swrk FD` reads requests from a SEQPACKET socket. They are Protocol Buffers, and
//! [`wire`] encodes the few types that are needed. The crates are rust-criu, and protobuf
//! or prost below it. They add half a megabyte of generated code for a hundred messages,
//! and lack options that runc has.

pub mod flags;
mod log;
pub mod messages;
pub mod service;
mod wire;

#[cfg(fuzzing)]
pub use {
    log::errors_in,
    wire::{Message as WireMessage, Value as WireValue, fields},
};

use crate::cgroup::EntryFds;
use crate::error::{Error, Result};
use crate::spec::annotations::{self, CRIU_CONFIG};
use messages::{Features, Version, feature_question, version_question};
use nix::errno::Errno;
use nix::sys::stat::{SFlag, stat};
use nix::unistd::{AccessFlags, access};
use service::Service;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The directories in which programs are looked up if the caller has no PATH.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The oldest CRIU that is accepted. CRIU 3.15 freezes cgroups of version 2, accepts
/// joined pid namespaces, and reports when lazy pages can be fetched.
const MINIMUM_VERSION: Version = (3, 15);

/// The oldest CRIU that can join namespaces, and that has options for LSMs.
pub const VERSION_FOR_NAMESPACES_AND_LSM: Version = (3, 16);

/// How CRIU restores a cgroup of the images (`criu_cg_mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CgroupsMode {
    /// Restore the settings of a cgroup only if CRIU creates the cgroup.
    #[default]
    Soft = 3,
    /// Always restore the settings of a cgroup.
    Full = 4,
    /// Restore the settings of a cgroup, which must not exist yet.
    Strict = 5,
    /// Do not handle cgroups: all processes are in the container's cgroup.
    Ignore = 0,
}

/// How CRIU blocks the traffic of network connections (`criu_network_lock_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkLock {
    Iptables = 1,
    Nftables = 2,
    Skip = 3,
}

/// A CRIU that is new enough.
pub struct Criu {
    pub program: CString,
    version: Version,
}

impl Criu {
    /// Finds CRIU in PATH. Asks CRIU for its version, and whether the kernel supports the
    /// features that are `wanted`.
    ///
    /// # Errors
    /// CRIU is missing or too old, or the kernel lacks a feature.
    pub fn find(wanted: Features) -> Result<Criu> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        let program = find_program(&path)?.ok_or_else(|| {
            Error::msg("criu is not installed").hint(format!(
                "install CRIU {}.{} or newer (Debian's package criu) in a directory of PATH",
                MINIMUM_VERSION.0, MINIMUM_VERSION.1
            ))
        })?;
        let starting = service::start(&program, &EntryFds::default(), &[], None, || Ok(()))?;
        starting.until_ready()?;
        let service = starting.exec_criu()?;
        let more = wanted != Features::default();
        let unknown = |error: Error| {
            error.on(program.to_string_lossy()).hint(format!(
                "install CRIU {}.{} or newer, and run `criu check`",
                MINIMUM_VERSION.0, MINIMUM_VERSION.1
            ))
        };
        let answer = service.ask(&version_question(more)).map_err(unknown)?;
        let version = Some(answer).filter(|answer| answer.success).and_then(|answer| answer.version);
        let version = version.ok_or_else(|| unknown(Error::msg("criu does not report its version")))?;
        let criu = Criu { program, version };
        criu.require(MINIMUM_VERSION, "checkpoint and restore")?;
        if more {
            require_features(&service, wanted)?;
        }
        service.finish();
        Ok(criu)
    }

    /// Refuses `what` if this CRIU is older than `needed`.
    pub fn require(&self, needed: Version, what: &str) -> Result<()> {
        if self.version >= needed {
            return Ok(());
        }
        let [(major, minor), (is_major, is_minor)] = [needed, self.version];
        Err(Error::msg(format!("{what} needs CRIU {major}.{minor} or newer"))
            .on(self.program.to_string_lossy())
            .hint(format!("install a newer CRIU: this is version {is_major}.{is_minor}")))
    }
}

/// Refuses features that this kernel lacks.
fn require_features(service: &Service, wanted: Features) -> Result<()> {
    let answer = service.ask(&feature_question(wanted))?;
    let lacks = |what| Err(Error::msg(format!("criu reports that this kernel lacks {what}")));
    match answer.features {
        _ if !answer.success => Err(Error::msg("criu can't check the features of this kernel")),
        has if wanted.memory_tracking && !has.memory_tracking => {
            lacks("memory tracking, which --pre-dump and --parent-path need (CONFIG_MEM_SOFT_DIRTY)")
        }
        has if wanted.lazy_pages && !has.lazy_pages => {
            lacks("userfaultfd, which --lazy-pages needs (CONFIG_USERFAULTFD)")
        }
        _ => Ok(()),
    }
}

/// Looks for CRIU in each directory. As in execvp(3), a file that may not be executed is an
/// error only if no other directory has CRIU.
fn find_program(path: &OsStr) -> Result<Option<CString>> {
    let mut denied = None;
    for dir in std::env::split_paths(path).filter(|dir| dir.is_absolute()) {
        let file = dir.join("criu");
        match access(&file, AccessFlags::X_OK).and_then(|()| stat(&file)) {
            Ok(stat) if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG => {
                return Ok(CString::new(file.into_os_string().into_vec()).ok());
            }
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => {
                let error = Error::os("look for criu", errno).on(file.display().to_string());
                if errno != Errno::EACCES {
                    return Err(error);
                }
                denied.get_or_insert(error);
            }
        }
    }
    denied.map_or(Ok(None), Err)
}

/// Returns the error for a failed request, with the cause from CRIU's log or response.
pub fn failure(what: &str, response: &messages::Response, log: &Path) -> Error {
    let told = [log::errors(log), response.message.clone()].into_iter().find(|text| !text.is_empty());
    let mut error = Error::msg(match told {
        None => format!("criu could not {what}"),
        Some(told) => format!("criu could not {what}: {told}"),
    });
    error.errno = (response.errno > 0).then_some(response.errno);
    error.hint(format!("read criu's log: {}", log.display()))
}

/// Returns the file with CRIU's own settings. CRIU reads it before the options of a
/// request. The annotation `org.criu.config` names the file, and an empty annotation
/// means no file. Without the annotation, the file is the host's for corten, or the
/// host's for runc.
pub fn settings(annotation: Option<&str>) -> Result<Option<PathBuf>> {
    Ok(match annotation {
        Some("") => None,
        Some(path) if !Path::new(path).exists() => {
            return Err(Error::config(annotations::at(CRIU_CONFIG), "is missing").on(path));
        }
        Some(path) => Some(path.into()),
        None => ["/etc/criu/corten.conf", "/etc/criu/runc.conf"]
            .map(PathBuf::from)
            .into_iter()
            .find(|p| p.exists()),
    })
}
