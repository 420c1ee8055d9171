//! RADIUS (RFC 2865): an Access-Request with a password, and whether the server lets the user in.
use std::time::Duration;

use aws_lc_rs::{constant_time::verify_slices_are_equal, rand};
use hmac::{Hmac, KeyInit as _, Mac as _};
use keel_model::{RadiusCheck, Through};
use md5::{Digest as _, Md5};

use crate::{
    Asker, Fault, Place, Question, Trace, ask::Finding, datagrams::Datagrams, rest::Rest, text::words,
};

const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCESS_REJECT: u8 = 3;
const ACCESS_CHALLENGE: u8 = 11;

const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const REPLY_MESSAGE: u8 = 18;
const NAS_IDENTIFIER: u8 = 32;
const MESSAGE_AUTHENTICATOR: u8 = 80;

/// Code, identifier, length, authenticator (RFC 2865 §3).
const HEADER: usize = 20;
/// The longest packet (RFC 2865 §3).
const LONGEST: usize = 4096;
/// A packet may be lost: the same one is sent again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// A server drops what it doesn't like without a word (RFC 2865 §3), which is the usual reason for silence.
const WAITING: &str = "waiting for an answer (a RADIUS server says nothing to a client that it doesn't know, or with \
                       another shared secret)";
/// Through the virtual address there is one reason more.
const WAITING_VIP: &str = "waiting for an answer through the VIP (a RADIUS server says nothing to a client that it doesn't know, \
                           or with another shared secret; and is the VIP on its loopback? keel realserver SERVICE)";

pub(crate) async fn check(
    question: &Question,
    place: &Place,
    radius: &RadiusCheck,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    let bytes = |secret: &Option<crate::question::Secret>| {
        secret
            .as_ref()
            .map(|secret| secret.0.clone())
            .ok_or_else(|| Fault::Unable("there is no secret".to_owned()))
    };
    let (password, shared) = (bytes(&question.secret)?, bytes(&question.shared)?);
    let request = Request::new(radius.user.as_bytes(), &password, &shared)?;
    let datagrams = super::datagrams(question, place, asker, trace).await?;
    trace.begin(if question.through == Through::Vip { WAITING_VIP } else { WAITING });
    loop {
        datagrams.send(trace.doing(), &request.bytes).await?;
        trace.sent_secret("Access-Request", request.bytes.len());
        let heard = tokio::time::timeout(AGAIN, hear(&datagrams, &request, &shared, trace)).await;
        if let Ok(answer) = heard {
            return finding(&answer?);
        }
    }
}

/// Waits for the answer to this request. Answers to others are late ones, and dropped (RFC 2865 §3).
async fn hear(
    datagrams: &Datagrams,
    request: &Request,
    shared: &[u8],
    trace: &mut Trace,
) -> Result<Reply, Fault> {
    let mut buffer = [0; LONGEST];
    loop {
        let length = datagrams.recv(trace.doing(), &mut buffer).await?;
        let datagram = &buffer[..length];
        trace.received(datagram);
        let packet = packet(datagram)
            .ok_or_else(|| Fault::unexpected(format!("this is no RADIUS answer: \"{}\"", words(datagram))))?;
        if packet.identifier == request.identifier {
            return request.verify(&packet, shared);
        }
    }
}

fn finding(reply: &Reply) -> Result<Finding, Fault> {
    let with = |text: &str| match reply.message.as_str() {
        "" => text.to_owned(),
        message => format!("{text}: {message}"),
    };
    match reply.code {
        ACCESS_ACCEPT => Ok(Finding::good("login accepted")),
        ACCESS_CHALLENGE => Ok(Finding::good(with("it asks for more"))),
        ACCESS_REJECT => Err(Fault::unexpected(with("login refused"))),
        code => Err(Fault::unexpected(format!("answered with code {code}, expected Access-Accept"))),
    }
}

/// What is sent.
struct Request {
    identifier: u8,
    authenticator: [u8; 16],
    bytes: Vec<u8>,
}

impl Request {
    fn new(user: &[u8], password: &[u8], shared: &[u8]) -> Result<Self, Fault> {
        let mut random = [0; 17];
        rand::fill(&mut random).map_err(|_| Fault::Unable("there is no randomness".to_owned()))?;
        let [identifier, authenticator @ ..] = random;
        Self::with(identifier, authenticator, user, password, shared)
    }

    fn with(
        identifier: u8,
        authenticator: [u8; 16],
        user: &[u8],
        password: &[u8],
        shared: &[u8],
    ) -> Result<Self, Fault> {
        let hidden = hide(password, shared, &authenticator)?;
        // First, as those who can forge MD5 would append to what comes before it (CVE-2024-3596).
        let mut attributes = vec![MESSAGE_AUTHENTICATOR, 18];
        attributes.extend_from_slice(&[0; 16]);
        for (kind, value) in
            [(USER_NAME, user), (USER_PASSWORD, &hidden[..]), (NAS_IDENTIFIER, &b"evenkeel"[..])]
        {
            let length = u8::try_from(value.len() + 2)
                .map_err(|_| Fault::Unable("a user's name has 253 bytes at most in RADIUS".to_owned()))?;
            attributes.extend_from_slice(&[kind, length]);
            attributes.extend_from_slice(value);
        }
        let length = u16::try_from(HEADER + attributes.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![ACCESS_REQUEST, identifier];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&authenticator);
        bytes.extend_from_slice(&attributes);
        // RFC 2869 §5.14: over the whole packet, with zeros where it will stand.
        let signature = hmac(shared, &[&bytes])?.finalize().into_bytes();
        bytes[HEADER + 2..HEADER + 18].copy_from_slice(&signature);
        Ok(Self { identifier, authenticator, bytes })
    }

    /// Whether whoever answered knows the shared secret.
    fn verify(&self, packet: &Packet<'_>, shared: &[u8]) -> Result<Reply, Fault> {
        let stranger = || Fault::unexpected("answered with another shared secret");
        // RFC 2865 §3: MD5(Code+ID+Length+RequestAuth+Attributes+Secret)
        let expected = Md5::new()
            .chain_update(packet.head)
            .chain_update(self.authenticator)
            .chain_update(packet.attributes)
            .chain_update(shared)
            .finalize();
        verify_slices_are_equal(&expected, packet.authenticator).map_err(|_| stranger())?;
        let mut message = Vec::new();
        let mut rest = Rest(packet.attributes);
        while let Some((kind, value)) = attribute(&mut rest) {
            match kind {
                REPLY_MESSAGE => message.extend_from_slice(value),
                MESSAGE_AUTHENTICATOR => {
                    let end = packet.attributes.len() - rest.0.len();
                    let before = packet.attributes.get(..end - value.len()).unwrap_or_default();
                    let parts = [packet.head, &self.authenticator, before, &[0; 16], rest.0];
                    if value.len() != 16 || hmac(shared, &parts)?.verify_slice(value).is_err() {
                        return Err(stranger());
                    }
                }
                _ => {}
            }
        }
        if !rest.is_empty() {
            return Err(Fault::unexpected("the attributes of its answer have no proper lengths"));
        }
        Ok(Reply { code: packet.code, message: words(&message) })
    }
}

/// RFC 2865 §5.2: the password padded to 16 bytes a piece, each piece under MD5 of the secret and what came before.
fn hide(password: &[u8], shared: &[u8], authenticator: &[u8; 16]) -> Result<Vec<u8>, Fault> {
    if password.len() > 128 {
        return Err(Fault::Unable("a password has 128 bytes at most in RADIUS".to_owned()));
    }
    let mut hidden = Vec::with_capacity(128);
    let mut before = authenticator.to_vec();
    for piece in password.chunks(16).chain(password.is_empty().then_some(&[][..])) {
        let mut mask = Md5::new().chain_update(shared).chain_update(&before).finalize();
        for (byte, clear) in mask.iter_mut().zip(piece) {
            *byte ^= clear;
        }
        before = mask.to_vec();
        hidden.extend_from_slice(&before);
    }
    Ok(hidden)
}

fn hmac(shared: &[u8], parts: &[&[u8]]) -> Result<Hmac<Md5>, Fault> {
    let mut hmac = Hmac::<Md5>::new_from_slice(shared)
        .map_err(|_| Fault::Unable("the shared secret can't be used".to_owned()))?;
    for part in parts {
        hmac.update(part);
    }
    Ok(hmac)
}

/// What came.
struct Packet<'b> {
    code: u8,
    identifier: u8,
    /// Code, identifier and length.
    head: &'b [u8],
    authenticator: &'b [u8],
    attributes: &'b [u8],
}

/// An answer that is genuine.
#[derive(Debug)]
struct Reply {
    code: u8,
    message: String,
}

fn packet(datagram: &[u8]) -> Option<Packet<'_>> {
    let mut rest = Rest(datagram);
    let head = rest.take(4)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let authenticator = rest.take(16)?;
    // What follows the length is padding (RFC 2865 §3).
    let attributes = rest.take(length.checked_sub(HEADER)?)?;
    Some(Packet { code: head[0], identifier: head[1], head, authenticator, attributes })
}

fn attribute<'b>(rest: &mut Rest<'b>) -> Option<(u8, &'b [u8])> {
    let mut ahead = *rest;
    let [kind, length] = ahead.array()?;
    let value = ahead.take(usize::from(length).checked_sub(2)?)?;
    *rest = ahead;
    Some((kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2865 §7.1: user "nemo", password "arctangent", secret "xyzzy5461".
    #[test]
    fn a_password_is_hidden_as_the_rfc_shows() {
        let authenticator =
            [0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a];
        let hidden = hide(b"arctangent", b"xyzzy5461", &authenticator).unwrap();
        let expected =
            [0x0d, 0xbe, 0x70, 0x8d, 0x93, 0xd4, 0x13, 0xce, 0x31, 0x96, 0xe4, 0x3f, 0x78, 0x2a, 0x0a, 0xee];
        assert_eq!(hidden, expected);
        assert_eq!(hide(&[b'x'; 17], b"s", &authenticator).unwrap().len(), 32);
        assert_eq!(hide(b"", b"s", &authenticator).unwrap().len(), 16);
        assert!(hide(&[b'x'; 129], b"s", &authenticator).is_err());
    }

    /// RFC 2865 §7.1: the answer to the request above.
    #[test]
    fn an_answer_is_genuine_if_it_knows_the_secret() {
        let authenticator =
            [0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a];
        let request = Request::with(0, authenticator, b"nemo", b"arctangent", b"xyzzy5461").unwrap();
        let answer = [
            0x02, 0x00, 0x00, 0x26, 0x86, 0xfe, 0x22, 0x0e, 0x76, 0x24, 0xba, 0x2a, 0x10, 0x05, 0xf6, 0xbf,
            0x9b, 0x55, 0xe0, 0xb2, 0x06, 0x06, 0x00, 0x00, 0x00, 0x01, 0x0f, 0x06, 0x00, 0x00, 0x00, 0x00,
            0x0e, 0x06, 0xc0, 0xa8, 0x01, 0x03,
        ];
        let genuine = packet(&answer).unwrap();
        assert_eq!(request.verify(&genuine, b"xyzzy5461").unwrap().code, ACCESS_ACCEPT);
        let fault = request.verify(&genuine, b"another").unwrap_err();
        assert_eq!(fault.to_string(), "answered with another shared secret");
    }

    /// A reply with these attributes from someone who knows the secret.
    fn reply(request: &Request, attributes: &[u8], shared: &[u8]) -> Vec<u8> {
        let length = u16::try_from(HEADER + attributes.len()).unwrap().to_be_bytes();
        let head = [ACCESS_REJECT, request.identifier, length[0], length[1]];
        let authenticator = Md5::new()
            .chain_update(head)
            .chain_update(request.authenticator)
            .chain_update(attributes)
            .chain_update(shared)
            .finalize();
        [&head[..], &authenticator, attributes].concat()
    }

    #[test]
    fn a_signed_answer_must_be_signed_rightly() {
        let request = Request::with(7, [5; 16], b"u", b"p", b"s").unwrap();
        let message = b"\x12\x04no";
        let unsigned = [&[MESSAGE_AUTHENTICATOR, 18][..], &[0; 16], message].concat();
        let head = [ACCESS_REJECT, 7, 0, 42];
        let parts = [&head[..], &request.authenticator, &unsigned];
        let signature = hmac(b"s", &parts).unwrap().finalize().into_bytes();
        let signed = [&[MESSAGE_AUTHENTICATOR, 18][..], &signature, message].concat();
        let told = |attributes: &[u8]| {
            let answer = reply(&request, attributes, b"s");
            request.verify(&packet(&answer).unwrap(), b"s").map(|reply| reply.message)
        };
        assert_eq!(told(&signed).unwrap(), "no");
        assert_eq!(told(message).unwrap(), "no");
        assert!(told(&unsigned).is_err());
        assert!(told(&[MESSAGE_AUTHENTICATOR, 3, 0]).is_err());
        assert!(told(&[REPLY_MESSAGE, 0]).is_err());
    }

    #[test]
    fn lengths_that_lie_are_no_packets() {
        assert!(packet(&[]).is_none());
        assert!(packet(&[2, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
        assert!(packet(&[2, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
        for wrong in [&[18, 0][..], &[18, 1], &[18, 3], &[18]] {
            assert!(attribute(&mut Rest(wrong)).is_none(), "{wrong:?}");
        }
    }
}
