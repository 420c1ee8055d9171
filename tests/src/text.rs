//! cluster.toml as the tests write it.

use std::fmt::Write as _;

/// A service to be written down.
#[derive(Debug, Clone)]
pub struct Service {
    name: String,
    address: String,
    ports: String,
    settings: Vec<String>,
    servers: Vec<(String, Vec<String>)>,
}

impl Service {
    /// With its name, its virtual address and its ports.
    pub fn new(name: &str, address: &str, ports: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: address.to_owned(),
            ports: ports.to_owned(),
            settings: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// With a line more: `mode = "dr"`.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }

    /// With servers 1 to `count` of a network: "192.168.2.10" and 2 are rs1 at 192.168.2.101 and rs2 at 192.168.2.102.
    #[must_use]
    pub fn servers(mut self, network: &str, count: u8) -> Self {
        for number in 1..=count {
            self = self.server(&format!("rs{number}"), &format!("{network}{number}"), &[]);
        }
        self
    }

    /// With one server and lines of its own: `weight = 10`.
    #[must_use]
    pub fn server(mut self, name: &str, address: &str, lines: &[&str]) -> Self {
        let mut all = vec![format!("name = \"{name}\""), format!("address = \"{address}\"")];
        all.extend(lines.iter().map(|line| (*line).to_owned()));
        self.servers.push((name.to_owned(), all));
        self
    }

    /// With a line more in every server.
    #[must_use]
    pub fn each(mut self, line: &str) -> Self {
        self.servers.iter_mut().for_each(|(_, lines)| lines.push(line.to_owned()));
        self
    }

    /// With a line more in one server.
    #[must_use]
    pub fn but(mut self, server: &str, line: &str) -> Self {
        let found = self.servers.iter_mut().filter(|(name, _)| name == server);
        found.for_each(|(_, lines)| lines.push(line.to_owned()));
        self
    }

    /// Without one of its servers.
    #[must_use]
    pub fn without(mut self, server: &str) -> Self {
        self.servers.retain(|(name, _)| name != server);
        self
    }

    fn write(&self, text: &mut String) {
        let Self { name, address, ports, settings, servers } = self;
        let _ = write!(
            text,
            "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nports = \"{ports}\"\n{}\n",
            settings.join("\n")
        );
        for (_, lines) in servers {
            let _ = write!(text, "\n[[service.server]]\n{}\n", lines.join("\n"));
        }
        text.push('\n');
    }
}

/// The file with these services.
pub fn config(services: &[Service]) -> String {
    let mut text = String::new();
    services.iter().for_each(|service| service.write(&mut text));
    text
}
