//! Valid configurations, and the same made wrong in exactly one place. For tests only (feature `test-support`).
//!
//! Everything follows from a seed: the same seed gives the same texts on every machine.

mod block;
mod faults;
mod layer4_faults;
mod layer7_faults;
mod rng;
mod settings_faults;
mod valid;
mod values;
mod whole_faults;

use std::collections::{HashMap, HashSet};

pub use rng::Rng;

use block::Block;

/// Which of the two files a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum File {
    /// `cluster.toml`.
    Cluster,
    /// `node.toml`.
    Node,
}

/// A configuration that is wrong in exactly one place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wrong {
    /// Which file it is.
    pub file: File,
    /// Its text.
    pub text: String,
    /// The path the one error must have.
    pub path: String,
    /// What was done to it.
    pub what: String,
}

/// A valid `cluster.toml` that loads without an error.
pub fn valid_cluster(seed: u64) -> String {
    block::render(&valid::cluster(&mut Rng::new(seed)))
}

/// A valid `node.toml` that loads without an error.
pub fn valid_node(seed: u64) -> String {
    block::render(&valid::node(&mut Rng::new(seed)))
}

/// So many configurations, all different, each wrong in exactly one place; first many kinds of fault, then more of each.
pub fn wrong_configurations(seed: u64, count: usize) -> Vec<Wrong> {
    let mut rng = Rng::new(seed);
    let mut found = Vec::with_capacity(count);
    let (mut texts, mut kinds) = (HashSet::new(), HashMap::new());
    let mut each = 1;
    while found.len() < count {
        for _ in 0..8 {
            let mut batch = of_one(&mut rng);
            rng.shuffle(&mut batch);
            for wrong in batch {
                let seen: &mut usize = kinds.entry((wrong.file, wrong.what.clone())).or_default();
                if *seen < each && found.len() < count && texts.insert(wrong.text.clone()) {
                    *seen += 1;
                    found.push(wrong);
                }
            }
        }
        each += 1;
    }
    found
}

/// Every fault that fits one random configuration.
fn of_one(rng: &mut Rng) -> Vec<Wrong> {
    if rng.below(5) == 0 {
        let blocks = valid::node(rng);
        return all(File::Node, &blocks, faults::of_node(&blocks, rng));
    }
    let blocks = valid::cluster(rng);
    all(File::Cluster, &blocks, faults::of_cluster(&blocks, rng))
}

fn all(file: File, blocks: &[Block], faults: Vec<faults::Fault>) -> Vec<Wrong> {
    let wrong = faults.into_iter().map(|fault| {
        let (text, path) = fault.apply(blocks);
        Wrong { file, text, path, what: fault.what }
    });
    wrong.collect()
}
