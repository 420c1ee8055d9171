//! Names people give to things: short, printable, safe in a URL, a metric label and a file name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name, in characters.
const LONGEST: usize = 63;

/// Why a text can't be a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("a name can't be empty: write 1 to 63 letters, digits, `.`, `_` or `-`")]
    Empty,
    /// Longer than 63 characters.
    #[error("the name has {0} characters, 63 is the most: shorten it")]
    TooLong(usize),
    /// A name that looks like an option or a hidden file.
    #[error(
        "a name can't start with `{0}`, it would read as an option or a hidden file: start it with a letter or a digit"
    )]
    Start(char),
    /// A character that isn't allowed.
    #[error(
        "a name can't contain {found:?}: use letters, digits, `.`, `_` and `-`, for example `{suggestion}`"
    )]
    Character {
        /// The first offending character.
        found: char,
        /// The same name with the offending characters replaced.
        suggestion: String,
    },
}

fn check(text: &str) -> Result<(), NameError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some(found) = text.chars().find(|&c| !legal(c)) {
        return Err(NameError::Character { found, suggestion: suggest(text, legal) });
    }
    match text.chars().next() {
        None => Err(NameError::Empty),
        Some(first) if !first.is_ascii_alphanumeric() => Err(NameError::Start(first)),
        Some(_) if text.len() > LONGEST => Err(NameError::TooLong(text.len())),
        Some(_) => Ok(()),
    }
}

fn suggest(text: &str, legal: impl Fn(char) -> bool) -> String {
    let replaced: String = text.trim().chars().map(|c| if legal(c) { c } else { '-' }).collect();
    let trimmed = replaced.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if trimmed.is_empty() { "web-1".to_owned() } else { trimmed.chars().take(LONGEST).collect() }
}

macro_rules! names {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check(&text).map(|()| Self(text))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+ };
}

names! {
    /// The name of a virtual service, unique in the cluster (whatever the case of its letters).
    ServiceName,
    /// The name of a real server, unique within its service.
    ServerName,
    /// The name of a reusable health check.
    CheckName,
    /// The name under which a certificate and its private key are kept.
    CertificateName,
    /// The name of somebody who may sign in.
    UserName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_accepted() {
        for name in ["a", "HTTP-Cluster", "web.example.org", "1st_server", &"x".repeat(63)] {
            assert_eq!(name.parse::<ServiceName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_wrong_name_says_what_to_write() {
        assert_eq!("".parse::<ServerName>(), Err(NameError::Empty));
        assert_eq!("-x".parse::<ServerName>(), Err(NameError::Start('-')));
        assert_eq!("x".repeat(64).parse::<ServerName>(), Err(NameError::TooLong(64)));
        let error = "my web (1)".parse::<ServerName>().unwrap_err();
        assert_eq!(error, NameError::Character { found: ' ', suggestion: "my-web--1".to_owned() });
    }
}
