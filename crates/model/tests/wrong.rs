//! A thousand configurations, each wrong in one place: every one is refused, with exactly that place.

use std::collections::BTreeSet;

use keel_model::testing::{File, Wrong, valid_cluster, valid_node, wrong_configurations};
use keel_model::{Problem, load_cluster, load_node};

fn seed() -> u64 {
    std::env::var("KEEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121)
}

fn load(file: File, text: &str) -> (bool, Vec<Problem>) {
    match file {
        File::Cluster => {
            let (cluster, problems) = load_cluster(text);
            (cluster.is_some(), problems)
        }
        File::Node => {
            let (node, problems) = load_node(text);
            (node.is_some(), problems)
        }
    }
}

fn errors(problems: &[Problem]) -> Vec<&Problem> {
    problems.iter().filter(|problem| problem.is_error()).collect()
}

#[test]
fn what_the_faults_are_made_from_is_valid() {
    for number in 0..200 {
        for (file, text) in
            [(File::Cluster, valid_cluster(seed() + number)), (File::Node, valid_node(seed() + number))]
        {
            let (loaded, problems) = load(file, &text);
            assert!(loaded && errors(&problems).is_empty(), "{problems:?}\n{text}");
        }
    }
}

/// What is wrong with the refusal, if anything.
fn fault_of_refusal(wrong: &Wrong) -> Option<String> {
    let (loaded, problems) = load(wrong.file, &wrong.text);
    let errors = errors(&problems);
    let paths: BTreeSet<&str> = errors.iter().map(|problem| problem.path.as_str()).collect();
    let right = !loaded
        && paths == BTreeSet::from([wrong.path.as_str()])
        && errors.iter().all(|problem| problem.text.len() > 20)
        && errors.iter().all(|problem| problem.line.is_some());
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    (!right).then(|| format!("{}\n  expected {:?}, loaded {loaded}, got {told:#?}", wrong.what, wrong.path))
}

#[test]
fn thousand_wrong_configurations() {
    let all = wrong_configurations(seed(), 3000);
    assert_eq!(all.iter().map(|wrong| &wrong.text).collect::<BTreeSet<_>>().len(), 3000);
    let kinds = all.iter().map(|wrong| &wrong.what).collect::<BTreeSet<_>>().len();
    assert!(kinds >= 1000, "only {kinds} kinds of fault");
    let bad: Vec<String> = all.iter().filter_map(fault_of_refusal).collect();
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), all.len(), bad[..bad.len().min(40)].join("\n"));
}

#[test]
fn a_fallback_that_cant_answer_is_told() {
    let service = |protocol: &str, mode: &str, fallback: &str, server: &str| {
        format!(
            "[[service]]\nname = \"web\"\nlayer = 4\naddress = \"192.0.2.80\"\nports = \"80\"\nprotocol = \"{protocol}\"\n\
             mode = \"{mode}\"\nfallback = \"{fallback}\"\n[[service.server]]\nname = \"sorry\"\naddress = \"192.0.2.11\"\n{server}\n"
        )
    };
    let told = |text: &str| {
        let (loaded, problems) = load(File::Cluster, text);
        let of = problems.into_iter().filter(|problem| problem.path == "service[0].fallback");
        (loaded, of.map(|problem| problem.text).collect::<Vec<_>>())
    };
    let (loaded, texts) = told(&service("tcp", "dr", "192.0.2.11:80", "weight = 0"));
    assert!(!loaded && texts.len() == 1 && texts[0].contains("is the server sorry"), "{texts:?}");
    assert!(!told(&service("tcp", "nat", "192.0.2.11:8080", "port = 8080")).0);
    assert_eq!(told(&service("tcp", "nat", "192.0.2.11:8080", "port = 80")), (true, Vec::new()));
    assert_eq!(told(&service("tcp", "dr", "192.0.2.12:80", "")), (true, Vec::new()));
    let (loaded, texts) = told(&service("udp", "nat", "127.0.0.1:9081", ""));
    assert!(loaded && texts.len() == 1 && texts[0].contains("is for TCP"), "{texts:?}");
    assert_eq!(told(&service("tcp+udp", "nat", "127.0.0.1:9081", "")), (true, Vec::new()));
}
