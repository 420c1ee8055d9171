//! What reading one key gave.

/// A key is absent, was wrong (and has been reported), or has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read<T> {
    Absent,
    Wrong,
    Is(T),
}

impl<T> Read<T> {
    /// The value, or what an absent key means; none when it was wrong.
    pub(crate) fn or(self, default: T) -> Option<T> {
        self.or_else(|| default)
    }

    /// The same, with the default computed only when needed.
    pub(crate) fn or_else(self, default: impl FnOnce() -> T) -> Option<T> {
        match self {
            Self::Absent => Some(default()),
            Self::Wrong => None,
            Self::Is(value) => Some(value),
        }
    }

    /// A value that may be absent; the outer none means that it was wrong.
    pub(crate) fn optional(self) -> Option<Option<T>> {
        self.map(Some).or(None)
    }

    /// The value, if there is a right one.
    pub(crate) fn ok(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// Turns the value into another.
    pub(crate) fn map<U>(self, turn: impl FnOnce(T) -> U) -> Read<U> {
        self.and_then(|value| Read::Is(turn(value)))
    }

    /// Turns the value into another reading.
    pub(crate) fn and_then<U>(self, turn: impl FnOnce(T) -> Read<U>) -> Read<U> {
        match self {
            Self::Absent => Read::Absent,
            Self::Wrong => Read::Wrong,
            Self::Is(value) => turn(value),
        }
    }
}
