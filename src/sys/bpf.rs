//! bpf(2): loading and attaching a cgroup device program.

use super::{Result, check, owned};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// One instruction of the kernel's virtual machine.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    pub code: u8,
    /// Destination register in the low four bits, source in the high four.
    pub regs: u8,
    pub off: i16,
    pub imm: i32,
}

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a device program. The errno is the answer of the kernel's verifier.
pub fn load_device_program(program: &[Insn]) -> Result<OwnedFd> {
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| nix::errno::Errno::E2BIG)?,
        insns: program.as_ptr().expose_provenance() as u64,
        license: c"Apache-2.0".as_ptr().expose_provenance() as u64,
        ..LoadAttr::default()
    };
    // SAFETY: the attribute block and what it points to live through the call; its size is given.
    unsafe { owned(libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<LoadAttr>())) }
}

/// Attaches a device program to a cgroup. The programs of the cgroup's ancestors stay in
/// force.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_fd().as_raw_fd().unsigned_abs(),
        attach_bpf_fd: program.as_fd().as_raw_fd().unsigned_abs(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attribute block lives through the call; its size is given.
    check(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attr, size_of::<AttachAttr>()) })
        .map(drop)
}
