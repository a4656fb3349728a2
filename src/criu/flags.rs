//! The CRIU options that follow from the flags of both `checkpoint` and `restore`.

use super::messages::{Number, Options, Text};
use super::{CgroupsMode, NetworkLock, service};
use crate::error::{Context, Result};
use crate::sys::fd::open;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The detail of CRIU's log: its steps, without details of memory.
const LOG_LEVEL: u64 = 4;

/// The flags of both verbs. Paths are absolute.
#[derive(Debug, Clone)]
pub struct Flags {
    /// The directory with the images.
    pub images: PathBuf,
    /// The directory for CRIU's log and sockets. `None`: the directory with the images.
    pub work: Option<PathBuf>,
    pub tcp_established: bool,
    pub tcp_close: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub auto_dedup: bool,
    pub lazy_pages: bool,
    pub cgroups: CgroupsMode,
    pub network_lock: Option<NetworkLock>,
}

/// Open directories. CRIU finds them by the number of the descriptor, so they must stay
/// open.
pub struct Directories {
    pub images: OwnedFd,
    pub work: Option<OwnedFd>,
    /// The path of CRIU's log.
    pub log: PathBuf,
}

impl Flags {
    /// Opens the directories. With a `mode`, creates the directory of the images if it
    /// does not exist.
    pub fn directories(&self, mode: Option<u32>, log: &str) -> Result<Directories> {
        if let Some(mode) = mode {
            create_directory(&self.images, mode)?;
        }
        if let Some(work) = &self.work {
            create_directory(work, 0o700)?;
        }
        Ok(Directories {
            images: open_directory(&self.images)?,
            work: self.work.as_deref().map(open_directory).transpose()?,
            log: self.work.as_ref().unwrap_or(&self.images).join(log),
        })
    }

    /// Opens the same directories as process `pid` sees them in its own mount namespace,
    /// and sets them in `options`. CRIU can't mount in a directory of another mount
    /// namespace.
    pub fn directories_of(&self, pid: i32, here: Directories, options: &mut Options) -> Result<Directories> {
        let open = |path: &Path| {
            // Resolve links first: a link to an absolute path would lead back into this
            // process's mount namespace.
            let path = path.canonicalize().op_on("find", path.display())?;
            let inside = Path::new("/proc").join(pid.to_string()).join("root");
            open_directory(&inside.join(path.strip_prefix("/").unwrap_or(&path)))
        };
        let images = open(&self.images)?;
        let work = self.work.as_deref().map(open).transpose()?;
        options.number(Number::ImagesDirFd, service::descriptor_number(&images));
        if let Some(work) = &work {
            options.number(Number::WorkDirFd, service::descriptor_number(work));
        }
        Ok(Directories { images, work, log: here.log })
    }

    /// Returns the options. `annotation` is the value of `org.criu.config`, if the bundle
    /// has one.
    pub fn options(&self, directories: &Directories, annotation: Option<&str>) -> Result<Options> {
        let mut options = Options::default();
        options
            .number(Number::ImagesDirFd, service::descriptor_number(&directories.images))
            .number(Number::LogLevel, LOG_LEVEL)
            .text(Text::LogFile, directories.log.file_name().unwrap_or_default().as_bytes())
            .truth(Number::NotifyScripts, true)
            .truth(Number::OrphanPtsMaster, true)
            .truth(Number::TcpEstablished, self.tcp_established)
            .truth(Number::TcpClose, self.tcp_close)
            .truth(Number::ExtUnixSk, self.ext_unix_sk)
            .truth(Number::ShellJob, self.shell_job)
            .truth(Number::FileLocks, self.file_locks)
            .truth(Number::AutoDedup, self.auto_dedup)
            .truth(Number::LazyPages, self.lazy_pages)
            .number(Number::ManageCgroupsMode, self.cgroups as u64);
        if let Some(work) = &directories.work {
            options.number(Number::WorkDirFd, service::descriptor_number(work));
        }
        if let Some(lock) = self.network_lock {
            options.number(Number::NetworkLock, lock as u64);
        }
        if let Some(settings) = super::settings(annotation)? {
            options.text(Text::ConfigFile, settings.as_os_str().as_bytes());
        }
        Ok(options)
    }
}

fn create_directory(path: &Path, mode: u32) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.op_on("create the directory", path.display())
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).op_on("open the directory", path.display())
}
