//! Secrets stay where they belong: the pods' and the node's secret keys and session tokens are in no log line, on no page of
//! the admin socket, in no core file, and in memory that no other process of the same user can read.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;
use podiam_lab::aws::{Aws, CANARY, Config};

use super::support::agent::Agent;
use super::support::manifest::{Folder, pod};
use super::support::node::{IMDS_HOST, TOKEN_PATH, TTL};
use super::support::{PATIENCE, eventually, http};
use super::{credentials, served, unarmed};

const POD: &str = "127.0.5.1";
/// Nobody: the agent needs no privilege to answer.
const USER: &str = "65534";

/// A node whose pod has its credentials and a token.
struct Node {
    agent: Agent,
    aws: Aws,
    token: String,
    manifests: Folder,
}

impl Node {
    async fn start(command: Command, flags: &[&str]) -> Self {
        let aws = Aws::start(Config::default()).await.unwrap();
        let manifests = Folder::new(&[pod("keeper", POD).role("keeper")]);
        std::fs::set_permissions(manifests.path(), Permissions::from_mode(0o755)).unwrap();
        let mut all = vec![
            format!("--workloads={}", manifests.path().display()),
            format!("--metadata-addr={}", aws.imds_addr),
        ];
        all.extend(flags.iter().map(ToString::to_string));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let agent = Agent::start_as(command, &aws.sts_url(), &all);
        agent.ready().await;
        served(&agent, POD, "keeper").await;
        let token = token(&agent).await;
        Self {
            agent,
            aws,
            token,
            manifests,
        }
    }

    /// Everything that must not be seen.
    fn secrets(&self) -> Vec<String> {
        let issued = self.aws.assume_role_calls().into_iter();
        let issued = issued.filter_map(|call| call.issued);
        let mut secrets: Vec<_> = issued
            .flat_map(|issued| [issued.secret_access_key, issued.session_token])
            .collect();
        assert_eq!(secrets.len(), 2);
        // The node's secret key, its session token, and its IMDS token begin like this; its access key ID does not.
        secrets.push(format!("{CANARY}-"));
        secrets.push(self.token.clone());
        secrets
    }

    #[track_caller]
    fn assert_clean(&self, what: &str, text: &str) {
        for secret in self.secrets() {
            let place = text.find(&secret);
            let line = place.and_then(|place| text[..place].lines().last());
            assert!(place.is_none(), "{what} holds {secret}: {line:?}");
        }
    }
}

async fn token(agent: &Agent) -> String {
    let mut stream = http::connect(POD.parse().unwrap(), agent.pods)
        .await
        .unwrap();
    let request = podiam_lab::wire::request("PUT", TOKEN_PATH, IMDS_HOST, &[(TTL, "300")]);
    let answer = podiam_lab::wire::once(&mut stream, &request).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text()
}

#[tokio::test]
async fn no_secret_is_in_the_log_at_trace_nor_on_any_page_of_the_admin_socket() {
    let command = unarmed(env!("CARGO_BIN_EXE_podiam"));
    let node = Node::start(command, &["--log-level=trace", "--debug"]).await;
    for path in ["/metrics", "/debug/store", "/readyz", "/healthz", "/"] {
        let page = node.agent.ask_admin(path).await.unwrap();
        assert!(!page.body.is_empty(), "{path}");
        node.assert_clean(path, &page.body);
    }
    node.agent.process().logs("session handed out").await;
    let log = node.agent.process().log();
    assert!(log.contains("TRACE"), "the log is that of level trace");
    node.assert_clean("the log", &log);
}

#[tokio::test]
async fn a_crash_leaves_no_core_where_another_programs_would() {
    let folder = tempfile::tempdir().unwrap();
    let control = limitless("sh", folder.path())
        .args(["-c", "kill -ABRT $$"])
        .status()
        .unwrap();
    assert!(
        dumped(control),
        "this machine writes no cores at all ({control}): nothing can be proven here"
    );
    let inner = unarmed(env!("CARGO_BIN_EXE_podiam"));
    let mut command = limitless(inner.get_program(), folder.path());
    command.args(inner.get_args());
    let node = Node::start(command, &[]).await;
    let before = files(folder.path());
    let status = node.agent.process().end(Signal::SIGABRT);
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
    assert!(!dumped(status), "{status}");
    assert_eq!(files(folder.path()), before);
}

#[tokio::test]
async fn another_process_of_the_same_user_cannot_read_the_agents_memory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    // Where that user can reach it.
    let program = folder.path().join("podiam");
    std::fs::copy(env!("CARGO_BIN_EXE_podiam"), &program).unwrap();
    let inner = unarmed(program.to_str().unwrap());
    let mut command = as_user(inner.get_program());
    command.args(inner.get_args());
    let node = Node::start(command, &[]).await;

    let own = as_user("cat").arg("/proc/self/maps").output().unwrap();
    assert!(own.status.success(), "that user reads what it may");
    for file in ["maps", "mem", "environ"] {
        let path = format!("/proc/{}/{file}", node.agent.process().pid());
        let read = as_user("cat").arg(&path).output().unwrap();
        assert!(read.stdout.is_empty(), "{path} was read");
        let error = String::from_utf8_lossy(&read.stderr);
        assert!(error.contains("Permission denied"), "{path}: {error}");
    }
    tokio::time::timeout(PATIENCE, credentials(&node.agent, POD, "keeper"))
        .await
        .expect("it answers all the while");
}

#[tokio::test]
async fn what_a_session_was_is_wiped_from_memory_when_its_last_pod_is_gone() {
    let node = Node::start(unarmed(env!("CARGO_BIN_EXE_podiam")), &[]).await;
    let pid = node.agent.process().pid();
    let calls = node.aws.assume_role_calls();
    let issued = calls[0].issued.as_ref().unwrap();
    let secrets = [&issued.secret_access_key, &issued.session_token];
    let places = |secret: &str| occurrences(pid, secret.as_bytes());
    for secret in secrets {
        assert!(places(secret) > 0, "it is in use, and can be found");
    }
    node.manifests.replace(&[]);
    eventually("no trace of the session", || async {
        let left = secrets.map(|secret| places(secret));
        if left == [0, 0] {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
    node.agent.process().assert_running();
}

/// How often `needle` is in a process's writable memory, which root may read.
fn occurrences(pid: i32, needle: &[u8]) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let writable = maps.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        fields.next()?.starts_with("rw").then_some(())?;
        Some((address(start)?, address(end)?))
    });
    writable
        .map(|(start, end)| {
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            // What is unmapped meanwhile, or has no memory behind it, holds nothing.
            if memory.read_exact_at(&mut bytes, start).is_err() {
                return 0;
            }
            memmem(&bytes, needle)
        })
        .sum()
}

fn memmem(bytes: &[u8], needle: &[u8]) -> usize {
    let first = needle[0];
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
    starts
        .filter(|(place, _)| bytes[*place..].starts_with(needle))
        .count()
}

/// `program` in `folder`, allowed to leave cores of any size.
fn limitless(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new("prlimit");
    command
        .args(["--core=unlimited:unlimited", "--"])
        .arg(program)
        .current_dir(folder);
    command
}

fn as_user(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
        .arg(program);
    command
}

fn dumped(status: ExitStatus) -> bool {
    status.core_dumped()
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}
