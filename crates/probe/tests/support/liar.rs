//! Servers that don't behave.
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it does to whoever connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Accepts and says nothing.
    Hang,
    /// One byte a second, for ever.
    Trickle,
    /// Bytes that are no protocol.
    Garbage,
    /// A gigabyte.
    Flood,
    /// One line of a gigabyte.
    FloodLine,
    /// Closes at once.
    Close,
    /// Reads something and closes.
    ReadAndClose,
    /// Resets at once.
    Reset,
}

impl Lie {
    pub const ALL: [Self; 8] = [
        Self::Hang,
        Self::Trickle,
        Self::Garbage,
        Self::Flood,
        Self::FloodLine,
        Self::Close,
        Self::ReadAndClose,
        Self::Reset,
    ];
}

/// Starts one, for TCP and UDP, on a port of the loopback. It lives as long as the test's process.
pub fn liar(lie: Lie) -> u16 {
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            break (tcp, udp);
        }
    };
    let port = tcp.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            if lie == Lie::ReadAndClose {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            }
            thread::spawn(move || deceive(stream, lie, reset));
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            match lie {
                Lie::Garbage | Lie::Trickle => {
                    let _ = udp.send_to(&noise(64), from);
                }
                Lie::Flood | Lie::FloodLine => {
                    for _ in 0..1000 {
                        let _ = udp.send_to(&noise(60_000), from);
                    }
                }
                Lie::Close | Lie::ReadAndClose | Lie::Reset => {
                    let _ = udp.send_to(&[], from);
                }
                Lie::Hang => {}
            }
        }
    });
    port
}

/// Bytes that repeat always and mean nothing.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Reads until the other end has left: a connection costs nothing after that.
fn until_left(mut stream: impl Read) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

/// The same behind TLS: the handshake is honest, what is said in it isn't.
pub fn tls_liar(lie: Lie, config: Arc<ServerConfig>) -> u16 {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || {
                let mut connection = ServerConnection::new(config).unwrap();
                while connection.is_handshaking() {
                    if connection.complete_io(&mut stream).is_err() {
                        return;
                    }
                }
                if lie == Lie::Reset {
                    return deceive(stream, lie, reset);
                }
                deceive(StreamOwned::new(connection, stream), lie, drop);
            });
        }
    });
    port
}

fn reset(stream: TcpStream) {
    let stream = socket2::Socket::from(stream);
    let _ = stream.set_linger(Some(Duration::ZERO));
}

fn deceive<S: Read + Write>(mut stream: S, lie: Lie, reset: impl FnOnce(S)) {
    let mut buffer = [0; 4096];
    match lie {
        Lie::Hang => until_left(stream),
        Lie::Trickle => {
            for byte in b"220 HTTP/1.1 200 OK +OK * OK RFB".iter().cycle() {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_secs(1));
            }
        }
        Lie::Garbage => {
            let _ = stream.write_all(&noise(512));
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(&noise(512));
            until_left(stream);
        }
        Lie::Flood | Lie::FloodLine => {
            let piece =
                if lie == Lie::Flood { b"220-more to come\r\n".repeat(3641) } else { vec![b'x'; 65_536] };
            for _ in 0..16_384 {
                if stream.write_all(&piece).is_err() {
                    return;
                }
            }
        }
        Lie::Close => {}
        Lie::ReadAndClose => {
            let _ = stream.read(&mut buffer);
        }
        Lie::Reset => reset(stream),
    }
}
