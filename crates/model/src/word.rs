//! Enumerations that are written as one word in the file: one table gives parsing, printing and JSON.

/// A closed set of words, as the configuration spells them.
pub(crate) trait Word: Copy + 'static {
    /// What the set is called in a message: "scheduler", "mode".
    const NOUN: &'static str;
    /// Every value, in the order they are offered to people.
    const VALUES: &'static [Self];

    /// How the configuration spells it.
    fn spelling(self) -> &'static str;

    /// The value of this spelling.
    fn find(text: &str) -> Option<Self> {
        Self::VALUES.iter().copied().find(|value| value.spelling() == text)
    }

    /// Every spelling.
    fn spellings() -> Vec<&'static str> {
        Self::VALUES.iter().map(|value| value.spelling()).collect()
    }
}

/// Declares an enumeration together with its spelling.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident($noun:literal) { $( $(#[$vmeta:meta])* $variant:ident = $word:literal ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        $vis enum $name { $( $(#[$vmeta])* #[serde(rename = $word)] $variant ),+ }

        impl $name {
            /// Every value, in the order they are offered to people.
            $vis const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The spelling used in the configuration.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::word::Word for $name {
            const NOUN: &'static str = $noun;
            const VALUES: &'static [Self] = Self::ALL;

            fn spelling(self) -> &'static str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                <Self as $crate::word::Word>::find(text).ok_or_else(|| format!("unknown {} `{text}`", $noun))
            }
        }
    };
}
pub(crate) use words;
