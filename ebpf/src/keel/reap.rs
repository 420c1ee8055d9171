//! Housekeeping by order of `keeld`: removes connections and corrects counts with the packet path's own code, so
//! that the counts stay exact. Run by test run only; attached nowhere.
use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_PASS},
    programs::XdpContext,
};
use keel_abi::{
    Connection, FlowKey, REAP_BATCH, REAP_ETHERTYPE, ReapRecord, connection_flags as flags, reap_kind,
};

use crate::{
    count::{Class, add},
    known,
    maps::{CONNECTIONS, HALF_OPEN, SERVERS},
    send,
};

const HEAD: usize = 14;

/// Works off the records of one order.
#[inline(always)]
pub fn work(ctx: &XdpContext, now: u64) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + HEAD + REAP_BATCH * size_of::<ReapRecord>() > end {
        return XDP_ABORTED;
    }
    // SAFETY: checked against the end of the packet above.
    if unsafe { *((start + 12) as *const u16) } != REAP_ETHERTYPE.to_be() {
        return XDP_ABORTED;
    }
    for i in 0..REAP_BATCH {
        // SAFETY: within the bytes checked above.
        let record = unsafe { *((start + HEAD + i * size_of::<ReapRecord>()) as *const ReapRecord) };
        carry_out(&record, now);
    }
    XDP_PASS
}

#[inline(never)]
fn carry_out(record: &ReapRecord, now: u64) {
    match record.kind {
        reap_kind::EXPIRE => expire(&record.key, record.argument as u64 * 1_000_000_000, now),
        reap_kind::REMOVE => expire(&record.key, 0, now),
        reap_kind::PENDING => correct(record, Class::Pending),
        reap_kind::ACTIVE => correct(record, Class::Active),
        reap_kind::INACTIVE => correct(record, Class::Inactive),
        _ => {}
    }
}

#[inline(always)]
fn correct(record: &ReapRecord, class: Class) {
    add(record.server, class, record.argument as i32 as i64);
}

/// Removes the connection of `key` if neither direction has been busy for `idle_ns`.
#[inline(always)]
fn expire(key: &FlowKey, idle_ns: u64, now: u64) {
    if let Some(entry) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: a live element, see the head of `known`; copied at once.
        let copy: Connection = unsafe { *entry };
        let Some(server) = SERVERS.get(copy.server) else { return };
        if idle_ns != 0 {
            let seen_ns = known::last_seen(key, &copy, server, now);
            if now.saturating_sub(seen_ns) < idle_ns {
                // So that the sweep needs not ask again before long.
                // SAFETY: as above.
                unsafe { (*entry).seen_ns = seen_ns };
                return;
            }
        }
        known::forget(key, &copy, server);
        return;
    }
    let Some(entry) = HALF_OPEN.get_ptr(key) else { return };
    // SAFETY: a live element, copied at once.
    let entry: Connection = unsafe { *entry };
    if now.saturating_sub(entry.seen_ns) < idle_ns {
        return;
    }
    if HALF_OPEN.remove(key).is_ok() && entry.flags & flags::REVERSE == 0 {
        known::not_pending(entry.server, entry.generation);
        if let Some(server) = SERVERS.get(entry.server)
            && server.mode == keel_abi::MODE_NAT
        {
            let reply = send::reply_key(key, server);
            // SAFETY: as above.
            if HALF_OPEN.get_ptr(reply).is_some_and(|other| unsafe { &*other }.replies_to(key)) {
                let _ = HALF_OPEN.remove(reply);
            }
        }
    }
}
