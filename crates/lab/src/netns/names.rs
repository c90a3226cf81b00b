//! /run/netns as a container runtime keeps it: named namespaces, seen only by programs that are started in it. So the
//! same addresses can be used by another node of the lab at the same time.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::Namespace;

/// A mount namespace with a /run/netns of its own, held by a process that ends with this, or with its owner.
#[derive(Debug)]
pub struct Names {
    holder: Child,
}

impl Names {
    /// Makes it, with no names in it.
    ///
    /// # Errors
    /// `unshare` (util-linux) is missing, or the process may not make a mount namespace.
    pub fn new() -> io::Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec"])
            .arg("mount -t tmpfs none /run && mkdir /run/netns && echo held && exec cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.trim() == "held" {
            Ok(Self { holder })
        } else {
            let status = holder.wait()?;
            Err(io::Error::other(format!("unshare --mount: {status}")))
        }
    }

    /// Gives a namespace a name.
    pub fn add(&self, name: &str, namespace: &Namespace) -> io::Result<()> {
        let source = namespace.path();
        let script = format!(
            "touch /run/netns/{name} && mount --bind {} /run/netns/{name}",
            source.display()
        );
        self.sh(&script)
    }

    /// Takes a name away, as the runtime does when the pod is gone.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.sh(&format!("umount /run/netns/{name} && rm /run/netns/{name}"))
    }

    /// `nsenter`'s argument that lets a program see the names.
    pub fn entrance(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.holder.id())
    }

    fn sh(&self, script: &str) -> io::Result<()> {
        let output = Command::new("nsenter")
            .arg(self.entrance())
            .args(["sh", "-ec", script])
            .output()?;
        if output.status.success() {
            Ok(())
        } else {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(io::Error::other(said))
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // It ends with its standard input; this only makes sure that nothing is left to wait for.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
