//! The registers of a process that is stopped, mostly at a system call: the part of the tracer
//! that depends on the architecture.

/// Where a process has stopped.
pub enum Stop {
    /// Before the call of this number, with these arguments.
    Entry(u64, [u64; 6]),
    /// After a call.
    Exit,
}

/// Whether this architecture is known here.
pub const ARE_KNOWN: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Asks the kernel about a stopped process.
fn info(pid: i32) -> Option<libc::ptrace_syscall_info> {
    // SAFETY: all zeros is a value of this C struct.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&info);
    // SAFETY: `info` is valid for writing `size` bytes.
    let length = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info) };
    (length > 0).then_some(info)
}

/// Asks the kernel where the process has stopped.
pub fn stop(pid: i32) -> Option<Stop> {
    let info = info(pid)?;
    match info.op {
        // SAFETY: `op` says that the kernel has filled in this member.
        libc::PTRACE_SYSCALL_INFO_ENTRY => Some(unsafe { Stop::Entry(info.u.entry.nr, info.u.entry.args) }),
        libc::PTRACE_SYSCALL_INFO_EXIT => Some(Stop::Exit),
        _ => None,
    }
}

/// Returns the address of the next instruction of a stopped process.
pub fn instruction_pointer(pid: i32) -> Option<u64> {
    info(pid).map(|info| info.instruction_pointer)
}

#[cfg(target_arch = "x86_64")]
fn poke(pid: i32, register: usize, value: i64) {
    // SAFETY: integers only: an offset in `struct user`, and a value.
    unsafe { libc::ptrace(libc::PTRACE_POKEUSER, pid, register * 8, value) };
}

/// Lets the kernel skip the call at whose entry the process has stopped.
#[cfg(target_arch = "x86_64")]
pub fn skip_call(pid: i32) {
    poke(pid, libc::ORIG_RAX as usize, -1);
}

/// Sets what the call returns at whose exit the process has stopped.
#[cfg(target_arch = "x86_64")]
pub fn set_result(pid: i32, value: i64) {
    poke(pid, libc::RAX as usize, value);
}

/// Lets the kernel skip the call at whose entry the process has stopped.
#[cfg(target_arch = "aarch64")]
pub fn skip_call(pid: i32) {
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    let mut none: libc::c_int = -1;
    let mut part = libc::iovec { iov_base: (&raw mut none).cast(), iov_len: 4 };
    // SAFETY: the vector names four bytes that are valid for reading.
    unsafe { libc::ptrace(libc::PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &raw mut part) };
}

/// Sets what the call returns at whose exit the process has stopped.
#[cfg(target_arch = "aarch64")]
pub fn set_result(pid: i32, value: i64) {
    const NT_PRSTATUS: usize = 1;
    // Of 34 registers, the first has the result.
    let mut registers = [0_i64; 34];
    let mut part = libc::iovec { iov_base: registers.as_mut_ptr().cast(), iov_len: 34 * 8 };
    // SAFETY: the vector names an array that is valid for reading and writing.
    unsafe {
        libc::ptrace(libc::PTRACE_GETREGSET, pid, NT_PRSTATUS, &raw mut part);
        registers[0] = value;
        libc::ptrace(libc::PTRACE_SETREGSET, pid, NT_PRSTATUS, &raw mut part);
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn skip_call(_: i32) {}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn set_result(_: i32, _: i64) {}
