//! Addresses as people type them: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IP address with or without a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// The port, if one was given.
    pub port: Option<u16>,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Target { host, port } = text.parse()?;
        let ip = host.parse().map_err(|_| {
            format!("\"{host}\" is not an IP address; write 192.0.2.1, 192.0.2.1:80, 2001:db8::1 or [2001:db8::1]:80")
        })?;
        Ok(Self { ip, port })
    }
}

/// An IP address with its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualEndpoint {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

impl FromStr for VirtualEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Endpoint { ip, port: Some(port) } => Ok(Self { ip, port }),
            Endpoint { ip: IpAddr::V4(ip), .. } => Err(format!("the port is missing; write {ip}:80")),
            Endpoint { ip: IpAddr::V6(ip), .. } => Err(format!("the port is missing; write [{ip}]:80")),
        }
    }
}

/// An address or a host name, with or without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address or name, without brackets.
    pub host: String,
    /// The port, if one was given.
    pub port: Option<u16>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match (text.strip_prefix('['), text.matches(':').count()) {
            (Some(rest), _) => in_brackets(rest)?,
            (None, 1) => text.split_once(':').map(|(host, port)| (host, Some(port))).unwrap_or((text, None)),
            (None, _) => (text, None),
        };
        if host.is_empty() {
            return Err(format!("there is no address in \"{text}\""));
        }
        Ok(Self { host: host.to_owned(), port: port.map(parse_port).transpose()? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colons = self.host.contains(':');
        match self.port {
            Some(port) if colons => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

fn in_brackets(rest: &str) -> Result<(&str, Option<&str>), String> {
    let (host, after) =
        rest.split_once(']').ok_or("the closing bracket is missing; write [2001:db8::1]:80")?;
    match (after.strip_prefix(':'), after) {
        (Some(port), _) => Ok((host, Some(port))),
        (None, "") => Ok((host, None)),
        (None, _) => Err(format!("\"{after}\" cannot follow the bracket; write [{host}]:80")),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("\"{text}\" is not a port; write a number from 1 to 65535")),
    }
}

/// A server in one word: `NAME=ADDRESS[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTarget {
    /// The server's name.
    pub name: String,
    /// Where it is.
    pub target: Target,
}

impl FromStr for NamedTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, target)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), target: target.parse()? })
            }
            _ => Err("write NAME=ADDRESS or NAME=ADDRESS:PORT, for example web1=192.0.2.11:8080".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<(String, Option<u16>), String> {
        text.parse::<Endpoint>().map(|e| (e.ip.to_string(), e.port))
    }

    #[test]
    fn both_families_are_read_with_and_without_a_port() {
        assert_eq!(endpoint("192.0.2.1"), Ok(("192.0.2.1".to_owned(), None)));
        assert_eq!(endpoint("192.0.2.1:80"), Ok(("192.0.2.1".to_owned(), Some(80))));
        assert_eq!(endpoint("2001:db8::1"), Ok(("2001:db8::1".to_owned(), None)));
        assert_eq!(endpoint("[2001:db8::1]"), Ok(("2001:db8::1".to_owned(), None)));
        assert_eq!(endpoint("[2001:db8::1]:65535"), Ok(("2001:db8::1".to_owned(), Some(65535))));
        assert_eq!(endpoint("::"), Ok(("::".to_owned(), None)));
    }

    #[test]
    fn what_is_no_address_is_answered_with_how_to_write_one() {
        for text in [
            "",
            ":80",
            "web",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:http",
            "[::1",
            "[::1]80",
            "[]:80",
            "1.2.3",
        ] {
            let error = endpoint(text).unwrap_err();
            assert!(error.contains("write") || error.contains("no address"), "{text}: {error}");
        }
    }

    #[test]
    fn a_virtual_address_needs_its_port() {
        assert_eq!(
            "[2001:db8::1]:80".parse(),
            Ok(VirtualEndpoint { ip: "2001:db8::1".parse().unwrap(), port: 80 })
        );
        let missing = |text: &str| text.parse::<VirtualEndpoint>().unwrap_err();
        assert_eq!(missing("10.0.0.1"), "the port is missing; write 10.0.0.1:80");
        assert_eq!(missing("2001:db8::1:80"), "the port is missing; write [2001:db8::1:80]:80");
    }

    #[test]
    fn a_target_may_be_a_host_name_and_prints_as_it_was_written() {
        for text in
            ["web.example.net", "web.example.net:8080", "10.0.0.1:80", "2001:db8::1", "[2001:db8::1]:80"]
        {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let named: NamedTarget = "web1=[2001:db8::1]:80".parse().unwrap();
        assert_eq!((named.name.as_str(), named.target.port), ("web1", Some(80)));
        assert!("10.0.0.1".parse::<NamedTarget>().is_err());
    }
}
