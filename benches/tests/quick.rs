//! Every measurement works and leaves its figures; what they are is not looked at.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The length of a list in the results.
fn length(results: &Value, pointer: &str) -> usize {
    let list = results.pointer(pointer).and_then(Value::as_array);
    list.unwrap_or_else(|| panic!("there is no list {pointer}")).len()
}

#[test]
fn a_quick_run_measures_everything() {
    let out = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_keel-bench"))
        .args(["--quick", "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let results: Value = serde_json::from_str(&read("benchmarks.json")).unwrap();
    assert_eq!(results["quick"], true);
    for key in ["date", "cpu", "kernel", "evenkeel", "haproxy", "nftables", "wrk"] {
        let text = results["machine"][key].as_str().unwrap();
        assert!(!text.is_empty() && text != "missing", "{key}: {text}");
    }
    assert_eq!(length(&results, "/floor"), 5 * 2);
    assert_eq!(length(&results, "/growth"), 2);
    assert_eq!(length(&results, "/packets"), 6 + 7);
    assert_eq!(length(&results, "/connections"), 9 * 2);
    assert_eq!(length(&results, "/change/changes"), 8);
    assert_eq!(length(&results, "/change/whole"), 2);
    assert_eq!(length(&results, "/change/memory"), 9);
    assert_eq!(length(&results, "/checks"), 3);
    assert_eq!(length(&results, "/rings/maglev"), 3);
    paths(&results);
    page(&read("benchmarks.md"));
}

/// Every path has a cell for every kind of packet.
fn paths(results: &Value) {
    let cells = results.pointer("/path/cells").and_then(Value::as_array).unwrap();
    let has = |path: &str, packet: &str| cells.iter().any(|c| c["path"] == path && c["packet"] == packet);
    for path in
        ["DR", "NAT forward", "NAT reverse", "NAT both ways in turn", "IPIP", "IP6IP6", "4-in-6", "GUE"]
    {
        assert!(has(path, "known"), "{path}");
    }
    for path in ["DR", "NAT", "IPIP", "IP6IP6", "GUE"] {
        assert!(has(path, "new"), "{path}");
    }
    assert!(has("DR", "unleased"));
    assert!(has("none of ours", "foreign") && has("none of ours", "not IP"));
    for cell in cells {
        assert!(cell["gross_ns"].as_f64().unwrap() > 0.0, "{cell}");
    }
}

/// The page says what it is, and how it came about.
fn page(text: &str) {
    assert!(text.contains("the figures mean nothing"));
    for section in
        ["Nanoseconds per packet", "In a lab: packets and connections", "Maglev", "How it was measured"]
    {
        assert!(text.contains(&format!("## {section}")), "{section}");
    }
}

#[test]
fn a_section_that_does_not_exist_is_refused() {
    let run = Command::new(env!("CARGO_BIN_EXE_keel-bench"))
        .args(["--out", ".", "--only", "nonsense"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && errors.contains("there is no section `nonsense`"), "{errors}");
    assert!(!Path::new("benchmarks.json").exists());
}
