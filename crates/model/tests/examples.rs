//! The example files a user starts from load without a single problem, alone and together.

use keel_model::{check_together, load_cluster, load_node};

const CLUSTER: &str = include_str!("../../../config/cluster.toml");
const NODE: &str = include_str!("../../../config/node.toml");

#[test]
fn the_example_cluster_loads_without_problems() {
    let (cluster, problems) = load_cluster(CLUSTER);
    assert_eq!(problems, []);
    assert_eq!(cluster.unwrap().services.len(), 7);
}

#[test]
fn the_example_node_loads_without_problems() {
    let (node, problems) = load_node(NODE);
    assert_eq!(problems, []);
    assert_eq!(node.unwrap().hostname, "lb1");
}

#[test]
fn the_examples_fit_together() {
    let (cluster, node) = (load_cluster(CLUSTER).0.unwrap(), load_node(NODE).0.unwrap());
    assert_eq!(check_together(&cluster, &node), []);
}
