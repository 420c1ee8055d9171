//! Servers that don't behave.
use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What it does to whoever connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Accepts and says nothing.
    Hang,
    /// Bytes that are no protocol.
    Garbage,
    /// Lines without end, this one over and over.
    Flood(&'static str),
    /// Closes at once.
    Close,
}

/// Starts one on a port of the loopback.
pub(crate) async fn liar(lie: Lie) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(deceive(stream, lie));
        }
    });
    port
}

async fn deceive(mut stream: TcpStream, lie: Lie) {
    match lie {
        Lie::Hang => tokio::time::sleep(Duration::from_secs(60)).await,
        Lie::Garbage => {
            let noise: Vec<u8> =
                (0..512_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
            let _ = stream.write_all(&noise).await;
            let _ = stream.write_all(b"\r\n").await;
            let _ = stream.read(&mut [0; 4096]).await;
        }
        Lie::Flood(line) => {
            let piece = line.repeat(65_536 / line.len());
            while stream.write_all(piece.as_bytes()).await.is_ok() {}
        }
        Lie::Close => {}
    }
}
