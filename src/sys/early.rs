//! The seal, before libc starts.
//!
//! No container may reach the runtime's binary for writing (CVE-2019-5736). So the verbs
//! that start processes run from a detached, read-only bind mount of the binary
//! (`launch/seal.rs` has the details).
//!
//! That costs a second exec. With glibc, most of the time of such an exec is its start-up:
//! 68 CPUID instructions trap in a virtual machine (0.45 ms). So the ELF entry point of the
//! binary is `corten_entry`. It seals the process with five raw system calls, and only
//! the sealed image goes on to libc's `_start`.
//!
//! This code must not use libc, thread-locals, relocated data or `memcpy`, because the
//! image isn't relocated yet. If a step fails, the process goes on to `_start`. Then
//! `launch::seal`, which can use all of the runtime, decides what to do.

use std::sync::atomic::{AtomicBool, Ordering};

/// Defines the list of sealed verbs, and the function that looks for them. The code before
/// libc calls the function with each argument, because it has no parser. A verb of the list
/// always stands in argv, so the function finds it. An argument that only looks like a verb
/// (an id named `run`) costs nothing but time.
///
/// `cli/mod.rs` says for each verb whether it is sealed, and its unit test holds this list
/// against those verbs. A sealed verb that is missing here would be sealed later, by
/// `launch::seal`. tests/security.rs tries each sealed verb (`cve_2019_5736_by_*`).
macro_rules! sealed_verbs {
    ($($verb:literal),+) => {
        /// The verbs that this file seals.
        #[cfg(test)]
        pub const SEALED_VERBS: &[&[u8]] = &[$($verb.as_slice()),+];

        /// Whether the argument is one of these verbs. Uses no table, because a table
        /// needs relocations.
        ///
        /// # Safety
        /// `arg` must point to a C string.
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        unsafe fn names_sealed_verb(arg: *const u8) -> bool {
            // SAFETY: as the caller promises.
            unsafe { $(x86_64::is(arg, const { x86_64::word($verb) }, const { $verb.len() }))|+ }
        }
    };
}

// The verbs that put a process into a container. Each has at most eight letters.
sealed_verbs!(b"create", b"run", b"exec", b"restore", b"mounts");

/// Set before libc starts if this file has found /proc/self/exe read-only.
static IS_SEALED: AtomicBool = AtomicBool::new(false);

/// Whether the code before libc has seen that the process runs from a sealed image.
pub fn is_sealed() -> bool {
    IS_SEALED.load(Ordering::Relaxed)
}

/// Returns the arguments of C's `main`.
///
/// # Safety
/// `argc` and `argv` must be those of `main`.
pub unsafe fn args(argc: libc::c_int, argv: *const *const libc::c_char) -> Vec<std::ffi::OsString> {
    use std::os::unix::ffi::OsStringExt;
    let count = usize::try_from(argc).unwrap_or(0);
    (0..count)
        // SAFETY: the kernel gave `argc` valid C strings, and they live as long as the process.
        .map(|i| unsafe { std::ffi::CStr::from_ptr(*argv.add(i)) }.to_bytes().to_vec())
        .map(std::ffi::OsString::from_vec)
        .collect()
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::{asm, naked_asm};
    use core::mem::MaybeUninit;
    use core::sync::atomic::Ordering::Relaxed;

    const STATFS_FLAGS_WORD: usize = 10;
    const ST_RDONLY: usize = 1;
    const AT_FDCWD: usize = (-100isize).cast_unsigned();
    const AT_EMPTY_PATH: usize = 0x1000;
    const OPEN_TREE_CLONE_CLOEXEC: usize = 1 | 0o2_000_000;

    /// The binary's entry point. `src/build.rs` tells the linker its name.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn corten_entry() -> ! {
        // The stack holds argc, argv and envp. rdx holds the loader's exit hook. Both
        // reach _start unchanged. Two pushes keep the stack aligned.
        naked_asm!(
            "xor ebp, ebp",
            "mov rdi, rsp",
            "push rdx",
            "push rdi",
            "call {seal}",
            "pop rdi",
            "pop rdx",
            "jmp _start",
            seal = sym seal,
        )
    }

    #[inline(always)]
    unsafe fn syscall(nr: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> libc::c_long {
        let ret: libc::c_long;
        // SAFETY: the kernel's calling convention; callers pass valid pointers.
        unsafe {
            asm!("syscall", inlateout("rax") nr => ret, in("rdi") a, in("rsi") b, in("rdx") c,
                in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        ret
    }

    #[inline(always)]
    fn address<T: ?Sized>(thing: *const T) -> usize {
        thing.cast::<u8>().expose_provenance()
    }

    /// Whether the C string at `arg` equals the `len` letters in `word`. The comparison
    /// is code, because a table of strings would need relocations.
    ///
    /// # Safety
    /// `arg` must point to a C string.
    #[inline(always)]
    pub unsafe fn is(arg: *const u8, word: u64, len: usize) -> bool {
        let mut i = 0;
        while i < len {
            // SAFETY: the loop reads no byte past the terminator: a shorter string
            // differs at its terminator, and the loop ends there.
            if unsafe { arg.add(i).read() } != word.to_le_bytes()[i] {
                return false;
            }
            i += 1;
        }
        // SAFETY: `len` bytes were not the terminator, so this one belongs to the string.
        (unsafe { arg.add(len).read() }) == 0
    }

    /// Returns the letters of `text` in the form that [`is`] takes: the first one in the
    /// lowest byte.
    pub const fn word(text: &[u8]) -> u64 {
        assert!(text.len() <= 8, "a verb of more than eight letters");
        let mut word = 0;
        let mut i = 0;
        while i < text.len() {
            word |= (text[i] as u64) << (8 * i);
            i += 1;
        }
        word
    }

    /// Re-executes the binary from a sealed image, if an argument names a sealed verb.
    ///
    /// # Safety
    /// `stack` must be the stack pointer at the process's entry.
    unsafe extern "C" fn seal(stack: *const usize) {
        // SAFETY: the ABI puts argc at the stack pointer, then argv and envp,
        // each ended by a null.
        unsafe {
            let argc = stack.read();
            let argv = stack.add(1);
            let envp = argv.add(argc + 1);
            let mut wanted = false;
            let mut i = 1;
            while i < argc {
                let arg = core::ptr::with_exposed_provenance::<u8>(argv.add(i).read());
                wanted |= super::names_sealed_verb(arg);
                i += 1;
            }
            if wanted {
                reexec(address(argv), address(envp));
            }
        }
    }

    /// Re-executes the binary from a read-only bind mount. Returns if the image is sealed
    /// already, or if a step fails.
    ///
    /// # Safety
    /// `argv` and `envp` must be the addresses of the process's own vectors.
    unsafe fn reexec(argv: usize, envp: usize) {
        let exe = address(c"/proc/self/exe".as_ptr());
        let empty = address(c"".as_ptr());
        let mut statfs = MaybeUninit::<[usize; 16]>::uninit();
        // A struct mount_attr: set, clear, propagation, userns_fd. It is written field by
        // field, so that the compiler calls no memset.
        let mut attr = MaybeUninit::<[u64; 4]>::uninit();
        // SAFETY: the buffers are large enough for what the kernel writes or reads. The
        // strings are C strings. The descriptor is closed if execveat returns.
        unsafe {
            if syscall(libc::SYS_statfs, exe, address(statfs.as_ptr()), 0, 0, 0) < 0 {
                return;
            }
            let flags = statfs.as_mut_ptr().cast::<usize>().add(STATFS_FLAGS_WORD).read_volatile();
            if flags & ST_RDONLY != 0 {
                super::IS_SEALED.store(true, Relaxed);
                return;
            }
            let tree = syscall(libc::SYS_open_tree, AT_FDCWD, exe, OPEN_TREE_CLONE_CLOEXEC, 0, 0);
            if tree < 0 {
                return;
            }
            let tree = usize::try_from(tree).unwrap_or(0);
            let fields = attr.as_mut_ptr().cast::<u64>();
            fields.write_volatile(super::super::mount::MOUNT_ATTR_RDONLY);
            fields.add(1).write_volatile(0);
            fields.add(2).write_volatile(0);
            fields.add(3).write_volatile(0);
            let set =
                syscall(libc::SYS_mount_setattr, tree, empty, AT_EMPTY_PATH, address(attr.as_ptr()), 32);
            if set == 0 {
                syscall(libc::SYS_execveat, tree, empty, argv, envp, AT_EMPTY_PATH);
            }
            syscall(libc::SYS_close, tree, 0, 0, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    /// Each argument is an allocation of its own, so that Miri sees a read beyond its end
    /// (tests/fuzz/README.md).
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_sealed_verb_is_found_and_nothing_beyond_an_argument_is_read() {
        let is_found = |text: &[u8]| {
            let arg = [text, b"\0"].concat().into_boxed_slice();
            // SAFETY: the argument ends with a NUL byte.
            unsafe { names_sealed_verb(arg.as_ptr()) }
        };
        for verb in SEALED_VERBS {
            assert!(is_found(verb));
            assert!((0..verb.len()).all(|end| !is_found(&verb[..end])));
            assert!(!is_found(&[*verb, b"x"].concat()) && !is_found(&[b"x", *verb].concat()));
        }
    }

    #[test]
    fn the_arguments_are_those_of_main() {
        let texts = [c"corten", c"", c"\xff b"];
        let argv: Vec<_> = texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        // SAFETY: three C strings, which live through the call.
        let args = unsafe { args(3, argv.as_ptr()) };
        let seen: Vec<_> = args.iter().map(|arg| arg.as_bytes()).collect();
        assert_eq!(seen, [&b"corten"[..], b"", b"\xff b"]);
    }
}
