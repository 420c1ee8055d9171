//! Edits change what they say and not one other byte.

use keel_model::edit::{self, Edited};
use keel_model::{AdminState, load_cluster};

const TEXT: &str = r#"# The cluster.

# The shop.
[[service]]
name = "web"     # do not rename
address = "10.0.0.1"
ports = "80"
persistence = "source"

  # odd indentation stays
  [service.health]
  type = "connect"   # cheap

# first
[[service.server]]
name = "a"
address = "10.0.0.11"
weight = 100  # full share

# second
[[service.server]]
name = "b"
address = "10.0.0.12"

# The mail.
[[service]]
name = "mail"
address = "10.0.0.2"
ports = "25"

[heartbeat]   # the pair
keepalive = "200ms"

[[floating_ip]]
address = "10.1.0.1/24"
# the end
"#;

/// The edit's result, after checking that it still loads.
fn good(edited: Edited) -> String {
    let text = edited.unwrap_or_else(|problem| panic!("{problem}"));
    let (cluster, problems) = load_cluster(&text);
    assert!(cluster.is_some(), "{problems:?}\n{text}");
    text
}

/// Asserts that the edit replaced exactly this.
fn replaces(edited: Edited, old: &str, new: &str) {
    assert_eq!(TEXT.matches(old).count(), 1, "the test is ambiguous: {old}");
    assert_eq!(good(edited), TEXT.replace(old, new));
}

#[test]
fn a_weight_changes_in_place() {
    replaces(edit::set_weight(TEXT, "web", "a", 50), "weight = 100  # full", "weight = 50  # full");
}

#[test]
fn a_key_that_was_not_there_is_added_behind_the_others() {
    let old = "address = \"10.0.0.12\"\n";
    replaces(edit::set_weight(TEXT, "web", "b", 7), old, &format!("{old}weight = 7\n"));
    replaces(edit::set_state(TEXT, "web", "b", AdminState::Drain), old, &format!("{old}state = \"drain\"\n"));
}

#[test]
fn keys_of_a_service_change_in_place() {
    replaces(edit::set_service(TEXT, "mail", "ports", "25,587"), "ports = \"25\"", "ports = \"25,587\"");
    replaces(
        edit::set_service(TEXT, "web", "health.type", "ping"),
        "type = \"connect\"   # cheap",
        "type = \"ping\"   # cheap",
    );
    replaces(
        edit::set_service(TEXT, "web", "enabled", "off"),
        "\"source\"\n",
        "\"source\"\nenabled = false\n",
    );
}

#[test]
fn a_word_becomes_a_table_when_it_must_hold_more() {
    replaces(
        edit::set_service(TEXT, "web", "persistence.timeout", "600s"),
        "persistence = \"source\"",
        "persistence = { by = \"source\", timeout = \"600s\" }",
    );
}

#[test]
fn a_new_table_stands_right_below_its_service() {
    let text = good(edit::set_service(TEXT, "mail", "health.interval", "9s"));
    assert_eq!(
        text,
        TEXT.replace("ports = \"25\"\n", "ports = \"25\"\n\n[service.health]\ninterval = \"9s\"\n")
    );
    let text = good(edit::set_service(TEXT, "web", "timeouts.udp", "9s"));
    let old = "persistence = \"source\"\n";
    assert_eq!(text, TEXT.replace(old, &format!("{old}\n[service.timeouts]\nudp = \"9s\"\n")));
}

#[test]
fn a_server_is_added_behind_the_last_of_its_service() {
    let settings = [("address", "10.0.0.13"), ("weight", "5")];
    let old = "address = \"10.0.0.12\"\n";
    let new = "\n[[service.server]]\nname = \"c\"\naddress = \"10.0.0.13\"\nweight = 5\n";
    replaces(edit::add_server(TEXT, "web", "c", &settings), old, &format!("{old}{new}"));
    let new = "ports = \"25\"\n\n[[service.server]]\nname = \"c\"\naddress = \"10.0.0.13\"\nweight = 5\n";
    replaces(edit::add_server(TEXT, "mail", "c", &settings), "ports = \"25\"\n", new);
}

#[test]
fn a_service_is_added_behind_the_last() {
    let settings = [("address", "10.0.0.3"), ("ports", "53"), ("protocol", "udp"), ("health.type", "ping")];
    let edited = edit::add_service(TEXT, "dns", &settings);
    let new = "\n[[service]]\nname = \"dns\"\naddress = \"10.0.0.3\"\nports = \"53\"\nprotocol = \"udp\"\n\n[service.health]\ntype = \"ping\"\n";
    replaces(edited, "ports = \"25\"\n", &format!("ports = \"25\"\n{new}"));
}

#[test]
fn a_service_is_added_to_an_empty_file() {
    let text = good(edit::add_service("", "dns", &[("address", "10.0.0.3"), ("ports", "53")]));
    assert_eq!(text, "[[service]]\nname = \"dns\"\naddress = \"10.0.0.3\"\nports = \"53\"\n");
}

#[test]
fn a_whole_service_is_inserted_as_it_is() {
    let cluster = load_cluster(TEXT).0.unwrap();
    let mut service = cluster.services[0].clone();
    service.name = "copy".parse().unwrap();
    service.address = [10, 0, 0, 9].into();
    let text = good(edit::insert_service(TEXT, &service));
    assert_eq!(load_cluster(&text).0.unwrap().services[2], service);
    let (head, tail) = TEXT.split_at(TEXT.find("\n[heartbeat]").unwrap());
    assert!(text.starts_with(head) && text.ends_with(tail));
}

#[test]
fn a_server_goes_with_the_comment_right_above_it() {
    let gone = "# second\n[[service.server]]\nname = \"b\"\naddress = \"10.0.0.12\"\n\n";
    replaces(edit::remove_server(TEXT, "web", "b"), gone, "");
    let gone =
        "# first\n[[service.server]]\nname = \"a\"\naddress = \"10.0.0.11\"\nweight = 100  # full share\n\n";
    replaces(edit::remove_server(TEXT, "web", "a"), gone, "");
}

#[test]
fn a_service_goes_with_all_that_is_in_it() {
    let (start, end) = (TEXT.find("# The shop").unwrap(), TEXT.find("# The mail").unwrap());
    replaces(edit::remove_service(TEXT, "web"), &TEXT[start..end], "");
    let (start, end) = (end, TEXT.find("[heartbeat]").unwrap());
    replaces(edit::remove_service(TEXT, "mail"), &TEXT[start..end], "");
}

#[test]
fn floating_addresses_come_and_go() {
    let old = "address = \"10.1.0.1/24\"\n";
    let new = "\n[[floating_ip]]\naddress = \"10.2.0.1/24\"\ninterface = \"eth1\"\n";
    let added = edit::add_floating_ip(TEXT, "10.2.0.1/24".parse().unwrap(), Some("eth1"));
    replaces(added.clone(), old, &format!("{old}{new}"));
    assert_eq!(edit::remove_floating_ip(&added.unwrap(), "10.2.0.1").unwrap(), TEXT);
    replaces(edit::remove_floating_ip(TEXT, "10.1.0.1/24"), &format!("\n[[floating_ip]]\n{old}"), "");
}

#[test]
fn adding_and_removing_is_no_change() {
    let added = good(edit::add_service(TEXT, "x", &[("address", "10.0.0.7"), ("ports", "1")]));
    assert_eq!(edit::remove_service(&added, "x").unwrap(), TEXT);
    let added = good(edit::add_server(TEXT, "web", "x", &[("address", "10.0.0.17")]));
    assert_eq!(edit::remove_server(&added, "web", "x").unwrap(), TEXT);
}

#[test]
fn unset_brings_the_default_back() {
    replaces(edit::unset_server(TEXT, "web", "a", "weight"), "weight = 100  # full share\n", "");
    let text = good(edit::unset_service(TEXT, "web", "health.type"));
    assert!(!text.contains("cheap"));
}

#[test]
fn servers_within_brackets_are_edited_too() {
    let text = "service = [{ name = \"web\", address = \"10.0.0.1\", ports = \"80\", server = [{ name = \"a\", address = \"10.0.0.11\" }] }]\n";
    let edited = good(edit::set_weight(text, "web", "a", 5));
    assert_eq!(edited, text.replace("\"10.0.0.11\" ", "\"10.0.0.11\", weight = 5 "));
    let edited = good(edit::add_server(text, "web", "b", &[("address", "10.0.0.12")]));
    assert_eq!(load_cluster(&edited).0.unwrap().services[0].servers.len(), 2);
    assert_eq!(
        load_cluster(&edit::remove_server(&edited, "web", "a").unwrap()).0.unwrap().services[0].servers.len(),
        1
    );
    let edited = good(edit::set_service(text, "web", "health.interval", "9s"));
    assert!(edited.contains("health = { interval = \"9s\" }"));
}

#[test]
fn what_cannot_be_done_says_why_and_where() {
    let fault = |edited: Edited| edited.unwrap_err().to_string();
    assert_eq!(
        fault(edit::set_weight(TEXT, "wbe", "a", 1)),
        "error: service: there is no service `wbe`: did you mean `web`?"
    );
    assert_eq!(
        fault(edit::set_weight(TEXT, "web", "zz", 1)),
        "error: service[0].server: there is no server `zz`: write a or b"
    );
    assert_eq!(
        fault(edit::set_service(TEXT, "web", "sheduler", "rr")),
        "error: service[0].sheduler: unknown key `sheduler`: did you mean `scheduler`?"
    );
    assert!(fault(edit::set_server(TEXT, "web", "a", "weight", "much")).contains("not a whole number"));
    assert!(fault(edit::add_service(TEXT, "web", &[])).contains("already"));
    assert!(fault(edit::add_service(TEXT, "a b", &[])).contains("can't contain"));
    assert!(fault(edit::remove_floating_ip(TEXT, "10.1.0.2")).contains("did you mean `10.1.0.1/24`?"));
    assert!(fault(edit::remove_service("service = ", "x")).starts_with("error: line 1: this is not TOML"));
}
