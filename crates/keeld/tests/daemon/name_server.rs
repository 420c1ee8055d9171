//! A name server whose answers a test changes while it runs.

use std::{
    collections::{HashMap, HashSet},
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME},
    },
};

/// How soon it notices that it is to end.
const GLANCE: Duration = Duration::from_millis(20);
/// What a datagram holds.
const DATAGRAM: usize = 512;

/// What it does with a question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers from its records.
    #[default]
    Helpful,
    /// Says nothing.
    Silent,
    /// Answers with this code.
    Refusing(ResponseCode),
    /// Answers with bytes that are no message behind the question's number.
    Raving,
}

#[derive(Debug, Default)]
struct Known {
    ignored: HashSet<String>,
    records: HashMap<String, Vec<Record>>,
    mood: Mood,
    asked: Vec<(String, RecordType)>,
    by_tcp: usize,
}

/// It ends with the value.
#[derive(Debug)]
pub(crate) struct NameServer {
    known: Arc<Mutex<Known>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    address: SocketAddr,
}

impl NameServer {
    /// Opens the sockets here, in the network of the calling thread.
    pub(crate) fn at(address: &str) -> Self {
        let datagrams = UdpSocket::bind(address).unwrap();
        let address = datagrams.local_addr().unwrap();
        let streams = TcpListener::bind(address).unwrap();
        datagrams.set_read_timeout(Some(GLANCE)).unwrap();
        streams.set_nonblocking(true).unwrap();
        let (known, over) = (Arc::<Mutex<Known>>::default(), Arc::<AtomicBool>::default());
        let threads = vec![
            thread::spawn({
                let (known, over) = (known.clone(), over.clone());
                move || answer_datagrams(&datagrams, &known, &over)
            }),
            thread::spawn({
                let (known, over) = (known.clone(), over.clone());
                move || answer_streams(&streams, &known, &over)
            }),
        ];
        Self { known, over, threads, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// The name has these addresses from now on, for so many seconds.
    pub(crate) fn set(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let owner = full(name);
        let records = addresses.iter().map(|address| {
            let data = match address.parse().unwrap() {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            };
            Record::from_rdata(owner.clone(), ttl, data)
        });
        self.known().records.insert(owner.to_ascii(), records.collect());
    }

    /// The name is another one's alias.
    pub(crate) fn alias(&self, name: &str, ttl: u32, of: &str) {
        let owner = full(name);
        let record = Record::from_rdata(owner.clone(), ttl, RData::CNAME(CNAME(full(of))));
        self.known().records.insert(owner.to_ascii(), vec![record]);
    }

    pub(crate) fn forget(&self, name: &str) {
        self.known().records.remove(&full(name).to_ascii());
    }

    /// Questions about this name are not answered.
    pub(crate) fn ignore(&self, name: &str) {
        self.known().ignored.insert(full(name).to_ascii());
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.known().mood = mood;
    }

    /// How often it was asked for addresses of this name, of either family.
    pub(crate) fn asked_for(&self, name: &str) -> usize {
        let name = full(name).to_ascii();
        self.known().asked.iter().filter(|(asked, _)| *asked == name).count()
    }

    /// The same of one family.
    pub(crate) fn asked_for_kind(&self, name: &str, kind: RecordType) -> usize {
        let question = (full(name).to_ascii(), kind);
        self.known().asked.iter().filter(|asked| **asked == question).count()
    }

    pub(crate) fn asked_by_tcp(&self) -> usize {
        self.known().by_tcp
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the name server panicked");
        }
    }
}

fn full(name: &str) -> Name {
    Name::from_ascii(format!("{name}.")).unwrap()
}

fn answer_datagrams(socket: &UdpSocket, known: &Mutex<Known>, over: &AtomicBool) {
    let mut question = [0; DATAGRAM];
    while !over.load(Ordering::Relaxed) {
        let (length, from) = match socket.recv_from(&mut question) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => panic!("{error}"),
        };
        if let Some(answer) = reply(&question[..length], known, true) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer_streams(listener: &TcpListener, known: &Mutex<Known>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let _ = answer_stream(stream, known);
            }
            Err(_) => thread::sleep(GLANCE),
        }
    }
}

/// One question, then it hangs up.
fn answer_stream(mut stream: TcpStream, known: &Mutex<Known>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut question)?;
    known.lock().unwrap().by_tcp += 1;
    if let Some(answer) = reply(&question, known, false) {
        stream.write_all(&(answer.len() as u16).to_be_bytes())?;
        stream.write_all(&answer)?;
    }
    Ok(())
}

fn reply(question: &[u8], known: &Mutex<Known>, short: bool) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).unwrap();
    let query = asked.queries[0].clone();
    let (name, kind) = (query.name().to_ascii(), query.query_type());
    let mut known = known.lock().unwrap();
    known.asked.push((name.clone(), kind));
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_query(query);
    if known.ignored.contains(&name) {
        return None;
    }
    match known.mood {
        Mood::Silent => return None,
        Mood::Raving => return Some([&question[..2], &[0xff; 64]].concat()),
        Mood::Refusing(code) => answer.metadata.response_code = code,
        Mood::Helpful => add_records(&mut answer, &known.records, &name, kind),
    }
    let bytes = answer.to_vec().unwrap();
    if !short || bytes.len() <= DATAGRAM {
        return Some(bytes);
    }
    answer.answers.clear();
    answer.metadata.truncation = true;
    Some(answer.to_vec().unwrap())
}

fn add_records(answer: &mut Message, records: &HashMap<String, Vec<Record>>, name: &str, kind: RecordType) {
    let Some(mut found) = records.get(name) else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return;
    };
    if let [record] = found.as_slice()
        && let RData::CNAME(of) = &record.data
    {
        answer.add_answer(record.clone());
        let Some(target) = records.get(&of.0.to_ascii()) else { return };
        found = target;
    }
    for record in found.iter().filter(|record| record.record_type() == kind) {
        answer.add_answer(record.clone());
    }
}
