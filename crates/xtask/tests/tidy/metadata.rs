//! What `cargo metadata` knows, as far as the other tests ask.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The repository's top folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

pub(crate) struct Metadata(Value);

/// One line of a crate's dependencies.
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// normal, dev or build.
    pub(crate) kind: String,
    pub(crate) optional: bool,
    /// Whether it is one of our crates.
    pub(crate) ours: bool,
}

pub(crate) struct Package<'a>(&'a Value);

impl Metadata {
    /// Of the workspace whose manifest is at this path in the repository.
    pub(crate) fn of(manifest: &str) -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--manifest-path"])
            .arg(root().join(manifest))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    pub(crate) fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        self.0["packages"].as_array().unwrap().iter().map(Package)
    }

    /// Those of this workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = Package<'_>> {
        let members: HashSet<&str> = strings(&self.0["workspace_members"]).collect();
        self.packages().filter(move |package| members.contains(package.id()))
    }

    /// The names of everything that a member brings along by its normal dependencies that are not optional.
    pub(crate) fn tree(&self, member: &Package<'_>) -> HashSet<String> {
        let packages: HashMap<&str, Package<'_>> =
            self.packages().map(|package| (package.id(), package)).collect();
        let nodes: HashMap<&str, &Value> = self.0["resolve"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| (node["id"].as_str().unwrap(), node))
            .collect();
        let mut seen = HashSet::new();
        let mut waiting = vec![member.id()];
        while let Some(id) = waiting.pop() {
            let package = &packages[id];
            let wanted: HashSet<String> = package
                .dependencies()
                .filter(|dependency| dependency.kind == "normal" && !dependency.optional)
                .map(|dependency| dependency.name)
                .collect();
            for next in nodes[id]["deps"].as_array().unwrap() {
                let id = next["pkg"].as_str().unwrap();
                let name = packages[id].name();
                if wanted.contains(name) && seen.insert(name.to_owned()) {
                    waiting.push(id);
                }
            }
        }
        seen
    }
}

impl<'a> Package<'a> {
    fn text(&self, key: &str) -> &'a str {
        self.0[key].as_str().unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &'a str {
        self.text("id")
    }

    pub(crate) fn name(&self) -> &'a str {
        self.text("name")
    }

    /// An SPDX expression; empty if the package has none.
    pub(crate) fn licence(&self) -> &'a str {
        self.text("license")
    }

    /// Where its manifest is, from the top folder.
    pub(crate) fn folder(&self) -> PathBuf {
        let manifest = Path::new(self.text("manifest_path"));
        manifest.parent().unwrap().strip_prefix(root()).unwrap_or(manifest).to_path_buf()
    }

    pub(crate) fn dependencies(&self) -> impl Iterator<Item = Dependency> + use<'a> {
        self.0["dependencies"].as_array().unwrap().iter().map(|dependency| Dependency {
            name: dependency["name"].as_str().unwrap().to_owned(),
            kind: dependency["kind"].as_str().unwrap_or("normal").to_owned(),
            optional: dependency["optional"].as_bool().unwrap(),
            ours: dependency["path"].is_string(),
        })
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap())
}
