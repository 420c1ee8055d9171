//! Enumerations that are written as one word in the file: one table gives parsing, printing and JSON.

/// A closed set of words, as the configuration spells them.
pub(crate) trait Word: Copy + 'static {
    /// What the set is called in a message: "scheduler", "mode".
    const NOUN: &'static str;
    /// Every word and its value, in the order they are offered to people.
    const WORDS: &'static [(&'static str, Self)];
}

/// Declares an enumeration together with its spelling.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident($noun:literal) { $( $(#[$vmeta:meta])* $variant:ident = $word:literal ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $( $(#[$vmeta])* #[serde(rename = $word)] $variant ),+ }

        impl $name {
            /// Every value, in the order they are offered to people.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The spelling used in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::word::Word for $name {
            const NOUN: &'static str = $noun;
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text { $($word => Ok(Self::$variant),)+ _ => Err(format!("unknown {} `{text}`", $noun)) }
            }
        }
    };
}
pub(crate) use words;
