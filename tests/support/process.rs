//! A program that a test runs beside itself: its output is collected, and it ends with its owner.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;

use super::PATIENCE;

/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A running program. Dropped: it gets SIGTERM, then SIGKILL.
pub struct Process {
    name: &'static str,
    pid: Pid,
    log: watch::Receiver<String>,
    /// Filled when the program has ended.
    ended: Mutex<Ending>,
}

enum Ending {
    Awaited(mpsc::Receiver<ExitStatus>),
    Known(ExitStatus),
}

impl Process {
    /// Starts `command` with its output collected. The kernel ends it should this test be killed.
    pub fn spawn(name: &'static str, command: &Command) -> Self {
        let mut child = SPAWNER
            .spawn(guarded(command))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (log, receiver) = watch::channel(String::new());
        collect(child.stdout.take().unwrap(), log.clone());
        collect(child.stderr.take().unwrap(), log);
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait().unwrap()));
        Self {
            name,
            pid,
            log: receiver,
            ended: Mutex::new(Ending::Awaited(ended)),
        }
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// The first line that contains `needle`, once it is printed; panics with the whole log if it never is.
    pub async fn logs(&self, needle: &str) -> String {
        let mut log = self.log.clone();
        let line = |log: &String| {
            log.lines()
                .find(|line| line.contains(needle))
                .map(str::to_owned)
        };
        match tokio::time::timeout(PATIENCE, log.wait_for(|log| line(log).is_some())).await {
            Ok(Ok(log)) => line(&log).unwrap(),
            Ok(Err(_)) => panic!(
                "{} ended and never logged {needle:?}:\n{}",
                self.name,
                self.log()
            ),
            Err(late) => panic!(
                "{} did not log {needle:?} ({late}):\n{}",
                self.name,
                self.log()
            ),
        }
    }

    /// How it ended, if it ends within `limit`.
    pub fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ending::Awaited(receiver) = &*ended {
            *ended = Ending::Known(receiver.recv_timeout(limit).ok()?);
        }
        match *ended {
            Ending::Known(status) => Some(status),
            Ending::Awaited(_) => None,
        }
    }

    /// Panics with the log where it has ended already.
    pub fn assert_running(&self) {
        if let Some(status) = self.wait(Duration::ZERO) {
            panic!("{} ended with {status}:\n{}", self.name, self.log());
        }
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.wait(Duration::ZERO).is_none() {
            let _ = kill(self.pid, signal);
        }
    }

    /// Ends it with `signal` and waits until it is gone.
    pub fn end(&self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait(GRACE).unwrap_or_else(|| {
            self.signal(Signal::SIGKILL);
            self.wait(GRACE).expect("SIGKILL ends a process")
        })
    }

    /// Its process ID.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(Signal::SIGTERM);
    }
}

/// The command below `setpriv`, which asks the kernel to end it together with the thread that started it.
fn guarded(command: &Command) -> Command {
    let mut guarded = Command::new("setpriv");
    guarded
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(name, value),
            None => guarded.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        guarded.current_dir(folder);
    }
    guarded
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    guarded
}

fn collect(output: impl Read + Send + 'static, log: watch::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            log.send_modify(|log| {
                log.push_str(&line);
                log.push('\n');
            });
        }
    });
}

/// The thread that starts every program. It lives as long as the test binary: the kernel's "parent death" means the
/// starting thread, and the threads of single tests come and go.
static SPAWNER: LazyLock<Spawner> = LazyLock::new(Spawner::start);

type Job = (Command, mpsc::Sender<std::io::Result<Child>>);

struct Spawner(mpsc::Sender<Job>);

impl Spawner {
    fn start() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        Self(jobs)
    }

    fn spawn(&self, command: Command) -> std::io::Result<Child> {
        let (reply, child) = mpsc::channel();
        self.0
            .send((command, reply))
            .expect("the spawner lives as long as this program");
        child.recv().expect("the spawner answers every job")
    }
}
