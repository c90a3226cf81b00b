//! Network namespaces without names: each is held by a descriptor and vanishes, with its links and rules, when its
//! owner is dropped or dies, however it dies. Nothing is made in the namespace that the process started in.
//!
//! [`Vpc`] is what tests and the demo want: AWS, a node, and pods on it. Links are made with iproute2's `ip`.

mod impostor;
mod names;
mod node;
mod vpc;

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub use impostor::Impostor;
pub use names::Names;
pub use node::{Node, Pod, Wiring};
pub use vpc::{IMDS, IMDS6, NODE, NODE6, PODS, PODS6, STS, Vpc};

/// Why a namespace could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not make namespaces.
    #[error(
        "a network namespace cannot be made: CAP_SYS_ADMIN is missing (run as root, or in a user namespace)"
    )]
    Privilege,
    /// The kernel refused for another reason.
    #[error("a network namespace cannot be made or entered")]
    Kernel(#[source] io::Error),
    /// `ip` is not there.
    #[error("the program `ip` cannot be started (package iproute2)")]
    IpMissing(#[source] io::Error),
    /// `ip` refused.
    #[error("`ip` refused: {stderr} (commands: {commands:?})")]
    Ip {
        /// What it was told.
        commands: String,
        /// What it answered.
        stderr: String,
    },
    /// A kernel parameter could not be set.
    #[error("/proc/sys/net cannot be written in the namespace")]
    Sysctl(#[source] io::Error),
}

/// A network namespace. It lives as long as this, or a socket or process in it, does.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// Makes an empty namespace with its loopback interface up.
    pub fn new() -> Result<Self, Error> {
        let made = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let namespace = match made {
            Ok(file) => Self { file },
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {
                return Err(Error::Privilege);
            }
            Err(error) => return Err(Error::Kernel(error)),
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The namespace that the calling thread is in.
    pub fn current() -> Result<Self, Error> {
        let file = File::open("/proc/thread-self/ns/net").map_err(Error::Kernel)?;
        Ok(Self { file })
    }

    /// Runs `work` on a thread in the namespace. Sockets that it makes stay in the namespace wherever they go.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
        .map_err(Error::Kernel)
    }

    /// Starts a program in the namespace, in a process group of its own: Ctrl-C at the terminal is for the caller,
    /// who then ends what it started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.process_group(0);
        self.enter(|| command.spawn()).map_err(io::Error::other)?
    }

    /// Listens in the namespace. Must be called on a tokio runtime.
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = self
            .enter(|| std::net::TcpListener::bind(address))
            .map_err(io::Error::other)??;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// Connects from the namespace.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let make = || {
            if address.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }
        };
        let socket = self.enter(make).map_err(io::Error::other)??;
        socket.connect(address).await
    }

    /// A path that names the namespace for other programs (`nsenter --net=PATH`) while this process lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Runs `ip` in the namespace with `commands`, one a line (`link set lo up`). The first that fails ends it.
    pub fn ip(&self, commands: &str) -> Result<(), Error> {
        let mut ip = Command::new("ip");
        ip.args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = self.enter(|| ip.spawn())?.map_err(Error::IpMissing)?;
        if let Some(mut stdin) = child.stdin.take() {
            // An `ip` that stopped reading has failed and says why.
            let _ = stdin.write_all(commands.as_bytes());
        }
        let output = child.wait_with_output().map_err(Error::IpMissing)?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; ");
        Err(Error::Ip {
            commands: commands.to_owned(),
            stderr,
        })
    }

    /// Sets a kernel parameter of the namespace, named as below /proc/sys (`net/ipv4/ip_forward`).
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), Error> {
        let path = PathBuf::from("/proc/sys").join(name);
        self.enter(|| std::fs::write(path, value))?
            .map_err(Error::Sysctl)
    }

    /// No duplicate address detection for interfaces that are made from now on: without their link-local addresses
    /// they cannot ask for neighbours, and it takes a second.
    pub(crate) fn trust_ipv6_addresses(&self) -> Result<(), Error> {
        for scope in ["all", "default"] {
            self.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        Ok(())
    }

    /// Makes a bridge that is up and whose hardware address stays: by itself it changes with its ports, under the
    /// feet of neighbours that know it. It floods multicast, IPv6's neighbour discovery with it.
    pub(crate) fn bridge(&self, name: &str) -> Result<(), Error> {
        self.ip(&format!(
            "link add {name} address 02:00:00:00:00:01 type bridge mcast_snooping 0\nlink set {name} up"
        ))
    }

    /// Makes a veth pair between two namespaces, both ends up and without an address.
    pub fn wire(&self, name: &str, other: &Self, other_name: &str) -> Result<(), Error> {
        let path = other.path();
        self.ip(&format!(
            "link add {name} type veth peer name {other_name} netns {}\nlink set {name} up",
            path.display()
        ))?;
        other.ip(&format!("link set {other_name} up"))
    }
}

/// Namespaces belong to threads: whatever changes its own does so on a thread that ends with it.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
