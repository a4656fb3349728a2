//! `checkpoint`: writes a container's processes to files (images), from which `restore`
//! creates them again.

mod external;
mod kept_stdio;
pub mod restore;

use crate::cgroup::EntryFds;
use crate::container::dir::{Dir, NOTIFY_DIR};
use crate::container::root::Root;
use crate::container::state::State;
use crate::container::{delete, sd_notify};
use crate::criu::flags::{Directories, Flags};
use crate::criu::messages::{Features, Kind, Number, Options as CriuOptions, Text, request};
use crate::criu::service::{self, Notification, Service};
use crate::criu::{self, CgroupsMode, Criu};
use crate::error::{Context, Error, Result};
use crate::log::Log;
use crate::spec::annotations::CRIU_CONFIG;
use crate::spec::plan::NsKind;
use crate::spec::state::Status;
use crate::spec::{self, Plan};
use crate::steps;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::write;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The file among the images with the names of init's stdin, stdout and stderr.
pub const DESCRIPTORS: &str = "descriptors.json";
/// A file among the images that exists if the payload has a notify socket.
pub const NOTIFIES: &str = "notify.json";
const LOG: &str = "dump.log";

pub struct Options<'a> {
    pub root: &'a Root,
    pub log: &'a Log,
    pub id: &'a str,
    pub flags: Flags,
    /// The directory of a pre-dump's images, relative to the directory of the new images.
    pub parent: Option<PathBuf>,
    /// Whether to write only memory and let the container run on.
    pub pre_dump: bool,
    pub leave_running: bool,
    pub tcp_skip_in_flight: bool,
    pub link_remap: bool,
    /// CRIU writes to this descriptor when lazy pages can be fetched.
    pub status_fd: Option<RawFd>,
    /// Address and port of the page server: CRIU sends the memory pages to this server
    /// and does not write them into the images.
    pub page_server: Option<(String, u16)>,
}

/// Writes the images. Then deletes the container, unless it is to keep running.
pub fn checkpoint(options: &Options) -> Result<()> {
    check_root()?;
    let dir = options.root.find(options.id)?.locked()?;
    let state = dir.created_state()?;
    let status = dir.status(Some(&state))?;
    if !matches!(status, Status::Running | Status::Paused) {
        let what = format!("container cannot be checkpointed in {} state", status.name());
        return Err(Error::msg(what).on(options.id));
    }
    let config = spec::parse_config(&dir.config()?, &mut Vec::new())?;
    let plan = spec::resolve(&config, &state.bundle, &mut Vec::new())?;
    external::check(&plan)?;
    let criu = Criu::find(Features {
        memory_tracking: options.pre_dump || options.parent.is_some(),
        lazy_pages: options.flags.lazy_pages,
    })?;
    let mut status_fd = options.status_fd.map(writable).transpose()?;
    // At a restore, root of the user namespace must reach the images, too.
    let mode = if plan.namespaces.is_not_inherited(NsKind::User) { 0o711 } else { 0o700 };
    let directories = options.flags.directories(Some(mode), LOG)?;
    let asked = what_to_do(options, &dir, &plan, &state, &directories)?;
    steps::done("checked the configuration and CRIU");
    let starting = service::start(&criu.program, &EntryFds::default(), &[], None, || Ok(()))?;
    starting.until_ready()?;
    let service = starting.exec_criu()?;
    if let Err(error) = dump(options, service, &asked, status_fd.take(), &directories) {
        if status == Status::Running {
            thaw_again(&state);
        }
        return Err(error);
    }
    steps::done("criu wrote the images");
    if options.pre_dump || options.leave_running {
        return Ok(());
    }
    delete::destroy(dir, state, options.log).map_err(|error| {
        error.hint("run `corten delete`: the checkpoint is complete, and the container has ended")
    })
}

/// Lets CRIU write the images, and waits until CRIU has ended. How long CRIU takes depends on
/// the container's memory, and on who fetches lazy pages, so this wait has no limit.
fn dump(
    options: &Options,
    service: Service,
    asked: &CriuOptions,
    mut status_fd: Option<OwnedFd>,
    directories: &Directories,
) -> Result<()> {
    let kind = if options.pre_dump { Kind::PreDump } else { Kind::Dump };
    let mut note = |told: Notification| {
        steps::done_with(|| format!("criu says {}", told.script));
        match (told.script.as_str(), status_fd.take()) {
            ("status-ready", Some(fd)) => write(&fd, &[0]).map(drop).op("write to --status-fd"),
            (_, fd) => {
                status_fd = fd;
                Ok(())
            }
        }
    };
    let answer = service.request_with_notifications(&request(kind, asked), &mut note);
    // After a pre-dump, CRIU waits for a dump request on this connection. After a failure of
    // this process, CRIU rolls back.
    service.finish();
    let response = answer?;
    if response.success && response.is(kind) {
        return Ok(());
    }
    Err(criu::failure("checkpoint the container", &response, &directories.log).on(options.id))
}

/// Thaws a container that CRIU may have left frozen because something killed CRIU.
fn thaw_again(state: &State) {
    if state.cgroup.is_frozen().unwrap_or(true) {
        let _ = state.cgroup.thaw();
    }
}

/// Refuses a caller that is not root: CRIU needs root's rights.
pub fn check_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::msg("checkpoint and restore need root"))
}

fn what_to_do(
    options: &Options,
    dir: &Dir,
    plan: &Plan,
    state: &State,
    directories: &Directories,
) -> Result<CriuOptions> {
    let mut asked =
        options.flags.options(directories, state.annotations.get(CRIU_CONFIG).map(String::as_str))?;
    asked
        .number(Number::Pid, u64::from(state.pid().unsigned_abs()))
        .text(Text::Root, plan.rootfs.as_os_str().as_bytes())
        .truth(Number::LeaveRunning, options.leave_running)
        .truth(Number::TcpSkipInFlight, options.tcp_skip_in_flight)
        .truth(Number::LinkRemap, options.link_remap)
        .number(Number::EmptyNs, NsKind::Network.flag().for_clone());
    if options.flags.cgroups == CgroupsMode::Soft && !state.cgroup.contains_everywhere(state.pid())? {
        // If other processes share the cgroup, CRIU would treat the cgroup as the
        // container's. A restore would create all cgroups below it again.
        asked.number(Number::ManageCgroupsMode, CgroupsMode::Ignore as u64);
    }
    if let Some(freezer) = state.cgroup.freezer_path() {
        asked.text(Text::FreezeCgroup, freezer.as_os_str().as_bytes());
    }
    if let Some(parent) = &options.parent {
        check_parent(parent, &directories.images)?;
        asked.text(Text::ParentImages, parent.as_os_str().as_bytes());
    }
    asked.truth(Number::TrackMem, options.pre_dump || options.parent.is_some());
    if let Some((address, port)) = &options.page_server {
        asked.page_server(address, *port);
    }
    external::name_namespaces(plan, state.pid(), &mut asked)?;
    if options.pre_dump {
        return Ok(asked);
    }
    let notifies = dir.open_dir(NOTIFY_DIR)?.is_some();
    let plan = if notifies { &with_notify(dir, state)? } else { plan };
    external::name_mounts(plan, state.pid(), &mut asked)?;
    let descriptors = kept_stdio::name_stdio(state, options.flags.shell_job, &mut asked)?;
    save(&directories.images, DESCRIPTORS, &descriptors)?;
    if notifies {
        save(&directories.images, NOTIFIES, &true)?;
    }
    Ok(asked)
}

/// Checks that the path is relative to the images: CRIU creates a symbolic link with it.
fn check_parent(parent: &std::path::Path, images: &OwnedFd) -> Result<()> {
    let wrong =
        |what: &str| Err(Error::msg(format!("--parent-path {what}")).on(parent.display().to_string()));
    if parent.is_absolute() {
        return wrong("must be relative to --image-path");
    }
    match fstatat(images, parent, AtFlags::empty()) {
        Ok(stat) if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR => {
            Ok(())
        }
        Ok(_) => wrong("is no directory"),
        Err(_) => wrong("is missing"),
    }
}

/// Resolves the saved configuration with the mount of the payload's notify socket.
fn with_notify(dir: &Dir, state: &State) -> Result<Plan> {
    let mut config = spec::parse_config(&dir.config()?, &mut Vec::new())?;
    sd_notify::configure(&mut config, std::path::Path::new("/"));
    spec::resolve(&config, &state.bundle, &mut Vec::new())
}

fn save(images: &OwnedFd, name: &str, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|e| Error::msg(format!("{name}: {e}")))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
    let file = openat(images, name, flags, Mode::from_bits_truncate(0o600)).op_on("open", name)?;
    std::io::Write::write_all(&mut std::fs::File::from(file), &text).op_on("write", name)
}

fn writable(number: RawFd) -> Result<OwnedFd> {
    let wrong = |what: &str| Error::msg(format!("--status-fd: descriptor {number} is {what}"));
    let fd = crate::sys::fd::take_passed_fd(number).map_err(|_| wrong("not open"))?;
    let mode = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL).op("fcntl F_GETFL")?;
    match OFlag::from_bits_truncate(mode) & OFlag::O_ACCMODE {
        OFlag::O_RDONLY => Err(wrong("not writable")),
        _ => Ok(fd),
    }
}
