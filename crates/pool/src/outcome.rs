//! What one check of one server came to.

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The server works.
    Good,
    /// It works and wants no new connections.
    Drain,
    /// It doesn't.
    Bad,
}
