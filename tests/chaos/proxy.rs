//! A TCP proxy that can be slow, deaf or cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What happens to what comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Open,
    /// Everything arrives, each piece so much later.
    Slow(Duration),
    /// Nothing arrives, and nobody is told; connections are accepted.
    Stalled,
    /// Nothing comes back; what is sent arrives.
    Mute,
    /// All connections are closed, and new ones at once.
    Cut,
}

#[derive(Clone, Copy, Debug)]
struct State {
    link: Link,
    /// Connections of earlier ages are closed.
    age: u64,
}

/// A proxy on a free port; it ends with its owner.
pub(crate) struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (state, told) = watch::channel(State { link: Link::Open, age: 0 });
        let to = SocketAddr::from(([127, 0, 0, 1], to));
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let state = *told.borrow();
                if state.link != Link::Cut {
                    connections.spawn(carry(client, to, told.clone(), state.age));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, state, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, link: Link) {
        self.state.send_modify(|state| {
            state.link = link;
            if link == Link::Cut {
                state.age += 1;
            }
        });
    }

    /// Closes all connections; new ones are open.
    pub(crate) fn reset(&self) {
        self.state.send_modify(|state| *state = State { link: Link::Open, age: state.age + 1 });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl State {
    fn holds(self, way: Way) -> bool {
        self.link == Link::Stalled || (self.link == Link::Mute && way == Way::Back)
    }
}

async fn carry(client: TcpStream, to: SocketAddr, mut state: watch::Receiver<State>, age: u64) {
    if passable(&mut state, age, Way::There).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(to).await else { return };
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Both close when either ends.
    tokio::select! {
        () = pump(from_client, to_server, state.clone(), (age, Way::There)) => {}
        () = pump(from_server, to_client, state, (age, Way::Back)) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    (age, way): (u64, Way),
) {
    let mut buffer = vec![0; 32 * 1024];
    while passable(&mut state, age, way).await.is_ok() {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            changed = state.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        if read == 0 {
            return;
        }
        let link = state.borrow().link;
        if let Link::Slow(by) = link {
            tokio::time::sleep(by).await;
        }
        if passable(&mut state, age, way).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// The connection is cut.
struct IsCut;

/// Waits while nothing comes through.
async fn passable(state: &mut watch::Receiver<State>, age: u64, way: Way) -> Result<(), IsCut> {
    let now = state.wait_for(|state| state.age != age || !state.holds(way)).await.map_err(|_| IsCut)?;
    if now.age == age { Ok(()) } else { Err(IsCut) }
}
