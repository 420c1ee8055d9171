//! A change as an administrator makes it: `keel` asks, `keeld` edits the text, checks it, writes the revision down, and puts it
//! in force. The dataplane's own part is measured by itself in [`crate::change`].

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use keel_lab::{Lab, Options, Topology};

use crate::balancer::{NODE, command};
use crate::change::{SERVERS, Timing, milliseconds, timing};
use crate::effort::Effort;

const FILE: &str = "/run/bench.toml";

pub(crate) fn measure(effort: &Effort) -> Result<Vec<Timing>> {
    let prefix = format!("bench-c-{}", std::process::id());
    let options = Options { prefix, servers: 2, appliance: true, binaries: None, keep: false };
    let lab = Lab::up(Topology::OneArm, &options)?;
    let timings = in_lab(&lab, effort)?;
    lab.down()?;
    Ok(timings)
}

fn in_lab(lab: &Lab, effort: &Effort) -> Result<Vec<Timing>> {
    let services = effort.changed_among();
    let text = configuration(services);
    lab.within(NODE, || Ok(std::fs::write(FILE, &text)))?.with_context(|| format!("writing {FILE}"))?;
    let once = |words: &[&str]| -> Result<f64> {
        let started = Instant::now();
        command(lab, NODE, words)?;
        Ok(milliseconds(started))
    };
    let all = once(&["keel", "apply", FILE])?;
    // The addresses of servers that aren't there are asked for in the meantime.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let service = format!("s{}", services / 2);
    let mut samples = Vec::new();
    for n in 0..effort.changes() {
        let weight = (n + 1).to_string();
        samples.push(once(&["keel", "server", "set", &service, "r3", "--weight", &weight])?);
    }
    Ok(vec![
        timing("`keel apply` of all of it, from the command to its answer", None, &[all]),
        timing("`keel server set … --weight`, from the command to its answer", None, &samples),
    ])
}

fn configuration(services: u32) -> String {
    let mut text = String::new();
    for n in 0..services {
        let _ = write!(
            text,
            "[[service]]\nname = \"s{n}\"\nlayer = 4\naddress = \"198.18.{}.{}\"\nports = \"80\"\nmode = \"dr\"\n\
             [service.health]\ntype = \"off\"\n",
            n / 250,
            1 + n % 250
        );
        for server in 1..=SERVERS {
            let _ = write!(
                text,
                "[[service.server]]\nname = \"r{server}\"\naddress = \"192.168.2.{}\"\n",
                100 + server
            );
        }
    }
    text
}
