//! A small mail relay.
use std::sync::{Arc, Mutex};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// How TLS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Clear,
    StartTls,
    /// Offers STARTTLS and goes on in clear text with what a careless client takes for protected.
    Injects,
    Tls,
}

/// What a relay does.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    pub(crate) speaks: Speaks,
    /// What it offers: "AUTH PLAIN".
    pub(crate) offers: &'static str,
    /// What it answers to commands that begin so, in place of the usual.
    pub(crate) answers: Vec<(&'static str, &'static str)>,
}

#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) port: u16,
    pub(crate) authority: CertificateDer<'static>,
    /// What it was told: commands, and mails as one entry each.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    pub(crate) async fn start(speaks: Speaks, offers: &'static str) -> Self {
        Self::with(Manner { speaks, offers, answers: Vec::new() }).await
    }

    pub(crate) async fn with(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (authority, acceptor) = super::certificate();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let relay = Self { port, authority, heard: heard.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (manner, heard, acceptor) = (manner.clone(), heard.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let talk = Talk { manner, heard };
                    if talk.manner.speaks == Speaks::Tls {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            talk.serve(Box::new(stream), None).await;
                        }
                    } else {
                        talk.serve(Box::new(stream), Some(acceptor)).await;
                    }
                });
            }
        });
        relay
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn heard_one(&self, beginning: &str) -> String {
        let heard = self.heard();
        heard.iter().find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("{heard:#?}")).clone()
    }
}

/// Anything that carries bytes both ways.
trait Carrier: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Carrier for T {}

#[derive(Clone)]
struct Talk {
    manner: Manner,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Talk {
    async fn serve(&self, stream: Box<dyn Carrier>, mut acceptor: Option<TlsAcceptor>) {
        let mut stream = BufReader::new(stream);
        let _ = stream.write_all(b"220 relay.example.org ESMTP\r\n").await;
        let mut line = String::new();
        while stream.read_line(&mut line).await.is_ok_and(|count| count > 0) {
            let command = std::mem::take(&mut line).trim_end().to_owned();
            self.heard.lock().unwrap().push(command.clone());
            let own = self.manner.answers.iter().find(|(beginning, _)| command.starts_with(beginning));
            let verb = command.split(' ').next().unwrap_or_default().to_owned();
            let answer = match (own, verb.as_str()) {
                (Some((_, answer)), _) => (*answer).to_owned(),
                (None, "EHLO") => self.greeting(acceptor.is_some()),
                (None, "STARTTLS") => {
                    let injected = self.manner.speaks == Speaks::Injects;
                    let more = if injected { "250-injected\r\n250 AUTH PLAIN\r\n" } else { "" };
                    let _ = stream.write_all(format!("220 go on\r\n{more}").as_bytes()).await;
                    let inner = stream.into_inner();
                    let Ok(secured) = acceptor.take().unwrap().accept(inner).await else { return };
                    stream = BufReader::new(Box::new(secured));
                    continue;
                }
                (None, "DATA") => {
                    let _ = stream.write_all(b"354 go on\r\n").await;
                    self.read_mail(&mut stream).await;
                    "250 taken".to_owned()
                }
                (None, "AUTH") if command == "AUTH LOGIN" => {
                    for question in ["334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n"] {
                        let _ = stream.write_all(question.as_bytes()).await;
                        let mut told = String::new();
                        let _ = stream.read_line(&mut told).await;
                        self.heard.lock().unwrap().push(told.trim_end().to_owned());
                    }
                    "235 welcome".to_owned()
                }
                (None, "AUTH") => "235 welcome".to_owned(),
                (None, "QUIT") => "221 bye".to_owned(),
                (None, _) => "250 fine".to_owned(),
            };
            let _ = stream.write_all(format!("{answer}\r\n").as_bytes()).await;
        }
    }

    fn greeting(&self, in_clear: bool) -> String {
        let starttls = matches!(self.manner.speaks, Speaks::StartTls | Speaks::Injects) && in_clear;
        let offers = [(starttls, "STARTTLS"), (!self.manner.offers.is_empty(), self.manner.offers)];
        let mut lines = "250-relay.example.org\r\n".to_owned();
        for (_, offer) in offers.into_iter().filter(|(offered, _)| *offered) {
            lines.push_str(&format!("250-{offer}\r\n"));
        }
        lines + "250 8BITMIME"
    }

    async fn read_mail(&self, stream: &mut BufReader<Box<dyn Carrier>>) {
        let mut mail = String::new();
        while stream.read_line(&mut mail).await.is_ok_and(|count| count > 0) && !mail.ends_with("\r\n.\r\n") {
        }
        self.heard.lock().unwrap().push(mail);
    }
}
