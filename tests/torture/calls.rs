//! Names of system calls, and the errors with which each can fail.

use corten::seccomp::arch::Arch;
use corten::seccomp::calls::Call;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The errors with which a call can fail on a working kernel: no permission, no memory, no
/// room, no descriptor left, a signal. Calls that the table doesn't have fail with
/// [`OTHERWISE`].
const ERRNOS: &[(&str, &[i32])] = &[
    // A call that can't fail, or whose failure no correct kernel reports.
    (
        "arch_prctl brk exit exit_group futex getegid geteuid getgid getpgid getpid getppid gettid getuid \
      restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn rseq sched_getaffinity sched_yield \
      set_robust_list set_tid_address sigaltstack umask clock_gettime alarm setitimer getcpu getpgrp getsid \
      gettimeofday personality getresuid getresgid get_robust_list clock_nanosleep nanosleep pause",
        &[],
    ),
    ("open openat", &[libc::EACCES, libc::EMFILE, libc::ENOENT, libc::EINTR]),
    ("openat2", &[libc::EACCES, libc::EMFILE, libc::ENOENT, libc::EAGAIN]),
    ("read pread64 readv preadv", &[libc::EIO, libc::EINTR, libc::ENOMEM]),
    ("write pwrite64 writev", &[libc::ENOSPC, libc::EIO, libc::EINTR, libc::EBUSY]),
    ("close", &[libc::EIO]),
    ("close_range", &[libc::ENOMEM, libc::ENOSYS]),
    (
        "stat lstat fstat newfstatat statx access faccessat faccessat2",
        &[libc::EACCES, libc::ENOENT, libc::ENOMEM],
    ),
    ("statfs fstatfs", &[libc::EACCES, libc::EIO]),
    ("mkdir mkdirat", &[libc::ENOSPC, libc::EACCES, libc::EEXIST, libc::EROFS]),
    ("mknod mknodat", &[libc::ENOSPC, libc::EPERM, libc::EROFS]),
    ("unlink unlinkat rmdir", &[libc::EBUSY, libc::EACCES, libc::EROFS]),
    ("rename renameat renameat2", &[libc::ENOSPC, libc::EACCES, libc::EIO]),
    ("link linkat symlink symlinkat", &[libc::ENOSPC, libc::EACCES, libc::EEXIST]),
    ("readlink readlinkat", &[libc::EACCES, libc::ENOENT]),
    ("chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat utimensat", &[libc::EPERM, libc::EROFS]),
    ("ftruncate fallocate", &[libc::ENOSPC, libc::EIO]),
    ("fsync fdatasync", &[libc::EIO, libc::ENOSPC]),
    ("getdents64", &[libc::EIO, libc::ENOENT]),
    ("lseek", &[libc::ESPIPE]),
    ("sendfile copy_file_range splice", &[libc::EIO, libc::ENOSPC, libc::EINTR]),
    ("fork vfork clone clone3", &[libc::EAGAIN, libc::ENOMEM, libc::EBUSY]),
    ("execve execveat", &[libc::EACCES, libc::ENOENT, libc::ENOMEM, libc::ETXTBSY]),
    ("mmap mremap munmap mprotect madvise mlock mlockall", &[libc::ENOMEM]),
    ("socket socketpair", &[libc::EMFILE, libc::ENOBUFS, libc::EACCES]),
    ("bind", &[libc::EADDRINUSE, libc::ENOSPC, libc::EACCES]),
    ("listen", &[libc::EADDRINUSE]),
    ("connect", &[libc::ECONNREFUSED, libc::EACCES, libc::EINTR]),
    ("accept accept4", &[libc::EMFILE, libc::ECONNABORTED, libc::EINTR]),
    ("sendto sendmsg", &[libc::ENOBUFS, libc::ENOMEM, libc::EINTR]),
    ("recvfrom recvmsg", &[libc::ENOMEM, libc::ECONNRESET, libc::EINTR]),
    ("setsockopt getsockopt shutdown getsockname getpeername", &[libc::ENOMEM, libc::EPERM]),
    ("pipe pipe2", &[libc::EMFILE, libc::ENFILE]),
    ("dup", &[libc::EMFILE]),
    ("dup2 dup3", &[]),
    // See `errnos_of`.
    ("fcntl", &[]),
    ("flock", &[libc::ENOLCK, libc::EINTR]),
    ("mount", &[libc::EPERM, libc::EBUSY, libc::ENOMEM]),
    ("umount2", &[libc::EBUSY, libc::EPERM]),
    ("fsopen fspick fsmount", &[libc::EPERM, libc::EMFILE, libc::ENOMEM]),
    ("fsconfig", &[libc::EINVAL, libc::EPERM, libc::ENOMEM]),
    ("open_tree", &[libc::EACCES, libc::EPERM, libc::EMFILE, libc::ENOMEM]),
    ("move_mount", &[libc::EBUSY, libc::EPERM, libc::ENOSPC]),
    ("mount_setattr", &[libc::EINVAL, libc::EPERM, libc::ENOMEM]),
    ("pivot_root", &[libc::EBUSY, libc::EINVAL]),
    ("chroot", &[libc::EPERM, libc::EACCES]),
    ("chdir fchdir", &[libc::EACCES, libc::ENOENT]),
    ("getcwd", &[libc::ENOMEM]),
    ("setns", &[libc::EPERM, libc::EINVAL, libc::ENOMEM]),
    ("unshare", &[libc::EPERM, libc::ENOSPC, libc::ENOMEM]),
    ("prctl", &[libc::EINVAL, libc::EPERM]),
    ("seccomp", &[libc::EINVAL, libc::ENOMEM, libc::EBUSY]),
    ("capget capset setgroups sethostname setdomainname setsid", &[libc::EPERM]),
    ("setuid setgid setresuid setresgid setfsuid setfsgid", &[libc::EPERM, libc::EAGAIN]),
    ("setrlimit prlimit64 getrlimit", &[libc::EPERM]),
    (
        "sched_setscheduler sched_setattr sched_setaffinity ioprio_set setpriority set_mempolicy",
        &[libc::EPERM, libc::EINVAL],
    ),
    ("keyctl add_key request_key", &[libc::EDQUOT, libc::ENOSYS, libc::EACCES]),
    ("bpf", &[libc::EPERM, libc::EINVAL, libc::ENOMEM]),
    ("ioctl", &[libc::EIO, libc::EPERM, libc::ENOTTY]),
    ("pidfd_open", &[libc::EMFILE, libc::ESRCH]),
    ("pidfd_getfd", &[libc::EMFILE, libc::EPERM]),
    ("pidfd_send_signal kill tgkill", &[libc::EPERM, libc::ESRCH]),
    ("wait4 waitid", &[libc::ECHILD, libc::EINTR]),
    ("poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2", &[libc::EINTR, libc::ENOMEM]),
    ("epoll_create1 signalfd4 timerfd_create eventfd2 inotify_init1", &[libc::EMFILE, libc::ENOMEM]),
    ("epoll_ctl inotify_add_watch", &[libc::ENOSPC, libc::ENOMEM]),
    ("getrandom", &[libc::EINTR, libc::ENOSYS]),
    ("uname sysinfo", &[libc::EFAULT]),
];

/// The errors of all other calls.
const OTHERWISE: &[i32] = &[libc::ENOMEM, libc::EPERM];

struct Known {
    name: &'static str,
    errnos: &'static [i32],
}

fn table() -> &'static HashMap<u64, Known> {
    static TABLE: OnceLock<HashMap<u64, Known>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let arch = Arch::NATIVE.expect("an architecture with a table");
        let errnos: HashMap<&str, &'static [i32]> = ERRNOS
            .iter()
            .flat_map(|(names, errnos)| names.split_whitespace().map(move |name| (name, *errnos)))
            .collect();
        let known = |call: Call| {
            let errnos = errnos.get(call.name()).copied().unwrap_or(OTHERWISE);
            Some((u64::from(call.number(arch)?), Known { name: call.name(), errnos }))
        };
        Call::all().filter_map(known).collect()
    })
}

pub fn name(number: u64) -> &'static str {
    table().get(&number).map_or("unknown", |known| known.name)
}

/// The errors with which a call of a process is made to fail. Empty: it can't fail.
pub fn errnos(pid: i32, number: u64, args: &[u64; 6]) -> Vec<i32> {
    let listed = table().get(&number).map_or(OTHERWISE, |known| known.errnos);
    let on = || std::fs::read_link(format!("/proc/{pid}/fd/{}", args[0])).unwrap_or_default();
    // The kernel's own objects have names like `pipe:[1]`, and a FIFO has no disk behind it.
    let is_channel = || {
        use std::os::unix::fs::FileTypeExt;
        let kind = std::fs::metadata(format!("/proc/{pid}/fd/{}", args[0])).map(|meta| meta.file_type());
        on().to_str().is_some_and(|name| name.contains(":[")) || kind.is_ok_and(|kind| kind.is_fifo())
    };
    match name(number) {
        "read" | "readv" if is_channel() => vec![libc::EINTR],
        "write" | "writev" if is_channel() => vec![libc::EINTR],
        "ioctl" if is_channel() => Vec::new(),
        // Only a file has something to write back.
        "close" if is_channel() || on().is_dir() || !on().is_absolute() => Vec::new(),
        "fcntl" => match i32::try_from(args[1]).unwrap_or(0) {
            libc::F_SETLK | libc::F_SETLKW | libc::F_OFD_SETLK | libc::F_OFD_SETLKW => vec![libc::ENOLCK],
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => vec![libc::EMFILE],
            _ => Vec::new(),
        },
        _ => listed.to_vec(),
    }
}

/// Whether the errno tells that something is there or not. A runtime that believes it may
/// come to another conclusion than an error.
pub fn tells_of_presence(errno: i32) -> bool {
    [libc::ENOENT, libc::ESRCH, libc::EEXIST, libc::ECHILD].contains(&errno)
}

/// Whether the call does its work although it fails: close(2) always closes.
pub fn takes_effect(number: u64) -> bool {
    name(number) == "close"
}

/// The name of an errno: EPERM.
pub fn errno_name(errno: i32) -> String {
    let shown = format!("{:?}", nix::errno::Errno::from_raw(errno));
    // Two names for one number.
    if shown == "EWOULDBLOCK" { "EAGAIN".to_owned() } else { shown }
}

/// What an error may call an errno: its name, the C library's words, runc's words.
pub fn errno_names(errno: i32) -> Vec<String> {
    let words = std::io::Error::from_raw_os_error(errno).to_string();
    let words = words.split(" (os error").next().unwrap_or_default().to_owned();
    // Go, and so runc, has words of its own for some.
    let mut names = vec![errno_name(errno), words, nix::errno::Errno::from_raw(errno).desc().to_owned()];
    match errno {
        libc::ENOENT => names.push("does not exist".to_owned()),
        libc::EEXIST => names.push("already exists".to_owned()),
        _ => {}
    }
    names
}
