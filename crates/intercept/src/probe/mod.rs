//! Places to ask the metadata service from, as a pod would: the network namespaces of pods, or one of our own.
//!
//! The agent's self-test finds them here and connects; what is said on the connection is its affair. No thread that
//! serves anything ever changes its namespace: each step runs on a thread that ends with it. All calls block.

mod homes;
mod own;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::SockaddrStorage;
use thiserror::Error;

pub use homes::{Homes, homes};
pub use own::{OWN_ADDRESSES, OWN_ADDRESSES_V6, OWN_INTERFACE, Own};

/// Where `ip netns` and the CNI plugins of containerd and CRI-O keep named namespaces; with `hostPID` the node's own can
/// be seen through its first process.
const NAMED: [&str; 3] = ["/run/netns", "/var/run/netns", "/proc/1/root/run/netns"];

/// What needs `CAP_SYS_ADMIN`.
const ENTER: &str = "enter a pod's network namespace";

/// Why there is no place to ask from.
#[derive(Debug, Error)]
pub enum Error {
    /// The process may not enter or make network namespaces.
    #[error("the agent may not {0}")]
    Privilege(&'static str),
    /// The kernel refused for another reason.
    #[error("the kernel refused to {step}")]
    Kernel {
        /// In words that fit "refused to ...".
        step: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl Error {
    fn of(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Privilege(step),
            _ => Self::Kernel { step, source },
        }
    }
}

/// A network namespace to ask from. It is held open: it stays even if its pod goes.
#[derive(Debug)]
pub struct Vantage {
    namespace: File,
    address: IpAddr,
}

impl Vantage {
    /// The address that it asks from.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Connects from the namespace; the connection may be used anywhere.
    pub fn connect(&self, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        within(&self.namespace, || {
            TcpStream::connect_timeout(&target, timeout)
        })
    }
}

/// The namespaces of at most `limit` pods: those that own an address for which `is_pod` says yes. Empty where no
/// pod's namespace can be seen: none runs, or neither the processes of pods nor the named namespaces are visible.
pub fn pods(limit: usize, is_pod: impl Fn(IpAddr) -> bool + Send) -> Result<Vec<Vantage>, Error> {
    on_a_thread(move || {
        let mut found = Vec::new();
        visit(|namespace, _| {
            let mut own = addresses().into_iter().filter(IpAddr::is_ipv4);
            if let Some(address) = own.find(|address| is_pod(*address)) {
                found.push(Vantage { namespace, address });
            }
            if found.len() == limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(found)
    })
}

/// Who says that a namespace is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It has a name, which only the node's root can give.
    Named,
    /// A process is in it.
    Process,
}

/// Enters every namespace of the node but the caller's own, each once, until `look` breaks. The calling thread is left
/// in the last of them: give it one that ends.
fn visit(mut look: impl FnMut(File, Origin) -> ControlFlow<()>) -> Result<(), Error> {
    let own = File::open("/proc/thread-self/ns/net")
        .map_err(Error::of("see its own network namespace"))?;
    // Into its own, too, only who may enter any: whoever may not, and sees none either, would look for ever.
    if setns(&own, CloneFlags::CLONE_NEWNET) == Err(Errno::EPERM) {
        return Err(Error::Privilege(ENTER));
    }
    let own = own
        .metadata()
        .map_err(Error::of("see its own network namespace"))?;
    let mut seen = HashSet::from([(own.dev(), own.ino())]);
    for (path, origin) in candidates() {
        // A process that has gone, or that we may not look into, is no place to ask from.
        let Ok(namespace) = File::open(&path) else {
            continue;
        };
        let Ok(identity) = namespace.metadata() else {
            continue;
        };
        if !seen.insert((identity.dev(), identity.ino())) {
            continue;
        }
        match setns(&namespace, CloneFlags::CLONE_NEWNET) {
            Ok(()) => {}
            Err(Errno::EPERM) => {
                return Err(Error::Privilege(ENTER));
            }
            // Left over from a reboot, or not shared with our mount namespace: a file, but no namespace.
            Err(_) => continue,
        }
        if look(namespace, origin).is_break() {
            break;
        }
    }
    Ok(())
}

/// Named namespaces first: they are few, and entering them needs less.
fn candidates() -> impl Iterator<Item = (PathBuf, Origin)> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let named = NAMED
        .into_iter()
        .flat_map(move |folder| entries(Path::new(folder)).map(|entry| entry.path()));
    let processes = entries(Path::new("/proc"))
        .filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
        })
        .map(|entry| entry.path().join("ns/net"));
    named
        .map(|path| (path, Origin::Named))
        .chain(processes.map(|path| (path, Origin::Process)))
}

/// The addresses of the calling thread's namespace by which a pod could be known.
fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    let of = |storage: SockaddrStorage| match storage.as_sockaddr_in6() {
        Some(v6) if v6.ip().is_unicast_link_local() => None,
        Some(v6) => Some(IpAddr::V6(v6.ip())),
        None => Some(IpAddr::V4(storage.as_sockaddr_in()?.ip())),
    };
    interfaces
        .filter_map(|interface| of(interface.address?))
        .filter(|address| !address.is_loopback())
        .collect()
}

/// Runs `work` in `namespace`.
fn within<T: Send>(namespace: &File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_a_thread(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// A thread's namespace is its own: whatever changes it does so on a thread that ends with it.
fn on_a_thread<T: Send, E: Send>(work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
