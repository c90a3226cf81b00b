//! The agent as a process in the node's namespace: started, waited for, killed. It ends when this is dropped.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use podiam_lab::netns::{IMDS, NODE, Namespace, STS};
use podiam_lab::wire;

/// What completes a role's name.
pub(super) const BASE_ARN: &str = "arn:aws:iam::123456789012:role/";
/// How long the agent may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the agent is started.
#[derive(Clone)]
pub(super) struct Launch {
    program: PathBuf,
    /// Its command line, as it is run and as it is shown.
    pub(super) arguments: Vec<String>,
    log: PathBuf,
}

impl Launch {
    /// Pods from `manifests`; state and log in `folder`.
    pub(super) fn new(program: &Path, manifests: &Path, folder: &Path) -> Self {
        let arguments = vec![
            "agent".into(),
            format!("--workloads={}", manifests.display()),
            format!("--base-role-arn={BASE_ARN}"),
            "--intercept=nftables".into(),
            format!("--host-ip={NODE}"),
            "--app-port=8181".into(),
            format!("--metadata-addr={IMDS}"),
            format!("--state-dir={}", folder.display()),
        ];
        Self {
            program: program.to_owned(),
            arguments,
            log: folder.join("agent.log"),
        }
    }
}

/// A running agent.
pub(super) struct Agent {
    process: Child,
    launch: Launch,
    /// From its start until /readyz said so.
    pub(super) ready_after: Duration,
}

impl Agent {
    /// Starts it in the node's namespace and waits until it is ready.
    pub(super) async fn start(node: &Namespace, launch: Launch) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(&launch.log)?;
        let mut command = Command::new(&launch.program);
        // Nothing of the caller's AWS configuration and proxies: the node's credentials come from IMDS, as on EC2.
        command
            .args(&launch.arguments)
            .env_clear()
            .env("AWS_ENDPOINT_URL_STS", format!("http://{STS}"));
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let started = Instant::now();
        let process = node
            .spawn(&mut command)
            .with_context(|| launch.program.display().to_string())?;
        let mut agent = Self {
            process,
            launch,
            ready_after: Duration::ZERO,
        };
        agent
            .until_ready(node, started)
            .await
            .map_err(|error| anyhow!("{error:#}\n{}", agent.last_words()))?;
        agent.ready_after = started.elapsed();
        Ok(agent)
    }

    /// Asks /readyz until it says yes. Its answer while it says no is what an operator would want to read.
    async fn until_ready(&mut self, node: &Namespace, started: Instant) -> Result<()> {
        let admin = SocketAddr::from((NODE, 9181));
        let request = wire::request("GET", "/readyz", "localhost", &[]);
        let mut missing = "it does not listen".to_owned();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while started.elapsed() < PATIENCE {
            tick.tick().await;
            if let Some(status) = self.process.try_wait()? {
                bail!("the agent ended ({status})");
            }
            let Ok(stream) = node.connect(admin).await else {
                continue;
            };
            match wire::once(stream, &request).await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => missing = answer.text().trim().replace('\n', "; "),
                Err(error) => missing = error.to_string(),
            }
        }
        bail!(
            "the agent is not ready after {} s: {missing}",
            PATIENCE.as_secs()
        )
    }

    /// Starts it once more, as it was started before.
    pub(super) async fn again(&self, node: &Namespace) -> Result<Self> {
        Self::start(node, self.launch.clone()).await
    }

    /// Everything that the agent logged.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.launch.log).unwrap_or_default()
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!(
            "The end of its log:\n{}",
            lines[lines.len().saturating_sub(20)..].join("\n")
        )
    }

    /// Kills it without a warning (SIGKILL) and waits until it is gone.
    pub(super) fn kill(&mut self) -> std::io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}
