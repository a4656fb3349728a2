//! Counts the instructions that a command executes in user space, by ptrace(2) one step
//! after the other. Counters of the processor are missing in most virtual machines.

use crate::tracer::{self, Command, Ended};
use anyhow::{Result, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::os::fd::AsRawFd;

/// The limit for one command, in seconds. A step takes 30 µs if a hypervisor handles the trap.
const LIMIT: libc::c_uint = 180;

/// Whether a step works on this machine. On aarch64, each step clears the exclusive monitor,
/// and a loop of load and store exclusive never ends.
pub const ARE_COUNTED: bool = cfg!(target_arch = "x86_64");

/// Keeps this process and its children on one CPU: a step takes four times as long if it
/// wakes another CPU.
pub fn stay_on_one_cpu() -> Result<()> {
    let mut cpus = nix::sched::CpuSet::new();
    cpus.set(nix::sched::sched_getcpu()?)?;
    Ok(nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus)?)
}

extern "C" fn interrupt(_: libc::c_int) {}

/// Runs the command. Counts the instructions of its first process, from the execve on, with
/// those of a program that this process executes in turn. Other processes run without steps.
/// An iteration of a repeated instruction (`rep movsb`) counts as one, because the processor
/// stops after each.
pub fn count(command: &Command) -> Result<(Ended, u64)> {
    let (out, err) = (tracer::memory_file(), tracer::memory_file());
    let (gate, opener) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let pid = command.fork(gate.as_raw_fd(), out.as_raw_fd(), err.as_raw_fd());
    let options = libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;
    let seized = tracer::ptrace(libc::PTRACE_SEIZE, pid, 0, options as usize);
    ensure!(seized == 0, "PTRACE_SEIZE: {}", std::io::Error::last_os_error());
    nix::unistd::write(&opener, &[0])?;
    let (status, steps) = follow(pid)?;
    let (stdout, stderr) = (tracer::content(&out), tracer::content(&err));
    Ok((Ended { code: tracer::code(status), stdout, stderr, ..Ended::default() }, steps))
}

/// Returns the wait status of the process and the number of its steps after the first execve.
fn follow(pid: i32) -> Result<(i32, u64)> {
    // Without SA_RESTART: the signal ends a waitpid(2).
    let action = SigAction::new(SigHandler::Handler(interrupt), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGALRM, &action) }?;
    nix::unistd::alarm::set(LIMIT);
    let (mut steps, mut executed) = (0, false);
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for writing; the process is our child.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if waited != pid {
            let error = std::io::Error::last_os_error();
            tracer::kill(pid);
            anyhow::bail!("after {LIMIT} s and {steps} instructions: {error}");
        }
        if tracer::has_ended(status) {
            nix::unistd::alarm::cancel();
            return Ok((status, steps));
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let mut passed_on = 0;
        match event {
            0 if signal == libc::SIGTRAP => steps += u64::from(executed),
            0 => passed_on = signal,
            libc::PTRACE_EVENT_EXEC => executed = true,
            _ => {}
        }
        let request = if executed { libc::PTRACE_SINGLESTEP } else { libc::PTRACE_CONT };
        tracer::ptrace(request, pid, 0, usize::try_from(passed_on)?);
    }
}
