//! Reads `persistence`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::service::KindDraft;
use crate::file::OFF;
use crate::layer7::Mode7;
use crate::persistence::{Cookie, Persistence, PersistenceBy};
use crate::reader::{Kind, Read, Table, WordOrTable, or_list};

const REMEMBER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(31 * 86_400);

/// What kinds there are for a service, and how it is called.
struct Legal {
    kinds: &'static [PersistenceBy],
    whom: &'static str,
    layer7: bool,
}

const LAYER4: Legal = Legal { kinds: &[PersistenceBy::Source], whom: "layer 4", layer7: false };
const HTTP: Legal = Legal {
    kinds: &[
        PersistenceBy::Source,
        PersistenceBy::Cookie,
        PersistenceBy::CookieOrSource,
        PersistenceBy::AppCookie,
        PersistenceBy::ForwardedFor,
    ],
    whom: "layer 7 in HTTP mode",
    layer7: true,
};
const TCP: Legal = Legal {
    kinds: &[PersistenceBy::Source, PersistenceBy::RdpCookie, PersistenceBy::TlsSession],
    whom: "layer 7 in TCP mode",
    layer7: true,
};

fn legal(kind: Option<&KindDraft>) -> Option<&'static Legal> {
    match kind? {
        KindDraft::Layer4(_) => Some(&LAYER4),
        KindDraft::Layer7(draft) => Some(if draft.mode? == Mode7::Http { &HTTP } else { &TCP }),
    }
}

/// Reads `persistence` of a service: a table, a word, or nothing.
pub(super) fn read_persistence(at: &Table<'_>, kind: Option<&KindDraft>) -> Option<Option<Persistence>> {
    match at.word_or_table("persistence")? {
        WordOrTable::Absent => Some(None),
        WordOrTable::Word(OFF) => Some(None),
        WordOrTable::Word(word) => {
            let by = at.word_of::<PersistenceBy>("persistence", word).ok()?;
            let legal = legal(kind)?;
            judge(at, "persistence", by, legal)?;
            if by == PersistenceBy::AppCookie {
                at.error("persistence", "the application's cookie has no name yet: write persistence = { by = \"app-cookie\", cookie = { name = \"JSESSIONID\" } }");
                return None;
            }
            Some(Some(usual(by, legal)))
        }
        WordOrTable::Table(table) => read_table(&table, legal(kind)).map(Some),
    }
}

/// The keys of a persistence table, for those who only want to know them.
pub(super) fn read_keys(at: &Table<'_>) {
    read_table(at, Some(&HTTP));
}

fn usual(by: PersistenceBy, legal: &Legal) -> Persistence {
    let timeout = if legal.layer7 { Persistence::TIMEOUT7 } else { Persistence::TIMEOUT4 };
    Persistence {
        by,
        table_size: legal.layer7.then_some(Persistence::TABLE_SIZE),
        cookie: by.uses_cookie().then(|| Cookie {
            name: Cookie::NAME.to_owned(),
            max_idle: None,
            max_life: None,
        }),
        ..Persistence::by_source(timeout)
    }
}

fn judge(at: &Table<'_>, key: &str, by: PersistenceBy, legal: &Legal) -> Option<()> {
    if legal.kinds.contains(&by) {
        return Some(());
    }
    let words: Vec<&str> = legal.kinds.iter().map(|kind| kind.as_str()).collect();
    at.error(key, format!("{} can't keep clients by `{by}`: write {}", legal.whom, or_list(&words)));
    None
}

fn read_table(at: &Table<'_>, legal: Option<&Legal>) -> Option<Persistence> {
    let by = at.word::<PersistenceBy>("by").or(PersistenceBy::Source);
    let timeout = at.duration("timeout", REMEMBER);
    let prefix4 = at.small("prefix4", 1..=32).or(32);
    let prefix6 = at.small("prefix6", 1..=128).or(128);
    let table_size = read_table_size(at, legal);
    let cookie = at.table("cookie");
    let cookie = by.and_then(|by| cookie.and_then(|table| read_cookie(&table, at, by)));
    at.finish();
    let (by, legal) = (by?, legal?);
    judge(at, "by", by, legal)?;
    let usual = usual(by, legal);
    Some(Persistence {
        by,
        timeout: timeout.or(usual.timeout)?,
        prefix4: prefix4?,
        prefix6: prefix6?,
        table_size: table_size?.or(usual.table_size),
        cookie: cookie?,
    })
}

fn read_table_size(at: &Table<'_>, legal: Option<&Legal>) -> Option<Option<u32>> {
    at.know("table_size", Kind::Number);
    if at.has("table_size") && legal.is_some_and(|legal| !legal.layer7) {
        at.error(
            "table_size",
            "layer 4 keeps one table for all services: remove it here and set [layer4] persistence_entries",
        );
        return None;
    }
    at.number("table_size", 1..=100_000_000).optional()
}

fn read_cookie(at: &Table<'_>, parent: &Table<'_>, by: PersistenceBy) -> Option<Option<Cookie>> {
    let name = at.filled("name").and_then(|name| match cookie_fault(&name) {
        None => Read::Is(name),
        Some(fault) => {
            at.error("name", format!("`{name}` is not the name of a cookie: {fault}"));
            Read::Wrong
        }
    });
    let max_idle = at.duration("max_idle", REMEMBER).optional();
    let max_life = at.duration("max_life", REMEMBER).optional();
    at.finish();
    if !by.uses_cookie() {
        if at.is_written() {
            parent.error(
                "cookie",
                format!("persistence by {by} uses no cookie: remove `cookie` or write by = \"cookie\""),
            );
        }
        return Some(None);
    }
    let name = match by {
        PersistenceBy::AppCookie => at.present("name", "\"JSESSIONID\"", name),
        _ => name.or(Cookie::NAME.to_owned()),
    };
    Some(Some(Cookie { name: name?, max_idle: max_idle?, max_life: max_life? }))
}

/// Why a text can't name a cookie (RFC 6265 §4.1.1).
fn cookie_fault(name: &str) -> Option<&'static str> {
    let legal = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b);
    (!name.bytes().all(legal)).then_some("use letters, digits, `-` and `_`")
}
