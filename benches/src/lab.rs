//! The lab in which balancers are compared: one arm, two servers, nobody else.

use anyhow::Result;
use keel_lab::{Lab, Options, Topology};

use crate::balancer;

/// Makes it.
pub(crate) fn up() -> Result<Lab> {
    let prefix = format!("bench-{}", std::process::id());
    let options = Options { prefix, servers: 2, appliance: false, binaries: None, keep: false };
    let lab = Lab::up(Topology::OneArm, &options)?;
    balancer::prepare(&lab)?;
    Ok(lab)
}
