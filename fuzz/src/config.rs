//! No text makes the readers panic; what is refused is refused with a reason, and what is accepted survives being written.
use keel_model::{
    Host, PortSet, Problem, diff, diff_node, edit, format_duration, load_cluster, load_node, parse_duration,
    render_cluster, render_node,
};

/// A text, read as either file.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (cluster, problems) = load_cluster(text);
    told(cluster.is_some(), &problems, text);
    if let Some(cluster) = cluster {
        let written = render_cluster(&cluster);
        let (again, problems) = load_cluster(&written);
        assert_eq!(again.as_ref(), Some(&cluster), "{problems:#?}\n{written}");
        assert!(diff(&cluster, &cluster).is_empty());
        edits(text, &cluster);
    }
    let (node, problems) = load_node(text);
    told(node.is_some(), &problems, text);
    if let Some(node) = node {
        let written = render_node(&node);
        let (again, problems) = load_node(&written);
        assert_eq!(again.as_ref(), Some(&node), "{problems:#?}\n{written}");
        assert!(diff_node(&node, &node).is_empty());
    }
    values(text);
}

/// A refusal names at least one error, an acceptance none; lines exist; texts say something.
fn told(accepted: bool, problems: &[Problem], text: &str) {
    assert_eq!(accepted, !problems.iter().any(Problem::is_error), "{problems:#?}");
    let lines = text.lines().count() + 1;
    for problem in problems {
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem:?}");
        assert!(problem.text.len() > 10, "{problem:?}");
    }
}

/// An edit of an accepted text gives TOML, and takes out what it says.
fn edits(text: &str, cluster: &keel_model::Cluster) {
    for service in &cluster.services {
        let name = service.name.as_str();
        let _ = edit::set_service(text, name, "enabled", "false");
        let _ = edit::add_server(text, name, "fuzzed", &[("address", "10.1.2.3")]);
        if let Ok(without) = edit::remove_service(text, name) {
            let (left, problems) = load_cluster(&without);
            // Something else may name the service, and is then told to stop.
            let rest = left.map_or(cluster.services.len() - 1, |left| left.services.len());
            assert_eq!(rest, cluster.services.len() - 1, "{problems:#?}\n{without}");
            assert!(problems.iter().all(|problem| !problem.path.is_empty()), "{problems:#?}\n{without}");
        }
        for server in &service.servers {
            let _ = edit::set_weight(text, name, server.name.as_str(), 7);
            let _ = edit::remove_server(text, name, server.name.as_str());
        }
    }
}

/// The small readers by themselves.
fn values(text: &str) {
    let text = text.lines().next().unwrap_or_default();
    if let Ok(ports) = text.parse::<PortSet>() {
        assert_eq!(ports.to_string().parse::<PortSet>().as_ref(), Ok(&ports));
    }
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }
    if let Ok(host) = text.parse::<Host>() {
        assert_eq!(host.to_string().parse::<Host>().as_ref(), Ok(&host));
    }
}
