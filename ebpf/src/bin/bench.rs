//! The measuring programs of `keel-bench`: `walk` makes the frame of the next flow out of whatever the last run left of
//! it and tail-calls the program to be measured; the others are what that program is measured against. None is part of
//! the appliance.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray},
    helpers::bpf_xdp_adjust_head,
    macros::{btf_map, xdp},
    programs::XdpContext,
};

/// Words of 8 bytes in the longer frame (IPv6) and the shorter one (IPv4).
const LONG: usize = 10;
const SHORT: usize = 8;
/// Ports of one client address.
const PORT_BITS: u32 = 15;
const FIRST_PORT: u16 = 16_384;
/// The spare word of the first client's frames.
const SPARE: u16 = 0x8000;

/// Which flows are walked, in which order. `benches/src/walk.rs` writes the same words.
#[repr(C)]
pub struct Walk {
    /// The flow that is next.
    position: u32,
    /// There are this many.
    count: u32,
    /// From one to the next; without a common divisor with `count`, so that all are met.
    stride: u32,
    /// The template that is next, counted from `first`.
    phase: u32,
    /// Frames for each flow.
    phases: u32,
    first: u32,
    /// The program to call.
    target: u32,
    /// What `grow` puts in front.
    growth: u32,
    /// So many flows in a row get the same frame before they all get the next.
    block: u32,
    /// Which of them is next.
    within: u32,
}

/// A frame and where its flow stands in it. `benches/src/frames.rs` writes the same bytes.
#[repr(C)]
pub struct Template {
    frame: [u64; LONG],
    length: u32,
    /// The first client, in host order, and where the low word of its address and its port are.
    client: u32,
    client_at: u32,
    port_at: u32,
    /// How many addresses the other end has (0: only the one in the frame), the first, and where its low word is.
    peers: u32,
    peer: u32,
    peer_at: u32,
    /// Where a word is that may be anything: it makes up for the client's address in IPv4's header checksum.
    spare_at: u32,
}

#[btf_map]
static WALK: Array<Walk, 1> = Array::new();

#[btf_map]
static TEMPLATES: Array<Template, 8> = Array::new();

#[btf_map]
static TARGETS: ProgramArray<8> = ProgramArray::new();

#[btf_map]
static SUNK: PerCpuArray<u64, 1> = PerCpuArray::new();

/// What a balancer that remembers connections can't do without: one look into a table of the kernel's. The key is as
/// long as ours, so is the value, where the name doesn't say otherwise.
type Key = [u32; 10];
type Value = [u64; 8];
/// With this an element is 128 bytes long: two cache lines.
type LeanValue = [u64; 5];
/// With this and what the kernel's allocator adds it is 128 bytes.
type LooseValue = [u64; 4];

#[btf_map]
static HASH: HashMap<Key, Value, 1> = HashMap::new();
#[btf_map]
static LRU: LruHashMap<Key, Value, 1> = LruHashMap::new();
#[btf_map]
static LEAN: HashMap<Key, LeanValue, 1> = HashMap::new();
#[btf_map]
static LOOSE: HashMap<Key, LooseValue, 1, NO_PREALLOC> = HashMap::new();
/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: usize = 1;

macro_rules! look {
    ($name:ident, $map:ident, $value:ty) => {
        /// Looks the flow up; a new one is remembered.
        #[xdp]
        pub fn $name(ctx: XdpContext) -> u32 {
            let start = ctx.data();
            if start + 38 > ctx.data_end() {
                return XDP_ABORTED;
            }
            // SAFETY: addresses and ports of IPv4 and TCP without options, within the bytes checked above.
            let words = unsafe { *((start + 26) as *const [u32; 3]) };
            let key = key(words);
            match $map.get_ptr_mut(&key) {
                // SAFETY: a live element.
                Some(value) => unsafe { (*value)[0] += (*value)[3] + 1 },
                None => {
                    let fresh: $value = [0; size_of::<$value>() / 8];
                    let _ = $map.insert(&key, &fresh, 0);
                }
            }
            XDP_TX
        }
    };
}

/// An array that the flow's hash indexes directly: one line of memory instead of a bucket and an element.
#[btf_map]
static DIRECT: Array<Line, 1, MMAPABLE> = Array::new();
/// `BPF_F_MMAPABLE`: the array begins with a page.
const MMAPABLE: usize = 1 << 10;

/// A cache line.
#[repr(C)]
pub struct Line {
    key: [u64; 5],
    value: [u64; 3],
}

/// Looks the flow up in a direct-mapped cache; a new one replaces what is there.
#[xdp]
pub fn look_direct(ctx: XdpContext) -> u32 {
    let (start, Some(walk)) = (ctx.data(), WALK.get(0)) else { return XDP_ABORTED };
    if start + 38 > ctx.data_end() {
        return XDP_ABORTED;
    }
    // SAFETY: as in `look`.
    let words = unsafe { *((start + 26) as *const [u32; 3]) };
    let mut hash = 0u64;
    for word in words {
        hash = (hash ^ word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    let index = (hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) as u32 & walk.growth;
    let Some(line) = DIRECT.get_ptr_mut(index) else { return XDP_ABORTED };
    // SAFETY: array elements live on; one run at a time uses the map.
    let line = unsafe { &mut *line };
    let key = [0, (words[0] as u64) << 32, 0, (words[1] as u64) << 32, (words[2] as u64) << 32 | 6];
    if line.key == key {
        line.value[0] += line.value[2] + 1;
    } else {
        line.key = key;
        line.value[1] += 1;
    }
    XDP_TX
}

#[inline(always)]
fn key(w: [u32; 3]) -> Key {
    [0, 0, 0xffff, w[0], 0, 0, 0xffff, w[1], w[2], 6]
}

look!(look_hash, HASH, Value);
look!(look_lru, LRU, Value);
look!(look_lean, LEAN, LeanValue);
look!(look_loose, LOOSE, LooseValue);

/// The next frame, and the program for it.
#[xdp]
pub fn walk(ctx: XdpContext) -> u32 {
    if let Some(target) = restore(&ctx) {
        // SAFETY: a helper call on the live context; it doesn't return if there is such a program.
        unsafe { TARGETS.tail_call(&ctx, target) };
    }
    XDP_ABORTED
}

/// The bare program.
#[xdp]
pub fn bare(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Puts room in front of the frame as a tunnel does, and nothing else.
#[xdp]
pub fn grow(ctx: XdpContext) -> u32 {
    let Some(walk) = WALK.get(0) else { return XDP_ABORTED };
    // SAFETY: a helper call on the live context.
    match unsafe { bpf_xdp_adjust_head(ctx.ctx, -(walk.growth as i32)) } {
        0 => XDP_TX,
        _ => XDP_ABORTED,
    }
}

/// Sends the frame out of the interface it is injected on.
#[xdp]
pub fn emit(_ctx: XdpContext) -> u32 {
    XDP_TX
}

/// The virtual address, the server's Ethernet address and our own, in words of the wire.
#[btf_map]
static RELAY: Array<[u16; 8], 1> = Array::new();

/// The least a balancer can be: what is for the virtual address gets the one server's Ethernet address and goes back out.
#[xdp]
pub fn relay(ctx: XdpContext) -> u32 {
    let (start, Some(to)) = (ctx.data(), RELAY.get(0)) else { return XDP_ABORTED };
    if start + 34 > ctx.data_end() {
        return XDP_PASS;
    }
    // SAFETY: within the bytes checked above.
    let words = unsafe { &mut *(start as *mut [u16; 17]) };
    if words[6] != 0x0800u16.to_be() || words[15] != to[0] || words[16] != to[1] {
        return XDP_PASS;
    }
    words[..6].copy_from_slice(&to[2..]);
    XDP_TX
}

/// Drops everything: where the generator alone is measured.
#[xdp]
pub fn nothing(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// Counts and drops IPv4's TCP, UDP and tunnel packets, and lets everything else through.
#[xdp]
pub fn sink(ctx: XdpContext) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + 24 > end {
        return XDP_PASS;
    }
    // SAFETY: both lie within the bytes checked above.
    let (ethertype, protocol) = unsafe { (*((start + 12) as *const u16), *((start + 23) as *const u8)) };
    if ethertype != 0x0800u16.to_be() || !matches!(protocol, 4 | 6 | 17) {
        return XDP_PASS;
    }
    if let Some(sunk) = SUNK.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        unsafe { *sunk += 1 };
    }
    XDP_DROP
}

/// Takes off what the last run put in front, writes every header anew, and returns the program to call.
#[inline(always)]
fn restore(ctx: &XdpContext) -> Option<u32> {
    let walk = WALK.get_ptr_mut(0)?;
    // SAFETY: one run at a time uses the map.
    let walk = unsafe { &mut *walk };
    let flow = walk.position + walk.within;
    let template = TEMPLATES.get(walk.first + walk.phase)?;
    walk.within += 1;
    if walk.within >= walk.block {
        walk.within = 0;
        walk.phase += 1;
        if walk.phase >= walk.phases {
            walk.phase = 0;
            walk.position += walk.stride;
            if walk.position >= walk.count {
                walk.position -= walk.count;
            }
        }
    }
    let length = (ctx.data_end() - ctx.data()) as u32;
    if length != template.length {
        // SAFETY: a helper call on the live context; all pointers are made anew below.
        if unsafe { bpf_xdp_adjust_head(ctx.ctx, length as i32 - template.length as i32) } != 0 {
            return None;
        }
    }
    write_words(ctx, template)?;
    let client = template.client + (flow >> PORT_BITS);
    let port = FIRST_PORT + (flow & ((1 << PORT_BITS) - 1)) as u16;
    put(ctx, template.client_at, client.to_be())?;
    put(ctx, template.port_at, port.to_be())?;
    put(ctx, template.spare_at, (SPARE - (flow >> PORT_BITS) as u16).to_be())?;
    if template.peers != 0 {
        put(ctx, template.peer_at, (template.peer + flow % template.peers).to_be())?;
    }
    Some(walk.target)
}

#[inline(always)]
fn write_words(ctx: &XdpContext, template: &Template) -> Option<()> {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + SHORT * 8 > end {
        return None;
    }
    for (i, word) in template.frame.iter().take(SHORT).enumerate() {
        // SAFETY: checked above.
        unsafe { *((start + i * 8) as *mut u64) = *word };
    }
    if start + LONG * 8 > end {
        return Some(());
    }
    for (i, word) in template.frame.iter().enumerate().skip(SHORT) {
        // SAFETY: checked above.
        unsafe { *((start + i * 8) as *mut u64) = *word };
    }
    Some(())
}

/// Writes a value at an offset that the template says.
#[inline(always)]
fn put<T>(ctx: &XdpContext, offset: u32, value: T) -> Option<()> {
    let mut at = ctx.data() + (offset & 0x7f) as usize;
    // SAFETY: copies a register onto itself: an optimiser that knows where the address comes from would drop the check
    // below in a way that the verifier can't follow.
    unsafe { asm!("{at} = {at}", at = inout(reg) at, options(pure, nomem, nostack, preserves_flags)) };
    if at + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: checked above; the kernel allows unaligned access to packet memory.
    unsafe { *(at as *mut T) = value };
    Some(())
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
