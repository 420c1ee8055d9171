//! Access to a frame's bytes behind one trait, so that the same code runs over packet memory in XDP (where every
//! access is bounds-checked for the verifier) and over slices in host tests.

/// Plain data that may be read from and written to any bytes.
pub trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for [u16; 3] {}
impl Plain for [u16; 6] {}
impl Plain for [u32; 2] {}
impl Plain for [u32; 4] {}
impl Plain for [u32; 5] {}
impl Plain for [u32; 10] {}

/// Reads at byte offsets from the start of the Ethernet header. `None` is "beyond the end of the frame".
pub trait Frame {
    /// The value at `offset`, in the byte order of the wire.
    fn read<T: Plain>(&self, offset: usize) -> Option<T>;

    /// Whether the frame is at least `length` bytes long.
    fn holds(&self, length: usize) -> bool;
}

/// Writes at byte offsets from the start of the Ethernet header.
pub trait FrameMut: Frame {
    /// Stores `value` at `offset`; `None` if it does not fit, and then nothing is written.
    fn write<T: Plain>(&mut self, offset: usize, value: T) -> Option<()>;
}

/// A frame in a byte slice, for host tests and for userspace.
#[derive(Debug)]
pub struct SliceFrame<'a>(pub &'a mut [u8]);

impl Frame for SliceFrame<'_> {
    fn read<T: Plain>(&self, offset: usize) -> Option<T> {
        let bytes = self.0.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: the range above is exactly size_of::<T>() bytes inside the slice; `T: Plain` is valid for any
        // bit pattern, and read_unaligned has no alignment requirement.
        Some(unsafe { core::ptr::read_unaligned(bytes.as_ptr().cast()) })
    }

    fn holds(&self, length: usize) -> bool {
        self.0.len() >= length
    }
}

impl FrameMut for SliceFrame<'_> {
    fn write<T: Plain>(&mut self, offset: usize, value: T) -> Option<()> {
        let bytes = self.0.get_mut(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: as in `read`; the slice is borrowed mutably.
        unsafe { core::ptr::write_unaligned(bytes.as_mut_ptr().cast(), value) };
        Some(())
    }
}
