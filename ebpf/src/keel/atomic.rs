//! Atomic addition and exchange. The BPF target has them as instructions, but rustc's atomic types don't offer them there.
use core::arch::asm;

/// Adds to the word at `word`.
///
/// # Safety
/// `word` must point at an aligned word of a map value.
#[inline(always)]
pub unsafe fn add(word: *mut u64, delta: i64) {
    // SAFETY: the caller's promise; BPF_ATOMIC | BPF_ADD (kernel: Documentation/bpf/standardization/instruction-set.rst).
    unsafe { asm!("lock *(u64 *)({word} + 0) += {delta}", word = in(reg) word, delta = in(reg) delta) };
}

/// Adds one to the word at `word` and returns what it was.
///
/// # Safety
/// `word` must point at an aligned word of a map value.
#[inline(always)]
pub unsafe fn increment(word: *mut u64) -> u64 {
    let mut value = 1u64;
    // SAFETY: as in `add`; with BPF_FETCH the register receives the old value.
    unsafe {
        asm!("{value} = atomic_fetch_add((u64 *)({word} + 0), {value})", word = in(reg) word, value = inout(reg) value)
    };
    value
}

/// Puts `new` at `word` if `old` is there. Returns what was there. A full barrier.
///
/// # Safety
/// `word` must point at an aligned word of a map value.
#[inline(always)]
pub unsafe fn exchange_if(word: *mut u64, old: u64, new: u64) -> u64 {
    let found;
    // SAFETY: as in `add`; BPF_ATOMIC | BPF_CMPXCHG compares with R0 and leaves the old value there.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inout("r0") old => found
        )
    };
    found
}
