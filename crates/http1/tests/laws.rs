//! The laws that fuzzing looks for exceptions to, under messages made of pieces.
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

#[path = "../../../fuzz/src/http1.rs"]
#[expect(unreachable_pub, reason = "it is a library's module elsewhere")]
mod law;

/// Pieces that heads are made of, and some that break them.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"GET",
        b"POST",
        b"OPTIONS",
        b" ",
        b" / ",
        b"/a?b=c",
        b"*",
        b"http://h",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host: h\r\n",
        b"Host: h:80\r\n",
        b"Content-Length: 5\r\n",
        b": ",
        b"X",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close, X-A\r\n",
        b"X-A: 1\r\n",
        b"\t",
        b"\0",
        b"\xff",
        b"#",
        b"TE: trailers\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: upgrade\r\n",
        b"Content_Length: 5\r\n",
        b"\r\n\r\n",
    ];
    prop_oneof![
        8 => prop::sample::select(pieces.to_vec()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

fn head() -> impl Strategy<Value = Vec<u8>> {
    let lines: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"POST /x?y HTTP/1.1\r\n",
        b"GET http://h?q HTTP/1.1\r\n",
        b"OPTIONS http://h HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"GET http://h HTTP/1.0\r\n",
        b"",
    ];
    let begin = prop::sample::select(lines.to_vec());
    let host = prop::sample::select(vec![&b"Host: h\r\n"[..], b"hOST:  h \r\n", b""]);
    (begin, host, prop::collection::vec(piece(), 0..8), any::<bool>()).prop_map(
        |(begin, host, pieces, end)| {
            let end: &[u8] = if end { b"\r\n" } else { b"" };
            [begin, host, &pieces.concat(), end].concat()
        },
    )
}

fn response_head() -> impl Strategy<Value = Vec<u8>> {
    let lines: &[&[u8]] =
        &[b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404\n", b"HTTP/1.1 304 \r\n", b"HTTP/1.1 100 Continue\r\n"];
    let begin = prop::sample::select(lines.to_vec());
    let pieces = prop::collection::vec(piece(), 0..6);
    (begin, pieces, prop::sample::select(vec![&b"\r\n"[..], b"\n", b""]))
        .prop_map(|(begin, pieces, end)| [begin, &pieces.concat(), end].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn requests_that_are_taken_and_written_read_the_same(bytes in head()) {
        law::request(&bytes);
    }

    #[test]
    fn responses_that_are_taken_and_written_read_the_same(bytes in response_head()) {
        law::response(&bytes);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(piece(), 0..30)) {
        law::check(&bytes.concat());
    }
}

#[test]
fn the_laws_are_tried_on_messages_that_are_taken() {
    let mut runner = TestRunner::deterministic();
    let mut some = |strategy: BoxedStrategy<Vec<u8>>| -> Vec<Vec<u8>> {
        (0..1000).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
    };
    let requests = some(head().boxed()).iter().filter(|bytes| law::request(bytes)).count();
    let responses = some(response_head().boxed()).iter().filter(|bytes| law::response(bytes)).count();
    assert!(requests > 50 && responses > 50, "{requests} and {responses} of 1000");
}
