//! The client against a real unix socket.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::Arc;

use keel_api::fake::Fake;
use keel_api::{
    Client, ClientError, ConnectionFilter, ConnectionState, ExplainQuery, Intent, Kind, Protocol,
    ServerAction, Verdict, bind, serve, socket_path,
};

struct Daemon {
    client: Client,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    stop: tokio::sync::oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

fn daemon() -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let listener = bind(&socket_path(dir.path())).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let task = tokio::spawn(serve(listener, Arc::new(Fake::default()), shutdown));
    Daemon { client: Client::in_run_dir(dir.path()), task, stop, _dir: dir }
}

#[tokio::test]
async fn the_client_speaks_what_the_router_understands() {
    let Daemon { client, task, stop, _dir } = daemon();
    assert_eq!(client.status().await.unwrap().hostname, "lb1");
    assert_eq!(client.services().await.unwrap().len(), 4);
    let name = "Remote-Desktop-Gateways-Building-North";
    assert_eq!(client.service(name).await.unwrap().name, name);

    let filter = ConnectionFilter { state: Some(ConnectionState::SynRecv), ..Default::default() };
    assert_eq!(client.connections(&filter).await.unwrap().connections.len(), 1);

    let query = ExplainQuery {
        client: "2001:db8::1".parse().unwrap(),
        client_port: Some(5),
        vip: "2001:db8::2".parse().unwrap(),
        vip_port: 80,
        protocol: Protocol::Udp,
    };
    assert_eq!(client.explain(query).await.unwrap().verdict, Verdict::NotAService);

    let intent = Intent { why: "Wartung & Prüfung".to_owned(), ..Intent::default() };
    let done = client.act_on_server("HTTP-Cluster", "IIS1", ServerAction::Drain, &intent).await.unwrap();
    assert_eq!((done.previous, done.revision), (1, 2));
    assert_eq!(client.history(10).await.unwrap()[0].why, "Wartung & Prüfung");

    assert_eq!(client.candidate().await.unwrap(), None);
    client.put_candidate("# new\n", Some(2)).await.unwrap();
    assert!(client.candidate().await.unwrap().is_some());
    client.discard_candidate().await.unwrap();

    drop(stop);
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_name_with_odd_characters_arrives_whole() {
    let daemon = daemon();
    let Err(ClientError::Api(error)) = daemon.client.service("a/b c?ü").await else {
        panic!("expected a refusal")
    };
    assert_eq!(error.kind, Kind::NotFound);
    assert_eq!(error.detail, "there is no service called \"a/b c?ü\"");
}

#[tokio::test]
async fn an_absent_daemon_is_named_with_a_way_to_start_it() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::in_run_dir(dir.path()).status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    assert!(error.remedy().unwrap().contains("systemctl start keeld"));

    drop(bind(&socket_path(dir.path())).unwrap());
    let error = Client::in_run_dir(dir.path()).status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "a socket left behind: {error:?}");
}
