//! Changes the text of `cluster.toml` and leaves every other byte of it alone: comments, order, spaces.
//!
//! An edit checks only that it can be made: that the service is there, that the key exists, that a number is a
//! number. Whether the result makes sense is for [`crate::load_cluster`] to say.

mod find;
mod remove;
mod value;
mod write;

use ipnet::IpNet;
use toml_edit::DocumentMut;

use crate::name::{ServerName, ServiceName};
use crate::problem::Problem;
use crate::server::AdminState;
use crate::service::Service;

/// The new text, or why it couldn't be made.
pub type Edited = Result<String, Problem>;

/// Adds a service with these settings (`("address", "10.0.0.1")`, `("health.type", "http")`) behind the last one.
pub fn add_service(text: &str, name: &str, settings: &[(&str, &str)]) -> Edited {
    let mut document = parse(text)?;
    let name = checked::<ServiceName>("service", name)?;
    find::absent(&document, "service", None, &name)?;
    let mut table = find::new_table(&document, "service");
    let style = table.style();
    write::put(table.as_mut(), "name", value::text(&name), style);
    for (key, written) in settings {
        write::set_service_key(table.as_mut(), key, written, "service", style)?;
    }
    write::push(&mut document, &["service"], None, table)?;
    Ok(document.to_string())
}

/// Adds a service with every value written out behind the last one.
pub fn insert_service(text: &str, service: &Service) -> Edited {
    let mut document = parse(text)?;
    find::absent(&document, "service", None, service.name.as_str())?;
    let table = crate::render::service_table(service);
    write::push(&mut document, &["service"], None, find::Element::Standing(table))?;
    Ok(document.to_string())
}

/// Takes a service and its servers out, with the comment right above it.
pub fn remove_service(text: &str, name: &str) -> Edited {
    let document = parse(text)?;
    let index = find::index(&document, "service", None, name)?;
    remove::element(text, "service", index, None)
}

/// Gives a key of a service (dotted within its tables: `health.interval`) a value.
pub fn set_service(text: &str, name: &str, key: &str, written: &str) -> Edited {
    let mut document = parse(text)?;
    let index = find::index(&document, "service", None, name)?;
    let style = find::style(&document, index);
    let table = find::element_mut(&mut document, "service", index)?;
    write::set_service_key(table, key, written, &format!("service[{index}]"), style)?;
    Ok(document.to_string())
}

/// Takes a key of a service out, so that its default holds again.
pub fn unset_service(text: &str, name: &str, key: &str) -> Edited {
    let mut document = parse(text)?;
    let index = find::index(&document, "service", None, name)?;
    let table = find::element_mut(&mut document, "service", index)?;
    write::unset(table, key, &format!("service[{index}]"))?;
    Ok(document.to_string())
}

/// Adds a server with these settings (`("address", "10.0.0.11")` at least) at the end of its service.
pub fn add_server(text: &str, service: &str, name: &str, settings: &[(&str, &str)]) -> Edited {
    let mut document = parse(text)?;
    let index = find::index(&document, "service", None, service)?;
    let name = checked::<ServerName>("server", name)?;
    find::absent(&document, "server", Some(index), &name)?;
    let mut table = find::new_server_table(&document, index);
    let style = table.style();
    write::put(table.as_mut(), "name", value::text(&name), style);
    for (key, written) in settings {
        write::set_server_key(table.as_mut(), key, written, &format!("service[{index}].server"), style)?;
    }
    write::push(&mut document, &["service", "server"], Some(index), table)?;
    Ok(document.to_string())
}

/// Takes a server out of its service, with the comment right above it.
pub fn remove_server(text: &str, service: &str, server: &str) -> Edited {
    let document = parse(text)?;
    let (service, server) = find::server(&document, service, server)?;
    remove::element(text, "service", service, Some(server))
}

/// Gives a key of a server a value.
pub fn set_server(text: &str, service: &str, server: &str, key: &str, written: &str) -> Edited {
    let mut document = parse(text)?;
    let (service, server) = find::server(&document, service, server)?;
    let style = find::server_style(&document, service);
    let table = find::server_mut(&mut document, service, server)?;
    write::set_server_key(table, key, written, &format!("service[{service}].server[{server}]"), style)?;
    Ok(document.to_string())
}

/// Takes a key of a server out, so that its default holds again.
pub fn unset_server(text: &str, service: &str, server: &str, key: &str) -> Edited {
    let mut document = parse(text)?;
    let (service, server) = find::server(&document, service, server)?;
    let table = find::server_mut(&mut document, service, server)?;
    write::unset(table, key, &format!("service[{service}].server[{server}]"))?;
    Ok(document.to_string())
}

/// Sets a server's weight.
pub fn set_weight(text: &str, service: &str, server: &str, weight: u16) -> Edited {
    set_server(text, service, server, "weight", &weight.to_string())
}

/// Sets what the administrator wants of a server.
pub fn set_state(text: &str, service: &str, server: &str, state: AdminState) -> Edited {
    set_server(text, service, server, "state", state.as_str())
}

/// Adds a floating address behind the last one, on this interface or the one whose network it is in.
pub fn add_floating_ip(text: &str, address: IpNet, interface: Option<&str>) -> Edited {
    let mut document = parse(text)?;
    if let Ok(index) = find::floating_ip(&document, &address.to_string()) {
        let text = format!("{} is there already: nothing to add", address.addr());
        return Err(Problem::error(format!("floating_ip[{index}].address"), text));
    }
    let mut table = find::new_table(&document, "floating_ip");
    let style = table.style();
    write::put(table.as_mut(), "address", value::text(&address.to_string()), style);
    if let Some(interface) = interface {
        write::put(table.as_mut(), "interface", value::text(interface), style);
    }
    write::push(&mut document, &["floating_ip"], None, table)?;
    Ok(document.to_string())
}

/// Takes a floating address out; the prefix length may be left off.
pub fn remove_floating_ip(text: &str, address: &str) -> Edited {
    let document = parse(text)?;
    let index = find::floating_ip(&document, address)?;
    remove::element(text, "floating_ip", index, None)
}

fn parse(text: &str) -> Result<DocumentMut, Problem> {
    text.parse::<DocumentMut>().map_err(|error| {
        let line = error.span().map(|span| crate::reader::Report::new(text).line(span.start));
        Problem::error("", format!("this is not TOML: {}. Correct it before editing", error.message()))
            .at_line(line)
    })
}

fn checked<N>(what: &str, name: &str) -> Result<String, Problem>
where
    N: std::str::FromStr<Err = crate::name::NameError>,
{
    name.parse::<N>().map_err(|error| Problem::error(format!("{what}.name"), error.to_string()))?;
    Ok(name.to_owned())
}
