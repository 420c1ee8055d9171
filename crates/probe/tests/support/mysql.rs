//! A small MySQL 8: what MariaDB doesn't speak.
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer,
    rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use base64::Engine as _;

use super::certificates::identity;

const SALT: &[u8; 20] = b"abcdefghijklmnopqrst";
const PASSWORD: &[u8] = b"pr0be";

/// How `caching_sha2_password` goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sha2 {
    /// The proof is known.
    Fast,
    /// It isn't, and the password comes under the server's key.
    Full,
    /// The account's way to sign in is another one than the greeting said.
    Switch,
    /// It isn't known, and the password comes over TLS.
    Tls,
}

/// One packet.
pub fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..3], &[number], body].concat()
}

/// An error, before the greeting without a state.
pub fn error(number: u8, code: u16, state: &str, text: &str) -> Vec<u8> {
    let state = if state.is_empty() { String::new() } else { format!("#{state}") };
    packet(number, &[&[0xff][..], &code.to_le_bytes(), state.as_bytes(), text.as_bytes()].concat())
}

/// The greeting of MySQL 8.
pub fn greeting(tls: bool, plugin: &str) -> Vec<u8> {
    let can: u32 = 0x00ff_f7ff | if tls { 1 << 11 } else { 0 };
    let can = can.to_le_bytes();
    let mut body = b"\x0a8.0.36\0\x07\0\0\0".to_vec();
    body.extend_from_slice(&SALT[..8]);
    body.push(0);
    body.extend_from_slice(&can[..2]);
    body.extend_from_slice(&[255, 2, 0]);
    body.extend_from_slice(&can[2..]);
    body.push(21);
    body.extend_from_slice(&[0; 10]);
    body.extend_from_slice(&SALT[8..]);
    body.push(0);
    body.extend_from_slice(plugin.as_bytes());
    body.push(0);
    packet(0, &body)
}

/// Says the first to whoever connects, and every other after something came.
pub fn acting(answers: Vec<Vec<u8>>) -> u16 {
    serve(move |mut stream| {
        let mut buffer = [0; 4096];
        for (at, answer) in answers.iter().enumerate() {
            if at > 0 && !matches!(stream.read(&mut buffer), Ok(1..)) {
                return;
            }
            let _ = stream.write_all(answer);
        }
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    })
}

fn serve(play: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, play) = (listener.local_addr().unwrap().port(), Arc::new(play));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let play = play.clone();
            thread::spawn(move || play(stream));
        }
    });
    port
}

/// A server with `caching_sha2_password`.
pub fn sha2(how: Sha2) -> u16 {
    let folder = tempfile::tempdir().unwrap();
    let config = identity(folder.path());
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    serve(move |mut stream| {
        let default = if how == Sha2::Switch { "mysql_native_password" } else { "caching_sha2_password" };
        stream.write_all(&greeting(how == Sha2::Tls, default)).unwrap();
        let _ = if how == Sha2::Tls {
            let (number, opening) = receive(&mut stream).unwrap();
            assert_eq!((number, opening.len()), (1, 32));
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            converse(&mut rustls::StreamOwned::new(connection, stream), how, &key)
        } else {
            converse(&mut stream, how, &key)
        };
    })
}

fn receive(stream: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; usize::from(head[0]) + 256 * usize::from(head[1])];
    stream.read_exact(&mut body).ok()?;
    Some((head[3], body))
}

fn converse(stream: &mut (impl Read + Write), how: Sha2, key: &PrivateDecryptingKey) -> Option<()> {
    let (mut number, login) = receive(stream)?;
    let name = login[32..].split(|byte| *byte == 0).next()?;
    let proof_at = 32 + name.len() + 2;
    let mut proof = login[proof_at..proof_at + usize::from(login[proof_at - 1])].to_vec();
    if how == Sha2::Switch {
        let switch = [b"\xfecaching_sha2_password\0", &SALT[..], b"\0"].concat();
        stream.write_all(&packet(number + 1, &switch)).ok()?;
        (number, proof) = receive(stream)?;
    }
    let known = match how {
        _ if proof.is_empty() => false,
        Sha2::Fast | Sha2::Switch => is_proof(&proof),
        Sha2::Full | Sha2::Tls => {
            stream.write_all(&packet(number + 1, &[1, 4])).ok()?;
            let (next, mut said) = receive(stream)?;
            number = next;
            if how == Sha2::Full {
                assert_eq!(said, [2]);
                stream.write_all(&packet(number + 1, &[&[1][..], pem(key).as_bytes()].concat())).ok()?;
                (number, said) = receive(stream)?;
                said = opened(key, &said);
            }
            said == [PASSWORD, b"\0"].concat()
        }
    };
    if !known {
        let denied = error(number + 1, 1045, "28000", "Access denied for user 'probe'@'localhost'");
        return stream.write_all(&denied).ok();
    }
    if matches!(how, Sha2::Fast | Sha2::Switch) {
        number += 1;
        stream.write_all(&packet(number, &[1, 3])).ok()?;
    }
    stream.write_all(&packet(number + 1, &[0, 0, 0, 2, 0, 0, 0])).ok()?;
    assert_eq!(receive(stream)?, (0, vec![1]), "COM_QUIT");
    Some(())
}

/// Whether SHA256(what the proof hides) is what a server keeps.
fn is_proof(proof: &[u8]) -> bool {
    let kept = digest(&SHA256, digest(&SHA256, PASSWORD).as_ref());
    let mask = digest(&SHA256, &[kept.as_ref(), SALT].concat());
    let hidden: Vec<u8> = proof.iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect();
    digest(&SHA256, &hidden).as_ref() == kept.as_ref()
}

fn pem(key: &PrivateDecryptingKey) -> String {
    let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

fn opened(key: &PrivateDecryptingKey, sealed: &[u8]) -> Vec<u8> {
    let key = OaepPrivateDecryptingKey::new(key.clone()).unwrap();
    let mut room = vec![0; key.min_output_size()];
    let clear = key.decrypt(&OAEP_SHA1_MGF1SHA1, sealed, &mut room, None).unwrap();
    clear.iter().zip(SALT.iter().cycle()).map(|(a, b)| a ^ b).collect()
}
