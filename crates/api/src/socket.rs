//! The control socket: binding it, and turning the kernel's word on who connected into a [`Caller`].
//!
//! Root, and the user the daemon itself runs as, are administrators. Anybody else the socket's mode
//! lets in (the group `evenkeel`) may look.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::IncomingStream;
use nix::unistd::{Group, Uid, User, chown};
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::caller::{Caller, Role, Via};
use crate::control::Control;
use crate::router::router;

/// The name of the socket in the run folder.
pub const SOCKET_NAME: &str = "keeld.sock";

/// How long requests that run may take to finish when the daemon stops.
const PATIENCE: Duration = Duration::from_secs(3);

/// The group whose members may look.
pub const SOCKET_GROUP: &str = "evenkeel";

/// The socket in this run folder.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join(SOCKET_NAME)
}

/// Binds the control socket: mode 0660, group [`SOCKET_GROUP`] where it exists. A socket left behind
/// by a daemon that is gone is replaced; one somebody still answers on is `AddrInUse`.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let text = format!("another daemon already answers on {}", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
    if let Ok(Some(group)) = Group::from_name(SOCKET_GROUP) {
        chown(path, None, Some(group.gid))?;
    }
    Ok(listener)
}

/// Serves the API on the socket until `shutdown` resolves, then lets running requests finish for a moment: one whose client
/// sends no more keeps nobody from stopping.
pub async fn serve<C: Control>(
    listener: UnixListener,
    control: Arc<C>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = router(control).layer(from_fn(introduce)).into_make_service_with_connect_info::<Peer>();
    let stopping = Arc::new(Notify::new());
    let told = stopping.clone();
    let graceful = async move {
        shutdown.await;
        told.notify_one();
    };
    let patience = async move {
        stopping.notified().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        ended = axum::serve(listener, service).with_graceful_shutdown(graceful) => ended,
        () = patience => Ok(()),
    }
}

/// The uid on the other end; none if the kernel would not say.
#[derive(Debug, Clone, Copy)]
struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| credentials.uid()))
    }
}

async fn introduce(ConnectInfo(peer): ConnectInfo<Peer>, mut request: Request, next: Next) -> Response {
    if let Some(uid) = peer.0 {
        request.extensions_mut().insert(caller_of_uid(uid));
    }
    next.run(request).await
}

fn caller_of_uid(uid: u32) -> Caller {
    let admin = uid == 0 || uid == Uid::effective().as_raw();
    let role = if admin { Role::Admin } else { Role::Viewer };
    Caller { user: user_name(uid), role, via: Via::Socket }
}

fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_admin_and_strangers_may_look() {
        assert_eq!(caller_of_uid(0).role, Role::Admin);
        assert_eq!(caller_of_uid(0).user, "root");
        let stranger = caller_of_uid(4_000_123);
        assert_eq!((stranger.role, stranger.user.as_str()), (Role::Viewer, "uid 4000123"));
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = socket_path(dir.path());
        drop(bind(&path).unwrap());
        let listener = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
    }
}
