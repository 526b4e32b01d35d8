//! The server behind both listeners, and its counts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::answers::bodies::Bodies;
use crate::answers::feed::Feed;
use crate::backend::Backend;
use crate::connections::closing::Closing;
use crate::connections::places::Places;
use crate::dispatch::Shared;
use crate::limits::Limits;
use crate::requests::access::Access;
use crate::serving::{self, TcpSide, UnixSide};

/// Connections and requests since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that the server took.
    pub connections: u64,
    /// Connections closed without an answer, because the listener was full of connections that were being answered.
    pub excess: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Bodies built; every other answer shared one of these.
    pub bodies_built: u64,
    /// Events of `/api/events/` built; all followers share these.
    pub frames_built: u64,
}

/// The HTTP server. A clone is the same server: both listeners share the bodies and the counts.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("limits", &self.shared.limits)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Api {
    /// A server of `ecosystem` that does not serve any listener yet.
    #[must_use]
    pub fn new(ecosystem: Arc<dyn Backend>, limits: Limits, access: Access) -> Self {
        let shared = Shared {
            ecosystem,
            tcp_places: watch::Sender::new(limits.max_connections),
            socket_places: watch::Sender::new(limits.max_socket_connections),
            limits,
            access,
            bodies: Bodies::default(),
            socket_feed: Arc::new(Feed::new(false)),
            public_feed: Arc::new(Feed::new(true)),
            connections: AtomicU64::new(0),
            excess: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Sets the number of connections on the TCP listener and on the Unix socket. The server closes connections that
    /// exceed it: idle ones first, then streams, which resume elsewhere; never a request in progress.
    pub fn resize(&self, max_connections: usize, max_socket_connections: usize) {
        for (places, most) in
            [(&self.shared.tcp_places, max_connections), (&self.shared.socket_places, max_socket_connections)]
        {
            places.send_if_modified(|places| std::mem::replace(places, most) != most);
        }
    }

    /// Connections and requests so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.shared.connections.load(Ordering::Relaxed),
            excess: self.shared.excess.load(Ordering::Relaxed),
            requests: self.shared.requests.load(Ordering::Relaxed),
            bodies_built: self.shared.bodies.built(),
            frames_built: self.shared.socket_feed.built() + self.shared.public_feed.built(),
        }
    }

    /// Serves the Unix socket until `closing` says otherwise or its sender is gone. Needs a runtime with I/O and time
    /// enabled.
    pub async fn serve_unix(&self, listener: UnixListener, closing: watch::Receiver<Closing>) {
        let places = Places::of_socket(self.shared.socket_places.subscribe());
        let own_uid = nix::unistd::geteuid().as_raw();
        let side = UnixSide { listener, own_uid, socket_group: self.shared.access.socket_group };
        serving::serve(Arc::clone(&self.shared), side, places, closing).await;
    }

    /// Serves an address in the same way: read-only, or with the token of [`Access`]; by TLS where it has a certificate.
    pub async fn serve_tcp(&self, listener: TcpListener, closing: watch::Receiver<Closing>) {
        let listen = match listener.local_addr() {
            Ok(listen) => listen,
            Err(error) => {
                tracing::error!(%error, "the TCP listener has no address and is not served");
                return;
            }
        };
        let places = Places::of_tcp(self.shared.tcp_places.subscribe());
        let side = TcpSide { listener, listen, tls: self.shared.access.tls.clone() };
        serving::serve(Arc::clone(&self.shared), side, places, closing).await;
    }
}
