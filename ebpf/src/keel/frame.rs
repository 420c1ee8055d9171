//! A frame in packet memory. Every access is checked against the end of the packet right where it happens: that is
//! what the verifier wants to see.
use aya_ebpf::programs::XdpContext;
use keel_abi::{Frame, FrameMut, Plain};

/// Offsets are masked, because the verifier forgets the range of one that has been stored; no header lies beyond.
const OFFSET_MASK: usize = 0x3ff;

/// Packet memory of the running program. Made anew after every helper that may move the packet.
pub struct XdpFrame {
    start: usize,
    end: usize,
}

impl XdpFrame {
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end() }
    }

    /// A pointer to `T` at `offset`, if it lies within the packet.
    #[inline(always)]
    fn pointer<T>(&self, offset: usize) -> Option<*mut T> {
        let at = self.start + (offset & OFFSET_MASK);
        if at + size_of::<T>() > self.end {
            return None;
        }
        Some(at as *mut T)
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn read<T: Plain>(&self, offset: usize) -> Option<T> {
        // SAFETY: checked to lie within the packet; the kernel allows unaligned access to packet memory.
        self.pointer::<T>(offset).map(|p| unsafe { *p })
    }
}

impl FrameMut for XdpFrame {
    #[inline(always)]
    fn write<T: Plain>(&mut self, offset: usize, value: T) -> Option<()> {
        // SAFETY: as in `read`; XDP owns the packet.
        self.pointer::<T>(offset).map(|p| unsafe { *p = value })
    }
}
