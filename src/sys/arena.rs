//! The binary's memory allocator: an arena in the binary's own zeroed memory.
//!
//! A command lives for a millisecond and asks for memory some thousand times. musl maps a
//! region for each size of block, and unmaps it when its last block is free: dozens of
//! system calls and page faults. The arena makes no call, and its pages are used in order.
//!
//! A block is taken from the arena's end. The last block can grow in place, and its memory
//! is used again when it is freed. All other freed blocks stay unused, so the arena is
//! bounded: when it is full, libc's allocator takes over. So a command that runs for days
//! (`run`, `events`) doesn't grow.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes. A `create` with Docker's configuration uses a third. Pages that are not used
/// cost nothing.
const SIZE: usize = 1 << 20;

/// What malloc gives to every block, however it was asked for. nix relies on it: it takes the
/// bytes of a control message for a structure.
const LEAST_ALIGN: usize = 16;

/// Gives out memory from an arena, and then from libc.
#[repr(align(4096))]
pub struct Arena {
    memory: UnsafeCell<[u8; SIZE]>,
    /// How many bytes of `memory` are in use.
    used: AtomicUsize,
}

// SAFETY: `used` only changes by one atomic step, and a byte of `memory` belongs to the one
// caller whose step took it.
unsafe impl Sync for Arena {}

impl Arena {
    #[expect(clippy::new_without_default, reason = "a static needs a const function")]
    pub const fn new() -> Self {
        Self { memory: UnsafeCell::new([0; SIZE]), used: AtomicUsize::new(0) }
    }

    fn base(&self) -> *mut u8 {
        self.memory.get().cast()
    }

    /// Returns where in the arena the block begins. `None`: libc gave it.
    fn offset(&self, block: *mut u8) -> Option<usize> {
        block.addr().checked_sub(self.base().addr()).filter(|offset| *offset < SIZE)
    }

    /// Replaces the end of the memory in use, unless it has changed meanwhile.
    fn moves_end(&self, from: usize, to: usize) -> bool {
        to <= SIZE && self.used.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
    }
}

// SAFETY: no two blocks overlap, because each begins at or after the end of those before it.
// The end moves back only over a block that its owner frees. Each block has the alignment
// that it was asked for: the arena begins at a page, and a larger alignment is libc's matter.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let end = self.used.load(Relaxed);
        let start = end.next_multiple_of(layout.align().max(LEAST_ALIGN));
        if layout.align() <= 4096 && layout.size() <= SIZE && self.moves_end(end, start + layout.size()) {
            // SAFETY: `start` is in the arena, or at its end if the block is empty.
            return unsafe { self.base().add(start) };
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.offset(block) {
            Some(start) => {
                self.moves_end(start + layout.size(), start);
            }
            // SAFETY: libc gave the block.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(start) = self.offset(block) else {
            // SAFETY: libc gave the block.
            return unsafe { System.realloc(block, layout, size) };
        };
        let moved = size <= SIZE && self.moves_end(start + layout.size(), start + size);
        if moved || size <= layout.size() {
            return block;
        }
        // SAFETY: the caller promises that `size` is valid with this alignment; both blocks
        // have at least the size of the old one, and don't overlap.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size());
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    fn is_inside(arena: &Arena, block: *mut u8) -> bool {
        arena.offset(block).is_some()
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        static ARENA: Arena = Arena::new();
        let mut end = 0;
        for (size, align) in [(1, 1), (3, 2), (100, 64), (1, 1), (8, 8), (5000, 4096), (1, 1)] {
            // SAFETY: the size is not 0.
            let block = unsafe { ARENA.alloc(layout(size, align)) };
            assert!(is_inside(&ARENA, block) && block.addr() >= end);
            assert_eq!(block.addr() % align.max(16), 0);
            end = block.addr() + size;
        }
    }

    #[test]
    fn the_last_block_grows_and_is_used_again() {
        static ARENA: Arena = Arena::new();
        // SAFETY: each block is used with the layout that it has at that time.
        unsafe {
            let first = ARENA.alloc(layout(10, 1));
            first.write_bytes(7, 10);
            assert_eq!(ARENA.realloc(first, layout(10, 1), 100), first);
            let second = ARENA.alloc(layout(10, 1));
            let moved = ARENA.realloc(first, layout(100, 1), 200);
            assert!(moved != first && (0..10).all(|i| moved.add(i).read() == 7));
            ARENA.dealloc(moved, layout(200, 1));
            assert_eq!(ARENA.alloc(layout(10, 1)), moved);
            ARENA.dealloc(second, layout(10, 1));
            assert_ne!(ARENA.alloc(layout(10, 1)), second, "it is not the last one");
        }
    }

    #[test]
    fn a_full_arena_gives_way_to_libc() {
        static ARENA: Arena = Arena::new();
        // SAFETY: each block is freed with the layout that it has at that time.
        unsafe {
            let most = ARENA.alloc(layout(SIZE - 4096, 1));
            assert!(is_inside(&ARENA, most));
            let small = ARENA.alloc(layout(100, 1));
            small.write_bytes(7, 100);
            let large = ARENA.realloc(small, layout(100, 1), 8192);
            assert!(!is_inside(&ARENA, large) && (0..100).all(|i| large.add(i).read() == 7));
            let larger = ARENA.realloc(large, layout(8192, 1), 2 * SIZE);
            ARENA.dealloc(larger, layout(2 * SIZE, 1));
            let aligned = ARENA.alloc(layout(10, 8192));
            assert!(!is_inside(&ARENA, aligned) && aligned.addr().is_multiple_of(8192));
            ARENA.dealloc(aligned, layout(10, 8192));
            assert!(is_inside(&ARENA, ARENA.alloc(layout(10, 1))));
        }
    }
}
