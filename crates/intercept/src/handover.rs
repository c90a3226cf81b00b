//! Hand-over of a port between two processes that share it by `SO_REUSEPORT`.
//!
//! Left to itself the kernel deals new connections out to the listeners of both, and resets those that still wait at a
//! listener that is closed. So the new process steers every new connection to itself as soon as it listens, and the old
//! one has none left waiting when it closes. The agent's servers use it; nothing here accepts.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

/// `TCP_LISTEN` in /proc/net/tcp.
const LISTEN: &str = "0A";
/// No socket of any group: the kernel then chooses by the connection's hash, as without a program.
const NO_INDEX: u32 = u32::MAX;
/// `BPF_RET | BPF_K`: the program's answer is its operand.
const RETURN_CONSTANT: u16 = 0x06;

/// How many sockets of this network namespace listen at exactly `address`. Zero for port 0.
pub fn listeners(address: SocketAddr) -> io::Result<usize> {
    if address.port() == 0 {
        return Ok(0);
    }
    let (table, local) = match address.ip() {
        IpAddr::V4(ip) => ("tcp", hexadecimal(&ip.octets())),
        IpAddr::V6(ip) => ("tcp6", hexadecimal(&ip.octets())),
    };
    let local = format!("{local}:{:04X}", address.port());
    let file = File::open(format!("/proc/thread-self/net/{table}"))?;
    let mut count = 0;
    for line in BufReader::new(file).lines().skip(1) {
        let line = line?;
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(own), Some(_), Some(state)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        // The kernel lists listeners first, and a node may have very many connections.
        if state != LISTEN {
            break;
        }
        count += usize::from(own == local);
    }
    Ok(count)
}

/// As /proc/net/tcp prints an address: words in the machine's own byte order.
fn hexadecimal(octets: &[u8]) -> String {
    let word = |word: &[u8]| {
        format!(
            "{:08X}",
            u32::from_ne_bytes([word[0], word[1], word[2], word[3]])
        )
    };
    octets
        .chunks_exact(4)
        .map(word)
        .collect::<Vec<_>>()
        .concat()
}

/// Brings every new connection of the group that `listener` belongs to, to the socket that was the `index`th to listen,
/// counted from 0. An index that the group does not have (any longer) brings back the kernel's own choice.
pub fn steer(listener: &impl AsFd, index: usize) -> io::Result<()> {
    let mut program = [libc::sock_filter {
        code: RETURN_CONSTANT,
        jt: 0,
        jf: 0,
        k: u32::try_from(index).unwrap_or(NO_INDEX),
    }];
    let description = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    let size = libc::socklen_t::try_from(size_of_val(&description)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `listener` is borrowed; `description` is a `sock_fprog` of that size
    // whose `filter` points to `len` instructions; the kernel copies both before the call returns.
    let result = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const description).cast(),
            size,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Leaves the choice to the kernel again.
pub fn share(listener: &impl AsFd) -> io::Result<()> {
    steer(listener, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_kernel_prints_them() {
        assert_eq!(
            hexadecimal(&[127, 0, 0, 1]),
            format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]))
        );
        assert_eq!(hexadecimal(&[0; 16]), "0".repeat(32));
    }

    #[test]
    fn only_listeners_at_exactly_the_address_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(listeners(address).unwrap(), 1);
        let _connection = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(listeners(address).unwrap(), 1);
        let other = SocketAddr::from(([127, 0, 0, 2], address.port()));
        assert_eq!(listeners(other).unwrap(), 0);
        drop(listener);
        assert_eq!(listeners(address).unwrap(), 0);
    }
}
