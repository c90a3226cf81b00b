//! The ports of the agent, which an older and a newer process of one node share while one takes over from the other.
//!
//! A port is bound at the start, so that a conflict is told at once, and listens when its owner says so. From then on
//! new connections come to the newest process alone: none waits at a listener that is about to close. `app` decides
//! when; `imds` and `admin` accept.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use podiam_intercept::handover::{listeners, share, steer};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lifecycle::Drain;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Between two looks at whether the older process has gone.
const LOOK: Duration = Duration::from_secs(1);

/// A port that is bound and does not listen yet.
pub struct Port {
    address: SocketAddr,
    sockets: Vec<Socket>,
}

impl Port {
    /// Binds `sockets` sockets, each for a listener of its own. Another podiam of the same user does not conflict.
    pub fn bind(address: SocketAddr, sockets: usize) -> io::Result<Self> {
        let sockets = (0..sockets)
            .map(|_| bound(address))
            .collect::<Result<_, _>>()?;
        Ok(Self { address, sockets })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its sockets, to set what connections inherit from them.
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// Whether another process listens there.
    pub fn is_taken(&self) -> bool {
        others(self.address, 0) > 0
    }

    /// Begins to listen, and takes every new connection from whoever listens there too. `drain` ends the watch over it.
    pub fn listen(self, drain: Drain) -> io::Result<Vec<TcpListener>> {
        let Self { address, sockets } = self;
        for socket in &sockets {
            socket.listen(BACKLOG)?;
        }
        let own = sockets.len();
        let others = others(address, own);
        if others > 0 {
            tracing::info!(%address, "takes over from another process");
            match steer(&sockets[0], others).and_then(|()| sockets[0].try_clone()) {
                Ok(first) => drop(tokio::spawn(share_when_alone(first, address, own, drain))),
                // An old kernel: both get connections, and the older one accepts what it has before it closes.
                Err(error) => tracing::warn!(%address, "new connections are shared: {error}"),
            }
        }
        Ok(sockets.into_iter().map(TcpListener::from).collect())
    }
}

/// How many listeners of other processes there are beside `own` ones. None where the kernel does not tell.
pub fn others(address: SocketAddr, own: usize) -> usize {
    listeners(address).unwrap_or(own).saturating_sub(own)
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Lets all of our listeners have connections once the others have gone: until then all come to the first, which no
/// closing of theirs can change.
async fn share_when_alone(first: Socket, address: SocketAddr, own: usize, mut drain: Drain) {
    while others(address, own) > 0 {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = drain.requested() => return,
        }
    }
    if let Err(error) = share(&first) {
        tracing::warn!(%address, "one worker gets every connection: {error}");
    }
}
