//! Reads the keys of a service that belong to layer 4.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::layer4::{
    Encapsulation, Layer4, Layer4TimeoutOverrides, Mode4, Protocol4, RemovedPolicy, Scheduler4,
};
use crate::reader::{Kind, Read, Table, unknown_word};
use crate::word::{Word, words};

/// What a service of layer 4 says, none where it was wrong.
pub(crate) struct Layer4Draft {
    pub(crate) protocol: Option<Protocol4>,
    pub(crate) mode: Option<Mode4>,
    pub(crate) scheduler: Option<Scheduler4>,
    one_packet: Option<bool>,
    hash_ports: Option<bool>,
    on_removed: Option<RemovedPolicy>,
    timeouts: Option<Layer4TimeoutOverrides>,
}

impl Layer4Draft {
    pub(super) fn build(self) -> Option<Layer4> {
        Some(Layer4 {
            protocol: self.protocol?,
            mode: self.mode?,
            scheduler: self.scheduler?,
            one_packet: self.one_packet?,
            hash_ports: self.hash_ports?,
            on_removed: self.on_removed?,
            timeouts: self.timeouts?,
        })
    }
}

words! {
    /// As written in the file.
    pub(super) enum ModeWord("mode") {
        /// Direct routing.
        Dr = "dr",
        /// Address translation.
        Nat = "nat",
        /// Tunnelling.
        Tun = "tun",
    }
}

words! {
    /// As written in the file.
    pub(super) enum TunnelWord("tunnel") {
        /// IP in IP.
        Ip = "ip",
        /// IP in UDP.
        Gue = "gue",
    }
}

const KEYS: &[(&str, Kind)] = &[
    ("tunnel", Kind::Text),
    ("tunnel_port", Kind::Number),
    ("one_packet", Kind::Flag),
    ("hash_source_port", Kind::Flag),
    ("on_removed", Kind::Text),
];

/// The shortest and the longest idle time.
pub(super) const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(31 * 86_400);

/// Makes the keys legal without reading them.
pub(super) fn know(at: &Table<'_>) {
    for &(key, kind) in KEYS {
        at.know(key, kind);
    }
    for key in ["protocol", "mode", "scheduler"] {
        at.know(key, Kind::Text);
    }
    at.know("timeouts", Kind::Table);
}

/// Refuses the keys in a service of layer 7.
pub(super) fn refuse(at: &Table<'_>) {
    for &(key, kind) in KEYS {
        at.know(key, kind);
        if at.has(key) {
            at.error(key, format!("`{key}` is for layer 4 only, and this service says layer = 7: remove it"));
        }
    }
}

/// Reads the keys.
pub(super) fn read(at: &Table<'_>) -> Layer4Draft {
    let protocol = at.word("protocol").or(Protocol4::Tcp);
    let scheduler = read_scheduler(at);
    let hash_ports = at.flag("hash_source_port");
    if let (Some(scheduler), Read::Is(_)) = (scheduler, &hash_ports)
        && !matches!(scheduler, Scheduler4::Sh | Scheduler4::Maglev)
    {
        at.warn(
            "hash_source_port",
            format!("the scheduler {scheduler} doesn't hash the client's port, so this has no effect"),
        );
    }
    Layer4Draft {
        protocol,
        mode: read_mode(at),
        scheduler,
        one_packet: read_one_packet(at, protocol),
        hash_ports: match scheduler {
            Some(scheduler) => hash_ports.or(Layer4::default_hash_ports(scheduler)),
            None => hash_ports.ok(),
        },
        on_removed: at.word("on_removed").or(RemovedPolicy::Reschedule),
        timeouts: at.table("timeouts").and_then(|table| read_overrides(&table)),
    }
}

fn read_mode(at: &Table<'_>) -> Option<Mode4> {
    let mode = at.text("mode").and_then(|text| match text {
        "http" => {
            at.error("mode", "`http` is a mode of layer 7: write layer = 7, or the mode dr, nat or tun");
            Read::Wrong
        }
        "tcp" => {
            at.error("mode", "`tcp` is a mode of layer 7: write layer = 7, or the mode dr, nat or tun with protocol = \"tcp\"");
            Read::Wrong
        }
        text => at.word_of::<ModeWord>("mode", text),
    });
    let mode = mode.or(ModeWord::Dr);
    let tunnel = at.word::<TunnelWord>("tunnel");
    let port = at.port("tunnel_port");
    if let Some(plain @ (ModeWord::Dr | ModeWord::Nat)) = mode {
        for key in ["tunnel", "tunnel_port"].into_iter().filter(|key| at.has(key)) {
            at.error(key, format!("`{key}` is for mode = \"tun\" only, and the mode is {plain}: remove it or change the mode"));
        }
    }
    match mode? {
        ModeWord::Dr => Some(Mode4::Dr),
        ModeWord::Nat => Some(Mode4::Nat),
        ModeWord::Tun => read_encapsulation(at, tunnel.or(TunnelWord::Ip)?, port).map(Mode4::Tun),
    }
}

fn read_encapsulation(at: &Table<'_>, tunnel: TunnelWord, port: Read<u16>) -> Option<Encapsulation> {
    match (tunnel, port) {
        (TunnelWord::Gue, port) => port.or(Encapsulation::GUE_PORT).map(|port| Encapsulation::Gue { port }),
        (TunnelWord::Ip, Read::Absent) => Some(Encapsulation::Ip),
        (TunnelWord::Ip, _) => {
            at.error(
                "tunnel_port",
                "IP inside IP has no port: remove `tunnel_port` or write tunnel = \"gue\"",
            );
            None
        }
    }
}

fn read_scheduler(at: &Table<'_>) -> Option<Scheduler4> {
    let read = at.text("scheduler").and_then(|text| {
        let legal = Scheduler4::spellings();
        match (text.parse::<Scheduler4>(), text.parse::<crate::Scheduler7>()) {
            (Ok(scheduler), _) => Read::Is(scheduler),
            (Err(_), Ok(_)) => {
                let all = legal.join(", ");
                at.error(
                    "scheduler",
                    format!(
                        "`{text}` needs layer 7, packets don't show what it decides by: layer 4 has {all}"
                    ),
                );
                Read::Wrong
            }
            (Err(_), Err(_)) => {
                at.error("scheduler", unknown_word("scheduler", text, &legal));
                Read::Wrong
            }
        }
    });
    read.or(Scheduler4::Wlc)
}

fn read_one_packet(at: &Table<'_>, protocol: Option<Protocol4>) -> Option<bool> {
    let one_packet = at.flag("one_packet").or(false)?;
    match protocol {
        Some(protocol) if one_packet && protocol.has_tcp() => {
            at.error(
                "one_packet",
                "one_packet schedules each datagram for itself, which would tear TCP connections apart: \
                 write protocol = \"udp\" or remove it",
            );
            None
        }
        _ => Some(one_packet),
    }
}

fn read_overrides(at: &Table<'_>) -> Option<Layer4TimeoutOverrides> {
    let tcp_established = at.duration("tcp_established", IDLE).optional();
    let tcp_fin = at.duration("tcp_fin", IDLE).optional();
    let tcp_syn = at.duration("tcp_syn", IDLE).optional();
    let tcp_close = at.duration("tcp_close", IDLE).optional();
    let udp = at.duration("udp", IDLE).optional();
    at.finish();
    Some(Layer4TimeoutOverrides {
        tcp_established: tcp_established?,
        tcp_fin: tcp_fin?,
        tcp_syn: tcp_syn?,
        tcp_close: tcp_close?,
        udp: udp?,
    })
}
