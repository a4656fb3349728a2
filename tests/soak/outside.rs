//! The process on the host: it starts the soak in its namespaces, and cleans up when the soak
//! has ended, also by a signal.

use crate::machine;
use crate::options::Options;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Child, Command, ExitCode};

/// Runs the soak in a directory of its own.
pub fn run(options: &Options) -> ExitCode {
    let token = format!("soak{}x", std::process::id());
    let work = std::env::temp_dir().join(&token);
    if let Err(error) = std::fs::create_dir(&work) {
        eprintln!("soak: mkdir {}: {error}", work.display());
        return ExitCode::from(2);
    }
    let code = match in_namespaces(&work, options) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("soak: {why}");
            ExitCode::FAILURE
        }
    };
    // All processes of the soak have ended. A cgroup comes after the one that contains it.
    for cgroup in machine::cgroups_named(&token).iter().rev() {
        let _ = std::fs::remove_dir(cgroup);
    }
    // The mounts below it are gone with the namespace.
    if let Err(error) = std::fs::remove_dir(&work) {
        eprintln!("soak: rmdir {}: {error}", work.display());
    }
    code
}

/// Runs this program again in its namespaces, and waits until all of its processes have ended.
fn in_namespaces(work: &Path, options: &Options) -> Result<ExitCode, String> {
    let own = std::env::current_exe().map_err(|error| format!("the path of this program: {error}"))?;
    // Before the child: none of its signals is lost. The child starts without a blocked signal,
    // as all of `Command`.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        signals.add(signal);
    }
    signals.thread_block().map_err(|errno| format!("pthread_sigmask: {errno}"))?;
    // The first process of the pid namespace becomes a child of this process if unshare is killed.
    nix::sys::prctl::set_child_subreaper(true).map_err(|errno| format!("prctl: {errno}"))?;
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(own)
        .arg("--inside")
        .arg(work)
        .args(options.to_args())
        .spawn()
        .map_err(|error| format!("setpriv (util-linux): {error}"))?;
    let code = wait(&mut child, &signals);
    let _ = child.kill();
    while waitpid(None::<Pid>, None).is_ok() {}
    code
}

/// Waits for the child's end or for a signal that ends this process.
fn wait(child: &mut Child, signals: &SigSet) -> Result<ExitCode, String> {
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) if status.success() => return Ok(ExitCode::SUCCESS),
                Ok(Some(_)) => return Ok(ExitCode::FAILURE),
                Err(error) => return Err(format!("wait: {error}")),
            },
            Ok(signal) => return Err(format!("ended by {signal}")),
            Err(errno) => return Err(format!("sigwait: {errno}")),
        }
    }
}
