//! Reads a TOML document key by key and collects every problem with its path and line.
//!
//! It knows nothing of services or servers. A [`Table`] remembers which keys it was asked for; those are the legal
//! ones, and [`Table::finish`] reports the rest with a suggestion.

mod report;
mod suggest;
mod table;
mod value;

pub(crate) use report::Report;
pub(crate) use suggest::{did_you_mean, or_list};
pub(crate) use table::{Kind, Known, Table, WordOrTable, unknown_word};
pub(crate) use value::Read;
