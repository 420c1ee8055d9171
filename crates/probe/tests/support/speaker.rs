//! A server that says what a test wants it to say, line by line.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
};

use rustls::{ServerConnection, StreamOwned};

use super::certificates::Shown;

/// What it does after a line.
pub enum Say {
    /// This.
    Text(String),
    /// This, and goes on in TLS.
    ThenTls(String),
    /// This, and hangs up.
    Bye(String),
}

/// Says something.
pub fn say(text: &str) -> Say {
    Say::Text(text.to_owned())
}

/// Greets, and answers every line; lives as long as the test's process. Returns its port.
pub fn speaker(greeting: &str, answer: impl Fn(&str) -> Say + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (greeting, answer) = (greeting.to_owned(), Arc::new(answer));
    let tls = Shown::alone("news.example.org").config();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (greeting, answer, tls) = (greeting.clone(), answer.clone(), tls.clone());
            thread::spawn(move || {
                if stream.write_all(greeting.as_bytes()).is_ok() && talk(&mut stream, &*answer) {
                    let connection = ServerConnection::new(tls).unwrap();
                    talk(&mut StreamOwned::new(connection, stream), &*answer);
                }
            });
        }
    });
    port
}

/// Answers until the end; true if TLS is to begin.
fn talk<S: Read + Write>(stream: &mut S, answer: &dyn Fn(&str) -> Say) -> bool {
    loop {
        let mut line = Vec::new();
        // Byte by byte: what follows may be a handshake, which is not ours to read.
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            if !matches!(stream.read(&mut byte), Ok(1)) {
                return false;
            }
            line.push(byte[0]);
        }
        let said = answer(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
        let (text, end) = match said {
            Say::Text(text) => (text, None),
            Say::ThenTls(text) => (text, Some(true)),
            Say::Bye(text) => (text, Some(false)),
        };
        if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
            return false;
        }
        if let Some(end) = end {
            return end;
        }
    }
}

/// Answers every datagram with some of its own; lives as long as the test's process. Returns its port.
pub fn datagrams(answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    answer_datagrams(socket, answer);
    port
}

/// The same on a socket.
pub fn answer_datagrams(socket: UdpSocket, mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for datagram in answer(&buffer[..length]) {
                let _ = socket.send_to(&datagram, from);
            }
        }
    });
}

/// Reads what comes first from each connection and answers it; lives as long as the test's process.
pub fn answer_streams(listener: TcpListener, answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                let Ok(length) = stream.read(&mut buffer) else { return };
                let _ = stream.write_all(&answer(&buffer[..length]));
                wait_for_end(stream);
            });
        }
    });
}

/// Reads until the other end has enough.
fn wait_for_end(stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    while matches!(reader.fill_buf(), Ok(bytes) if !bytes.is_empty()) {
        let length = reader.buffer().len();
        reader.consume(length);
    }
}
