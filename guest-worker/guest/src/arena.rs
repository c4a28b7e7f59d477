//! An *arena* allocates memory for components without `std`. It hands out one piece after the other
//! and reuses nothing, until the last living piece is freed. Then the whole arena is free again. A
//! worker that keeps nothing from one request to the next gets all its memory back after each
//! request, for the price of a few additions.
//!
//! A piece that lives on keeps all pieces behind it in use, except for the very last one. A worker
//! that keeps state needs the allocator of `std`.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};

/// The arena's initial memory: enough for the requests and responses of most workers, so that these
/// never wait for the host to grant memory. It is part of the instance, and takes up no pages until
/// it is used.
const FIRST_BYTES: usize = 64 << 10;

const WASM_PAGE_BYTES: usize = 64 << 10;

/// An allocator for [`freestanding!`](crate::freestanding).
pub struct Arena {
    first: UnsafeCell<[u8; FIRST_BYTES]>,
    /// The addresses of the current region: its start, the start of the next piece, and its end.
    /// All are 0 before the first allocation.
    start: Cell<usize>,
    next: Cell<usize>,
    end: Cell<usize>,
    /// The number of living pieces.
    living: Cell<usize>,
}

// SAFETY: without atomics, an instance has one thread.
#[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
unsafe impl Sync for Arena {}

impl Arena {
    /// An empty arena.
    #[allow(clippy::new_without_default)] // it is for statics, and they want a `const fn`
    pub const fn new() -> Self {
        Self {
            first: UnsafeCell::new([0; FIRST_BYTES]),
            start: Cell::new(0),
            next: Cell::new(0),
            end: Cell::new(0),
            living: Cell::new(0),
        }
    }

    /// The canonical ABI's `realloc`. The host calls it to get memory for the values that it copies
    /// in. Traps if there is no memory.
    ///
    /// # Safety
    /// `align` is a power of two; `piece` is one of this arena and lives, with this size and
    /// alignment, or `size` is 0.
    #[cfg(target_family = "wasm")]
    pub unsafe fn cabi_realloc(
        &self,
        piece: *mut u8,
        size: usize,
        align: usize,
        new_size: usize,
    ) -> *mut u8 {
        if new_size == 0 {
            return core::ptr::without_provenance_mut(align); // nobody will look there
        }
        // SAFETY: as the caller promises.
        let room = unsafe {
            match size {
                0 => self.alloc(Layout::from_size_align_unchecked(new_size, align)),
                size => {
                    let layout = Layout::from_size_align_unchecked(size, align);
                    self.realloc(piece, layout, new_size)
                }
            }
        };
        if room.is_null() {
            core::arch::wasm32::unreachable()
        }
        room
    }

    /// The place of a piece of this layout: its first address, and the address behind it.
    fn fit(&self, layout: Layout) -> Option<(usize, usize)> {
        let at = self.next.get().checked_next_multiple_of(layout.align())?;
        let behind = at.checked_add(layout.size())?;
        (behind <= self.end.get()).then_some((at, behind))
    }

    /// Makes room for at least this piece. The rest of the old region is given up, unless the new
    /// region starts where the old one ends.
    #[cold]
    fn grow(&self, layout: Layout) -> Option<()> {
        if self.end.get() == 0 {
            let start = self.first.get() as usize;
            self.begin(start, start + FIRST_BYTES);
            if self.fit(layout).is_some() {
                return Some(());
            }
        }
        let pages = layout
            .size()
            .checked_add(layout.align())?
            .div_ceil(WASM_PAGE_BYTES);
        let start = more_pages(pages)?;
        let end = start.checked_add(pages.checked_mul(WASM_PAGE_BYTES)?)?;
        if start == self.end.get() {
            self.end.set(end);
        } else {
            self.begin(start, end);
        }
        Some(())
    }

    fn begin(&self, start: usize, end: usize) {
        self.start.set(start);
        self.next.set(start);
        self.end.set(end);
    }
}

/// Grows linear memory by this many pages. Returns their start, if the host grants them.
fn more_pages(pages: usize) -> Option<usize> {
    #[cfg(target_family = "wasm")]
    {
        let before = core::arch::wasm32::memory_grow(0, pages);
        (before != usize::MAX).then(|| before * WASM_PAGE_BYTES)
    }
    #[cfg(not(target_family = "wasm"))] // only here for its tests
    {
        let _ = pages;
        None
    }
}

// SAFETY: a piece lies between `next` and `end`, which is memory that the arena alone has: its own
// array, or pages that the host granted to it. `next` is behind every piece that lives: it moves
// back only to the start of the last piece, when that is given back, and to the region's start when
// none lives. A region that is left for another is not used again.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let fit = self.fit(layout).or_else(|| {
            self.grow(layout)?;
            self.fit(layout)
        });
        let Some((at, behind)) = fit else {
            return core::ptr::null_mut();
        };
        self.next.set(behind);
        self.living.set(self.living.get() + 1);
        at as *mut u8
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        self.living.set(self.living.get() - 1);
        if self.living.get() == 0 {
            self.next.set(self.start.get());
        } else if piece as usize + layout.size() == self.next.get() {
            self.next.set(piece as usize);
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let is_last = piece as usize + layout.size() == self.next.get();
        let behind = (piece as usize).checked_add(size);
        if let Some(behind) = behind.filter(|&behind| is_last && behind <= self.end.get()) {
            self.next.set(behind);
            return piece;
        }
        // SAFETY: the caller promises that `layout` is the piece's, and that `size` fits its
        // alignment.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both are pieces that live, so they don't overlap, and of at least this size.
            unsafe {
                moved.copy_from_nonoverlapping(piece, layout.size().min(size));
                self.dealloc(piece, layout);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn pieces_are_aligned_and_apart_until_all_are_free() {
        let arena = std::boxed::Box::new(Arena::new());
        let (small, large) = (layout(3, 1), layout(64, 16));
        // SAFETY: layouts are those of the pieces, and none is used after it was given back.
        unsafe {
            let first = arena.alloc(small);
            let second = arena.alloc(large);
            assert_eq!(second as usize % 16, 0);
            assert!(second as usize >= first as usize + 3);
            arena.dealloc(first, small);
            assert!(arena.alloc(small) as usize >= second as usize + 64);
            arena.dealloc(second, large);
            arena.dealloc(second.add(64), small);
            assert_eq!(arena.alloc(small), first);
        }
    }

    #[test]
    fn the_last_piece_grows_and_shrinks_where_it_is_and_others_move() {
        let arena = std::boxed::Box::new(Arena::new());
        let (ten, twenty) = (layout(10, 1), layout(20, 1));
        // SAFETY: as above.
        unsafe {
            let first = arena.alloc(ten);
            first.write_bytes(7, 10);
            assert_eq!(arena.realloc(first, ten, 20), first);
            let second = arena.alloc(ten);
            let moved = arena.realloc(first, twenty, 30);
            assert!(moved as usize >= second as usize + 10);
            assert_eq!(core::slice::from_raw_parts(moved, 10), [7; 10]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let arena = std::boxed::Box::new(Arena::new());
        // SAFETY: as above.
        unsafe {
            assert!(arena.alloc(layout(FIRST_BYTES + 1, 1)).is_null());
            assert!(arena.alloc(layout(isize::MAX as usize, 1)).is_null());
            assert!(!arena.alloc(layout(FIRST_BYTES, 1)).is_null());
            assert!(arena.alloc(layout(1, 1)).is_null());
        }
    }
}
