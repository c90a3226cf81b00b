//! Which paths of the real metadata service a pod may see. Asked by the route parser; what it hands out are strings of
//! its own making, so that nothing a client wrote is ever sent upstream.
//!
//! Credentials are never on the list: `iam/*`, `identity-credentials/*`, `public-keys`. Nor are the signatures of the
//! identity document (`signature`, `pkcs7`, `rsa2048`): services such as Vault accept them as proof of being the node.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::config::{Metadata, MetadataProfile};

/// Documents by which SDKs learn where they run.
const MINIMAL: &[&str] = &[
    "dynamic/instance-identity/document",
    "meta-data/instance-id",
    "meta-data/instance-type",
    "meta-data/placement/availability-zone",
    "meta-data/placement/availability-zone-id",
    "meta-data/placement/region",
    "meta-data/services/domain",
    "meta-data/services/partition",
];

/// Documents that common tools read beside those: monitoring agents, CNI and CSI helpers, spot handlers.
const SAFE: &[&str] = &[
    "meta-data/ami-id",
    "meta-data/ami-launch-index",
    "meta-data/autoscaling/target-lifecycle-state",
    "meta-data/events/maintenance/history",
    "meta-data/events/maintenance/scheduled",
    "meta-data/events/recommendations/rebalance",
    "meta-data/hostname",
    "meta-data/instance-action",
    "meta-data/instance-life-cycle",
    "meta-data/ipv6",
    "meta-data/local-hostname",
    "meta-data/local-ipv4",
    "meta-data/mac",
    "meta-data/network/interfaces/macs",
    "meta-data/placement/group-name",
    "meta-data/placement/host-id",
    "meta-data/placement/partition-number",
    "meta-data/public-hostname",
    "meta-data/public-ipv4",
    "meta-data/reservation-id",
    "meta-data/security-groups",
    "meta-data/spot/instance-action",
    "meta-data/spot/termination-time",
    "meta-data/tags/instance",
];

/// What may be asked below `meta-data/network/interfaces/macs/<mac>/`.
const INTERFACE: &[&str] = &[
    "device-number",
    "interface-id",
    "ipv6s",
    "local-hostname",
    "local-ipv4s",
    "mac",
    "network-card",
    "owner-id",
    "public-hostname",
    "public-ipv4s",
    "security-group-ids",
    "security-groups",
    "subnet-id",
    "subnet-ipv4-cidr-block",
    "subnet-ipv6-cidr-blocks",
    "vpc-id",
    "vpc-ipv4-cidr-block",
    "vpc-ipv4-cidr-blocks",
    "vpc-ipv6-cidr-blocks",
];

const INTERFACES: &str = "meta-data/network/interfaces/macs/";
const TAGS: &str = "meta-data/tags/instance/";

/// A path that may be asked of the real metadata service. Only [`AllowList`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataPath(Cow<'static, str>);

impl MetadataPath {
    /// The request target to send upstream, for example `/latest/meta-data/instance-id`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The paths that pods may see.
#[derive(Clone, Debug)]
pub struct AllowList {
    documents: HashSet<Cow<'static, str>>,
    interfaces_and_tags: bool,
    user_data: bool,
}

impl AllowList {
    /// The list that the configuration asks for. Paths that name credentials are left out even if it asks for them.
    pub fn new(config: &Metadata) -> Self {
        let profile: &[&[&'static str]] = match config.profile {
            MetadataProfile::None => &[],
            MetadataProfile::Minimal => &[MINIMAL],
            MetadataProfile::Safe => &[MINIMAL, SAFE],
        };
        let named = config.allow.iter().map(|path| path.trim_matches('/'));
        Self {
            documents: profile
                .iter()
                .copied()
                .flatten()
                .map(|path| Cow::Borrowed(*path))
                .chain(named.filter(|path| !is_forbidden(path)).map(|path| Cow::Owned(path.to_owned())))
                .collect(),
            interfaces_and_tags: config.profile == MetadataProfile::Safe,
            user_data: config.allow_user_data,
        }
    }

    /// The upstream path for `path` (what follows the version, without slashes around it), if pods may see it.
    pub(super) fn find(&self, path: &str) -> Option<MetadataPath> {
        if is_forbidden(path) {
            return (self.user_data && path == "user-data").then_some(MetadataPath(Cow::Borrowed("/latest/user-data")));
        }
        let listed = self.documents.get(path).map(Cow::as_ref);
        let allowed = listed.map(str::to_owned).or_else(|| {
            self.interfaces_and_tags.then(|| interface_document(path).or_else(|| tag(path))).flatten()
        })?;
        // The real service lists interfaces under their directory's name with its slash.
        let slash = if is_interface_directory(&allowed) { "/" } else { "" };
        Some(MetadataPath(Cow::Owned(format!("/latest/{allowed}{slash}"))))
    }

    /// The names directly below `meta-data/` that lead somewhere, as IMDS lists them: sorted, directories with a slash.
    pub fn listing(&self) -> String {
        let mut names: Vec<String> = self
            .documents
            .iter()
            .filter_map(|path| path.strip_prefix("meta-data/"))
            .map(|path| path.split_once('/').map_or_else(|| path.to_owned(), |(first, _)| format!("{first}/")))
            .chain(std::iter::once("iam/".to_owned()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names.join("\n")
    }
}

/// Whether a path may never be forwarded, whatever the configuration says (user-data has a flag of its own).
pub fn is_forbidden(path: &str) -> bool {
    let mut segments = path.trim_matches('/').split('/').map(str::to_ascii_lowercase);
    let Some(first) = segments.next() else { return true };
    match first.as_str() {
        "meta-data" => segments
            .next()
            .is_none_or(|name| matches!(name.as_str(), "iam" | "identity-credentials" | "public-keys" | "")),
        "dynamic" => path.split('/').any(|name| matches!(name, "signature" | "pkcs7" | "rsa2048")),
        _ => true,
    }
}

fn interface_document(path: &str) -> Option<String> {
    let (mac, document) = path.strip_prefix(INTERFACES)?.split_once('/').unwrap_or((&path[INTERFACES.len()..], ""));
    let octets = mac.split(':').filter(|octet| octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit()));
    if mac.len() != "00:00:00:00:00:00".len() || octets.count() != 6 {
        return None;
    }
    match document {
        "" => Some(format!("{INTERFACES}{mac}")),
        _ => INTERFACE.iter().find(|known| **known == document).map(|known| format!("{INTERFACES}{mac}/{known}")),
    }
}

fn is_interface_directory(path: &str) -> bool {
    let below = path.strip_prefix(INTERFACES.trim_end_matches('/'));
    below.is_some_and(|rest| rest.is_empty() || !rest[1..].contains('/'))
}

fn tag(path: &str) -> Option<String> {
    let key = path.strip_prefix(TAGS)?;
    // Keys that EC2 lets into instance metadata: letters, digits and `+ - = . , _ : @`, at most 128 characters.
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&byte);
    (!key.is_empty() && key.len() <= 128 && key.bytes().all(legal)).then(|| format!("{TAGS}{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Imdsv2;

    fn list(profile: MetadataProfile, allow: &[&str], allow_user_data: bool) -> AllowList {
        AllowList::new(&Metadata {
            address: String::new(),
            intercepted: [169, 254, 169, 254].into(),
            profile,
            allow: allow.iter().map(ToString::to_string).collect(),
            allow_user_data,
            imdsv2: Imdsv2::Optional,
        })
    }

    #[test]
    fn the_profiles_grow_from_nothing_to_what_tools_read() {
        let finds = |profile, path| list(profile, &[], false).find(path).is_some();
        for (path, minimal, safe) in [
            ("meta-data/instance-id", true, true),
            ("meta-data/placement/region", true, true),
            ("dynamic/instance-identity/document", true, true),
            ("meta-data/hostname", false, true),
            ("meta-data/network/interfaces/macs", false, true),
            ("meta-data/network/interfaces/macs/0a:00:00:00:00:01", false, true),
            ("meta-data/network/interfaces/macs/0a:00:00:00:00:01/vpc-id", false, true),
            ("meta-data/tags/instance/Name", false, true),
            ("meta-data/tags/instance/kubernetes.io", false, true),
        ] {
            assert!(!finds(MetadataProfile::None, path), "none: {path}");
            assert_eq!(finds(MetadataProfile::Minimal, path), minimal, "minimal: {path}");
            assert_eq!(finds(MetadataProfile::Safe, path), safe, "safe: {path}");
        }
    }

    #[test]
    fn credentials_are_never_on_the_list_not_even_by_configuration() {
        let forbidden = [
            "meta-data/iam/info",
            "meta-data/iam/security-credentials/node",
            "meta-data/IAM/info",
            "meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
            "meta-data/public-keys/0/openssh-key",
            "user-data",
            "dynamic/instance-identity/pkcs7",
            "dynamic/instance-identity/signature",
            "dynamic/instance-identity/rsa2048",
            "meta-data",
            "meta-data/",
            "api/token",
            "",
        ];
        let list = list(MetadataProfile::Safe, &forbidden, false);
        for path in forbidden {
            assert_eq!(list.find(path), None, "{path}");
        }
    }

    #[test]
    fn near_misses_are_not_forwarded() {
        let list = list(MetadataProfile::Safe, &[], false);
        for path in [
            "meta-data/instance-id/",
            "meta-data/instance-idx",
            "meta-data/network/interfaces/macs/0a:00:00:00:00:0g/vpc-id",
            "meta-data/network/interfaces/macs/0a:00:00:00:00/vpc-id",
            "meta-data/network/interfaces/macs/0a:00:00:00:00:01/unknown",
            "meta-data/network/interfaces/macs/0a:00:00:00:00:01/vpc-id/x",
            "meta-data/tags/instance/a/b",
            "meta-data/tags/instance/a b",
        ] {
            assert_eq!(list.find(path), None, "{path}");
        }
    }

    #[test]
    fn user_data_has_a_flag_of_its_own() {
        let allowed = list(MetadataProfile::None, &[], true);
        assert_eq!(allowed.find("user-data").unwrap().as_str(), "/latest/user-data");
        assert_eq!(list(MetadataProfile::Safe, &["user-data"], false).find("user-data"), None);
    }

    #[test]
    fn the_listing_names_what_leads_somewhere() {
        assert_eq!(list(MetadataProfile::None, &[], false).listing(), "iam/");
        assert_eq!(
            list(MetadataProfile::Minimal, &["/meta-data/kernel-id"], false).listing(),
            "iam/\ninstance-id\ninstance-type\nkernel-id\nplacement/\nservices/"
        );
    }
}
