//! The overview's traffic light: green, yellow, red, blue, each with a word.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::service::ServerState;

/// A colour of the overview. Never shown without its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Light {
    /// Healthy.
    Green,
    /// At least one server is down, others work.
    Yellow,
    /// Nothing works that should.
    Red,
    /// Everything is offline on purpose.
    Blue,
}

impl Light {
    /// The word that goes with the colour for a service.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Green => "healthy",
            Self::Yellow => "degraded",
            Self::Red => "down",
            Self::Blue => "offline",
        }
    }
}

impl fmt::Display for Light {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
            Self::Blue => "blue",
        })
    }
}

/// The light of a service and the reason for it, from its switch and its servers' names and states.
///
/// Blue: switched off, or every server was taken out by the administrator. Red: none of the rest
/// takes connections, or there are no servers. Yellow: some of the rest don't. Green otherwise.
pub fn light_of<'a>(
    enabled: bool,
    servers: impl IntoIterator<Item = (&'a str, ServerState)>,
) -> (Light, String) {
    if !enabled {
        return (Light::Blue, "switched off".to_owned());
    }
    let tally = Tally::count(servers);
    (tally.light(), tally.reason())
}

#[derive(Default)]
struct Tally<'a> {
    up: usize,
    unchecked: usize,
    checking: usize,
    down: Vec<&'a str>,
    declining: Vec<&'a str>,
    draining: usize,
    halted: usize,
}

impl<'a> Tally<'a> {
    fn count(servers: impl IntoIterator<Item = (&'a str, ServerState)>) -> Self {
        let mut tally = Self::default();
        for (name, state) in servers {
            match state {
                ServerState::Up => tally.up += 1,
                ServerState::Unchecked => tally.unchecked += 1,
                ServerState::Checking => tally.checking += 1,
                ServerState::Down => tally.down.push(name),
                ServerState::Declining => tally.declining.push(name),
                ServerState::Draining => tally.draining += 1,
                ServerState::Halted => tally.halted += 1,
            }
        }
        tally
    }

    fn total(&self) -> usize {
        let working = self.up + self.unchecked + self.checking;
        working + self.down.len() + self.declining.len() + self.draining + self.halted
    }

    fn light(&self) -> Light {
        match (self.up + self.unchecked, self.down.len() + self.declining.len(), self.total()) {
            (_, _, 0) => Light::Red,
            // Nothing is known to be wrong, and nothing to be right.
            (0, _, _) if self.checking > 0 => Light::Yellow,
            (0, 0, _) => Light::Blue,
            (0, _, _) => Light::Red,
            (_, 0, _) => Light::Green,
            _ => Light::Yellow,
        }
    }

    fn reason(&self) -> String {
        if self.total() == 0 {
            return "it has no servers".to_owned();
        }
        let named = |names: &[&str], word: &str| {
            (!names.is_empty())
                .then(|| format!("{} of {} {word}: {}", names.len(), self.total(), names.join(", ")))
        };
        let count = |n: usize, word: &str| (n > 0).then(|| format!("{n} {word}"));
        [
            named(&self.down, "down"),
            named(&self.declining, "declining"),
            count(self.up, "up"),
            count(self.unchecked, "unchecked"),
            count(self.checking, "being checked"),
            count(self.draining, "draining"),
            count(self.halted, "halted"),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServerState::{Declining, Down, Draining, Halted, Unchecked, Up};

    fn light(states: &[ServerState]) -> Light {
        light_of(true, states.iter().map(|state| ("a", *state))).0
    }

    #[test]
    fn the_colour_follows_the_rule_of_the_overview() {
        assert_eq!(light(&[Up, Unchecked]), Light::Green);
        assert_eq!(light(&[Up, Halted, Draining]), Light::Green);
        assert_eq!(light(&[Up, Down]), Light::Yellow);
        assert_eq!(light(&[Down, Down]), Light::Red);
        assert_eq!(light(&[Down, Halted]), Light::Red);
        assert_eq!(light(&[Draining, Halted]), Light::Blue);
        assert_eq!(light(&[Up, Declining]), Light::Yellow);
        assert_eq!(light(&[Declining, Declining]), Light::Red, "nobody took them out");
        assert_eq!(light(&[Declining, Halted]), Light::Red);
        assert_eq!(light(&[]), Light::Red);
        assert_eq!(light_of(false, [("a", Down)]).0, Light::Blue);
    }

    #[test]
    fn the_reason_names_the_servers_that_are_down() {
        let (_, reason) = light_of(true, [("IIS1", Up), ("IIS2", Down), ("IIS3", Halted)]);
        assert_eq!(reason, "1 of 3 down: IIS2, 1 up, 1 halted");
        let (_, reason) = light_of(true, [("a", Declining), ("b", Down), ("c", Declining)]);
        assert_eq!(reason, "1 of 3 down: b, 2 of 3 declining: a, c");
        assert_eq!(light_of(true, []).1, "it has no servers");
    }
}
