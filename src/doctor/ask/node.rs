//! This node: its metadata service, kernel, links and rules. Everything is read; nothing is made, not even for a moment.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::net::if_::if_nameindex;
use nix::sys::utsname::uname;
use podiam_intercept::{METADATA_V4, Mode, Status, cilium, open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::doctor::judge::dataplane::Dataplane;
use crate::doctor::judge::interception::Rules;
use crate::doctor::judge::kernel::Kernel;
use crate::selftest;
use crate::telemetry::Chain;

/// One exchange, whole.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than any answer that is read here.
const REPLY_BYTES: u64 = 16 << 10;
/// A document that every instance has.
const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
/// Where kube-proxy tells its mode, to its own node only.
const KUBE_PROXY: (&str, &str) = ("127.0.0.1:10249", "/proxyMode");

/// The status with which the metadata service answers a request without a token (`IMDSv1`).
pub(in crate::doctor) async fn without_token(address: &str) -> Result<u16, String> {
    let address = if address.contains(':') {
        address.to_owned()
    } else {
        format!("{address}:80")
    };
    let (status, _) = http_get(&address, INSTANCE_ID)
        .await
        .map_err(|error| error.to_string())?;
    Ok(status)
}

/// What kernel this is. Blocks for a moment.
pub(in crate::doctor) fn kernel() -> Kernel {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned());
    let nftables = open(Mode::Nftables).status();
    Kernel {
        release: release.unwrap_or_default(),
        nftables: nftables
            .map(drop)
            .map_err(|error| Chain(&error).to_string()),
        conntrack: Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists(),
    }
}

/// What carries pods' packets.
pub(in crate::doctor) async fn dataplane() -> Result<Dataplane, String> {
    // Not /sys/class/net: that is of the namespace which /sys was mounted in.
    let interfaces = if_nameindex().map_err(|error| error.to_string())?;
    let mut interfaces: Vec<String> = interfaces
        .iter()
        .map(|interface| interface.name().to_string_lossy().into_owned())
        .filter(|name| name != "lo")
        .collect();
    interfaces.sort();
    let kube_proxy = http_get(KUBE_PROXY.0, KUBE_PROXY.1).await.ok();
    Ok(Dataplane {
        cilium: cilium::detect(Path::new("/")).signs,
        interfaces,
        kube_proxy: kube_proxy
            .filter(|(status, _)| *status == 200)
            .map(|(_, mode)| mode.trim().to_owned()),
    })
}

/// The rules of a back end. Blocks for a moment.
pub(in crate::doctor) fn rules(mode: Mode) -> Rules {
    if !mode.writes_rules() {
        return Rules::NotOurs(open(mode).note().unwrap_or_default());
    }
    match open(mode).status() {
        Ok(None) => Rules::Absent,
        Ok(Some(status)) => Rules::There(seen(&status)),
        Err(error) => Rules::Unseen(Chain(&error).to_string()),
    }
}

fn seen(status: &Status) -> crate::doctor::judge::interception::Seen {
    let rules = status.intercepts.as_ref();
    crate::doctor::judge::interception::Seen {
        place: status.place.clone(),
        is_guard: status.guard,
        drift: status.drift.clone(),
        interfaces: rules.map(|rules| rules.interfaces.to_string()),
        targets: rules.map_or_else(Vec::new, |rules| rules.targets().collect()),
    }
}

/// Asks the metadata service as pods do, from the namespaces of some. Blocks for a few seconds at most.
pub(in crate::doctor) fn ask_as_pods(
    is_pod: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
) -> Result<selftest::Verdict, String> {
    let target = (METADATA_V4, 80).into();
    selftest::look(vec![target], is_pod).map_err(|error| error.to_string())
}

/// One request without any header that matters: status and body.
async fn http_get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.take(REPLY_BYTES).read_to_end(&mut reply).await?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&reply).into_owned())
    };
    let reply = tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let status = reply
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5));
    let status = status.and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the answer is not HTTP"))?;
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}
