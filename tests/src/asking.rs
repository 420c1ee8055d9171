//! Questions of a client: by curl, by plain connections, by datagrams.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::rig::CLIENT;
use crate::{PATIENCE, Rig};

/// How often each server answered.
pub type Answers = BTreeMap<String, u64>;

/// How long an answer may take that is expected not to come.
const SHORT: Duration = Duration::from_millis(700);

impl Rig {
    /// What curl gets.
    ///
    /// # Errors
    /// What curl says.
    pub fn curl(&self, url: &str) -> Result<String, String> {
        let said = self.run(CLIENT, &["curl", "-gsSk", "--max-time", "10", url]);
        if said.code == 0 { Ok(said.out) } else { Err(format!("{url}: {}", said.err.trim())) }
    }

    /// What curl gets, which must be something.
    #[track_caller]
    pub fn get(&self, url: &str) -> String {
        match self.curl(url) {
            Ok(text) => text,
            Err(error) => panic!("{error}\n{}", self.keel(&["drops"]).out),
        }
    }

    /// One new connection and its answer's body, from one of the client's addresses.
    ///
    /// # Errors
    /// If there is no answer in a short time.
    pub fn http(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<String> {
        self.inside(CLIENT, || http(from, to, SHORT))
    }

    /// Who answers so many new connections, all of which must get an answer.
    #[track_caller]
    pub fn shares(&self, to: SocketAddr, count: u64) -> Answers {
        self.shares_of(None, to, count)
    }

    /// The same from one of the client's addresses.
    #[track_caller]
    pub fn shares_of(&self, from: Option<IpAddr>, to: SocketAddr, count: u64) -> Answers {
        let asked = self.inside(CLIENT, || (0..count).map(|_| http(from, to, PATIENCE)).collect::<Vec<_>>());
        let mut answers = Answers::new();
        for answer in asked {
            let server = answer.unwrap_or_else(|error| panic!("{to}: {error}"));
            *answers.entry(server.trim().to_owned()).or_default() += 1;
        }
        answers
    }

    /// A datagram and its answer.
    ///
    /// # Errors
    /// If there is no answer in a short time.
    pub fn datagram(&self, from: Option<IpAddr>, to: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
        self.inside(CLIENT, || {
            let socket = udp(from, to)?;
            socket.set_read_timeout(Some(SHORT))?;
            socket.send(question)?;
            let mut buffer = vec![0; 65_535];
            let length = socket.recv(&mut buffer)?;
            buffer.truncate(length);
            Ok(buffer)
        })
    }

    /// Which server answers a datagram.
    #[track_caller]
    pub fn echo(&self, to: SocketAddr) -> String {
        match self.datagram(None, to, b"who") {
            Ok(answer) => String::from_utf8(answer).unwrap().trim().to_owned(),
            Err(error) => panic!("{to}: {error}\n{}", self.keel(&["drops"]).out),
        }
    }
}

/// An address of the family for a socket that has no other.
pub(crate) fn any_like(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { [0; 4].into() } else { [0_u8; 16].into() }
}

/// A connected socket in the calling thread's node.
pub(crate) fn udp(from: Option<IpAddr>, to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((from.unwrap_or_else(|| any_like(to.ip())), 0))?;
    socket.connect(to)?;
    Ok(socket)
}

fn http(from: Option<IpAddr>, to: SocketAddr, patience: Duration) -> io::Result<String> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect_timeout(&to.into(), patience)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if !head.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(format!("answered {head:?}")));
    }
    Ok(body.to_owned())
}
