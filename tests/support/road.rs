//! The road to STS, on which things go wrong: a proxy that reads each request and each answer whole. It shortens the
//! sessions that are asked for, refuses calls that are signed with an expired one, and does to an answer what a test says.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::PATIENCE;

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It comes this much later.
    Delay(Duration),
    /// A reset (RST) comes instead.
    Reset,
    /// Its first half comes, and the end of the connection.
    Half,
    /// A 500 comes instead, as STS writes one.
    InternalFailure,
    /// A 400 comes instead, as STS writes it when it limits an account.
    Throttling,
}

/// The road. It ends with the test's runtime.
pub struct Road {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    /// Of every session that is asked for on this road.
    lifetime: Duration,
    fault: watch::Sender<Option<Fault>>,
    struck: watch::Sender<usize>,
    /// When the sessions end that came by here, by access key ID. A lock: held for one look-up.
    ends: Mutex<HashMap<String, Instant>>,
}

impl Road {
    /// To `target`, for sessions that live `lifetime`, in whole seconds.
    pub async fn to(target: SocketAddr, lifetime: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target,
            lifetime,
            fault: watch::Sender::new(None),
            struck: watch::Sender::new(0),
            ends: Mutex::default(),
        });
        let road = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let road = Arc::clone(&road);
                // Whoever breaks off has his reasons.
                tokio::spawn(async move { drop(road.pass(stream).await) });
            }
        });
        Self { address, shared }
    }

    /// What `AWS_ENDPOINT_URL_STS` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every answer meets this from now on.
    pub fn set(&self, fault: Option<Fault>) {
        self.shared.fault.send_replace(fault);
    }

    /// Waits until this many answers have met a fault.
    pub async fn struck(&self, times: usize) {
        let mut struck = self.shared.struck.subscribe();
        let wait = struck.wait_for(|struck| *struck >= times);
        let met = tokio::time::timeout(PATIENCE, wait).await;
        met.unwrap_or_else(|_| panic!("{times} faults were not met"))
            .unwrap();
    }
}

impl Shared {
    async fn pass(&self, mut near: TcpStream) -> io::Result<()> {
        let request = read_request(&mut near).await?;
        let answer = if self.signed_with_an_expired_key(&request) {
            error(403, "ExpiredToken", "The security token is expired")
        } else {
            self.ask(&request).await?
        };
        let fault = *self.fault.borrow();
        if fault.is_some() {
            self.struck.send_modify(|struck| *struck += 1);
        }
        match fault {
            None => near.write_all(&answer).await?,
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                near.write_all(&answer).await?;
            }
            Some(Fault::Reset) => SockRef::from(&near).set_linger(Some(Duration::ZERO))?,
            Some(Fault::Half) => near.write_all(&answer[..answer.len() / 2]).await?,
            Some(Fault::InternalFailure) => {
                let answer = error(500, "InternalFailure", "injected");
                near.write_all(&answer).await?;
            }
            Some(Fault::Throttling) => {
                let answer = error(400, "Throttling", "Rate exceeded");
                near.write_all(&answer).await?;
            }
        }
        Ok(())
    }

    /// Sends a request on, with the lifetime changed in place (it keeps its length), and remembers when the session ends.
    async fn ask(&self, request: &str) -> io::Result<Vec<u8>> {
        let short = format!("DurationSeconds={:04}", self.lifetime.as_secs());
        let request = request.replacen("DurationSeconds=3600", &short, 1);
        let mut far = TcpStream::connect(self.target).await?;
        far.write_all(request.as_bytes()).await?;
        let asked = Instant::now();
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await?;
        if let Some(key) = between(&String::from_utf8_lossy(&answer), "<AccessKeyId>", "<") {
            let mut ends = self.ends.lock().unwrap();
            ends.insert(key.to_owned(), asked + self.lifetime);
        }
        Ok(answer)
    }

    fn signed_with_an_expired_key(&self, request: &str) -> bool {
        let ends = self.ends.lock().unwrap();
        let key = between(request, "Credential=", "/").unwrap_or_default();
        // STS says when a session ends in whole seconds, the last of which has then begun.
        let second = Duration::from_secs(1);
        ends.get(key)
            .is_some_and(|end| Instant::now() >= *end + second)
    }
}

/// A request with its body, which the other end is asked to close the connection after.
async fn read_request(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let header = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
        let length = head.lines().find(header).and_then(|line| {
            let (_, length) = line.split_once(':')?;
            length.trim().parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            let kept = |line: &&str| !line.to_ascii_lowercase().starts_with("connection:");
            let head: Vec<&str> = head.lines().filter(kept).collect();
            let head = head.join("\r\n");
            return Ok(format!("{head}\r\nConnection: close\r\n\r\n{body}"));
        }
    }
}

/// An error as STS writes it.
fn error(status: u16, code: &str, message: &str) -> Vec<u8> {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    );
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Error\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}
