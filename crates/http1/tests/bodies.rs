//! Bodies in chunks, however they arrive.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test, like the test itself")]

use keel_http1::{Chunked, Limits, Refusal, Step, chunk_head};
use proptest::prelude::*;

/// The body, the trailers, and how many bytes follow.
type Taken = (Vec<u8>, Vec<(String, String)>, usize);

/// Takes a body apart that arrives in pieces of these lengths, in turn.
fn take(bytes: &[u8], pieces: &[usize]) -> Result<Taken, Refusal> {
    let limits = Limits::default();
    let (mut chunked, mut body, mut begin, mut end) = (Chunked::default(), Vec::new(), 0, 0);
    let mut pieces = pieces.iter().copied().cycle();
    loop {
        match chunked.step(&bytes[begin..end], &limits)? {
            Step::Data(range) => {
                body.extend_from_slice(&bytes[begin..end][range.clone()]);
                begin += range.end;
            }
            Step::More(used) => {
                begin += used;
                if end == bytes.len() {
                    assert!(!chunked.is_over());
                    return Ok((body, Vec::new(), usize::MAX));
                }
                end = (end + pieces.next().unwrap_or(1).max(1)).min(bytes.len());
            }
            Step::End(used, trailers) => {
                let section = &bytes[begin + trailers.begin..];
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let of = |field: &keel_http1::Field| {
                    (text(field.name.in_head(section)), text(field.value.in_head(section)))
                };
                assert!(chunked.is_over());
                return Ok((body, trailers.fields.iter().map(of).collect(), bytes.len() - begin - used));
            }
        }
    }
}

fn encode(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        bytes.extend_from_slice(chunk_head(chunk.len(), &mut [0; 18]));
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

proptest! {
    #[test]
    fn what_was_put_into_chunks_comes_out_however_it_arrives(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
        pieces in prop::collection::vec(1usize..400, 1..5),
    ) {
        let mut bytes = encode(&chunks);
        bytes.extend_from_slice(b"GET");
        let (body, trailers, rest) = take(&bytes, &pieces).unwrap();
        prop_assert_eq!(body, chunks.concat());
        prop_assert!(trailers.is_empty());
        prop_assert_eq!(rest, 3);
    }

    #[test]
    fn any_bytes_are_taken_or_refused_alike_however_they_arrive(
        bytes in "[0-9a-fA-Fx;= \t\r\n]{0,40}", pieces in prop::collection::vec(1usize..10, 1..4),
    ) {
        prop_assert_eq!(take(bytes.as_bytes(), &pieces), take(bytes.as_bytes(), &[1000]));
    }
}

#[test]
fn what_is_refused_and_by_which_rule() {
    use Refusal::*;
    let table: &[(&str, &str, Refusal)] = &[
        ("rfc9112_7_1_no_size", "\r\n", ChunkSize),
        ("rfc9112_7_1_extension_without_a_size", ";a=b\r\n", ChunkSize),
        ("rfc9112_7_1_prefix", "0x1\r\na\r\n0\r\n\r\n", ChunkSize),
        ("rfc9112_7_1_sign", "+1\r\na\r\n0\r\n\r\n", ChunkSize),
        ("rfc9112_7_1_space_before", " 1\r\na\r\n0\r\n\r\n", ChunkSize),
        ("rfc9112_7_1_underscore", "1_0\r\n", ChunkSize),
        ("rfc9112_7_1_bare_lf_after_the_size", "1\na\r\n0\r\n\r\n", ChunkSize),
        ("rfc9112_7_1_bare_cr_after_the_size", "1\ra\r\n0\r\n\r\n", ChunkSize),
        ("rfc9112_7_1_beyond_64_bits", "10000000000000001\r\na", ChunkSize),
        ("rfc9112_7_1_endless_zeros", "0000000000000001\r\na", ChunkSize),
        ("rfc9112_7_1_1_bare_lf_in_an_extension", "1;a\nb\r\na\r\n", ChunkExtension),
        ("rfc9112_7_1_1_bare_cr_in_an_extension", "1;a\rb\r\na\r\n", ChunkSize),
        ("rfc9112_7_1_1_nul_in_an_extension", "1;\0\r\na\r\n", ChunkExtension),
        ("rfc9112_7_1_longer_than_it_says", "1\r\nab\r\n0\r\n\r\n", ChunkEnd),
        ("rfc9112_7_1_bare_lf_after_the_data", "1\r\na\n0\r\n\r\n", ChunkEnd),
        ("rfc9112_7_1_bare_cr_after_the_data", "1\r\na\r0\r\n\r\n", ChunkEnd),
        ("rfc9112_7_1_2_folded_trailer", "0\r\nA: b\r\n c\r\n\r\n", FieldName),
        ("rfc9112_7_1_2_bare_lf_in_the_trailers", "0\r\nA: b\n\r\n", BareLf),
        ("rfc9112_7_1_2_bare_lf_as_the_last_line", "0\r\n\nx", BareLf),
        ("rfc9112_7_1_2_trailer_without_a_name", "0\r\n: b\r\n\r\n", FieldName),
    ];
    for (name, bytes, refusal) in table {
        assert_eq!(take(bytes.as_bytes(), &[1]).err(), Some(*refusal), "{name}");
    }
    let endless = format!("1;{}", "a".repeat(5000));
    assert_eq!(take(endless.as_bytes(), &[100]), Err(ChunkExtension));
    let mut many = String::new();
    (0..1000).for_each(|_| many += "1;abcde\r\nx\r\n");
    assert_eq!(take(many.as_bytes(), &[100]), Err(ChunkExtension), "in all chunks together");
    let endless = format!("0\r\n{}", "A: b\r\n".repeat(5000));
    assert_eq!(take(endless.as_bytes(), &[100]), Err(HeadTooLarge));
}

#[test]
fn extensions_are_passed_over_and_trailers_read() {
    let bytes = b"3;a=\"b;c\" ; d\r\nabc\r\n00A \r\n0123456789\r\n0;e\r\nGrpc-Status: 0\r\nX:  y \r\n\r\nGET";
    let (body, trailers, rest) = take(bytes, &[1]).unwrap();
    assert_eq!((body.as_slice(), rest), (&b"abc0123456789"[..], 3));
    let expected =
        [("Grpc-Status", "0"), ("X", "y")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(trailers, expected);
}

#[test]
fn a_chunks_head_is_its_length_in_hexadecimal_digits() {
    let heads = [0, 1, 15, 16, 0xabc_def, usize::MAX]
        .map(|length| String::from_utf8(chunk_head(length, &mut [0; 18]).to_vec()).unwrap());
    assert_eq!(heads, ["0\r\n", "1\r\n", "f\r\n", "10\r\n", "abcdef\r\n", "ffffffffffffffff\r\n"]);
}
