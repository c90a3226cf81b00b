//! Whose socket it is that owns the table: the kernel tells its netlink port, /proc tells the process.

use std::{fs, path::Path};

use crate::{Owner, Process};

/// `NETLINK_NETFILTER`, as /proc/net/netlink shows it in the column `Eth`.
const NETFILTER: &str = "12";

/// The owner whose socket has the netlink port `port` in the network namespace of the calling thread.
pub(super) fn find(port: u32) -> Owner {
    let sockets = fs::read_to_string("/proc/thread-self/net/netlink").unwrap_or_default();
    let process = inode(&sockets, port).and_then(|inode| holder(&format!("socket:[{inode}]")));
    Owner { port, process }
}

/// The inode of the netfilter socket with the port `port`, out of /proc/net/netlink: the columns are sk, Eth, Pid (the
/// port), Groups, Rmem, Wmem, Dump, Locks, Drops, Inode.
fn inode(sockets: &str, port: u32) -> Option<&str> {
    let port = port.to_string();
    sockets.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_it = columns.get(1) == Some(&NETFILTER) && columns.get(2) == Some(&port.as_str());
        is_it.then(|| columns.get(9).copied()).flatten()
    })
}

/// A process that has `file` open. One that we may not look into is passed over.
fn holder(file: &str) -> Option<Process> {
    let mut processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    });
    let has_it_open = |path: &Path| {
        let files = fs::read_dir(path.join("fd")).ok();
        let mut files = files.into_iter().flatten().flatten();
        files.any(|entry| fs::read_link(entry.path()).is_ok_and(|found| found == Path::new(file)))
    };
    let (pid, path) = processes.find(|(_, path)| has_it_open(path))?;
    let name = fs::read_to_string(path.join("comm")).ok()?;
    Some(Process {
        pid,
        name: name.trim_end().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_by_protocol_and_port() {
        let sockets = "\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000043138d4b 0   77         00000000 0        0        0     2        0        4
00000000d268e5ac 12  4026531840 00000000 0        0        0     2        0        5
00000000d268e5ad 12  77         00000000 0        0        0     2        0        6
";
        assert_eq!(inode(sockets, 77), Some("6"));
        assert_eq!(inode(sockets, 4_026_531_840), Some("5"));
        assert_eq!(inode(sockets, 4), None);
        assert_eq!(inode("", 77), None);
    }
}
