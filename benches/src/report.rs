//! What was found, as data and as a page for people.

mod page;
mod table;

use serde::Serialize;

pub(crate) use page::page;

/// Everything that one run measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: crate::machine::Machine,
    /// A smoke test: the figures mean nothing.
    pub(crate) quick: bool,
    /// What others used of one CPU when the run began.
    pub(crate) others_share: f64,
    pub(crate) floor: Option<Vec<crate::floor::Cell>>,
    pub(crate) path: Option<crate::path::Section>,
    pub(crate) growth: Option<Vec<crate::growth::Cell>>,
    pub(crate) packets: Option<Vec<crate::packets::Cell>>,
    pub(crate) connections: Option<Vec<crate::connections::Cell>>,
    pub(crate) change: Option<crate::change::Section>,
    pub(crate) checks: Option<Vec<crate::checks::Cell>>,
    pub(crate) rings: Option<crate::rings::Section>,
}
