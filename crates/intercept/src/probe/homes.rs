//! Where pods live: the network namespace behind an address, held by a socket in it that answers whether a connection
//! is one of its own.
//!
//! A pod can make namespaces too (in a user namespace of its own, without any privilege) and give them any address. So
//! names, which only the node's root can give, count for more than processes, and a namespace of the node's user
//! namespace for more than one of another. An address that two equals have is nobody's.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use super::{Error, Origin, addresses, on_a_thread, visit};
use crate::sockets::Sockets;

/// `NS_GET_USERNS` of `linux/nsfs.h`: `_IO(0xb7, 0x1)`.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// What was found.
#[derive(Debug, Default)]
pub struct Homes {
    /// By address, the sockets of the namespace that has it. A namespace is held for each of its addresses.
    pub found: HashMap<IpAddr, Sockets>,
    /// Addresses that more than one namespace has, none of them with a better right.
    pub disputed: HashSet<IpAddr>,
}

/// How much a namespace's claim to an address is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    /// Its owner is another user namespace: a pod of its own users, or an impostor's.
    Foreign,
    /// It is the node's, made by whoever starts containers.
    Own,
    /// Root gave it a name.
    Named,
}

/// The namespaces of these addresses. Needs `CAP_SYS_ADMIN`, and to see the namespaces: named ones, or the processes in
/// them. Looks at every process; takes milliseconds.
pub fn homes(wanted: &[IpAddr]) -> Result<Homes, Error> {
    let wanted: HashSet<IpAddr> = wanted.iter().copied().collect();
    on_a_thread(|| {
        let mut best: HashMap<IpAddr, (Right, Option<Sockets>)> = HashMap::new();
        let own = fs::metadata("/proc/self/ns/user")
            .map(|user| (user.dev(), user.ino()))
            .map_err(Error::of("see its own user namespace"))?;
        visit(|namespace, origin| {
            let right = match origin {
                Origin::Named => Right::Named,
                Origin::Process if owner(&namespace).is_ok_and(|owner| owner == own) => Right::Own,
                Origin::Process => Right::Foreign,
            };
            let claimed: HashSet<IpAddr> = addresses().into_iter().collect();
            for address in claimed.intersection(&wanted) {
                match best.get(address) {
                    Some((other, _)) if *other > right => {}
                    Some((other, _)) if *other == right => {
                        best.insert(*address, (right, None));
                    }
                    _ => {
                        best.insert(*address, (right, Sockets::open().ok()));
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        let mut homes = Homes::default();
        for (address, (_, sockets)) in best {
            match sockets {
                Some(sockets) => drop(homes.found.insert(address, sockets)),
                None => drop(homes.disputed.insert(address)),
            }
        }
        Ok(homes)
    })
}

/// The user namespace that owns a namespace, by device and inode.
fn owner(namespace: &File) -> io::Result<(u64, u64)> {
    // SAFETY: the descriptor is open while it is borrowed; this request takes no argument.
    let descriptor = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    let owner = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }).metadata()?;
    Ok((owner.dev(), owner.ino()))
}
