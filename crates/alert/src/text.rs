//! Words: others' bytes made fit for a log, times as people say them.
use std::time::Duration;

/// At most `limit` bytes as text on one line: nothing in it moves a cursor, ends a line or breaks a log.
pub(crate) fn shown(text: &str, limit: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit));
    for c in text.chars() {
        let before = line.len();
        match c {
            '\'' | '"' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
        if line.len() > limit {
            line.truncate(before);
            line.push('…');
            break;
        }
    }
    line
}

/// "45 s", "12 min", "3 h 5 min", "2 days 4 h".
pub(crate) fn lasted(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |first: String, rest: u64, unit: &str| match rest {
        0 => first,
        rest => format!("{first} {rest} {unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => with(format!("{hours} h"), minutes % 60, "min"),
        _ => with(counted(days, "day", "days"), hours % 24, "h"),
    }
}

/// "1 server", "3 servers".
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_stays_on_one_line() {
        assert_eq!(shown("550 no\r\n\x1b[2J", 100), "550 no\\r\\n\\u{1b}[2J");
        assert_eq!(shown("grüße \"x\"", 100), "grüße \"x\"");
        assert_eq!(shown("abcdef", 3), "abc…");
        assert_eq!(shown("aaé", 3), "aa…");
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        let words = |seconds| lasted(Duration::from_secs(seconds));
        assert_eq!(words(45), "45 s");
        assert_eq!(words(12 * 60 + 5), "12 min");
        assert_eq!(words(3 * 3600 + 300), "3 h 5 min");
        assert_eq!(words(7200), "2 h");
        assert_eq!(words(86_400), "1 day");
        assert_eq!(words(2 * 86_400 + 4 * 3600), "2 days 4 h");
    }
}
