//! Syslog.
use keel_model::Alerts;
use tokio::net::UdpSocket;

use crate::{refused, send};

#[tokio::test]
async fn a_message_arrives_as_the_rfc_says() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap().to_string();
    let alerts = Alerts { syslog: Some(server), ..Alerts::default() };
    assert_eq!(send(&alerts, None).await.outcome, Ok(None));
    let mut buffer = [0; 4096];
    let count = socket.recv(&mut buffer).await.unwrap();
    let message = std::str::from_utf8(&buffer[..count]).unwrap();
    let parts: Vec<&str> = message.splitn(8, ' ').collect();
    assert_eq!(parts[0], "<29>1");
    assert!(parts[1].ends_with('Z') && parts[1].parse::<jiff::Timestamp>().is_ok(), "{message}");
    assert_eq!(&parts[2..4], ["lb1", "evenkeel"]);
    assert_eq!(parts[5..], ["NOTICE", "-", "node lb1: this is a test: alerts arrive"]);
}

#[tokio::test]
async fn where_nobody_listens_is_known() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap().to_string();
    drop(socket);
    let why = refused(&Alerts { syslog: Some(server.clone()), ..Alerts::default() }, None).await;
    assert_eq!(why, format!("syslog server {server} can't be reached: connection refused"));
}
