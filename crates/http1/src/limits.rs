//! How much of a head is read.

/// Limits of a head. None may be greater than what its comment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole head, and of a trailer section; 65,535 at most.
    pub head: usize,
    /// Bytes of the request's target.
    pub target: usize,
    /// Fields; 128 at most.
    pub fields: usize,
}

impl Limits {
    /// As many fields can be marked, see [`crate::Marks`].
    pub const MOST_FIELDS: usize = 128;
}

impl Default for Limits {
    /// 16 KiB, a target of 8 KiB, a hundred fields: what common proxies allow, or less.
    fn default() -> Self {
        Self { head: 16 * 1024, target: 8 * 1024, fields: 100 }
    }
}
