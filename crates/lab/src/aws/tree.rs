//! The metadata tree of the lab's node: every document below `/<version>/`, and how a path finds it.
//!
//! Paths are found leniently on purpose: encoded, doubled, dotted, in capitals. A proxy that lets an odd path through
//! must meet a service that understands it, or a leak would go unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::config::{CANARY, Config, after};

/// How long the node's own credentials are valid, as AWS makes them.
const NODE_SESSION: Duration = Duration::from_hours(6);
/// The number of the instance's own credentials (`identity-credentials`).
pub(super) const INSTANCE_CREDENTIALS: u8 = 0;
/// The number of the first credentials of the node's role; each rotation takes the next.
pub(super) const NODE_CREDENTIALS: u8 = 1;
const MAC: &str = "02:4c:41:42:00:01";

/// Every document by its path below the version.
#[derive(Debug)]
pub(super) struct Tree(BTreeMap<String, Document>);

#[derive(Debug)]
enum Document {
    Text(String),
    /// The credentials of the node's role, which are rotated.
    NodeCredentials,
    /// The instance's own; the number tells them from the node's.
    Credentials(u8),
}

impl Tree {
    /// Grows the tree of the node that `config` describes.
    pub(super) fn new(config: &Config, started: Timestamp) -> Self {
        let mut documents = BTreeMap::new();
        let mut add = |path: &str, body: &str| {
            documents.insert(path.to_owned(), Document::Text(body.to_owned()))
        };
        for (path, body) in placement(config)
            .into_iter()
            .chain(network(config))
            .chain(instance())
        {
            add(&format!("meta-data/{path}"), &body);
        }
        add(
            "user-data",
            &format!(
                "#!/bin/bash\n# {CANARY}-user-data\nexport BOOTSTRAP_TOKEN={CANARY}-bootstrap\n"
            ),
        );
        add(
            "meta-data/iam/info",
            &pretty(&json!({
                "Code": "Success",
                "LastUpdated": started.to_string(),
                "InstanceProfileArn": format!("arn:aws:iam::{}:instance-profile/{}", config.account, config.node_role),
                "InstanceProfileId": format!("AIPA{CANARY}00000001"),
            })),
        );
        add(
            "meta-data/identity-credentials/ec2/info",
            &pretty(&json!({
                "Code": "Success", "LastUpdated": started.to_string(), "AccountId": config.account,
            })),
        );
        add(
            "meta-data/public-keys/0/openssh-key",
            &format!("ssh-ed25519 AAAA{CANARY} lab\n"),
        );
        let identity = pretty(&json!({
            "accountId": config.account, "architecture": "x86_64", "availabilityZone": format!("{}a", config.region),
            "billingProducts": null, "devpayProductCodes": null, "marketplaceProductCodes": null,
            "imageId": "ami-0aab1ab1ab1ab1ab1", "instanceId": "i-0aab1ab1ab1ab1ab1", "instanceType": "m7i.large",
            "kernelId": null, "pendingTime": started.to_string(), "privateIp": config.node_ip.to_string(),
            "ramdiskId": null, "region": config.region, "version": "2017-09-30",
        }));
        add("dynamic/instance-identity/document", &identity);
        for signature in ["pkcs7", "rsa2048", "signature"] {
            add(
                &format!("dynamic/instance-identity/{signature}"),
                "bGFiLXNpZ25hdHVyZQ==",
            );
        }
        add("dynamic/fws/instance-monitoring", "disabled");
        let node = format!("meta-data/iam/security-credentials/{}", config.node_role);
        documents.insert(node, Document::NodeCredentials);
        let instance = "meta-data/identity-credentials/ec2/security-credentials/ec2-instance";
        documents.insert(instance.into(), Document::Credentials(INSTANCE_CREDENTIALS));
        Self(documents)
    }

    /// The body at a request target, or `None`: 404. The credentials of the node's role are those of number `node`.
    pub(super) fn find(&self, target: &str, now: Timestamp, node: u8) -> Option<String> {
        let segments = segments(target);
        let Some((version, path)) = segments.split_first() else {
            return Some("latest".into());
        };
        let dated = version.len() == 10 && version.starts_with("20");
        if !version.eq_ignore_ascii_case("latest") && version != "1.0" && !dated {
            return None;
        }
        let path = path.join("/");
        match self
            .0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&path))
        {
            Some((_, Document::Text(body))) => Some(body.clone()),
            Some((_, Document::NodeCredentials)) => Some(credentials(node, now)),
            Some((_, Document::Credentials(number))) => Some(credentials(*number, now)),
            None => self.list(&path),
        }
    }

    /// The names in a folder, folders with a slash at the end, as IMDS lists them.
    fn list(&self, folder: &str) -> Option<String> {
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let below = self.0.keys().filter_map(|path| {
            let (start, rest) = path.split_at_checked(prefix.len())?;
            start.eq_ignore_ascii_case(&prefix).then_some(rest)
        });
        let names: BTreeSet<String> = below
            .map(|rest| {
                rest.split_once('/')
                    .map_or(rest.to_owned(), |(name, _)| format!("{name}/"))
            })
            .collect();
        (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join("\n"))
    }
}

fn placement(config: &Config) -> Vec<(String, String)> {
    let region = &config.region;
    let facts = [
        ("placement/availability-zone", format!("{region}a")),
        ("placement/availability-zone-id", "use1-az1".into()),
        ("placement/region", region.clone()),
        ("services/domain", "amazonaws.com".into()),
        ("services/partition", "aws".into()),
        ("tags/instance/Name", "lab-node".into()),
        ("tags/instance/kubernetes.io/cluster/lab", "owned".into()),
    ];
    facts.map(|(path, body)| (path.to_owned(), body)).into()
}

fn network(config: &Config) -> Vec<(String, String)> {
    let address = config.node_ip.to_string();
    let name = format!("ip-{}.ec2.internal", address.replace('.', "-"));
    let own = [
        ("hostname", &name),
        ("local-hostname", &name),
        ("local-ipv4", &address),
        ("mac", &MAC.to_owned()),
        ("public-ipv4", &"198.51.100.10".to_owned()),
        ("security-groups", &"lab-nodes".to_owned()),
    ];
    let interface = [
        ("device-number", "0"),
        ("interface-id", "eni-0aab1ab1ab1ab1ab1"),
        ("local-hostname", &name),
        ("local-ipv4s", &address),
        ("mac", MAC),
        ("owner-id", &config.account),
        ("security-group-ids", "sg-0aab1ab1ab1ab1ab1"),
        ("security-groups", "lab-nodes"),
        ("subnet-id", "subnet-0aab1ab1ab1ab1ab1"),
        ("subnet-ipv4-cidr-block", "10.0.0.0/24"),
        ("vpc-id", "vpc-0aab1ab1ab1ab1ab1"),
        ("vpc-ipv4-cidr-block", "10.0.0.0/16"),
        ("vpc-ipv4-cidr-blocks", "10.0.0.0/16"),
    ];
    let own = own.map(|(path, body)| (path.to_owned(), body.clone()));
    let interface = interface.map(|(path, body)| {
        (
            format!("network/interfaces/macs/{MAC}/{path}"),
            body.to_owned(),
        )
    });
    own.into_iter().chain(interface).collect()
}

fn instance() -> Vec<(String, String)> {
    let facts = [
        ("ami-id", "ami-0aab1ab1ab1ab1ab1"),
        ("ami-launch-index", "0"),
        ("ami-manifest-path", "(unknown)"),
        ("block-device-mapping/ami", "/dev/xvda"),
        ("block-device-mapping/root", "/dev/xvda"),
        ("events/maintenance/history", "[]"),
        ("events/maintenance/scheduled", "[]"),
        ("instance-action", "none"),
        ("instance-id", "i-0aab1ab1ab1ab1ab1"),
        ("instance-life-cycle", "on-demand"),
        ("instance-type", "m7i.large"),
        ("profile", "default-hvm"),
        ("reservation-id", "r-0aab1ab1ab1ab1ab1"),
        ("system", "nitro"),
    ];
    facts
        .map(|(path, body)| (path.to_owned(), body.to_owned()))
        .into()
}

/// The node's own access key ID. All sets of credentials carry the canary in every part that is secret.
pub(super) fn node_access_key_id(number: u8) -> String {
    format!("ASIA{CANARY}{number:07}")
}

/// The node's own session token.
pub(super) fn node_session_token(number: u8) -> String {
    format!("{CANARY}-node-session-token-{number}//////////AAAAAAAAAA==")
}

fn credentials(number: u8, now: Timestamp) -> String {
    pretty(&json!({
        "Code": "Success",
        "LastUpdated": now.to_string(),
        "Type": "AWS-HMAC",
        "AccessKeyId": node_access_key_id(number),
        "SecretAccessKey": format!("{CANARY}-node-secret-access-key-{number}0000"),
        "Token": node_session_token(number),
        "Expiration": after(now, NODE_SESSION).to_string(),
    }))
}

/// JSON of this shape cannot fail to serialise.
fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}")
}

/// The segments of a request target, read as leniently as any server ever did.
fn segments(target: &str) -> Vec<String> {
    let mut text = target.to_owned();
    for _ in 0..3 {
        text = percent_decode_str(&text).decode_utf8_lossy().into_owned();
    }
    let text = text
        .replace('\\', "/")
        .replace(|c: char| c.is_control(), "");
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| {
        rest.split_once('/').map_or("", |(_, path)| path)
    });
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment.split(';').next().unwrap_or_default().trim() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.to_owned()),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(target: &str) -> Option<String> {
        let now = Timestamp::UNIX_EPOCH;
        Tree::new(&Config::default(), now).find(target, now, NODE_CREDENTIALS)
    }

    #[test]
    fn odd_paths_still_find_the_secrets_so_that_a_leaky_proxy_is_caught() {
        for target in [
            "/latest/user-data",
            "/1.0//user-data/",
            "/2009-04-04/meta-data/../user-data",
            "/latest/meta-data/%2e%2e/user-data",
            "/latest/meta-data/%252e%252e/user%2ddata",
            "/LATEST/User-Data;a=b?c=d",
            "http://169.254.169.254/latest/user-data",
            "/latest\\user-data%00",
        ] {
            assert!(
                find(target).is_some_and(|body| body.contains(CANARY)),
                "{target}"
            );
        }
        assert_eq!(find("/latest/meta-data/nothing"), None);
        assert_eq!(find("/someday/user-data"), None);
    }

    #[test]
    fn folders_list_their_names_as_imds_does() {
        assert_eq!(
            find("/latest/").as_deref(),
            Some("dynamic/\nmeta-data/\nuser-data")
        );
        assert_eq!(
            find("/latest/meta-data/iam/").as_deref(),
            Some("info\nsecurity-credentials/")
        );
        assert_eq!(
            find("/latest/meta-data/iam/security-credentials/").as_deref(),
            Some("lab-node-role")
        );
    }

    #[test]
    fn everything_that_no_pod_may_read_carries_the_canary() {
        for path in [
            "user-data",
            "meta-data/iam/info",
            "meta-data/iam/security-credentials/lab-node-role",
            "meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
            "meta-data/public-keys/0/openssh-key",
        ] {
            assert!(
                find(&format!("/latest/{path}")).is_some_and(|body| body.contains(CANARY)),
                "{path}"
            );
        }
        let id = node_access_key_id(1);
        assert_eq!((id.len(), &id[..4]), (20, "ASIA"));
    }
}
