//! Durations as people write them: `200ms`, `4s`, `10m`, `12h`, `7d`, `1h30m`.

use std::time::Duration;

use thiserror::Error;

/// Why a text isn't a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("no duration was written: write a number and a unit, like \"200ms\", \"4s\", \"10m\" or \"12h\"")]
    Empty,
    /// A number without a unit.
    #[error("`{0}` has no unit: write \"{0}s\" for seconds or \"{0}ms\" for milliseconds")]
    NoUnit(String),
    /// Not a whole number, or an unknown unit.
    #[error("`{0}` is not a duration: write a whole number and ms, s, m, h or d, like \"200ms\" or \"4s\"")]
    NotADuration(String),
    /// More than fits.
    #[error("`{0}` is longer than any duration here may be")]
    TooLong(String),
}

/// Reads a duration: whole numbers, each with its unit (`ms`, `s`, `m`, `h`, `d`), added up.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let written = text.trim();
    let mut rest = written;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (unit, after) = split(after.trim_start(), |c| c.is_ascii_alphabetic());
        let part = part(number, unit, written)?;
        total = total.checked_add(part).ok_or_else(|| DurationError::TooLong(written.to_owned()))?;
        rest = after.trim_start();
    }
    Ok(total)
}

fn split(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

fn part(number: &str, unit: &str, written: &str) -> Result<Duration, DurationError> {
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == written => return Err(DurationError::NoUnit(written.to_owned())),
        _ => return Err(DurationError::NotADuration(written.to_owned())),
    };
    if number.is_empty() {
        return Err(DurationError::NotADuration(written.to_owned()));
    }
    let value = number.parse::<u64>().ok().and_then(|value| value.checked_mul(millis));
    value.map(Duration::from_millis).ok_or_else(|| DurationError::TooLong(written.to_owned()))
}

/// Writes a duration the way [`parse_duration`] reads it, in one unit; finer than a millisecond is cut off.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

/// For `#[serde(with)]`: a duration as text.
pub(crate) mod required {
    use std::time::Duration;

    use serde::Serializer;

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }
}

/// For `#[serde(with)]`: a duration as text that may be missing.
pub(crate) mod optional {
    use std::time::Duration;

    use serde::Serializer;

    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::required::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_durations_with_units() {
        let cases =
            [("200ms", 200), ("4s", 4000), ("10m", 600_000), ("12h", 43_200_000), ("1h30m", 5_400_000)];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_told_the_units() {
        let error = parse_duration("300").unwrap_err();
        assert_eq!(error, DurationError::NoUnit("300".to_owned()));
        for wrong in ["s", "4 parsecs", "-4s", "4.5s", "4s4", "٣s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration(""), Err(DurationError::Empty));
        assert!(parse_duration("99999999999999999999h").is_err());
    }

    #[test]
    fn printing_uses_one_unit() {
        let format = |millis| format_duration(Duration::from_millis(millis));
        assert_eq!(
            [format(200), format(300_000), format(43_200_000), format(1500)],
            ["200ms", "300s", "12h", "1500ms"]
        );
    }
}
