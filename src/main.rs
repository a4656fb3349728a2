//! The command: arguments in, exit status out.
//!
//! There is no Rust `main`: the standard library's start-up reads
//! /proc/self/maps and installs handlers for a stack overflow, which costs
//! more than parsing a config, and it ignores SIGPIPE, which payloads would
//! inherit. C's `main` does neither.
#![no_main]
#![allow(unsafe_code, reason = "the symbol `main` is C's")]

use std::ffi::{c_char, c_int};

/// # Safety
/// Called by libc's start-up code alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are main's own arguments.
    let args = unsafe { corten::sys::early::args(argc, argv) };
    corten::cli::main(args)
}
