//! What a node's interface sees, frame by frame (AF_PACKET), for as long as the capture lives.

use std::io::Read as _;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{PATIENCE, Rig};

/// Every protocol, `ETH_P_ALL` in network order.
const ALL: i32 = (3_u16).to_be() as i32;

/// One frame: its bytes from the Ethernet header on, and when it was read.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The frame.
    pub bytes: Vec<u8>,
    /// When.
    pub seen: Instant,
}

/// A socket that sees all of a node's frames since it was opened.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
}

impl Rig {
    /// Begins to capture on all of a node's interfaces.
    pub fn capture(&self, node: &str) -> Capture {
        let socket = self.inside(node, || {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL))).unwrap();
            socket.set_recv_buffer_size(4 << 20).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            socket
        });
        Capture { socket }
    }
}

impl Capture {
    /// Waits for so many frames that satisfy a condition.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, count: usize, wanted: impl Fn(&[u8]) -> bool) -> Vec<Frame> {
        let deadline = Instant::now() + PATIENCE;
        let mut found = Vec::new();
        while found.len() < count {
            assert!(Instant::now() < deadline, "{what}: {} of {count} within {PATIENCE:?}", found.len());
            found.extend(self.next().filter(|frame| wanted(&frame.bytes)));
        }
        found
    }

    /// What has been seen up to now that satisfies a condition.
    pub fn so_far(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Vec<Frame> {
        let mut found = Vec::new();
        while let Some(frame) = self.next() {
            found.extend(Some(frame).filter(|frame| wanted(&frame.bytes)));
        }
        found
    }

    fn next(&mut self) -> Option<Frame> {
        let mut buffer = vec![0; 4096];
        let length = self.socket.read(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(Frame { bytes: buffer, seen: Instant::now() })
    }
}
