//! TCP as a forwarder sees it: states from flags, with one direction visible (DR, TUN) or both (NAT).
use crate::{Direction, timeout_class};

/// Flag bits of the TCP header's byte 13 (RFC 9293 §3.1).
pub mod flags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
}

/// Names as `netstat` prints them. Values are stored in map entries.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum TcpState {
    /// No connection.
    None = 0,
    /// A SYN went to the server.
    SynRecv = 1,
    /// The handshake is complete (as far as it can be seen). UDP flows are here too.
    Established = 2,
    /// One side has sent its FIN.
    FinWait = 3,
    /// Both sides have sent their FIN (NAT only).
    TimeWait = 4,
    /// A reset was seen.
    Close = 5,
}

impl TcpState {
    /// From the stored number; anything unknown is [`TcpState::None`].
    #[inline(always)]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::SynRecv,
            2 => Self::Established,
            3 => Self::FinWait,
            4 => Self::TimeWait,
            5 => Self::Close,
            _ => Self::None,
        }
    }

    /// As `keel connections` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
        }
    }

    /// Counts as active: the server still works for it.
    #[inline(always)]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Established)
    }

    /// Which idle limit applies.
    #[inline(always)]
    pub const fn timeout_class(self) -> u32 {
        match self {
            Self::SynRecv | Self::None => timeout_class::TCP_SYN,
            Self::Established => timeout_class::TCP_ESTABLISHED,
            Self::FinWait | Self::TimeWait => timeout_class::TCP_FIN,
            Self::Close => timeout_class::TCP_CLOSE,
        }
    }

    /// A SYN on a connection in this state begins a new one instead of belonging to the old.
    #[inline(always)]
    pub const fn reusable(self) -> bool {
        matches!(self, Self::FinWait | Self::TimeWait | Self::Close | Self::None)
    }
}

/// The state after a packet with `tcp_flags` in `direction`; `other_fin` says whether the other side's FIN has
/// been seen (never, where only one direction is visible).
///
/// A reset ends everything. A bare ACK completes the handshake only from the client: in DR and TUN the server's
/// half is invisible, and a client's non-SYN ACK proves that the server answered.
#[inline(always)]
pub const fn next_state(state: TcpState, direction: Direction, tcp_flags: u8, other_fin: bool) -> TcpState {
    if tcp_flags & flags::RST != 0 {
        return TcpState::Close;
    }
    if tcp_flags & flags::FIN != 0 {
        return match state {
            TcpState::Close => TcpState::Close,
            _ if other_fin => TcpState::TimeWait,
            _ => TcpState::FinWait,
        };
    }
    if tcp_flags & flags::SYN != 0 {
        return match state {
            TcpState::None => TcpState::SynRecv,
            _ => state,
        };
    }
    match (state, direction) {
        (TcpState::SynRecv | TcpState::None, Direction::Forward) => TcpState::Established,
        _ => state,
    }
}

#[cfg(test)]
mod tests {
    use super::TcpState::*;
    use super::*;
    use flags::{ACK, FIN, RST, SYN};

    const ALL: [TcpState; 6] = [None, SynRecv, Established, FinWait, TimeWait, Close];

    #[test]
    fn transition_table() {
        use Direction::{Forward, Reverse};
        for (state, direction, tcp_flags, other_fin, expected) in [
            (None, Forward, SYN, false, SynRecv),
            (None, Forward, ACK, false, Established),
            (SynRecv, Forward, SYN, false, SynRecv),
            (SynRecv, Reverse, SYN | ACK, false, SynRecv),
            (SynRecv, Forward, ACK, false, Established),
            (SynRecv, Forward, RST, false, Close),
            (SynRecv, Reverse, RST | ACK, false, Close),
            (Established, Forward, ACK, false, Established),
            (Established, Forward, SYN, false, Established),
            (Established, Forward, FIN | ACK, false, FinWait),
            (Established, Reverse, FIN | ACK, false, FinWait),
            (FinWait, Forward, ACK, false, FinWait),
            (FinWait, Reverse, FIN | ACK, true, TimeWait),
            (FinWait, Forward, FIN | ACK, false, FinWait),
            (TimeWait, Forward, ACK, true, TimeWait),
            (Close, Forward, FIN | ACK, true, Close),
            (Close, Forward, ACK, false, Close),
        ] {
            assert_eq!(
                next_state(state, direction, tcp_flags, other_fin),
                expected,
                "{state:?} {direction:?} {tcp_flags:#x}"
            );
        }
    }

    #[test]
    fn a_reset_always_closes() {
        for state in ALL {
            for extra in 0..=255u8 {
                assert_eq!(next_state(state, Direction::Reverse, extra | RST, false), Close);
            }
        }
    }

    #[test]
    fn the_server_alone_never_establishes() {
        // A spoofed SYN makes the server answer; only the client's ACK may move the entry out of the half-open table.
        for tcp_flags in 0..=255u8 {
            let next = next_state(SynRecv, Direction::Reverse, tcp_flags, false);
            assert_ne!(next, Established, "{tcp_flags:#x}");
        }
    }

    #[test]
    fn stored_numbers_round_trip() {
        for state in ALL {
            assert_eq!(TcpState::from_u8(state as u8), state);
        }
    }
}
