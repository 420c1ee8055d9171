//! Numbers and times as people read them.

/// A count: exact up to five digits, then rounded: `1204`, `123k`, `1.2M`.
pub(crate) fn count(n: u64) -> String {
    if n < 100_000 { n.to_string() } else { scaled(n as f64) }
}

/// A rate: `0`, `0.4`, `42.5`, `1204`, `18.2k`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        r if r < 0.05 => "0".to_owned(),
        r if r < 99.95 => format!("{r:.1}"),
        r if r < 9_999.5 => format!("{r:.0}"),
        r => scaled(r),
    }
}

/// Bytes per second as bits per second: `17.1M`.
pub(crate) fn bits(bytes_per_second: f64) -> String {
    rate(bytes_per_second * 8.0)
}

/// Bytes: `1.1G`.
pub(crate) fn bytes(n: u64) -> String {
    count(n)
}

fn scaled(n: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (size, unit) = units.into_iter().find(|(size, _)| n >= size * 0.999_5).unwrap_or((1.0, ""));
    match n / size {
        value if value < 99.95 => format!("{value:.1}{unit}"),
        value => format!("{value:.0}{unit}"),
    }
}

/// A time in its two largest units: `3d 4h`, `7m 32s`, `9s`.
pub(crate) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let (size, unit) = units[first];
    let whole = format!("{}{unit}", seconds / size);
    match units.get(first + 1).map(|(next, unit)| (seconds % size / next, unit)) {
        Some((rest, unit)) if rest > 0 => format!("{whole} {rest}{unit}"),
        _ => whole,
    }
}

/// "1 server", "2 servers".
pub(crate) fn plural(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        assert_eq!(
            [0, 99_999, 123_456, 1_204_000, 999_999].map(count),
            ["0", "99999", "123k", "1.2M", "1.0M"]
        );
        assert_eq!([0.0, 0.44, 99.9, 1204.0, 18_220.0].map(rate), ["0", "0.4", "99.9", "1204", "18.2k"]);
        assert_eq!(bits(2_140_000.0), "17.1M");
    }

    #[test]
    fn times_have_two_units_at_most() {
        assert_eq!([0, 9, 60, 452, 273_900].map(span), ["0s", "9s", "1m", "7m 32s", "3d 4h"]);
    }
}
