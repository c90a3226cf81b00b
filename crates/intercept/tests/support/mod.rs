//! Network namespaces for tests: made by the test, reached by threads of their own, gone with their last handle.
//!
//! Nothing has a name outside the test: a namespace lives as long as the [`Namespace`] that holds it. The root
//! namespace is never entered, so tests run side by side. Needs root and the programs ip (iproute2) and, as a reader
//! that is independent of podiam, nft (nftables).

#![allow(
    clippy::expect_used,
    reason = "a test that cannot be set up fails, and says what it lacks"
)]

#[allow(dead_code, reason = "not every test has to do with every back end")]
pub(crate) mod backends;
pub(crate) mod topology;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    process::{self, Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns, unshare},
};

/// Long enough for a busy machine; only a failing test waits for it.
const REACHED: Duration = Duration::from_secs(10);
/// How long a connection that should be dropped gets.
const DROPPED: Duration = Duration::from_millis(400);

/// A network namespace.
pub(crate) struct Namespace {
    handle: File,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let handle = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("a network namespace needs root (CAP_SYS_ADMIN)");
            File::open("/proc/thread-self/ns/net").expect("/proc/thread-self/ns/net")
        });
        let namespace = Self {
            handle: handle.join().expect("cannot make a network namespace"),
        };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` on a thread inside the namespace. Sockets that it returns stay there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.handle, CloneFlags::CLONE_NEWNET).expect("setns needs root");
                work()
            });
            match inside.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs `ip` with `arguments`.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.program("ip", "iproute2", arguments)
    }

    /// Runs `nft` with `arguments`.
    pub(crate) fn nft(&self, arguments: &str) -> String {
        self.program("nft", "nftables", arguments)
    }

    /// Runs `nft` with `arguments`, which must fail, and returns what it says.
    pub(crate) fn nft_refused(&self, arguments: &str) -> String {
        let output = self.output("nft", "nftables", arguments);
        assert!(!output.status.success(), "nft {arguments} should fail");
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    /// The path by which `ip link set ... netns` finds the namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.handle.as_raw_fd())
    }

    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run(|| std::fs::write(&path, value)).expect(&path);
    }

    pub(crate) fn mac(&self, interface: &str) -> String {
        let shown = self.ip(&format!("-br link show dev {interface}"));
        shown.split_whitespace().nth(2).expect("a MAC").to_owned()
    }

    pub(crate) fn listen(&self, address: &str) -> TcpListener {
        let listener = self.run(|| TcpListener::bind(address));
        let listener =
            listener.unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
        // So that `nobody_at` need not wait.
        listener.set_nonblocking(true).expect("set_nonblocking");
        listener
    }

    /// Connects to `address`, which must succeed.
    pub(crate) fn reach(&self, address: &str) -> TcpStream {
        let connected = self.connect(address, REACHED);
        connected.unwrap_or_else(|error| panic!("cannot reach {address}: {error}"))
    }

    /// Connects to `address`, where nothing must answer, not even with a refusal.
    pub(crate) fn reach_nothing(&self, address: &str) {
        match self.connect(address, DROPPED) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => panic!("{address} should be dropped, but answered: {error}"),
            Ok(_) => panic!("{address} should be dropped, but was reached"),
        }
    }

    /// Connects to `address`, where the host must answer that nobody listens.
    pub(crate) fn reach_refusal(&self, address: &str) {
        match self.connect(address, REACHED) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("{address} should refuse, but: {error}"),
            Ok(_) => panic!("{address} should refuse, but was reached"),
        }
    }

    /// Connects to `address` from `source`, with or without a port, where nothing must answer.
    pub(crate) fn reach_nothing_from(&self, source: &str, address: &str) {
        let source: SocketAddr = source
            .parse()
            .or_else(|_| source.parse().map(|ip| SocketAddr::new(ip, 0)))
            .expect("an address");
        let address: SocketAddr = address.parse().expect("an address");
        let connected = self.run(|| {
            use nix::sys::socket::{
                AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket,
            };
            let family = if address.is_ipv4() {
                AddressFamily::Inet
            } else {
                AddressFamily::Inet6
            };
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
            match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
                Err(nix::errno::Errno::EINPROGRESS) => {}
                connected => connected?,
            }
            let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            let limit = PollTimeout::try_from(DROPPED).expect("a limit in range");
            Ok::<_, nix::errno::Errno>(poll(&mut waiting, limit)? > 0)
        });
        let has_answered = connected.unwrap_or_else(|error| panic!("{source}: {error}"));
        assert!(!has_answered, "{address} should not answer {source}");
    }

    fn connect(&self, address: &str, limit: Duration) -> io::Result<TcpStream> {
        let address: SocketAddr = address.parse().expect("an address");
        self.run(|| TcpStream::connect_timeout(&address, limit))
    }

    fn output(&self, program: &str, package: &str, arguments: &str) -> Output {
        let run = || {
            Command::new(program)
                .args(arguments.split_whitespace())
                .output()
        };
        self.run(run).unwrap_or_else(|error| {
            panic!("these tests need the program {program} (package {package}): {error}")
        })
    }

    pub(crate) fn program(&self, program: &str, package: &str, arguments: &str) -> String {
        let output = self.output(program, package, arguments);
        assert!(
            output.status.success(),
            "{program} {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// A connection's own address.
#[allow(dead_code, reason = "not every test asks where a connection was to go")]
pub(crate) fn local(connection: &TcpStream) -> IpAddr {
    connection
        .local_addr()
        .expect("a connection's own address")
        .ip()
}

/// The next connection at `listener`, for which it waits.
pub(crate) fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(REACHED).expect("a limit in range");
    let ready = poll(&mut waiting, limit).expect("poll");
    let address = listener.local_addr().expect("a listener");
    assert_eq!(ready, 1, "no connection arrived at {address}");
    listener.accept().expect("a connection")
}

/// Asserts that no connection waits at `listener`; for use when the client is known to be done.
pub(crate) fn nobody_at(listener: &TcpListener) {
    match listener.accept() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => panic!("accept: {error}"),
        Ok((connection, peer)) => {
            let address = connection.local_addr().expect("a connection");
            panic!("{peer} reached {address}");
        }
    }
}

/// Whether `fd` becomes readable within `limit` milliseconds.
pub(crate) fn readable(fd: BorrowedFd<'_>, limit: u16) -> bool {
    let mut waiting = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut waiting, PollTimeout::from(limit)).expect("poll") > 0
}

/// Ends with its input, and its table with it.
pub(crate) struct Owner {
    process: Child,
}

impl Owner {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A process that holds the table inet podiam with the flag `owner`: gone with it, closed to others until then.
pub(crate) fn owner_of_a_table(namespace: &Namespace) -> Owner {
    let start = || {
        Command::new("nft")
            .arg("--interactive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
    };
    let process = namespace.run(start);
    let mut process = process.expect("these tests need the program nft (package nftables)");
    let stdin = process.stdin.as_mut().expect("piped");
    stdin
        .write_all(b"add table inet podiam { flags owner; }\nlist tables\n")
        .expect("nft reads");
    // Its answer to the second command says that the first is done.
    let stdout = BufReader::new(process.stdout.as_mut().expect("piped"));
    let mut lines = stdout.lines().map(|line| line.expect("UTF-8"));
    assert!(lines.any(|line| line.contains("table inet podiam")));
    Owner { process }
}

/// Takes every capability from the calling thread, and from it alone.
pub(crate) fn drop_capabilities_of_this_thread() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    // _LINUX_CAPABILITY_VERSION_3; 0 is the calling thread.
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    // Effective, permitted and inheritable, twice 32 bits each.
    let none = [[0u32; 3]; 2];
    // SAFETY: both arguments point to what capset(2) reads for version 3: a header of 8 bytes and two sets of 12.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const none) };
    assert_eq!(result, 0, "capset: {}", io::Error::last_os_error());
}

/// Drops what conntrack has forgotten, and makes it look at packets at all: it does so only where some rule needs it.
pub(crate) fn refuse_what_conntrack_does_not_know(node: &Namespace) {
    node.nft("add table inet other");
    node.nft("add chain inet other watch { type filter hook forward priority 0 ; }");
    node.nft("add rule inet other watch ct state invalid drop");
}
