//! Cilium: whether its dataplane is on this node, and the policy by which it brings pods' requests to the agent.
//!
//! Cilium's eBPF programs answer for a pod's packet before any rule of nftables or iptables sees it, so that a node of
//! Cilium's with kube-proxy replacement needs a policy and not a rule. Nothing here talks to the API server.

use std::{collections::BTreeMap, fmt, fs, net::IpAddr, path::Path};

use thiserror::Error;

use crate::{METADATA_V4, rules::METADATA_PORT};

/// What there is of Cilium's dataplane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataplane {
    /// Interfaces, pinned eBPF maps and sockets that only Cilium makes, as paths; empty where it is not here.
    pub signs: Vec<String>,
}

impl Dataplane {
    /// Whether anything was found.
    pub fn is_here(&self) -> bool {
        !self.signs.is_empty()
    }
}

impl fmt::Display for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_here() {
            write!(f, "Cilium's dataplane is here ({})", self.signs.join(", "))
        } else {
            f.write_str("no sign of Cilium's dataplane")
        }
    }
}

/// Looks for Cilium on the node whose files are below `root` (`/`; in a container, wherever the host is mounted). What
/// cannot be read counts as absent.
pub fn detect(root: &Path) -> Dataplane {
    // The pair of veths that Cilium keeps on every node, its agent's socket, and where it pins programs.
    let known = [
        "sys/class/net/cilium_host",
        "sys/class/net/cilium_net",
        "run/cilium/cilium.sock",
        "sys/fs/bpf/cilium",
    ];
    let known = known.into_iter().map(|path| root.join(path));
    let known = known.filter(|path| path.symlink_metadata().is_ok());
    let maps = fs::read_dir(root.join("sys/fs/bpf/tc/globals"));
    let maps = maps.into_iter().flatten().flatten();
    let map = maps
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"cilium_"))
        .map(|entry| entry.path())
        // There are dozens: one is enough to know, and always the same one.
        .min();
    let paths = known.chain(map);
    Dataplane {
        signs: paths.map(|path| path.display().to_string()).collect(),
    }
}

/// A `CiliumLocalRedirectPolicy`; its `Display` is the manifest.
///
/// Fields as in Cilium's custom resource definition `ciliumlocalredirectpolicies.cilium.io`, version v2. A policy cannot
/// be changed: it is deleted and made again. One port has no name: names only map several, and Cilium 1.18.5 did not
/// redirect by them (cilium/cilium#43800).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    namespace: String,
    labels: BTreeMap<String, String>,
    port: u16,
}

/// Why a policy cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RedirectError {
    /// Names of namespaces are DNS labels.
    #[error("{0:?} is not the name of a namespace")]
    Namespace(String),
    /// Not `key=value`, or not what Kubernetes takes for either.
    #[error("{0:?} is not a label, such as app.kubernetes.io/name=podiam")]
    Label(String),
    /// Without a label every pod of the namespace would be the agent.
    #[error("at least one label must tell the agent's pods from others")]
    NoLabel,
    /// Cilium needs to know where to.
    #[error("0 is not a port that requests can be sent to")]
    Port,
}

impl Redirect {
    /// The policy for agents that run in `namespace`, have all of `labels` (`key=value`) and answer on `port`.
    pub fn new<'a>(
        namespace: &str,
        labels: impl IntoIterator<Item = &'a str>,
        port: u16,
    ) -> Result<Self, RedirectError> {
        if !is_dns_label(namespace) {
            return Err(RedirectError::Namespace(namespace.to_owned()));
        }
        let label = |text: &str| {
            let (key, value) = text.split_once('=')?;
            let (prefix, name) = key.rsplit_once('/').unwrap_or(("podiam", key));
            let is_label = is_label_name(name)
                && prefix.split('.').all(is_dns_label)
                && (value.is_empty() || is_label_name(value));
            is_label.then(|| (key.to_owned(), value.to_owned()))
        };
        let labels = labels
            .into_iter()
            .map(|text| label(text).ok_or_else(|| RedirectError::Label(text.to_owned())))
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        if labels.is_empty() {
            return Err(RedirectError::NoLabel);
        }
        if port == 0 {
            return Err(RedirectError::Port);
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            labels,
            port,
        })
    }
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            labels,
            port,
        } = self;
        let metadata = IpAddr::from(METADATA_V4);
        write!(
            f,
            "\
apiVersion: cilium.io/v2
kind: CiliumLocalRedirectPolicy
metadata:
  name: podiam
  namespace: \"{namespace}\"
spec:
  redirectFrontend:
    addressMatcher:
      ip: \"{metadata}\"
      toPorts:
        - port: \"{METADATA_PORT}\"
          protocol: TCP
  redirectBackend:
    localEndpointSelector:
      matchLabels:
"
        )?;
        for (key, value) in labels {
            writeln!(f, "        \"{key}\": \"{value}\"")?;
        }
        write!(
            f,
            "    toPorts:
      - port: \"{port}\"
        protocol: TCP
  # The agent itself must reach the real metadata service.
  skipRedirectFromBackend: true
"
        )
    }
}

/// RFC 1123, as Kubernetes reads it.
fn is_dns_label(text: &str) -> bool {
    let is_inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The name of a label's key, or its value: at most 63 characters, letters or digits at both ends.
fn is_label_name(text: &str) -> bool {
    let is_inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let is_end = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(is_inner)
        && is_end(text.bytes().next())
        && is_end(text.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_this_one() {
        let labels = ["app.kubernetes.io/name=podiam", "tier="];
        let redirect = Redirect::new("kube-system", labels, 8181).unwrap();
        assert_eq!(
            redirect.to_string(),
            "\
apiVersion: cilium.io/v2
kind: CiliumLocalRedirectPolicy
metadata:
  name: podiam
  namespace: \"kube-system\"
spec:
  redirectFrontend:
    addressMatcher:
      ip: \"169.254.169.254\"
      toPorts:
        - port: \"80\"
          protocol: TCP
  redirectBackend:
    localEndpointSelector:
      matchLabels:
        \"app.kubernetes.io/name\": \"podiam\"
        \"tier\": \"\"
    toPorts:
      - port: \"8181\"
        protocol: TCP
  # The agent itself must reach the real metadata service.
  skipRedirectFromBackend: true
"
        );
    }

    #[test]
    fn what_kubernetes_would_not_take_is_refused_with_its_value() {
        use RedirectError::{Label, Namespace, NoLabel, Port};
        let make = |namespace, label: &str, port| Redirect::new(namespace, [label], port);
        for namespace in ["", "Kube", "-a", "a\nb", "a\"b"] {
            let refused = make(namespace, "a=b", 1);
            assert_eq!(refused, Err(Namespace(namespace.into())));
        }
        for label in ["", "a", "=b", "a=b c", "a=\"", "a/b/=c", "/a=b", "a=-"] {
            assert_eq!(make("x", label, 1), Err(Label(label.into())));
        }
        assert_eq!(Redirect::new("x", [], 1), Err(NoLabel));
        assert_eq!(make("x", "a=b", 0), Err(Port));
    }

    #[test]
    fn each_sign_of_cilium_alone_tells_that_it_is_here_and_nothing_else_does() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(root.path().join(path)).unwrap();
        make("sys/class/net/cali1234");
        make("sys/fs/bpf/tc/globals/cali_state");
        assert_eq!(detect(root.path()), Dataplane::default());
        for sign in [
            "sys/class/net/cilium_host",
            "sys/fs/bpf/tc/globals/cilium_lxc",
            "sys/fs/bpf/cilium",
            "run/cilium/cilium.sock",
        ] {
            make(sign);
            let found = detect(root.path());
            let expected = root.path().join(sign).display().to_string();
            assert_eq!(found.signs, [expected]);
            assert!(found.to_string().contains(sign), "{found}");
            fs::remove_dir(root.path().join(sign)).unwrap();
        }
    }
}
