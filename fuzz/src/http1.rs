//! What holds of HTTP/1.1 messages: no bytes make the reader panic; what is taken and written anew reads the same and can't
//! be read in two ways; bodies in chunks are taken apart alike however they arrive.
use keel_http1::{
    Body, Chunked, Field, Head, Limits, Marks, Method, Peer, Refusal, Request, Response, Scan, Step,
};

/// Everything that a connection may bring.
pub fn check(data: &[u8]) {
    request(data);
    response(data);
    chunks(data);
}

/// A head that was found in the bytes, if one was.
fn find(bytes: &[u8], peer: Peer) -> Option<&[u8]> {
    let limits = Limits::default();
    let found = Scan::default().find(bytes, peer, &limits);
    // It arrives byte by byte, and the same comes out.
    let mut scan = Scan::default();
    let mut steps = (0..=bytes.len()).map(|end| scan.find(&bytes[..end], peer, &limits));
    let step = steps.find(|step| !matches!(step, Ok(None))).unwrap_or(Ok(None));
    assert_eq!(step, found);
    found.ok().flatten().map(|(begin, end)| &bytes[begin..end])
}

/// Name and value of the fields that are passed on.
fn kept(head: &[u8], fields: &[Field], hop: Marks) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fields = fields.iter().enumerate().filter(|(number, _)| !hop.has(*number));
    fields.map(|(_, field)| (field.name.in_head(head).to_vec(), field.value.in_head(head).to_vec())).collect()
}

/// Lines end with CR LF, nothing is folded, and one field at most says where the body ends.
fn unambiguous(written: &[u8], body: Body) {
    let text = written.strip_suffix(b"\r\n\r\n");
    assert!(text.is_some(), "the head ends with an empty line");
    let mut lengths = 0;
    for line in text.unwrap_or_default().split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.is_empty() && !line.iter().any(|byte| matches!(byte, b'\r' | 0)));
        assert!(!matches!(line[0], b' ' | b'\t'));
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().to_ascii_lowercase();
        lengths += usize::from(matches!(&name[..], b"content-length" | b"transfer-encoding"));
    }
    assert_eq!(lengths, usize::from(matches!(body, Body::Length(_) | Body::Chunked)));
}

/// A request: read, written, read again. True if it was taken.
pub fn request(bytes: &[u8]) -> bool {
    let limits = Limits::default();
    let Some(head) = find(bytes, Peer::Client) else { return false };
    let mut request = Request::default();
    if request.read(head, &limits).is_err() {
        return false;
    }
    let mut written = Vec::new();
    let host = request.host.in_head(head);
    Head::request(&mut written, head, &request, host)
        .copy(head, &request.fields, request.hop)
        .body(request.body)
        .end();
    unambiguous(&written, request.body);
    let mut again = Request::default();
    let taken = again.read(&written, &limits);
    // A field more, and colons with a space behind, may be more than is taken.
    if taken == Err(Refusal::HeadTooLarge) {
        return true;
    }
    assert_eq!(taken, Ok(()), "{}", written.escape_ascii());
    let path = match (request.target.path.in_head(head), request.method) {
        (b"", Method::Options) => b"*".to_vec(),
        (path @ ([] | [b'?', ..]), _) => [b"/", path].concat(),
        (path, _) => path.to_vec(),
    };
    assert_eq!(again.target.path.in_head(&written), path);
    assert_eq!(again.method_name.in_head(&written), request.method_name.in_head(head));
    assert_eq!((again.host.in_head(&written), again.body, again.minor), (host, request.body, 1));
    assert_eq!(kept(&written, &again.fields, again.hop), kept(head, &request.fields, request.hop));
    true
}

/// A response: read, written, read again. True if it was taken.
pub fn response(bytes: &[u8]) -> bool {
    let limits = Limits::default();
    let Some(head) = find(bytes, Peer::Server) else { return false };
    let mut response = Response::default();
    let method = if bytes.len().is_multiple_of(2) { Method::Get } else { Method::Head };
    if response.read(head, method, &limits).is_err() {
        return false;
    }
    let mut written = Vec::new();
    Head::response(&mut written, response.status, response.reason.in_head(head))
        .copy(head, &response.fields, response.hop)
        .body(response.body)
        .end();
    unambiguous(&written, response.body);
    let mut again = Response::default();
    let taken = again.read(&written, method, &limits);
    if taken == Err(Refusal::HeadTooLarge) {
        return true;
    }
    assert_eq!(taken, Ok(()), "{}", written.escape_ascii());
    assert_eq!((again.status, again.body, again.minor), (response.status, response.body, 1));
    assert_eq!(kept(&written, &again.fields, again.hop), kept(head, &response.fields, response.hop));
    true
}

/// The bytes of a body, and how many follow it if it has ended.
fn take_apart(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), Refusal> {
    let limits = Limits::default();
    let (mut chunked, mut body, mut begin, mut end) = (Chunked::default(), Vec::new(), 0, 0);
    loop {
        match chunked.step(&bytes[begin..end], &limits)? {
            Step::Data(range) => {
                assert!(!range.is_empty());
                body.extend_from_slice(&bytes[begin..end][range.clone()]);
                begin += range.end;
            }
            Step::More(_) if end == bytes.len() => return Ok((body, None)),
            Step::More(used) => {
                begin += used;
                end = (end + piece).min(bytes.len());
            }
            Step::End(used, _) => return Ok((body, Some(bytes.len() - begin - used))),
        }
    }
}

/// A body in chunks: at once, and byte by byte. True if it was taken whole.
pub fn chunks(bytes: &[u8]) -> bool {
    let whole = take_apart(bytes, bytes.len().max(1));
    match (&whole, take_apart(bytes, 1)) {
        (Ok(whole), Ok(pieces)) => assert_eq!(*whole, pieces),
        // Which of two faults is seen first may depend on how they arrive.
        (Err(_), Err(_)) => {}
        (whole, pieces) => panic!("{whole:?} {pieces:?}"),
    }
    matches!(whole, Ok((_, Some(_))))
}
