//! Reads `[service.health]` and the rhythm of a named check.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::checks;
use super::settings::reachable;
use crate::check::Check;
use crate::health::{Health, Require, Through};
use crate::layer4::Protocol4;
use crate::name::CheckName;
use crate::reader::{Kind, Read, Table, did_you_mean};

/// The named checks.
#[derive(Default)]
pub(super) struct NamedChecks {
    /// Each by its name; none for one that was itself wrong.
    pub(super) by_name: BTreeMap<CheckName, Option<Health>>,
    /// Whether some are missing because their names couldn't be read.
    pub(super) incomplete: bool,
}

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
const FLAPS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
const COUNT: RangeInclusive<u32> = 1..=1000;

/// Reads the health of a service, which may refer to a named check.
pub(super) fn read_health(
    at: &Table<'_>,
    protocol: Option<Protocol4>,
    checks: &NamedChecks,
) -> Option<Health> {
    let require = at.word::<Require>("require").or(Require::All);
    let also = at.tables("also");
    let also: Option<Vec<Health>> = also.and_then(|tables| {
        // All are read, so that all problems are reported.
        let read: Vec<_> = tables.iter().map(|table| read_one(table, protocol, checks)).collect();
        read.into_iter().collect()
    });
    let first = read_one(at, protocol, checks);
    if require.is_some() && at.has("require") && also.as_ref().is_some_and(Vec::is_empty) {
        at.error("require", "there is only one check: add others as [[service.health.also]], or remove it");
        return None;
    }
    let health = Health { require: require?, also: also?, ..first? };
    if !health.also.is_empty() && health.checks().any(|health| health.check == Check::Off) {
        at.error("also", "a check of type off beside others decides nothing: remove it");
        return None;
    }
    Some(health)
}

/// Reads one check of a service.
fn read_one(at: &Table<'_>, protocol: Option<Protocol4>, checks: &NamedChecks) -> Option<Health> {
    let health = match at.parse::<CheckName>("use") {
        Read::Absent => {
            let unless = protocol.map_or(Check::Connect, |protocol| Health::default_for(protocol).check);
            let check = checks::read_check(at, Some(unless));
            read_rhythm(at, &Health::new(Check::Off), true)
                .and_then(|rhythm| Some(Health { check: check?, ..rhythm }))
        }
        Read::Wrong => {
            checks::know(at);
            read_rhythm(at, &Health::new(Check::Off), false);
            None
        }
        Read::Is(name) => read_use(at, name, checks),
    };
    at.finish_with(checks::hint);
    health
}

/// Reads a check with a name of its own.
pub(super) fn read_named(at: &Table<'_>) -> Option<Health> {
    let check = checks::read_check(at, None);
    let rhythm = read_rhythm(at, &Health::new(Check::Off), true);
    for key in ["also", "require"] {
        at.know(key, if key == "also" { Kind::Tables } else { Kind::Text });
        if at.has(key) {
            at.error(key, format!("a named check is one check: write `{key}` in the services that use it"));
        }
    }
    at.finish_with(checks::hint);
    Some(Health { check: check?, ..rhythm? })
}

fn read_use(at: &Table<'_>, name: CheckName, checks: &NamedChecks) -> Option<Health> {
    checks::refuse_all(at, &name);
    let Some(named) = checks.by_name.get(name.as_str()) else {
        read_rhythm(at, &Health::new(Check::Off), false);
        if checks.incomplete {
            return None;
        }
        let names: Vec<&str> = checks.by_name.keys().map(CheckName::as_str).collect();
        let advice = match names.as_slice() {
            [] => "there is none at all; add it as [[health_check]]".to_owned(),
            names => did_you_mean(name.as_str(), names),
        };
        at.error("use", format!("no [[health_check]] is called `{name}`: {advice}"));
        return None;
    };
    let known = named.is_some();
    let usual = named.clone().unwrap_or_else(|| Health::new(Check::Off));
    let rhythm = read_rhythm(at, &usual, known)?;
    known.then_some(Health { uses: Some(name), check: usual.check, ..rhythm })
}

/// Reads the rhythm; what isn't written is as usual. `compare` says whether timeout and interval are compared.
fn read_rhythm(at: &Table<'_>, usual: &Health, compare: bool) -> Option<Health> {
    at.know("type", Kind::Text);
    let interval = at.duration("interval", INTERVAL).or(usual.interval);
    let timeout = at.duration("timeout", TIMEOUT);
    let rise = at.number("rise", COUNT).or(usual.rise);
    let fall = at.number("fall", COUNT).or(usual.fall);
    let fast_interval = at.duration("fast_interval", INTERVAL);
    let flap_window = at.duration("flap_window", FLAPS).or(usual.flap_window);
    let port = at.port("port").optional();
    let address = at.text("address").and_then(|text| match reachable(text) {
        Ok(address) => Read::Is(address),
        Err(fault) => {
            at.error("address", fault);
            Read::Wrong
        }
    });
    let address = address.optional();
    let through = at.word::<Through>("through").or(usual.through);
    if through == Some(Through::Vip) && matches!(address, Some(Some(_))) {
        at.error(
            "address",
            "a check through the VIP asks the server for the virtual address: remove `address` or `through`",
        );
        return None;
    }
    let interval = interval?;
    if let (Read::Is(fast), true) = (&fast_interval, compare)
        && *fast > interval
    {
        let interval = crate::duration::format_duration(interval);
        at.error(
            "fast_interval",
            format!("it is the shorter one, and `interval` is {interval}: write at most that"),
        );
        return None;
    }
    if let (Read::Is(timeout), true) = (&timeout, compare)
        && *timeout > interval
    {
        let interval = crate::duration::format_duration(interval);
        at.error("timeout", format!("a check may not take longer than the interval between checks, {interval}: write a shorter timeout or a longer interval"));
        return None;
    }
    Some(Health {
        uses: None,
        check: Check::Off,
        interval,
        timeout: timeout.or(usual.timeout.min(interval))?,
        rise: rise?,
        fall: fall?,
        fast_interval: fast_interval.or(usual.fast_interval.min(interval))?,
        flap_window: flap_window?,
        port: port?.or(usual.port),
        address: address?.or(usual.address),
        through: through?,
        require: Require::All,
        also: Vec::new(),
    })
}
