//! Values that are wrong wherever they are written, by what is expected there.

pub(super) const DURATIONS: &[&str] = &[
    "\"0s\"",
    "\"4\"",
    "4",
    "\"-1s\"",
    "\"soon\"",
    "\"99999d\"",
    "\"\"",
    "\"4 parsecs\"",
    "\"1.5s\"",
    "true",
];

pub(super) const NAMES: &[&str] = &[
    "\"\"",
    "\"-web\"",
    "\"a b\"",
    "\".hidden\"",
    "\"web/1\"",
    "\"wéb\"",
    "\"x;y\"",
    "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"",
    "7",
    "[\"web\"]",
];

pub(super) const PORTS: &[&str] = &[
    "\"\"",
    "\"0\"",
    "\"65536\"",
    "\"80,\"",
    "\"80,,81\"",
    "\"http\"",
    "\"90-80\"",
    "\"0-10\"",
    "\"1-70000\"",
    "\"80;81\"",
    "\"-80\"",
    "80",
    "[80]",
];

pub(super) const PORT: &[&str] = &["0", "65536", "-1", "\"80\"", "80.5", "true", "[80]"];

/// Addresses no host can have, or that aren't addresses; neither for a service nor for a server.
pub(super) const ADDRESSES: &[&str] = &[
    "\"\"",
    "\"0.0.0.0\"",
    "\"0.1.2.3\"",
    "\"255.255.255.255\"",
    "\"224.0.0.9\"",
    "\"239.1.1.1\"",
    "\"241.0.0.1\"",
    "\"169.254.3.4\"",
    "\"10.0.0.300\"",
    "\"10.0.0\"",
    "\"10.0.0.1/24\"",
    "\"10.0.0.1:80\"",
    "\"::\"",
    "\"ff02::1\"",
    "\"fe80::1\"",
    "\"::ffff:10.0.0.1\"",
    "\"fd00::/64\"",
    "\"fd00:::1\"",
    "\"a..b\"",
    "\"-x.example\"",
    "\"ex ample\"",
    "\"under_score.example\"",
    "\"host.123\"",
    "10",
];

/// Further texts that are no virtual address.
pub(super) const NO_VIP: &[&str] =
    &["\"127.0.0.1\"", "\"127.9.9.9\"", "\"::1\"", "\"www.example.org\"", "\"localhost\""];

/// Addresses with a prefix length that no interface can have.
pub(super) const NETS: &[&str] = &[
    "\"10.0.0.1\"",
    "\"fd00::1\"",
    "\"10.0.0.1/33\"",
    "\"fd00::1/129\"",
    "\"10.0.0.0/24\"",
    "\"10.0.0.255/24\"",
    "\"fd00::/64\"",
    "\"127.0.0.1/8\"",
    "\"224.0.0.1/24\"",
    "\"0.0.0.0/0\"",
    "\"ten/24\"",
    "\"\"",
    "24",
];

pub(super) const FLAGS: &[&str] = &["1", "\"true\"", "\"yes\"", "[true]"];

/// One slip of the fingers, different at each turn.
pub(super) fn typo(key: &str, turn: usize) -> String {
    let mut letters: Vec<char> = key.chars().collect();
    let at = turn % letters.len();
    match turn % 3 {
        0 if at + 1 < letters.len() && letters[at] != letters[at + 1] => letters.swap(at, at + 1),
        1 if letters.len() > 3 => {
            letters.remove(at);
        }
        _ => letters.insert(at, 'x'),
    }
    letters.into_iter().collect()
}

/// The same value as something of another type.
pub(super) fn other_types(value: &str) -> &'static [&'static str] {
    match value.chars().next() {
        Some('"') => &["7", "true", "[\"x\"]", "1.5", "2026-01-01"],
        Some('t' | 'f') => FLAGS,
        Some('[') => &["\"x\"", "7", "true"],
        Some('0'..='9') => &["\"x\"", "true", "1.5", "[1]", "-1"],
        _ => &[],
    }
}
