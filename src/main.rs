//! The entry point of the program: calls [`corten::cli::main`] with the arguments.
//!
//! There is no Rust `main`. The start-up code of the standard library reads
//! /proc/self/maps and installs handlers for a stack overflow, and this costs more than
//! parsing a configuration. That code also ignores SIGPIPE, and payloads would inherit
//! this. C's `main` does none of this.
#![no_main]
#![allow(unsafe_code, reason = "the symbol `main` is C's")]

use std::ffi::{c_char, c_int};

#[global_allocator]
static MEMORY: corten::sys::arena::Arena = corten::sys::arena::Arena::new();

/// # Safety
/// Only libc's start-up code may call this function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are main's own arguments.
    let args = unsafe { corten::sys::early::args(argc, argv) };
    corten::cli::main(args)
}
