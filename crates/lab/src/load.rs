//! A load generator: many connections ask one thing over and over, every answer is checked, every time is kept.
//!
//! It is closed-loop: a connection asks again when it has its answer. Under overload it therefore shows the
//! throughput that was reached, and latencies that are too kind.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hdrhistogram::Histogram;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::wire::{self, Answer};

/// What to ask, of whom, how often.
#[derive(Clone, Debug)]
pub struct Load {
    /// Whom to ask.
    pub target: SocketAddr,
    /// The request as bytes ([`wire::request`] makes one).
    pub request: Bytes,
    /// The only status that counts as success.
    pub status: u16,
    /// The only body that counts as success; `None`: the first answer's.
    pub body: Option<Bytes>,
    /// How many connections ask at the same time, at least 1.
    pub connections: usize,
    /// Whether a connection is used again.
    pub reuse: Reuse,
    /// Local addresses, dealt out to the connections in turn; empty: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// When it is enough.
    pub amount: Amount,
}

/// Whether a connection is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Kept alive.
    KeepAlive,
    /// A connection per request, which is then reset: no port waits in TIME-WAIT.
    Never,
}

/// When it is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// After so many requests altogether.
    Requests(u64),
    /// After so long.
    For(Duration),
}

/// The longest time that is told apart.
const LONGEST: Duration = Duration::from_mins(1);

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Right answers.
    pub right: u64,
    /// Failures: wrong answers and broken connections.
    pub wrong: u64,
    /// The first failure, in words.
    pub first_problem: Option<String>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Times of the right answers in nanoseconds, three digits exact; a minute stands for all that is longer.
    pub latency: Histogram<u64>,
}

impl Report {
    /// Right answers per second.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a count of requests is far below 2^52"
    )]
    pub fn rate(&self) -> f64 {
        self.right as f64 / self.elapsed.as_secs_f64()
    }

    /// The time within which the share `quantile` (0..=1) of the right answers came.
    pub fn within(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    fn empty() -> io::Result<Self> {
        let longest = u64::try_from(LONGEST.as_nanos()).map_err(io::Error::other)?;
        let latency = Histogram::new_with_max(longest, 3).map_err(io::Error::other)?;
        Ok(Self {
            right: 0,
            wrong: 0,
            first_problem: None,
            elapsed: Duration::ZERO,
            latency,
        })
    }

    fn add(&mut self, other: Self) -> io::Result<()> {
        self.right += other.right;
        self.wrong += other.wrong;
        self.first_problem = self.first_problem.take().or(other.first_problem);
        self.latency.add(other.latency).map_err(io::Error::other)
    }

    fn failed(&mut self, problem: String) {
        self.wrong += 1;
        self.first_problem.get_or_insert(problem);
    }
}

/// What the connections share.
struct Shared {
    load: Load,
    body: Bytes,
    begun: AtomicU64,
    started: Instant,
}

impl Load {
    /// Runs it on the caller's runtime. An error is one that no report could be made after.
    pub async fn run(self) -> io::Result<Report> {
        let body = match &self.body {
            Some(body) => body.clone(),
            None => self.sample().await?.body,
        };
        let shared = Arc::new(Shared {
            body,
            begun: AtomicU64::new(0),
            started: Instant::now(),
            load: self,
        });
        let mut connections = JoinSet::new();
        for number in 0..shared.load.connections.max(1) {
            connections.spawn(connection(Arc::clone(&shared), number));
        }
        let mut report = Report::empty()?;
        while let Some(part) = connections.join_next().await {
            report.add(part.map_err(io::Error::other)??)?;
        }
        report.elapsed = shared.started.elapsed();
        Ok(report)
    }

    /// One answer, to know what the others must be.
    async fn sample(&self) -> io::Result<Answer> {
        let mut stream = self.connect(0).await?;
        wire::exchange(&mut stream, &self.request, &mut BytesMut::new()).await
    }

    async fn connect(&self, number: usize) -> io::Result<TcpStream> {
        let socket = if self.target.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        if !self.sources.is_empty() {
            socket.bind(SocketAddr::new(
                self.sources[number % self.sources.len()],
                0,
            ))?;
        }
        let stream = socket.connect(self.target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Shared {
    /// Whether another request is to be sent.
    fn more(&self) -> bool {
        match self.load.amount {
            Amount::Requests(total) => self.begun.fetch_add(1, Ordering::Relaxed) < total,
            Amount::For(duration) => self.started.elapsed() < duration,
        }
    }

    fn judge(&self, answer: &Answer) -> Result<(), String> {
        if answer.status == self.load.status && answer.body == self.body {
            return Ok(());
        }
        let start: String = answer.text().chars().take(200).collect();
        Err(format!("status {}, body {start:?}", answer.status))
    }
}

async fn connection(shared: Arc<Shared>, number: usize) -> io::Result<Report> {
    let load = &shared.load;
    let mut report = Report::empty()?;
    let mut open: Option<(TcpStream, BytesMut)> = None;
    while shared.more() {
        let started = Instant::now();
        let exchange = async {
            let (mut stream, mut buffer) = match open.take() {
                Some(open) => open,
                None => (load.connect(number).await?, BytesMut::new()),
            };
            let answer = wire::exchange(&mut stream, &load.request, &mut buffer).await?;
            Ok::<_, io::Error>((answer, stream, buffer))
        };
        match exchange.await {
            Ok((answer, stream, buffer)) => {
                match shared.judge(&answer) {
                    Ok(()) => {
                        report.right += 1;
                        let nanoseconds =
                            u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                        report.latency.saturating_record(nanoseconds.max(1));
                    }
                    Err(problem) => report.failed(problem),
                }
                match load.reuse {
                    Reuse::KeepAlive => open = Some((stream, buffer)),
                    Reuse::Never => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
                }
            }
            Err(error) => report.failed(error.to_string()),
        }
    }
    Ok(report)
}
