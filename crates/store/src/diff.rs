//! What differs between two configurations: in words, and line by line.

use keel_model::Cluster;
use serde::{Deserialize, Serialize};
use similar::TextDiff;

/// What differs between two texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// The older side in words: "revision 11".
    pub from: String,
    /// The newer side in words: "revision 12", "the candidate".
    pub to: String,
    /// One sentence per change of meaning; empty when only comments or layout differ, or a side can't be read.
    pub changes: Vec<String>,
    /// The unified diff of the texts; empty when they are the same.
    pub unified: String,
}

impl Diff {
    /// Compares two texts of cluster.toml.
    pub fn between(from: (&str, &str), to: (&str, &str)) -> Self {
        let ((from, old), (to, new)) = (from, to);
        let unified = if old == new {
            String::new()
        } else {
            TextDiff::from_lines(old, new).unified_diff().context_radius(3).header(from, to).to_string()
        };
        Self { from: from.to_owned(), to: to.to_owned(), changes: changes(old, new), unified }
    }

    /// The texts are the same, byte for byte.
    pub fn is_empty(&self) -> bool {
        self.unified.is_empty()
    }
}

/// What changed in meaning, one sentence each.
pub(crate) fn changes(old: &str, new: &str) -> Vec<String> {
    let (Some(old), Some(new)) = (keel_model::load_cluster(old).0, keel_model::load_cluster(new).0) else {
        return Vec::new();
    };
    told(&old, &new)
}

/// The same of what was read already.
pub(crate) fn told(old: &Cluster, new: &Cluster) -> Vec<String> {
    keel_model::diff(old, new).iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# one\n[heartbeat]\nudp_port = 6694\n";

    #[test]
    fn the_same_text_has_no_difference() {
        let diff = Diff::between(("revision 1", OLD), ("revision 2", OLD));
        assert!(diff.is_empty() && diff.changes.is_empty());
    }

    #[test]
    fn a_difference_has_both_forms() {
        let new = OLD.replace("6694", "7000");
        let diff = Diff::between(("revision 1", OLD), ("the candidate", &new));
        assert!(diff.unified.contains("--- revision 1\n+++ the candidate\n"), "{}", diff.unified);
        assert!(diff.unified.contains("-udp_port = 6694\n+udp_port = 7000\n"), "{}", diff.unified);
        assert_eq!(diff.changes.len(), 1, "{:?}", diff.changes);
    }

    #[test]
    fn a_changed_comment_changes_no_meaning() {
        let diff = Diff::between(("a", OLD), ("b", &OLD.replace("one", "two")));
        assert!(!diff.is_empty() && diff.changes.is_empty());
    }

    #[test]
    fn a_text_that_cannot_be_read_is_compared_as_text_only() {
        let diff = Diff::between(("a", OLD), ("b", "[heartbeat"));
        assert!(!diff.is_empty() && diff.changes.is_empty());
    }
}
