//! Reads `[[service.rule]]`.

use ipnet::IpNet;

use super::address::parse_network;
use super::layer7::header_name;
use crate::name::ServerName;
use crate::reader::{Kind, Read, Table};
use crate::rule::{Action, Condition, HeaderMatch, Rule};
use crate::word::words;

words! {
    /// As written in the file.
    pub(super) enum ActionWord("action") {
        /// Choose among servers.
        UseServers = "use-servers",
        /// Send elsewhere.
        Redirect = "redirect",
        /// Answer at once.
        Respond = "respond",
        /// Change the request.
        SetRequestHeader = "set-request-header",
        /// Change the response.
        SetResponseHeader = "set-response-header",
    }
}

/// The keys that go with an action, each with the actions it goes with.
const KEYS: &[(&str, Kind, &[ActionWord])] = &[
    ("servers", Kind::List, &[ActionWord::UseServers]),
    ("to", Kind::Text, &[ActionWord::Redirect]),
    ("status", Kind::Number, &[ActionWord::Redirect, ActionWord::Respond]),
    ("header", Kind::Text, &[ActionWord::SetRequestHeader, ActionWord::SetResponseHeader]),
    ("value", Kind::Text, &[ActionWord::SetRequestHeader, ActionWord::SetResponseHeader]),
];

/// Reads rules.
pub(super) struct RuleDraft;

impl RuleDraft {
    pub(super) fn read(at: &Table<'_>) -> Option<Rule> {
        let name = at.filled("name").optional();
        let when = at.table("when").and_then(|table| read_condition(&table));
        let not = at.flag("not").or(false);
        let word = at.present("action", "\"redirect\"", at.word::<ActionWord>("action"));
        let action = match word {
            Some(word) => read_action(at, word),
            None => {
                KEYS.iter().for_each(|&(key, kind, _)| at.know(key, kind));
                None
            }
        };
        at.finish();
        Some(Rule { name: name?, when: when?, not: not?, action: action? })
    }
}

fn read_action(at: &Table<'_>, word: ActionWord) -> Option<Action> {
    for &(key, kind, actions) in KEYS {
        at.know(key, kind);
        if at.has(key) && !actions.contains(&word) {
            at.error(key, format!("`{key}` doesn't belong to the action {word}: remove it"));
        }
    }
    match word {
        ActionWord::UseServers => read_servers(at).map(Action::UseServers),
        ActionWord::Redirect => read_redirect(at),
        ActionWord::Respond => {
            let status = at.small("status", 200..=599);
            at.present("status", "403", status).map(|status| Action::Respond { status })
        }
        ActionWord::SetRequestHeader => {
            read_header(at).map(|(name, value)| Action::SetRequestHeader { name, value })
        }
        ActionWord::SetResponseHeader => {
            read_header(at).map(|(name, value)| Action::SetResponseHeader { name, value })
        }
    }
}

fn read_servers(at: &Table<'_>) -> Option<Vec<ServerName>> {
    let servers = at.present("servers", "[\"web-1\"]", at.list::<ServerName>("servers"))?;
    if servers.is_empty() {
        at.error(
            "servers",
            "the list is empty, so nobody could answer: name at least one server of this service",
        );
        return None;
    }
    Some(servers)
}

fn read_redirect(at: &Table<'_>) -> Option<Action> {
    let to = at.present("to", "\"https://www.example.org/\"", at.filled("to"));
    let status = at.small::<u16>("status", 100..=599).or(302);
    if let Some(wrong) = status.filter(|status| !matches!(status, 301 | 302 | 303 | 307 | 308)) {
        at.error("status", format!("{wrong} doesn't redirect: write 301, 302, 303, 307 or 308"));
        return None;
    }
    Some(Action::Redirect { to: to?, status: status? })
}

fn read_header(at: &Table<'_>) -> Option<(String, String)> {
    let name = at
        .present("header", "\"X-Tenant\"", at.filled("header"))
        .and_then(|name| header_name(at, "header", name));
    let value = at.present("value", "\"blue\"", at.text("value"));
    if value.is_some_and(|value| value.chars().any(char::is_control)) {
        at.error("value", "a header can't contain line breaks or other control characters: remove them");
        return None;
    }
    Some((name?, value?.to_owned()))
}

fn read_condition(at: &Table<'_>) -> Option<Condition> {
    let host = at.list("host").or(Vec::new());
    let path_begins = at.list_with("path_begins", absolute_path).or(Vec::new());
    let path_ends = at.list("path_ends").or(Vec::new());
    let path_regex = regex(at, "path_regex").optional();
    let method = at.list_with("method", method).or(Vec::new());
    let query = at.filled("query").optional();
    let header = at.table("header").and_then(|table| read_header_match(&table));
    let source: Option<Vec<IpNet>> = at.list_with("source", parse_network).or(Vec::new());
    at.finish();
    Some(Condition {
        host: host?,
        path_begins: path_begins?,
        path_ends: path_ends?,
        path_regex: path_regex?,
        method: method?,
        query: query?,
        header: header?,
        source: source?,
    })
}

fn read_header_match(at: &Table<'_>) -> Option<Option<HeaderMatch>> {
    let name = at.filled("name");
    let contains = at.filled("contains").optional();
    at.finish();
    if !at.is_written() {
        return Some(None);
    }
    let name = at.present("name", "\"X-Tenant\"", name).and_then(|name| header_name(at, "name", name));
    Some(Some(HeaderMatch { name: name?, contains: contains? }))
}

fn absolute_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a path: begin it with `/`, like \"/{text}\""))
    }
}

fn method(text: &str) -> Result<String, String> {
    let legal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    let fault = || format!("`{text}` is not a method: write it in capitals, like \"GET\"");
    if legal { Ok(text.to_owned()) } else { Err(fault()) }
}

/// Reads a pattern and makes sure that it is one.
pub(super) fn regex(at: &Table<'_>, key: &'static str) -> Read<String> {
    at.filled(key).and_then(|pattern| match pattern_fault(&pattern) {
        None => Read::Is(pattern),
        Some(cause) => {
            at.error(key, format!("`{pattern}` is not a pattern: {cause}"));
            Read::Wrong
        }
    })
}

/// What is wrong with a pattern.
pub(crate) fn pattern_fault(pattern: &str) -> Option<String> {
    let error = regex::Regex::new(pattern).err()?.to_string();
    Some(error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
}
