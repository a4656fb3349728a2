//! Runs a command under ptrace(2), counts the system calls of each of its processes, and
//! lets one of them fail, or kills the process that makes it.
//!
//! A process is known by its number: 0 is the command itself, and each process that it or
//! one of its children clones gets the next one. A process other than the command is let
//! go when it executes another program: from there on it is no process of the runtime.

use super::calls;
use super::registers;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// What happens at a system call.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// The process gets SIGKILL before the kernel executes the call.
    Kill,
    /// The call fails with this errno.
    Errno(i32),
}

/// One fault.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The number of the process.
    pub process: usize,
    /// The index among the system calls of this process.
    pub call: usize,
    /// The number of the system call. If the process makes another one here, nothing happens.
    pub number: u64,
    pub kind: Kind,
}

/// A system call that a process made.
#[derive(Debug)]
pub struct Made {
    pub number: u64,
    /// The errors with which it could have failed.
    pub errnos: Vec<i32>,
}

/// A fault that took place.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    pub process: usize,
    /// The errno that the call returned. `None`: the process was killed.
    pub errno: Option<i32>,
}

/// How a command ended, and what it said.
#[derive(Debug, Default)]
pub struct Ended {
    /// The exit code, or 128 + the signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// What each process was doing when the time was over. Empty: the command ended in time.
    pub hang: Vec<String>,
    pub took: Duration,
}

/// What came of a traced command.
#[derive(Debug, Default)]
pub struct Traced {
    pub ended: Ended,
    /// The system calls that each process made, in order, if no fault was asked for.
    pub calls: Vec<Vec<Made>>,
    pub hit: Option<Hit>,
}

/// A process that has to do with a command and is not its child.
#[derive(Clone, Copy)]
pub enum Beside {
    None,
    /// It is traced, too.
    Traced(i32),
    /// The command waits for its end. It is killed when the command polls.
    KilledAtPoll(i32),
}

/// A command with its arguments, as execve(2) takes it.
pub struct Command {
    words: Vec<CString>,
    /// The file that the command finds in place of /proc/self/mountinfo.
    mountinfo: Option<CString>,
    /// Its $PATH.
    path: String,
}

const OPTIONS: libc::c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_EXITKILL;

/// After the command has ended, how long its children may sleep before they are let go.
const SETTLED: Duration = Duration::from_millis(5);

thread_local! {
    /// How the children ended that were reaped since the last [`forget_reaped`]: orphans of
    /// the runtime, too, because this process is a subreaper.
    static REAPED: RefCell<HashMap<i32, i32>> = RefCell::default();
}

fn text(word: &str) -> CString {
    CString::new(word).expect("no zero byte in an argument")
}

pub fn memory_file() -> File {
    // SAFETY: the kernel reads a string that ends with zero, and returns a new descriptor.
    let fd = unsafe { libc::memfd_create(c"out".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given us this descriptor.
    unsafe { File::from_raw_fd(fd) }
}

pub fn content(mut file: &File) -> String {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut text)).expect("read a memory file");
    String::from_utf8_lossy(&text).into_owned()
}

/// The output of a command that the container may go on writing to.
pub struct Output(File);

impl Output {
    pub fn text(&self) -> String {
        content(&self.0)
    }
}

impl Command {
    pub fn new<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Command {
        Command {
            words: words.into_iter().map(|word| text(word.as_ref())).collect(),
            mountinfo: None,
            path: "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        }
    }

    /// Puts a directory before all others in the command's $PATH.
    pub fn with_dir_in_path(self, dir: &Path) -> Command {
        Command { path: format!("{}:{}", dir.display(), self.path), ..self }
    }

    /// Binds the file over the /proc/self/mountinfo of the command. The mount goes when the
    /// process ends.
    pub fn with_mountinfo(self, file: &Path) -> Command {
        Command { mountinfo: Some(text(file.to_str().expect("UTF-8"))), ..self }
    }

    /// Forks a child that executes the command after it has read a byte from `gate`.
    pub fn fork(&self, gate: RawFd, out: RawFd, err: RawFd) -> i32 {
        let mut argv: Vec<_> = self.words.iter().map(|word| word.as_ptr()).collect();
        argv.push(std::ptr::null());
        let path = text(&format!("PATH={}", self.path));
        let envp = [path.as_ptr(), std::ptr::null()];
        // SAFETY: this process has one thread, so the child may do all that this one may. It
        // ends by execve or _exit.
        unsafe {
            let pid = libc::fork();
            if pid != 0 {
                assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
                return pid;
            }
            let mut none = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            let stdin = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            let mut byte = 0_u8;
            if gate >= 0 && libc::read(gate, (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(126);
            }
            if let Some(file) = &self.mountinfo {
                let (place, none) = (c"/proc/self/mountinfo".as_ptr(), std::ptr::null());
                if libc::mount(file.as_ptr(), place, none, libc::MS_BIND, none.cast()) != 0 {
                    libc::_exit(126);
                }
            }
            libc::dup2(stdin, 0);
            libc::dup2(out, 1);
            libc::dup2(err, 2);
            libc::execve(argv[0], argv.as_ptr(), envp.as_ptr());
            libc::_exit(127)
        }
    }

    /// Runs the command without a tracer.
    pub fn run(&self, bound: Duration) -> (Ended, Output) {
        let (out, err) = (memory_file(), memory_file());
        let began = Instant::now();
        let pid = self.fork(-1, out.as_raw_fd(), err.as_raw_fd());
        let mut ended = Ended::default();
        match wait_for(pid, began + bound) {
            Some(status) => ended.code = code(status),
            None => {
                ended.hang = vec![what_it_does(pid)];
                kill(pid);
                wait_for(pid, Instant::now() + bound);
            }
        }
        ended.took = began.elapsed();
        (ended.stdout, ended.stderr) = (content(&out), content(&err));
        (ended, Output(out))
    }

    /// Runs the command under ptrace(2) with at most one fault.
    /// After `bound` the command and all of its children are killed.
    pub fn trace(&self, fault: Option<Fault>, beside: Beside, bound: Duration) -> (Traced, Output) {
        let (out, err) = (memory_file(), memory_file());
        let mut pipe = [0; 2];
        // SAFETY: the kernel writes two descriptors.
        assert_eq!(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) }, 0, "pipe2");
        let began = Instant::now();
        let pid = self.fork(pipe[0], out.as_raw_fd(), err.as_raw_fd());
        let mut tracer = Tracer {
            main: pid,
            fault,
            killed_at_poll: None,
            tracees: BTreeMap::new(),
            traced: Traced::default(),
            early: BTreeSet::new(),
            deadline: began + bound,
        };
        tracer.seize(pid);
        match beside {
            Beside::None => {}
            Beside::Traced(pid) => tracer.seize(pid),
            Beside::KilledAtPoll(pid) => tracer.killed_at_poll = Some(pid),
        }
        // SAFETY: the kernel reads one byte; both descriptors are ours.
        unsafe {
            libc::write(pipe[1], [0_u8].as_ptr().cast(), 1);
            libc::close(pipe[0]);
            libc::close(pipe[1]);
        }
        let mut traced = tracer.follow();
        traced.ended.took = began.elapsed();
        (traced.ended.stdout, traced.ended.stderr) = (content(&out), content(&err));
        (traced, Output(out))
    }
}

struct Tracee {
    /// The number of the process; see the head of this file.
    number: usize,
    /// Whether its calls count. Those of the command count from its execve on.
    counts: bool,
    /// The number of calls so far.
    made: usize,
    /// The errno that the call in progress is to return.
    injecting: Option<i32>,
}

struct Tracer {
    main: i32,
    fault: Option<Fault>,
    /// The process that is killed at the next poll(2) of the command.
    killed_at_poll: Option<i32>,
    tracees: BTreeMap<i32, Tracee>,
    traced: Traced,
    /// Children that stopped before the event of their parent.
    early: BTreeSet<i32>,
    deadline: Instant,
}

pub fn ptrace(request: libc::c_uint, pid: i32, address: usize, data: usize) -> libc::c_long {
    // SAFETY: the requests made here take integers, or an address of ours that the caller
    // keeps valid.
    unsafe { libc::ptrace(request, pid, address, data) }
}

pub fn kill(pid: i32) {
    // SAFETY: integers only. The process is a child of ours, or a tracee, that is not reaped.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

pub fn code(status: i32) -> i32 {
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// Waits for SIGCHLD, which is blocked. False: the time is over.
pub fn wait_for_child(until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    let time = libc::timespec {
        tv_sec: i64::try_from(left.as_secs()).expect("a short time"),
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    // SAFETY: the set and the time are valid for reading; no siginfo is asked for.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const time) == libc::SIGCHLD
    }
}

/// The next change of state of a child or tracee. `None`: nothing has changed.
pub fn next_status() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) };
    if pid > 0 && has_ended(status) {
        REAPED.with_borrow_mut(|reaped| reaped.insert(pid, status));
    }
    (pid > 0).then_some((pid, status))
}

pub fn has_ended(status: i32) -> bool {
    libc::WIFEXITED(status) || libc::WIFSIGNALED(status)
}

/// Forgets the processes that were reaped: their pids may be used again.
pub fn forget_reaped() {
    REAPED.with_borrow_mut(HashMap::clear);
}

/// Waits for the end of a child; returns its exit code, or 128 + the signal.
pub fn exit_code(pid: i32, bound: Duration) -> Option<i32> {
    wait_for(pid, Instant::now() + bound).map(code)
}

/// Waits for the end of a child, and reaps every other child that ends meanwhile.
fn wait_for(pid: i32, until: Instant) -> Option<i32> {
    loop {
        while next_status().is_some() {}
        if let Some(status) = REAPED.with_borrow(|reaped| reaped.get(&pid).copied()) {
            return Some(status);
        }
        if !wait_for_child(until) && Instant::now() >= until {
            return None;
        }
    }
}

/// Whether a process waits for another one. False while it runs, waits for a processor or
/// for the kernel, or is stopped.
fn sleeps(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|after| after.chars().next());
    !state.is_some_and(|state| "RDt".contains(state))
}

/// The state of a process, and the kernel function in which it waits.
fn what_it_does(pid: i32) -> String {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let call = read("syscall");
    let number = call.split(' ').next().and_then(|number| number.parse().ok());
    let state = read("status").lines().find(|line| line.starts_with("State")).unwrap_or("gone").to_owned();
    format!("{pid} {} {state} in {} {}", read("comm").trim(), number.map_or("?", calls::name), read("wchan"))
}

impl Tracer {
    fn seize(&mut self, pid: i32) {
        if ptrace(libc::PTRACE_SEIZE, pid, 0, OPTIONS as usize) != 0 {
            return;
        }
        // Only a stopped tracee can be told to stop at its calls.
        ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0);
        self.adopt(pid, pid != self.main);
    }

    fn adopt(&mut self, pid: i32, counts: bool) {
        let number = self.traced.calls.len();
        self.traced.calls.push(Vec::new());
        self.tracees.insert(pid, Tracee { number, counts, made: 0, injecting: None });
    }

    fn follow(mut self) -> Traced {
        let mut ended = false;
        loop {
            while let Some((pid, status)) = next_status() {
                if has_ended(status) {
                    self.tracees.remove(&pid);
                    if pid == self.main {
                        self.traced.ended.code = code(status);
                        ended = true;
                    }
                } else {
                    self.stopped(pid, status);
                }
                if Instant::now() >= self.deadline {
                    break;
                }
            }
            if ended && self.tracees.is_empty() {
                break;
            }
            let settled = Instant::now() + SETTLED;
            let until = if ended { settled.min(self.deadline) } else { self.deadline };
            if !wait_for_child(until)
                && Instant::now() >= until
                && (until == self.deadline || self.tracees.keys().all(|pid| sleeps(*pid)))
            {
                break;
            }
        }
        if !ended {
            self.traced.ended.hang = self.tracees.keys().map(|pid| what_it_does(*pid)).collect();
            self.tracees.keys().for_each(|pid| kill(*pid));
        }
        self.let_go(ended);
        self.traced
    }

    /// Detaches from what still runs, or waits for the end of what was killed.
    fn let_go(&mut self, detach: bool) {
        self.tracees.keys().for_each(|pid| {
            ptrace(libc::PTRACE_INTERRUPT, *pid, 0, 0);
        });
        let until = Instant::now() + Duration::from_secs(5);
        while !self.tracees.is_empty() {
            while let Some((pid, status)) = next_status() {
                if has_ended(status) {
                    self.tracees.remove(&pid);
                } else if detach {
                    let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) & 0x7f } else { 0 };
                    let signal = if signal == libc::SIGTRAP { 0 } else { signal };
                    ptrace(libc::PTRACE_DETACH, pid, 0, signal as usize);
                    self.tracees.remove(&pid);
                }
            }
            if !self.tracees.is_empty() && !wait_for_child(until) && Instant::now() >= until {
                break;
            }
        }
    }

    fn stopped(&mut self, pid: i32, status: i32) {
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if !self.tracees.contains_key(&pid) {
            // The first stop of a new child.
            self.adopt(pid, true);
            self.early.insert(pid);
            return self.resume(pid, 0);
        }
        match event {
            0 if signal == libc::SIGTRAP | 0x80 => self.at_call(pid),
            0 => self.resume(pid, signal),
            libc::PTRACE_EVENT_EXEC => self.executed(pid),
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => {
                ptrace(libc::PTRACE_LISTEN, pid, 0, 0);
            }
            libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                let mut child: libc::c_ulong = 0;
                ptrace(libc::PTRACE_GETEVENTMSG, pid, 0, &raw mut child as usize);
                let child = i32::try_from(child).expect("a pid");
                if !self.early.remove(&child) {
                    self.adopt(child, true);
                }
                self.resume(pid, 0);
            }
            _ => self.resume(pid, 0),
        }
    }

    fn executed(&mut self, pid: i32) {
        if pid == self.main {
            if let Some(tracee) = self.tracees.get_mut(&pid) {
                tracee.counts = true;
            }
            return self.resume(pid, 0);
        }
        ptrace(libc::PTRACE_DETACH, pid, 0, 0);
        self.tracees.remove(&pid);
    }

    /// After the fault, nobody stops at calls any more, unless a poll(2) is awaited.
    fn resume(&self, pid: i32, signal: i32) {
        let injecting = self.tracees.get(&pid).is_some_and(|tracee| tracee.injecting.is_some());
        let will_kill = pid == self.main && self.killed_at_poll.is_some();
        let done = self.traced.hit.is_some() && !injecting && !will_kill;
        let request = if done { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
        ptrace(request, pid, 0, signal as usize);
    }

    /// A process stops before or after a system call.
    fn at_call(&mut self, pid: i32) {
        let stop = registers::stop(pid);
        if let Some(registers::Stop::Entry(number, _)) = stop
            && pid == self.main
            && ["poll", "ppoll"].contains(&calls::name(number))
            && let Some(waited_for) = self.killed_at_poll.take()
        {
            kill(waited_for);
        }
        let Some(tracee) = self.tracees.get_mut(&pid) else { return };
        match stop {
            Some(registers::Stop::Entry(number, args)) if tracee.counts && self.traced.hit.is_none() => {
                let index = tracee.made;
                tracee.made += 1;
                let Some(fault) = self.fault else {
                    let errnos = calls::errnos(pid, number, &args);
                    self.traced.calls[tracee.number].push(Made { number, errnos });
                    return self.resume(pid, 0);
                };
                if (fault.process, fault.call) != (tracee.number, index) {
                    return self.resume(pid, 0);
                }
                match fault.kind {
                    Kind::Kill => {
                        self.traced.hit = Some(Hit { process: tracee.number, errno: None });
                        kill(pid);
                    }
                    Kind::Errno(errno) if fault.number == number => {
                        tracee.injecting = Some(errno);
                        self.traced.hit = Some(Hit { process: tracee.number, errno: Some(errno) });
                        if !calls::takes_effect(number) {
                            registers::skip_call(pid);
                        }
                    }
                    Kind::Errno(_) => {}
                }
            }
            Some(registers::Stop::Exit) => {
                if let Some(errno) = tracee.injecting.take() {
                    registers::set_result(pid, -i64::from(errno));
                }
            }
            _ => {}
        }
        self.resume(pid, 0);
    }
}
