//! A road between network namespaces that share no link: what connects to the listener talks to the target.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

/// Relays every connection of `listener` to `target` for as long as the test's runtime lives.
pub fn relay(listener: TcpListener, target: SocketAddr) {
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut far) = TcpStream::connect(target).await {
                    // Either end may hang up at any time; the other then sees it too.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
}
