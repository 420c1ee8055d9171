//! The lab's own packet programs: `pass`, which a veth needs at its far end before XDP_TX or XDP_REDIRECT reach it,
//! `decap`, which stands in for a real server's tunnel interface, and `reflect`, which answers datagrams out of XDP to
//! prove the wiring and to be measured against. None is part of the appliance.
#![no_std]
#![no_main]

use core::ptr::{read_unaligned, read_volatile};

use aya_ebpf::{bindings::xdp_action, helpers::bpf_xdp_adjust_head, macros::xdp, programs::XdpContext};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ECHO_PORT: u16 = 7;
const PROTOCOL_IPV4: u8 = 4;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_IPV6: u8 = 41;

/// This interface's own IPv4 address, in network order. The loader sets it; all zero matches no packet.
#[unsafe(no_mangle)]
static LOCAL4: u32 = 0;
/// This interface's own IPv6 address.
#[unsafe(no_mangle)]
static LOCAL6: [u8; 16] = [0; 16];
/// The UDP port on which GUE is received.
#[unsafe(no_mangle)]
static GUE_PORT: u16 = 6080;

/// Lets every packet through.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Takes the outer header off a packet that was tunnelled to this host, and lets every packet through.
#[xdp]
pub fn decap(ctx: XdpContext) -> u32 {
    match outer_length(&ctx) {
        Some((length, ethertype)) => strip(&ctx, length, ethertype).unwrap_or(xdp_action::XDP_DROP),
        None => xdp_action::XDP_PASS,
    }
}

/// Sends UDP datagrams for the echo port back where they came from, and lets every other packet through.
#[xdp]
pub fn reflect(ctx: XdpContext) -> u32 {
    match turn_round(&ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_PASS,
    }
}

/// Swapping the ends of a datagram leaves its checksums as they are.
#[inline(always)]
fn turn_round(ctx: &XdpContext) -> Option<()> {
    let (ethertype, protocol): (u16, u8) = (load(ctx, 12)?, load(ctx, ETHERNET + 9)?);
    let port: u16 = load(ctx, ETHERNET + IPV4 + 2)?;
    let plain: u8 = load(ctx, ETHERNET)?;
    let wanted = u16::from_be(ethertype) == ETHERTYPE_IPV4 && plain == 0x45 && protocol == PROTOCOL_UDP;
    if !wanted || u16::from_be(port) != ECHO_PORT {
        return None;
    }
    swap::<[u8; 6]>(ctx, 0)?;
    swap::<[u8; 4]>(ctx, ETHERNET + 12)?;
    swap::<[u8; 2]>(ctx, ETHERNET + IPV4)
}

/// Swaps two neighbouring values.
#[inline(always)]
fn swap<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<()> {
    let (first, second): (T, T) = (load(ctx, offset)?, load(ctx, offset + size_of::<T>())?);
    store(ctx, offset, second)?;
    store(ctx, offset + size_of::<T>(), first)
}

/// How many bytes lie between the Ethernet header and the inner packet, and the inner packet's ethertype.
/// `None` if the packet is no tunnel packet for this host.
#[inline(always)]
fn outer_length(ctx: &XdpContext) -> Option<(usize, u16)> {
    let (length, protocol) = match u16::from_be(load(ctx, 12)?) {
        ETHERTYPE_IPV4 => outer_ipv4(ctx)?,
        ETHERTYPE_IPV6 => outer_ipv6(ctx)?,
        _ => return None,
    };
    match protocol {
        PROTOCOL_IPV4 => Some((length, ETHERTYPE_IPV4)),
        PROTOCOL_IPV6 => Some((length, ETHERTYPE_IPV6)),
        PROTOCOL_UDP => gue(ctx, length),
        _ => None,
    }
}

#[inline(always)]
fn outer_ipv4(ctx: &XdpContext) -> Option<(usize, u8)> {
    let protocol = tunnelled(load(ctx, ETHERNET + 9)?)?;
    let first: u8 = load(ctx, ETHERNET)?;
    let fragment = u16::from_be(load(ctx, ETHERNET + 6)?);
    // A tunnel packet that was cut on its way is the kernel's to put together.
    let whole = fragment & 0x3fff == 0;
    let to: u32 = load(ctx, ETHERNET + 16)?;
    let length = usize::from(first & 0x0f) * 4;
    (whole && length >= 20 && to == local(&LOCAL4)).then_some((length, protocol))
}

#[inline(always)]
fn outer_ipv6(ctx: &XdpContext) -> Option<(usize, u8)> {
    let protocol = tunnelled(load(ctx, ETHERNET + 6)?)?;
    let to: [u8; 16] = load(ctx, ETHERNET + 24)?;
    (to == local(&LOCAL6)).then_some((IPV6, protocol))
}

/// Most packets are plain TCP: they leave before any address is compared.
#[inline(always)]
fn tunnelled(protocol: u8) -> Option<u8> {
    matches!(protocol, PROTOCOL_IPV4 | PROTOCOL_IPV6 | PROTOCOL_UDP).then_some(protocol)
}

/// Variant 1 of GUE (draft-ietf-intarea-gue): the UDP payload is an IP packet, told by its version.
#[inline(always)]
fn gue(ctx: &XdpContext, length: usize) -> Option<(usize, u16)> {
    let port = u16::from_be(load(ctx, ETHERNET + length + 2)?);
    if port != local(&GUE_PORT) {
        return None;
    }
    let version: u8 = load(ctx, ETHERNET + length + UDP)?;
    match version >> 4 {
        4 => Some((length + UDP, ETHERTYPE_IPV4)),
        6 => Some((length + UDP, ETHERTYPE_IPV6)),
        _ => None,
    }
}

/// Moves the Ethernet addresses up to the inner packet.
#[inline(always)]
fn strip(ctx: &XdpContext, length: usize, ethertype: u16) -> Option<u32> {
    let addresses: [u8; 12] = load(ctx, 0)?;
    // SAFETY: the helper checks the length against the packet; every pointer is made anew below.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, length as i32) } != 0 {
        return None;
    }
    store(ctx, 0, addresses)?;
    store(ctx, 12, ethertype.to_be())?;
    Some(xdp_action::XDP_PASS)
}

/// A value that the loader may have set, which the compiler must not fold into the code.
#[inline(always)]
fn local<T: Copy>(value: &'static T) -> T {
    // SAFETY: a reference to a static is always readable.
    unsafe { read_volatile(value) }
}

#[inline(always)]
fn load<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    let at = ctx.data() + offset;
    if at + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie inside the packet, and T is a plain integer or an array of bytes.
    Some(unsafe { read_unaligned(at as *const T) })
}

#[inline(always)]
fn store<T: Copy>(ctx: &XdpContext, offset: usize, value: T) -> Option<()> {
    let at = ctx.data() + offset;
    if at + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie inside the packet.
    unsafe { (at as *mut T).write_unaligned(value) };
    Some(())
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
