//! Remote desktops: the connection request and its confirmation (MS-RDPBCGR 2.2.1.1, 2.2.1.2).
use keel_model::RdpCheck;

use crate::{Fault, ask::Finding, line::Line, text::shown};

/// What we offer to speak: TLS and CredSSP.
const OFFERED: u32 = 0x1 | 0x2;

/// Bytes that a confirmation has at most; real ones have 19.
const CONFIRMATION: usize = 512;

/// Bytes of a user's name that fit into an X.224 header, whose length is one byte.
const USER: usize = 200;

pub(crate) async fn check(mut line: Line<'_>, rdp: &RdpCheck) -> Result<Finding, Fault> {
    let request = request(rdp.user.as_deref())?;
    line.begin("waiting for the connection confirmation");
    line.send(&request).await?;
    // TPKT (RFC 1006 6): version 3, reserved, the length of everything.
    let header = line.exact(4).await?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] != 3 || !(11..=CONFIRMATION).contains(&length) {
        return Err(Fault::unexpected(format!("answered \"{}\", which is no RDP", shown(&header, 80))));
    }
    let body = line.exact(length - header.len()).await?;
    let found = confirmation(&body)?;
    line.part(&[]);
    Ok(found)
}

/// The request: TPKT, X.224 CR, the routing cookie if there is a user, and what we offer.
fn request(user: Option<&str>) -> Result<Vec<u8>, Fault> {
    // Destination, source and class, all zero.
    let mut x224 = vec![0xE0, 0, 0, 0, 0, 0];
    if let Some(user) = user {
        if user.len() > USER || user.chars().any(char::is_control) {
            return Err(Fault::Unable("the user does not fit into a cookie".to_owned()));
        }
        x224.extend_from_slice(format!("Cookie: mstshash={user}\r\n").as_bytes());
    }
    // RDP_NEG_REQ: type, flags, its length, the protocols.
    x224.extend_from_slice(&[0x01, 0x00, 0x08, 0x00]);
    x224.extend_from_slice(&OFFERED.to_le_bytes());
    let too_long = |_| Fault::Unable("the user does not fit into a cookie".to_owned());
    let indicator = u8::try_from(x224.len()).map_err(too_long)?;
    let length = u16::try_from(x224.len() + 5).map_err(too_long)?;
    let [high, low] = length.to_be_bytes();
    Ok([&[3, 0, high, low, indicator], x224.as_slice()].concat())
}

/// What an X.224 header and its contents say.
fn confirmation(body: &[u8]) -> Result<Finding, Fault> {
    let wrong = || Fault::unexpected(format!("answered \"{}\", which is no RDP", shown(body, 80)));
    let (&indicator, rest) = body.split_first().ok_or_else(wrong)?;
    if usize::from(indicator) != rest.len() || rest.len() < 6 {
        return Err(wrong());
    }
    match (rest[0] & 0xF0, &rest[6..]) {
        // Servers older than the negotiation say nothing about it.
        (0xD0, []) => Ok(Finding::good("negotiates standard RDP security")),
        (0xD0, &[kind, _, 8, 0, a, b, c, d]) => negotiated(kind, u32::from_le_bytes([a, b, c, d])),
        (0x80, _) => Err(Fault::unexpected("refused the connection (X.224 disconnect)")),
        _ => Err(wrong()),
    }
}

/// The server's choice, or why it made none. Where it wants other security than we offer, it works: who signs in there
/// comes with what it wants.
fn negotiated(kind: u8, value: u32) -> Result<Finding, Fault> {
    let other = |words: &str| Ok(Finding::good(format!("answers, {words}")));
    let bad = |words: &str| Err(Fault::unexpected(format!("negotiation failed: {words}")));
    match (kind, value) {
        (2, 0) => Ok(Finding::good("negotiates standard RDP security")),
        (2, 1) => Ok(Finding::good("negotiates TLS")),
        (2, 2) => Ok(Finding::good("negotiates CredSSP")),
        (2, other) => Err(Fault::unexpected(format!("chose the protocol {other:#x}, which was not offered"))),
        (3, 1) => other("requires TLS (SSL_REQUIRED_BY_SERVER)"),
        (3, 2) => other("speaks only standard RDP security (SSL_NOT_ALLOWED_BY_SERVER)"),
        (3, 3) => bad("the server has no certificate for TLS (SSL_CERT_NOT_ON_SERVER)"),
        (3, 4) => bad("the server finds our flags inconsistent (INCONSISTENT_FLAGS)"),
        (3, 5) => other("requires CredSSP (HYBRID_REQUIRED_BY_SERVER)"),
        (3, 6) => other("requires a client's certificate (SSL_WITH_USER_AUTH_REQUIRED_BY_SERVER)"),
        (3, code) => bad(&format!("code {code:#x}")),
        (kind, _) => {
            Err(Fault::unexpected(format!("answered a negotiation of type {kind:#x}, unknown here")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed_twice() {
        let plain = request(None).unwrap();
        assert_eq!(plain, [3, 0, 0, 19, 14, 0xE0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0]);
        let cookie = request(Some("probe")).unwrap();
        assert_eq!(&cookie[..5], [3, 0, 0, 43, 38]);
        assert_eq!(&cookie[11..35], b"Cookie: mstshash=probe\r\n");
        assert!(request(Some(&"x".repeat(USER))).is_ok());
        for wrong in ["a\r\nb", "a\nb", "a\0", &"x".repeat(USER + 1)] {
            assert!(matches!(request(Some(wrong)), Err(Fault::Unable(_))), "{wrong:?}");
        }
    }

    /// A confirmation with this negotiation.
    fn confirmed(negotiation: &[u8]) -> Result<Finding, Fault> {
        let indicator = u8::try_from(6 + negotiation.len()).unwrap();
        confirmation(&[&[indicator, 0xD0, 0, 0, 0x12, 0x34, 0], negotiation].concat())
    }

    #[test]
    fn every_choice_has_its_words() {
        let good = |bytes: &[u8]| confirmed(bytes).unwrap().text;
        assert_eq!(good(&[]), "negotiates standard RDP security");
        assert_eq!(good(&[2, 0, 8, 0, 1, 0, 0, 0]), "negotiates TLS");
        assert_eq!(good(&[2, 0x1F, 8, 0, 2, 0, 0, 0]), "negotiates CredSSP");
        assert!(good(&[3, 0, 8, 0, 2, 0, 0, 0]).contains("SSL_NOT_ALLOWED_BY_SERVER"));
        assert!(good(&[3, 0, 8, 0, 5, 0, 0, 0]).contains("HYBRID_REQUIRED_BY_SERVER"));
        let bad = |bytes: &[u8]| confirmed(bytes).unwrap_err().to_string();
        assert!(bad(&[3, 0, 8, 0, 3, 0, 0, 0]).contains("SSL_CERT_NOT_ON_SERVER"));
        assert!(bad(&[3, 0, 8, 0, 99, 0, 0, 0]).contains("code 0x63"));
        assert!(bad(&[2, 0, 8, 0, 8, 0, 0, 0]).contains("not offered"));
        assert!(bad(&[9, 0, 8, 0, 8, 0, 0, 0]).contains("unknown"));
        assert!(bad(&[2, 0, 9, 0, 1, 0, 0, 0]).contains("no RDP"));
        assert!(bad(&[2, 0, 8, 0, 1, 0, 0]).contains("no RDP"));
    }

    #[test]
    fn lengths_are_not_believed() {
        for body in [&[][..], &[6], &[0, 0xD0], &[200, 0xD0, 0, 0, 0, 0, 0], &[6, 0xD0, 0, 0, 0, 0, 0, 0]] {
            assert!(confirmation(body).unwrap_err().to_string().contains("no RDP"), "{body:?}");
        }
        let refused = confirmation(&[6, 0x80, 0, 0, 0, 0, 1]).unwrap_err().to_string();
        assert!(refused.contains("X.224 disconnect"));
    }
}
