//! Asks: from a few pods' namespaces, and from one of our own where none of them is answered. Blocks for a few seconds
//! at most; the caller gives it a thread.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use podiam_intercept::probe::{self, Own};

use super::Setup;
use super::proof::{Author, Nonce};
use super::verdict::{Answer, Asked, Place, Verdict};
use crate::telemetry::Chain;

/// Pods that are asked from: more than one, because a network policy may forbid it to one.
const PODS: usize = 3;
/// For the connection, and again for the answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// More than any answer that is ours.
const REPLY_BYTES: u64 = 2 << 10;
/// What an operator has to give.
const NEEDS: &str = "the self-test needs CAP_SYS_ADMIN (with hostPID: true and CAP_SYS_PTRACE, or with /run/netns \
                     mounted), or CAP_SYS_ADMIN and CAP_NET_ADMIN for a namespace of its own";

/// One test: of each address that pods ask.
pub(super) fn test(setup: &Setup) -> Verdict {
    let all = setup.targets.iter();
    Verdict::worst(all.map(|target| test_at(setup, *target, true)))
}

/// The same from pods' namespaces alone: nothing is made on the node.
pub(super) fn look(setup: &Setup) -> Verdict {
    let all = setup.targets.iter();
    Verdict::worst(all.map(|target| test_at(setup, *target, false)))
}

fn test_at(setup: &Setup, target: SocketAddr, may_make: bool) -> Verdict {
    let mut asked = Vec::new();
    let is_one = |address: IpAddr| address.is_ipv4() == target.is_ipv4() && (setup.is_pod)(address);
    let pods = match probe::pods(PODS, is_one) {
        Ok(pods) => pods,
        Err(error) => return Verdict::unknown(format!("{}: {NEEDS}", Chain(&error))),
    };
    for pod in pods {
        let connection = pod.connect(target, PATIENCE);
        asked.push(ask(setup, target, (Place::Pod, pod.address()), connection));
    }
    let is_answered = |one: &Asked| !matches!(one.answer, Answer::Nothing(_));
    if may_make && !asked.iter().any(is_answered) {
        match own(setup, target) {
            Ok(own) => {
                let from = Place::Own {
                    covered: setup.covers_own,
                };
                let connection = own.connect(target, PATIENCE);
                asked.push(ask(setup, target, (from, own.address()), connection));
            }
            Err(why) if asked.is_empty() => return Verdict::unknown(format!("{why}: {NEEDS}")),
            Err(_) => {}
        }
    }
    Verdict::of(target.ip(), &asked)
}

fn own(setup: &Setup, target: SocketAddr) -> Result<Own, String> {
    let (_, seed) = setup.prover.question().map_err(|error| error.to_string())?;
    Own::new(seed, target.ip()).map_err(|error| Chain(&error).to_string())
}

fn ask(
    setup: &Setup,
    target: SocketAddr,
    (from, address): (Place, IpAddr),
    connection: io::Result<TcpStream>,
) -> Asked {
    let answer = match setup.prover.question() {
        Ok((nonce, _)) => match connection.and_then(|stream| exchange(stream, target, nonce)) {
            Ok(reply) => judge(setup, nonce, &reply),
            Err(error) => Answer::Nothing(error.to_string()),
        },
        Err(error) => Answer::Nothing(error.to_string()),
    };
    Asked {
        from,
        address,
        answer,
    }
}

fn judge(setup: &Setup, nonce: Nonce, reply: &str) -> Answer {
    match setup.prover.author(nonce, reply) {
        Author::Own => Answer::Here,
        // In a hand-over the newer process gets the new connections: they are where they should be.
        Author::OtherAgent if (setup.is_shared)() => Answer::Here,
        Author::OtherAgent => Answer::Elsewhere("a podiam that is not this one".to_owned()),
        Author::Stranger if reply.is_empty() => Answer::Nothing("hung up".to_owned()),
        Author::Stranger => {
            let first = reply.lines().next().unwrap_or_default();
            let shown: String = first.chars().take(80).collect();
            Answer::Elsewhere(format!("somebody else ({shown:?})"))
        }
    }
}

/// One request, and all that comes back.
fn exchange(mut stream: TcpStream, target: SocketAddr, nonce: Nonce) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let host = match target.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let request = format!(
        "GET /podiam/self-test/{nonce} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut reply = Vec::new();
    let read = stream.take(REPLY_BYTES).read_to_end(&mut reply);
    // Whoever has said something is there, also where the rest does not come.
    match read {
        Err(error) if reply.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&reply).into_owned()),
    }
}
