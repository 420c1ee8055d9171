//! A frame in packet memory. Every access is checked against the end of the packet right where it happens: that is
//! what the verifier wants to see.
use core::arch::asm;

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
        let (start, end): (usize, usize);
        // The kernel turns these 32-bit loads of the context's first two fields into 64-bit pointers. An optimiser
        // that saw them as 32-bit values would move them around in half registers, which makes numbers of them.
        // SAFETY: reads the live context.
        unsafe {
            asm!(
                "{start} = *(u32 *)({ctx} + 0)",
                "{end} = *(u32 *)({ctx} + 4)",
                start = out(reg) start,
                end = lateout(reg) end,
                ctx = in(reg) ctx.ctx,
                options(readonly, nostack, preserves_flags)
            );
        }
        Self { start, end }
    }

    /// Bytes in the frame.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// A pointer to `T` at `offset`, if it lies within the packet.
    #[inline(always)]
    fn pointer<T>(&self, offset: usize) -> Option<*mut T> {
        let mut at = self.start + (offset & OFFSET_MASK);
        // An optimiser that knows how two addresses relate drops the second one's check as implied, which the
        // verifier can't follow: keep every address opaque to it.
        // (A real instruction, because two line records of one address are refused by the kernel.)
        // SAFETY: copies a register onto itself.
        unsafe { asm!("{at} = {at}", at = inout(reg) at, options(pure, nomem, nostack, preserves_flags)) };
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

    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        self.len() >= length
    }
}

impl FrameMut for XdpFrame {
    #[inline(always)]
    fn write<T: Plain>(&mut self, offset: usize, value: T) -> Option<()> {
        // SAFETY: as in `read`; XDP owns the packet.
        self.pointer::<T>(offset).map(|p| unsafe { *p = value })
    }
}
