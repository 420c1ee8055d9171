//! Reads `[service.health]` and the rhythm of a named check.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::checks;
use crate::check::Check;
use crate::health::Health;
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
const COUNT: RangeInclusive<u32> = 1..=1000;

/// Reads the health of a service, which may refer to a named check.
pub(super) fn read_health(
    at: &Table<'_>,
    protocol: Option<Protocol4>,
    checks: &NamedChecks,
) -> Option<Health> {
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
    let port = at.port("port").optional();
    let interval = interval?;
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
        port: port?.or(usual.port),
    })
}
