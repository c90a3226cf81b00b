//! Requests at a steady rate, whatever becomes of the ones before: what a hand-over has to get through. Half of them on
//! fresh connections, half on kept ones, out of a pod's namespace.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use podiam_lab::netns::Pod;
use podiam_lab::wire::{self, Answer};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{PATIENCE, eventually};

/// Requests a second.
pub const RATE: u64 = 1000;

/// The load. It runs until [`Steady::stop`].
pub struct Steady {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    right: Arc<AtomicU64>,
    thread: JoinHandle<Tally>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    pub asked: u64,
    pub right: u64,
    /// How often each thing went wrong.
    pub problems: BTreeMap<String, u64>,
    pub elapsed: Duration,
    pub slowest: Duration,
}

type Kept = Rc<RefCell<VecDeque<(TcpStream, BytesMut)>>>;

impl Steady {
    /// Begins to ask `target` for `path` from the pod. Right is a 200 that `is_right` says yes to.
    pub fn start(
        pod: Arc<Pod>,
        target: SocketAddr,
        path: &str,
        is_right: fn(&Answer) -> bool,
    ) -> Self {
        let request = Bytes::from(wire::request("GET", path, &target.ip().to_string(), &[]));
        let (stop, asked, right) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (stopping, asking, counting) =
            (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&right));
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            LocalSet::new().block_on(
                &runtime,
                ask(target, request, is_right, &stopping, &asking, &counting),
            )
        };
        let thread = std::thread::spawn(move || pod.namespace().enter(work).unwrap());
        Self {
            stop,
            asked,
            right,
            thread,
        }
    }

    /// Waits until so many more are asked, whatever becomes of them.
    pub async fn more_questions(&self, questions: u64) {
        more(&self.asked, questions).await;
    }

    /// Waits for so many more right answers.
    pub async fn more(&self, answers: u64) {
        more(&self.right, answers).await;
    }

    /// Ends it, with the answers to everything that was asked.
    pub async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let join = tokio::task::spawn_blocking(|| self.thread.join().unwrap());
        timeout(PATIENCE, join).await.unwrap().unwrap()
    }
}

async fn more(counter: &AtomicU64, by: u64) {
    let enough = counter.load(Ordering::Relaxed) + by;
    eventually(&format!("{by} more"), || async {
        let count = counter.load(Ordering::Relaxed);
        if count >= enough {
            Ok(())
        } else {
            Err(format!("{count} of {enough}"))
        }
    })
    .await;
}

async fn ask(
    target: SocketAddr,
    request: Bytes,
    is_right: fn(&Answer) -> bool,
    stop: &AtomicBool,
    counter: &AtomicU64,
    right: &Arc<AtomicU64>,
) -> Tally {
    let started = Instant::now();
    let (tally, kept) = (Rc::new(RefCell::new(Tally::default())), Kept::default());
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(RATE).unwrap());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut asked = 0;
    let mut open = tokio::task::JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        asked += 1;
        counter.store(asked, Ordering::Relaxed);
        let (tally, right, request) = (Rc::clone(&tally), Arc::clone(right), request.clone());
        let kept = (asked % 2 == 0).then(|| Rc::clone(&kept));
        open.spawn_local(async move {
            let begun = Instant::now();
            let outcome = timeout(PATIENCE, exchange(target, &request, kept)).await;
            let mut tally = tally.borrow_mut();
            tally.slowest = tally.slowest.max(begun.elapsed());
            let problem = match outcome {
                Ok(Ok(answer)) if answer.status == 200 && is_right(&answer) => {
                    tally.right += 1;
                    right.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(Ok(answer)) => format!("status {}: {}", answer.status, answer.text()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            *tally.problems.entry(problem).or_default() += 1;
        });
        while open.try_join_next().is_some() {}
    }
    while open.join_next().await.is_some() {}
    let mut tally = Rc::into_inner(tally).unwrap().into_inner();
    tally.asked = asked;
    tally.elapsed = started.elapsed();
    tally
}

/// One request. A kept connection is given back unless its answer says that it is the last.
async fn exchange(target: SocketAddr, request: &[u8], kept: Option<Kept>) -> io::Result<Answer> {
    let open = kept.as_ref().and_then(|kept| kept.borrow_mut().pop_front());
    let (mut stream, mut buffer) = match open {
        Some(open) => open,
        None => (TcpStream::connect(target).await?, BytesMut::new()),
    };
    let answer = wire::exchange(&mut stream, request, &mut buffer).await?;
    match kept {
        Some(kept) if !is_last(&answer) => kept.borrow_mut().push_back((stream, buffer)),
        _ => {}
    }
    Ok(answer)
}

fn is_last(answer: &Answer) -> bool {
    answer
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"))
}
