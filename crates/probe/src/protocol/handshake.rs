//! A TLS handshake.
use jiff::Timestamp;
use keel_model::TlsCheck;
use rustls::ProtocolVersion;

use crate::{Fault, Question, ask::Finding, line::Line};

pub(crate) async fn check(
    mut line: Line<'_>,
    question: &Question,
    check: &TlsCheck,
) -> Result<Finding, Fault> {
    let Some(ready) = &question.tls else {
        return Err(Fault::Unable("TLS was not made ready".to_owned()));
    };
    line.secure(&check.tls, ready, None).await?;
    let version = match line.tls().and_then(|stream| stream.get_ref().1.protocol_version()) {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let ends = line.certificate_ends();
    let text = ends.map_or_else(|| version.to_owned(), |ends| words(version, ends, Timestamp::now()));
    line.part(&[]);
    Ok(Finding::good(text).with_certificate(ends))
}

/// An expired certificate gets here only where nobody asked for it to be verified.
fn words(version: &str, ends: Timestamp, now: Timestamp) -> String {
    let day = ends.strftime("%Y-%m-%d");
    if ends < now {
        format!("{version}, certificate expired on {day} (not verified)")
    } else {
        format!("{version}, certificate until {day}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_certificate_is_told_even_if_it_does_not_matter() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let ends = at("2030-05-01T10:00:00Z");
        assert_eq!(
            words("TLS 1.3", ends, at("2029-01-01T00:00:00Z")),
            "TLS 1.3, certificate until 2030-05-01"
        );
        let late = words("TLS 1.2", ends, at("2031-01-01T00:00:00Z"));
        assert_eq!(late, "TLS 1.2, certificate expired on 2030-05-01 (not verified)");
    }
}
