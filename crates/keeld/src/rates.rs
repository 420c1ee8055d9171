//! Rates out of counters: two readings a second or more apart, smoothed over about four seconds.
use std::{collections::HashMap, time::Instant};

use keel_api::Rates;
use keel_dataplane::{ServerCounters, ServerId};

/// Weight of the newest second: 1 - exp(-1/4).
const NEWEST: f64 = 0.22;

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    counters: ServerCounters,
    rates: Rates,
}

/// Remembers the last reading of every server, and of the drops.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    servers: HashMap<ServerId, Sample>,
    drops: HashMap<&'static str, (Instant, u64, f64)>,
}

impl Sampler {
    /// Takes a reading of a server.
    pub(crate) fn server(&mut self, id: ServerId, counters: ServerCounters, now: Instant) {
        let Some(last) = self.servers.get(&id).copied() else {
            self.servers.insert(id, Sample { at: now, counters, rates: Rates::default() });
            return;
        };
        let seconds = now.duration_since(last.at).as_secs_f64();
        if seconds < 0.5 {
            return;
        }
        let smooth =
            |old: f64, was: u64, is: u64| smoothed(old, is.saturating_sub(was) as f64 / seconds, seconds);
        let rates = Rates {
            connections: smooth(last.rates.connections, last.counters.connections, counters.connections),
            packets_in: smooth(last.rates.packets_in, last.counters.packets_in, counters.packets_in),
            bytes_in: smooth(last.rates.bytes_in, last.counters.bytes_in, counters.bytes_in),
            packets_out: smooth(last.rates.packets_out, last.counters.packets_out, counters.packets_out),
            bytes_out: smooth(last.rates.bytes_out, last.counters.bytes_out, counters.bytes_out),
        };
        self.servers.insert(id, Sample { at: now, counters, rates });
    }

    /// Takes a reading of a drop reason.
    pub(crate) fn drop_reason(&mut self, reason: &'static str, packets: u64, now: Instant) {
        let (at, was, rate) = self.drops.get(reason).copied().unwrap_or((now, packets, 0.0));
        let seconds = now.duration_since(at).as_secs_f64();
        if seconds >= 0.5 || !self.drops.contains_key(reason) {
            let current = if seconds > 0.0 { packets.saturating_sub(was) as f64 / seconds } else { 0.0 };
            self.drops.insert(reason, (now, packets, smoothed(rate, current, seconds)));
        }
    }

    /// A server's rates.
    pub(crate) fn rates(&self, id: ServerId) -> Rates {
        self.servers.get(&id).map_or_else(Rates::default, |sample| sample.rates)
    }

    /// A drop reason's rate, packets per second.
    pub(crate) fn drop_rate(&self, reason: &str) -> f64 {
        self.drops.get(reason).map_or(0.0, |(.., rate)| *rate)
    }

    /// Forgets a server whose slot was given back.
    pub(crate) fn forget(&mut self, id: ServerId) {
        self.servers.remove(&id);
    }
}

fn smoothed(old: f64, current: f64, seconds: f64) -> f64 {
    let weight = 1.0 - (1.0 - NEWEST).powf(seconds);
    let rate = old + (current - old) * weight;
    // Below one in a hundred seconds is noise of the smoothing, not traffic.
    if rate < 0.01 { 0.0 } else { rate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_steady_stream_is_measured_and_an_ended_one_fades_to_zero() {
        let mut sampler = Sampler::default();
        let start = Instant::now();
        let mut counters = ServerCounters::default();
        for second in 0..30u32 {
            sampler.server(1, counters, start + Duration::from_secs(u64::from(second)));
            counters.packets_in += 1000;
        }
        assert!((sampler.rates(1).packets_in - 1000.0).abs() < 5.0);
        counters.packets_in -= 1000;
        for second in 30..120u32 {
            sampler.server(1, counters, start + Duration::from_secs(u64::from(second)));
        }
        assert_eq!(sampler.rates(1).packets_in, 0.0);
    }
}
