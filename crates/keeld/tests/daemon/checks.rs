//! What checks need from files, and checks that are carried out by hand.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use keel_api::{CheckOutcome, CheckTest, HealthFilter, HealthVerdict, ServerHealth};

use crate::machine::{Machine, SMALL, eventually};

/// A service whose servers are asked with a name and a password.
fn cluster(enabled: bool, servers: &[(&str, &str)]) -> String {
    let servers: String = servers
        .iter()
        .map(|(name, address)| format!("[[service.server]]\nname = \"{name}\"\naddress = \"{address}\"\n"))
        .collect();
    format!(
        "{SMALL}\n[[service]]\nname = \"web\"\naddress = \"10.0.0.200\"\nports = \"80\"\nenabled = {enabled}\n[service.health]\n\
         type = \"http\"\nuser = \"probe\"\nsecret = \"web\"\ninterval = \"1s\"\nfast_interval = \"100ms\"\n\
         timeout = \"1s\"\nrise = 1\nfall = 1\n{servers}"
    )
}

/// A server that lets in whoever has this password, which may change.
fn server(machine: &Machine, password: &str) -> Arc<Mutex<String>> {
    let listener = machine.in_the_world(|| TcpListener::bind("10.0.0.1:80").unwrap());
    let password = Arc::new(Mutex::new(password.to_owned()));
    let wanted = password.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            // Base64 of "probe:" and the password.
            let token = match wanted.lock().unwrap().as_str() {
                "old" => "cHJvYmU6b2xk",
                "new" => "cHJvYmU6bmV3",
                other => panic!("{other}"),
            };
            let known = String::from_utf8_lossy(&request[..length]).contains(&format!("Basic {token}\r\n"));
            let status = if known { "200 OK" } else { "401 Unauthorized" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    password
}

fn health(machine: &Machine) -> ServerHealth {
    let filter = HealthFilter { service: Some("web".to_owned()), server: Some("rs1".to_owned()) };
    machine.ask(async |client| client.health(&filter).await).unwrap().remove(0)
}

fn tested(machine: &Machine) -> Vec<CheckTest> {
    let filter = HealthFilter { service: Some("web".to_owned()), server: None };
    machine.ask(async |client| client.test_health(&filter).await).unwrap()
}

#[test]
fn a_secret_that_is_written_or_changed_is_used_from_then_on() {
    let mut machine = Machine::new();
    let wanted = server(&machine, "old");
    machine.write("etc/cluster.toml", &cluster(true, &[("rs1", "10.0.0.1")]));
    machine.start();
    let [test] = &tested(&machine)[..] else { panic!("one check") };
    assert_eq!(test.outcome, CheckOutcome::Unable);
    assert!(test.reason.contains("there is no secret called `web`"), "{}", test.reason);
    assert!(machine.status().warnings.iter().any(|warning| warning.text.contains("no secret called `web`")));

    machine.keep_secret("web", "old\n");
    let [test] = &tested(&machine)[..] else { panic!("one check") };
    assert_eq!(test.outcome, CheckOutcome::Good, "{test:?}");
    eventually("rs1 is up", || health(&machine).verdict == HealthVerdict::Up);
    assert!(machine.status().warnings.iter().all(|warning| !warning.text.contains("secret")));

    *wanted.lock().unwrap() = "new".to_owned();
    eventually("rs1 refuses the old password", || health(&machine).verdict == HealthVerdict::Down);
    machine.keep_secret("web", "new\n");
    eventually("rs1 is up with the new one, by itself", || health(&machine).verdict == HealthVerdict::Up);
}

#[test]
fn a_check_can_be_tried_before_its_service_is_switched_on() {
    let mut machine = Machine::new();
    let _server = server(&machine, "old");
    machine.keep_secret("web", "new");
    let servers = [("rs1", "10.0.0.1"), ("rs2", "nowhere.invalid")];
    machine.write("etc/cluster.toml", &cluster(false, &servers));
    machine.stand_in(
        "/etc/resolv.conf",
        "nobody.conf",
        "options attempts:1 timeout:1\nnameserver 127.0.0.9\n",
    );
    machine.start();
    let [known, nameless] = &tested(&machine)[..] else { panic!("two checks") };
    assert_eq!(known.outcome, CheckOutcome::Bad);
    assert!(known.reason.contains("401"), "{}", known.reason);
    assert_eq!(nameless.outcome, CheckOutcome::Unable);
    assert!(nameless.reason.contains("name not resolved"), "{}", nameless.reason);
    machine.keep_secret("web", "old");
    assert_eq!(tested(&machine)[0].outcome, CheckOutcome::Good);
}
