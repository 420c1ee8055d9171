//! A thousand configurations that are wrong in one place: a running keeld refuses each at that place, and nothing changes.

use keel_api::{ClientError, Intent, Kind};
use keel_lab::Topology;
use keel_model::testing::{File, wrong_configurations};
use keel_tests::{Plan, Rig, Service, config};

const COUNT: usize = 1000;
const SEED: u64 = 20_260;

/// As many files of the cluster as are wanted; those of the node are keeld's only at its start.
fn wrong() -> Vec<(String, String, String)> {
    let all = wrong_configurations(SEED, COUNT * 2).into_iter();
    let of_cluster = all.filter(|wrong| wrong.file == File::Cluster).take(COUNT);
    of_cluster.map(|wrong| (wrong.text, wrong.path, wrong.what)).collect()
}

#[test]
fn a_thousand_wrong_configurations_are_refused_at_their_place_and_change_nothing() {
    let wrong = wrong();
    assert_eq!(wrong.len(), COUNT);
    let rig = Rig::alone("wrong", Topology::OneArm);
    let service = |name: &str, vip: &str, mode: &str| {
        Service::new(name, vip, "80").with(&format!("mode = \"{mode}\"")).servers("192.168.2.10", 3)
    };
    let text = config(&[service("dr", "192.168.2.200", "dr"), service("nat", "192.168.2.201", "nat")]);
    rig.apply(&text);
    let before = everything(&rig);
    let at = |to: &str| to.parse().unwrap();
    let (dr, nat) = (at("192.168.2.200:80"), at("192.168.2.201:80"));
    let plan = Plan { fresh: vec![(dr, 1), (nat, 1)], kept: vec![(dr, 1), (nat, 1)], ..Plan::default() };
    let (tally, mistakes) = rig.under_load(&plan, |_| {
        rig.ask(async |client| {
            let mut mistakes = Vec::new();
            for (text, path, what) in &wrong {
                let answer = client.apply(text, &Intent::default()).await;
                mistakes.extend(mistake(answer, path).map(|found| format!("{what}: {found}")));
            }
            Ok(mistakes)
        })
    });
    let mistakes = mistakes.unwrap();
    assert!(mistakes.is_empty(), "{} of {COUNT}: {:#?}", mistakes.len(), &mistakes[..mistakes.len().min(10)]);
    tally.unharmed();
    for (after, before) in everything(&rig).iter().zip(&before) {
        assert_eq!(after, before);
    }
}

/// What is wrong with the answer to a configuration that is wrong at `path`.
fn mistake(answer: Result<keel_api::Committed, ClientError>, path: &str) -> Option<String> {
    match answer {
        Ok(done) => Some(format!("accepted as revision {}", done.revision)),
        Err(ClientError::Api(error)) if error.kind == Kind::Refused => {
            let errors: Vec<&str> =
                error.problems.iter().filter(|p| p.is_error()).map(|p| p.path.as_str()).collect();
            (errors != [path]).then(|| format!("errors at {errors:?} instead of {path}"))
        }
        Err(error) => Some(format!("{error:?}")),
    }
}

/// All that a refused configuration may not touch. The journal tells of refusals too, and the verdicts are written down
/// as checks come to them, whatever happens to configurations.
fn everything(rig: &Rig) -> Vec<String> {
    let run = |command: &[&str]| rig.run("lb1", command).ok();
    let history = rig.ask(async |client| client.history(10).await).unwrap();
    vec![
        rig.read("/etc/evenkeel/cluster.toml"),
        format!("{history:?}"),
        run(&[
            "find",
            "/var/lib/evenkeel",
            "-type",
            "f",
            "!",
            "-path",
            "*/audit/*",
            "!",
            "-name",
            "health.json",
            "-printf",
            "%P %s %T@\n",
        ]),
        run(&["ip", "-br", "address"]),
        run(&["ip", "route", "show", "table", "all"]),
        run(&["nft", "list", "ruleset"]),
        run(&["keel", "config", "show"]),
    ]
}

#[test]
fn a_wrong_node_file_is_refused_at_its_place_and_changes_nothing() {
    let rig = Rig::up("bad-node", Topology::OneArm);
    rig.apply(&config(&[Service::new("web", "192.168.2.200", "80").servers("192.168.2.10", 2)]));
    rig.end_daemon(nix::sys::signal::Signal::SIGTERM);
    let good = rig.read("/etc/evenkeel/node.toml");
    let here = || {
        let run = |command: &[&str]| rig.run("lb1", command).ok();
        let files = ["find", "/var/lib/evenkeel", "/etc/evenkeel", "-type", "f", "-printf", "%P %s %T@\n"];
        [run(&files), run(&["ip", "-br", "address"]), run(&["ip", "route", "show", "table", "all"])]
    };
    for (wrong, parts) in [
        (good.replace("hostname", "hostnam"), ["line 1", "hostnam", "`hostname`"]),
        (good.replace("192.168.2.21/24", "192.168.2.21/240"), ["line 5", "interface[0].addresses", "/24"]),
        (format!("{good}\n[web]\nhttp_port = 70000\n"), ["web.http_port", "70000", "65535"]),
        (good.replace("[[interface]]", "[[interface]"), ["line 3", "not TOML", "Correct it"]),
    ] {
        assert_ne!(wrong, good);
        rig.write("/etc/evenkeel/node.toml", &wrong);
        let before = here();
        let said = rig.keeld(&[]).failed(1);
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
        assert!(said.contains("keel config validate"), "{said}");
        let checked = rig.keel(&["config", "validate", "/etc/evenkeel/node.toml"]);
        assert!(checked.code == 3 && checked.out.contains(parts[1]), "{checked:?}");
        assert_eq!(here(), before);
        assert_eq!(rig.shares("192.168.2.200:80".parse().unwrap(), 4).len(), 2, "it is forwarded on");
    }
    rig.write("/etc/evenkeel/node.toml", &good);
    rig.start_daemon(&rig.program());
}

#[test]
fn a_wrong_file_is_refused_with_place_reason_and_remedy() {
    let rig = Rig::up("bad-file", Topology::OneArm);
    let good = config(&[Service::new("web", "192.168.2.200", "80").servers("192.168.2.10", 2)]);
    rig.apply(&good);
    let refused = |text: &str, parts: &[&str]| {
        let said = rig.keel_fed(&["apply", "-"], text).failed(3);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    refused(&good.replace("ports", "porst"), &["service[0].porst", "ports", "line 4"]);
    refused(&good.replace("\"80\"", "\"80000\""), &["service[0].ports", "65535"]);
    refused(&good.replace("192.168.2.200", "192.168.2.21"), &["service[0].address", "own address of eth0"]);
    refused(
        &good.replace("[[service.server]]", "[[service.server]]\nweight = 70000"),
        &["service[0].server[0].weight", "service[0].server[1].weight"],
    );
    refused("[[service]\n", &["line 1"]);
    let family = good.replace("192.168.2.101", "fd00:2::101");
    refused(&family, &["service[0].server[0].address", "IPv"]);
    let port = good.replace("name = \"rs2\"", "name = \"rs2\"\nport = 8080");
    refused(&port, &["service[0].server[1].port", "dr"]);
    let said = rig.keel(&["apply", "/nowhere/cluster.toml"]);
    assert!(said.code != 0 && said.err.contains("/nowhere/cluster.toml"), "{said:?}");
    assert_eq!(rig.shares("192.168.2.200:80".parse().unwrap(), 4).len(), 2);
}
