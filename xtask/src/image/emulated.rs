//! Starts the program of an image for another processor, by QEMU's emulation of a user's process: `--version`, and the agent
//! until its admin socket answers. What the kernel offers under emulation differs, so this shows that the program is a
//! whole one, and nothing about interception.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Arch;

/// The longest wait for the admin socket's answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the agent says when its admin socket is there.
const LISTENS: &str = "the admin socket listens";
/// What it says when it has read its pods.
const KNOWS_PODS: &str = " ready condition=\"pods\"";

/// The emulator for a processor.
fn emulator(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "qemu-x86_64-static",
        Arch::Arm64 => "qemu-aarch64-static",
    }
}

/// Starts the program below `root`; says so where there is no emulator.
pub(super) fn start(arch: Arch, root: &Path) -> Result<()> {
    let emulator = emulator(arch);
    let present = Command::new(emulator).arg("--version").output();
    if present.is_err() {
        println!(
            "not run: it is for another processor, and {emulator} (package qemu-user-static) is not here"
        );
        return Ok(());
    }
    let program = root.join("podiam");
    let output = Command::new(emulator)
        .arg(&program)
        .arg("--version")
        .env_clear()
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        output.status.success() && said.contains(env!("CARGO_PKG_VERSION")),
        "{emulator}: {said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("runs under {emulator}: /podiam --version: {said}");
    agent(Command::new(emulator).arg(&program))
}

/// Runs the agent on files of pods until its admin socket has told what is missing: no metadata service is here.
fn agent(command: &mut Command) -> Result<()> {
    let mut child = command
        .args([
            "agent",
            "--host-ip=127.0.0.1",
            "--app-port=0",
            "--metrics-port=0",
        ])
        // Port 9 is for discarding: nobody is there, and certainly no metadata service.
        .args([
            "--metadata-addr=127.0.0.1:9",
            "--self-test-interval=0",
            "--aws-region=eu-central-1",
        ])
        .arg(format!(
            "--workloads={}",
            crate::workspace().join("examples/manifests").display()
        ))
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()?;
    let answer = ask(&mut child);
    child.kill()?;
    child.wait()?;
    let answer = answer?;
    let said = answer
        .lines()
        .find(|line| line.starts_with("node-credentials: "));
    let Some(said) = said else {
        bail!("the agent's /readyz: {answer}");
    };
    ensure!(
        !answer.lines().any(|line| line.starts_with("pods: ")),
        "the pods are not known: {answer}"
    );
    println!("its agent starts, reads its pods, and says what is missing here: {said}");
    Ok(())
}

/// What /readyz says once the admin socket listens and the pods are known, as the agent's log tells.
fn ask(child: &mut Child) -> Result<String> {
    let log = child.stdout.take().context("the log is piped")?;
    let (sender, lines) = mpsc::channel();
    // Ends with the agent.
    std::thread::spawn(move || {
        let lines = BufReader::new(log).lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    let (mut seen, mut address, mut knows_pods) = (String::new(), None, false);
    while address.is_none() || !knows_pods {
        let Ok(line) = lines.recv_timeout(PATIENCE) else {
            bail!("the agent ended, or said nothing more for {PATIENCE:?}: {seen}");
        };
        if line.contains(LISTENS) {
            let word = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("address="));
            address = word.map(str::to_owned);
        }
        knows_pods |= line.contains(KNOWS_PODS);
        seen += &line;
        seen.push('\n');
    }
    let address = address.unwrap_or_default();
    let mut socket = TcpStream::connect(&address).with_context(|| address.clone())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}
