//! A TCP connection opens.
use crate::Fault;
use crate::{ask::Finding, line::Line};

pub(crate) fn check(line: Line<'_>) -> Result<Finding, Fault> {
    drop(line);
    Ok(Finding::good("connection opens"))
}
