//! `keel config validate`: the daemon's own checks, without the daemon.

use std::path::{Path, PathBuf};

use clap::Args;
use keel_api::{Problem, Validation};
use keel_model::{check_together, load_cluster, load_node};
use serde::Serialize;

use crate::Context;
use crate::commands::{Outcome, read_text};
use crate::failure::{Failure, problem_line};
use crate::numbers::plural;
use crate::style::Style;

/// Check a configuration file; needs no daemon
///
/// Every problem is listed with its place, not only the first. Where the configuration folder has a
/// node.toml, a cluster.toml is also checked against it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Validate {
    /// A cluster.toml, a node.toml, or - for standard input (cluster.toml of the configuration folder when not given)
    file: Option<PathBuf>,

    /// It is a node.toml, whatever its name
    #[arg(long)]
    node: bool,
}

#[derive(Serialize)]
struct Report {
    file: PathBuf,
    #[serde(flatten)]
    validation: Validation,
    #[serde(skip)]
    summary: String,
}

impl Validate {
    pub(crate) fn run(self, context: &mut Context<'_>) -> Outcome {
        let folder = &context.global.config_dir;
        let file = self.file.unwrap_or_else(|| folder.join("cluster.toml"));
        let text = read_text(&file)?;
        let is_node = self.node || file.file_name().is_some_and(|name| name == "node.toml");
        let (problems, summary) = if is_node { check_node(&text) } else { check_cluster(&text, folder) };
        let report = Report { file, validation: Validation::of(problems), summary };
        context.out.answer(&report, render)?;
        if report.validation.valid { Ok(()) } else { Err(Failure::Refused) }
    }
}

fn check_node(text: &str) -> (Vec<Problem>, String) {
    let (node, problems) = load_node(text);
    let interfaces = node.map_or(0, |node| node.interfaces.len());
    (problems, plural(interfaces, "interface"))
}

fn check_cluster(text: &str, folder: &Path) -> (Vec<Problem>, String) {
    let (cluster, mut problems) = load_cluster(text);
    let Some(cluster) = cluster else { return (problems, String::new()) };
    let servers = cluster.services.iter().map(|service| service.servers.len()).sum();
    let mut summary = format!("{}, {}", plural(cluster.services.len(), "service"), plural(servers, "server"));
    let node_file = folder.join("node.toml");
    let node = std::fs::read_to_string(&node_file).ok().and_then(|text| load_node(&text).0);
    if let Some(node) = node {
        problems.extend(check_together(&cluster, &node));
        summary.push_str(&format!(", checked together with {}", node_file.display()));
    }
    (problems, summary)
}

fn render(report: &Report, style: &Style) -> String {
    let mut text = String::new();
    for problem in &report.validation.problems {
        text.push_str(&format!("{}\n", problem_line(problem, style)));
    }
    let file = report.file.display();
    text.push_str(&match report.validation.valid {
        true => format!("{file} is valid: {}\n", report.summary),
        false => format!("{file} is refused. What to do: correct the places named and validate again\n"),
    });
    text
}
