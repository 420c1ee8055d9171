//! Which requests are taken, and which are refused by which rule.
use keel_http1::{Body, Form, Known, Limits, Method, Peer, Refusal, Request, Scan};

/// Reads the bytes of a request as they would be read from a connection.
fn read(bytes: &[u8]) -> Result<(Request, &[u8]), Refusal> {
    let limits = Limits::default();
    let (begin, end) = Scan::default().find(bytes, Peer::Client, &limits)?.expect("the head is whole");
    let head = &bytes[begin..end];
    let mut request = Request::default();
    request.read(head, &limits).map(|()| (request, head))
}

fn refused(bytes: &[u8]) -> Refusal {
    match read(bytes) {
        Ok((request, _)) => panic!("taken: {} {request:?}", bytes.escape_ascii()),
        Err(refusal) => refusal,
    }
}

#[track_caller]
fn taken(bytes: &[u8]) -> (Request, &[u8]) {
    read(bytes).unwrap_or_else(|refusal| panic!("{refusal}: {}", bytes.escape_ascii()))
}

#[test]
fn a_browsers_request_is_read_into_ranges() {
    let (request, head) = taken(
        b"GET /shop/cart?x=1&y=%20 HTTP/1.1\r\nHost: www.example.org:8080\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
          Accept: text/html,*/*;q=0.8\r\nCookie: a=b; SERVERID=s1\r\nConnection: keep-alive\r\nX-Empty:\r\n\r\n",
    );
    assert_eq!(request.method, Method::Get);
    assert_eq!(request.target.path.in_head(head), b"/shop/cart?x=1&y=%20");
    assert_eq!(request.host.in_head(head), b"www.example.org:8080");
    assert_eq!((request.minor, request.body, request.keeps_alive()), (1, Body::None, true));
    let known: Vec<_> = request.fields.iter().map(|field| field.known).collect();
    assert_eq!(
        known,
        [Known::Host, Known::Other, Known::Other, Known::Cookie, Known::Connection, Known::Other]
    );
    assert_eq!(request.fields[3].value.in_head(head), b"a=b; SERVERID=s1");
    assert_eq!(request.fields[5].value.in_head(head), b"");
    let hop: Vec<_> = (0..6).filter(|number| request.hop.has(*number)).collect();
    assert_eq!(hop, [0, 4]);
}

#[test]
fn what_is_refused_and_by_which_rule() {
    use Refusal::*;
    let begin = "GET / HTTP/1.1\r\nHost: h\r\n";
    let post = "POST / HTTP/1.1\r\nHost: h\r\n";
    let table: &[(&str, String, Refusal)] = &[
        ("rfc9112_2_2_bare_lf_after_the_request_line", "GET / HTTP/1.1\nHost: h\r\n\r\n".into(), BareLf),
        ("rfc9112_2_2_bare_lf_after_a_field", "GET / HTTP/1.1\r\nHost: h\n\r\n".into(), BareLf),
        ("rfc9112_2_2_bare_lf_as_the_empty_line", "GET / HTTP/1.1\r\nHost: h\r\n\n".into(), BareLf),
        ("rfc9112_2_2_bare_lf_hides_a_field", format!("{begin}X: a\nContent-Length: 5\r\n\r\n"), BareLf),
        ("rfc9112_2_2_bare_lf_before_the_head", format!("\n{begin}\r\n"), BareLf),
        ("rfc9112_2_2_two_empty_lines", format!("\r\n\r\n{begin}\r\n"), EmptyLines),
        ("rfc9112_2_2_bare_cr_in_a_value", format!("{begin}X: a\rb\r\n\r\n"), FieldValue),
        ("rfc9112_2_2_bare_cr_at_a_values_end", format!("{begin}X: a\r\r\n\r\n"), FieldValue),
        ("rfc9112_2_2_space_before_the_first_field", "GET / HTTP/1.1\r\n Host: h\r\n\r\n".into(), FieldName),
        ("rfc9112_3_no_version", "GET /\r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9112_3_two_spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9112_3_two_spaces_before_the_version", "GET /  HTTP/1.1\r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9112_3_tab_between", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9112_3_space_before_the_method", " GET / HTTP/1.1\r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9112_3_space_behind_the_version", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9112_3_space_in_the_target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9112_3_method_is_no_token", "GE(T / HTTP/1.1\r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9112_2_3_http_2_0", "GET / HTTP/2.0\r\nHost: h\r\n\r\n".into(), Version),
        ("rfc9112_2_3_http_1_2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n".into(), Version),
        ("rfc9112_2_3_http_0_9", "GET / HTTP/0.9\r\nHost: h\r\n\r\n".into(), Version),
        ("rfc9112_2_3_small_letters", "GET / http/1.1\r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9112_2_3_two_digits", "GET / HTTP/1.10\r\nHost: h\r\n\r\n".into(), RequestLine),
        ("rfc9113_3_4_the_preface_of_http_2", "PRI * HTTP/2.0\r\n\r\n".into(), RequestLine),
        ("rfc9112_3_2_fragment", "GET /#x HTTP/1.1\r\nHost: h\r\n\r\n".into(), Target),
        ("rfc9112_3_2_beyond_ascii", "GET /\u{fc} HTTP/1.1\r\nHost: h\r\n\r\n".into(), Target),
        ("rfc9112_3_2_no_slash", "GET index.html HTTP/1.1\r\nHost: h\r\n\r\n".into(), Target),
        ("rfc9112_3_2_another_scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n".into(), Target),
        ("rfc9110_4_2_4_user_information", "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n".into(), Target),
        ("rfc9112_3_2_no_host_in_the_target", "GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n".into(), Target),
        ("rfc9112_3_2_4_asterisk_with_get", "GET * HTTP/1.1\r\nHost: h\r\n\r\n".into(), Target),
        ("rfc9112_3_2_3_authority_form", "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n".into(), Target),
        ("rfc9110_9_3_6_connect", "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n".into(), Connect),
        ("rfc9112_3_2_no_host", "GET / HTTP/1.1\r\n\r\n".into(), HostCount),
        ("rfc9112_3_2_two_hosts", format!("{begin}Host: h\r\n\r\n"), HostCount),
        (
            "rfc9112_3_2_two_hosts_in_http_1_0",
            "GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n".into(),
            HostCount,
        ),
        ("rfc9110_7_2_list_of_hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".into(), Host),
        ("rfc9110_7_2_space_in_host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), Host),
        ("rfc9110_7_2_path_in_host", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n".into(), Host),
        ("rfc9110_7_2_user_in_host", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n".into(), Host),
        ("rfc9110_7_2_port_is_no_number", "GET / HTTP/1.1\r\nHost: h:8x\r\n\r\n".into(), Host),
        ("rfc9110_7_2_two_ports", "GET / HTTP/1.1\r\nHost: h:80:80\r\n\r\n".into(), Host),
        ("rfc3986_3_2_2_open_bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n".into(), Host),
        ("rfc3986_3_2_2_no_address_in_brackets", "GET / HTTP/1.1\r\nHost: [h]\r\n\r\n".into(), Host),
        (
            "rfc9112_3_2_2_another_host_in_the_target",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n".into(),
            HostMismatch,
        ),
        (
            "rfc9112_3_2_2_another_port_in_the_target",
            "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            HostMismatch,
        ),
        ("rfc9112_5_1_space_before_the_colon", format!("{post}Content-Length : 5\r\n\r\n"), FieldName),
        (
            "rfc9112_5_1_tab_before_the_colon",
            format!("{post}Transfer-Encoding\t: chunked\r\n\r\n"),
            FieldName,
        ),
        ("rfc9112_5_no_colon", format!("{begin}X\r\n\r\n"), FieldName),
        ("rfc9112_5_no_name", format!("{begin}: x\r\n\r\n"), FieldName),
        ("rfc9112_5_2_folded_line", format!("{begin}X: a\r\n b\r\n\r\n"), FieldName),
        ("rfc9112_5_2_folded_coding", format!("{post}Transfer-Encoding:\r\n chunked\r\n\r\n"), FieldName),
        ("rfc9110_5_1_name_is_no_token", format!("{begin}X\u{e9}: a\r\n\r\n"), FieldName),
        ("rfc9110_5_1_nul_in_a_name", format!("{begin}X\0: a\r\n\r\n"), FieldName),
        ("rfc9110_5_5_nul_in_a_value", format!("{begin}X: a\0b\r\n\r\n"), FieldValue),
        ("rfc9110_5_5_control_in_a_value", format!("{begin}X: a\u{1}b\r\n\r\n"), FieldValue),
        ("rfc9110_5_5_del_in_a_value", format!("{begin}X: a\u{7f}b\r\n\r\n"), FieldValue),
        (
            "rfc9112_6_3_cl_and_te",
            format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
            BothLengths,
        ),
        (
            "rfc9112_6_3_te_and_cl",
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
            BothLengths,
        ),
        (
            "rfc9112_6_3_te_with_a_tab_and_cl",
            format!("{post}Transfer-Encoding: chunked\t\r\nContent-Length: 5\r\n\r\n"),
            BothLengths,
        ),
        (
            "rfc9110_8_6_two_lengths",
            format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
            ContentLength,
        ),
        (
            "rfc9110_8_6_the_same_length_twice",
            format!("{post}Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
            ContentLength,
        ),
        ("rfc9110_8_6_list", format!("{post}Content-Length: 5, 5\r\n\r\n"), ContentLength),
        ("rfc9110_8_6_plus", format!("{post}Content-Length: +5\r\n\r\n"), ContentLength),
        ("rfc9110_8_6_minus", format!("{post}Content-Length: -5\r\n\r\n"), ContentLength),
        ("rfc9110_8_6_hexadecimal", format!("{post}Content-Length: 0x5\r\n\r\n"), ContentLength),
        ("rfc9110_8_6_space_inside", format!("{post}Content-Length: 5 5\r\n\r\n"), ContentLength),
        ("rfc9110_8_6_nothing", format!("{post}Content-Length:\r\n\r\n"), ContentLength),
        (
            "rfc9110_8_6_beyond_64_bits",
            format!("{post}Content-Length: 99999999999999999999\r\n\r\n"),
            ContentLength,
        ),
        ("rfc9110_8_6_other_digits", format!("{post}Content-Length: \u{665}\r\n\r\n"), ContentLength),
        (
            "rfc9112_6_1_unknown_coding",
            format!("{post}Transfer-Encoding: xchunked\r\n\r\n"),
            TransferEncoding,
        ),
        ("rfc9112_6_1_identity", format!("{post}Transfer-Encoding: identity\r\n\r\n"), TransferEncoding),
        (
            "rfc9112_6_1_chunked_and_identity",
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n"),
            TransferEncoding,
        ),
        (
            "rfc9112_6_1_gzip_and_chunked",
            format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n"),
            TransferEncoding,
        ),
        (
            "rfc9112_6_1_chunked_twice",
            format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n"),
            TransferEncoding,
        ),
        (
            "rfc9112_6_1_chunked_in_two_fields",
            format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
            TransferEncoding,
        ),
        ("rfc9112_6_1_nothing", format!("{post}Transfer-Encoding:\r\n\r\n"), TransferEncoding),
        ("rfc9112_6_1_quoted", format!("{post}Transfer-Encoding: \"chunked\"\r\n\r\n"), TransferEncoding),
        ("rfc9112_6_1_parameter", format!("{post}Transfer-Encoding: chunked;q=1\r\n\r\n"), TransferEncoding),
        (
            "rfc9112_6_1_in_http_1_0",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            TransferEncoding,
        ),
        ("underscore_length", format!("{post}Content_Length: 5\r\n\r\n"), Ambiguous),
        ("underscore_coding", format!("{post}transfer_encoding: chunked\r\n\r\n"), Ambiguous),
        (
            "rfc9110_10_1_1_unknown_expectation",
            format!("{post}Expect: 200-ok\r\nContent-Length: 5\r\n\r\n"),
            Expect,
        ),
    ];
    let wrong: Vec<String> = table
        .iter()
        .filter(|(_, bytes, refusal)| read(bytes.as_bytes()).err() != Some(*refusal))
        .map(|(name, bytes, refusal)| format!("{name}: {refusal:?} expected, {:?}", read(bytes.as_bytes())))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn ordinary_requests_are_taken() {
    let one_empty_line = taken(b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(one_empty_line.0.method, Method::Get);
    for host in [
        "h",
        "h.example.org",
        "h:80",
        "192.0.2.1",
        "192.0.2.1:8080",
        "[2001:db8::1]",
        "[::1]:443",
        "my_host",
        "",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(taken(bytes.as_bytes()).0.host.len(), host.len());
    }
    for target in ["/", "/a%2f..//b?c=d|e{f}\"g\"&h=<i>^`", "/?", "/a;b=c", "//x"] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let (request, head) = taken(bytes.as_bytes());
        assert_eq!(request.target.path.in_head(head), target.as_bytes());
    }
    let (old, _) = taken(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!((old.minor, old.keeps_alive(), old.host.is_empty()), (0, false, true));
    let (kept, _) = taken(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    assert!(kept.keeps_alive());
    let (closed, _) = taken(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: x, CLOSE\r\n\r\n");
    assert!(!closed.keeps_alive());
    let (posted, _) =
        taken(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0042\r\nExpect: 100-Continue\r\n\r\n");
    assert_eq!((posted.body, posted.expects_continue), (Body::Length(42), true));
    let (chunked, _) = taken(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:  Chunked \r\n\r\n");
    assert_eq!(chunked.body, Body::Chunked);
    let (patched, head) = taken(b"PROPFIND /x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((patched.method, patched.method_name.in_head(head)), (Method::Other, &b"PROPFIND"[..]));
    let (bytes, _) = taken(b"GET / HTTP/1.1\r\nHost: h\r\nX: caf\xe9\r\n\r\n");
    assert_eq!(bytes.fields.len(), 2, "what is beyond ASCII in values is passed on");
}

#[test]
fn the_absolute_form_names_the_host_itself() {
    let (request, head) = taken(b"GET HTTP://A.example:80/x?y HTTP/1.1\r\nHost: a.EXAMPLE:80\r\n\r\n");
    assert_eq!(request.target.form, Form::Absolute);
    assert_eq!(request.host.in_head(head), b"A.example:80");
    assert_eq!(request.target.path.in_head(head), b"/x?y");
    let (bare, head) = taken(b"OPTIONS https://a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((bare.target.path.len(), bare.host.in_head(head)), (0, &b"a"[..]));
    assert_eq!(taken(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").0.target.form, Form::Asterisk);
}

#[test]
fn connection_names_what_ends_here_but_not_what_others_stand_on() {
    let (request, _) = taken(
        b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nX-Forwarded-For: 192.0.2.1\r\nCookie: c\r\nAuthorization: b\r\n\
          Connection: X-A, x-forwarded-for, cookie\r\nConnection: Host, authorization, keep-alive\r\nKeep-Alive: timeout=5\r\n\
          TE: gzip;q=0.5, Trailers\r\nx_forwarded_for: 192.0.2.9\r\n\r\n",
    );
    let hop: Vec<_> = (0..request.fields.len()).filter(|number| request.hop.has(*number)).collect();
    assert_eq!(hop, [0, 1, 2, 6, 7, 8, 9, 10]);
    assert!(request.options.keep_alive && request.options.trailers && !request.options.close);
    assert_eq!(request.fields[10].known, Known::Lookalike);
}

#[test]
fn another_protocol_is_asked_for_by_both_fields_together() {
    let asks = |rest: &str| {
        let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\n{rest}\r\n");
        taken(bytes.as_bytes()).0.upgrade.is_some()
    };
    assert!(asks("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    assert!(asks("Upgrade: websocket\r\nConnection: keep-alive, upgrade\r\n"));
    assert!(!asks("Upgrade: websocket\r\n"));
    assert!(!asks("Connection: Upgrade\r\n"));
}

#[test]
fn a_head_has_limits() {
    let limits = Limits { head: 200, target: 50, fields: 3 };
    let read = |bytes: &str| {
        let found = Scan::default().find(bytes.as_bytes(), Peer::Client, &limits)?;
        let Some((begin, end)) = found else { return Ok(false) };
        Request::default().read(&bytes.as_bytes()[begin..end], &limits).map(|()| true)
    };
    let of_length = |length: usize| {
        let empty = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(length - empty))
    };
    assert_eq!(read(&of_length(200)), Ok(true));
    assert_eq!(read(&of_length(201)), Err(Refusal::HeadTooLarge));
    assert_eq!(read(&of_length(201)[..199]), Ok(false));
    assert_eq!(
        read(&of_length(201)[..200]),
        Err(Refusal::HeadTooLarge),
        "no end can be within the limit any more"
    );
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(length - 1));
    assert_eq!((read(&target(50)), read(&target(51))), (Ok(true), Err(Refusal::TargetTooLong)));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    assert_eq!((read(&fields(3)), read(&fields(4))), (Ok(true), Err(Refusal::HeadTooLarge)));
    let statuses = [Refusal::HeadTooLarge, Refusal::TargetTooLong, Refusal::Version, Refusal::BothLengths];
    assert_eq!(statuses.map(Refusal::status), [431, 414, 505, 400]);
}

#[test]
fn a_head_is_found_however_it_arrives() {
    let bytes = b"\r\nGET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\nthe next one";
    let limits = Limits::default();
    for step in 1..bytes.len() {
        let mut scan = Scan::default();
        let ends = (step..bytes.len()).step_by(step).chain([bytes.len()]);
        let found = ends.filter_map(|end| scan.find(&bytes[..end], Peer::Client, &limits).unwrap()).next();
        assert_eq!(found, Some((2, bytes.len() - "the next one".len())), "in steps of {step}");
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n").to_string(), "not exactly one Host");
}
