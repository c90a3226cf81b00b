//! Judges what sessions say of their pods: tags, labels, source identity.

use crate::config::check::Check;
use crate::config::{Attribution, Node, SessionNaming, SourceIdentity, TagSource, values};

/// STS takes 50 tags; six of them may be ours.
const MAX_LABELS: usize = 44;

/// What no label's tag may begin with: our own keys, EKS's, and AWS's.
const RESERVED: [&str; 3] = ["kubernetes-", "eks-", "aws:"];

const SOURCES: [(&str, TagSource); 6] = [
    ("cluster", TagSource::Cluster),
    ("namespace", TagSource::Namespace),
    ("service-account", TagSource::ServiceAccount),
    ("pod", TagSource::Pod),
    ("uid", TagSource::Uid),
    ("node", TagSource::Node),
];

/// The flags as they were written.
pub(super) struct Raw {
    pub(super) tags: Vec<String>,
    pub(super) labels: Vec<String>,
    pub(super) transitive: String,
    pub(super) source_identity: String,
    pub(super) cluster: Option<String>,
}

pub(super) fn judge(
    check: &mut Check,
    node: &Node,
    naming: SessionNaming,
    raw: Raw,
) -> Attribution {
    let tags = tags(check, &raw.tags);
    let labels = labels(check, raw.labels);
    let cluster = raw
        .cluster
        .and_then(|name| check.parse("cluster-name", &name, values::cluster_name));
    if tags.contains(&TagSource::Cluster) && cluster.is_none() && !check.has_problem("cluster-name")
    {
        check.problem("session-tags", Some("cluster"), "needs --cluster-name");
    }
    if tags.contains(&TagSource::Node) && node.name.is_none() && !check.has_problem("node") {
        check.problem("session-tags", Some("node"), "needs --node");
    }
    let of_one_pod = tags
        .iter()
        .any(|tag| matches!(tag, TagSource::Pod | TagSource::Uid));
    let identities = [
        ("none", None),
        ("pod", Some(SourceIdentity::Pod)),
        ("service-account", Some(SourceIdentity::ServiceAccount)),
    ];
    let source_identity = check
        .choice("source-identity", &raw.source_identity, &identities)
        .flatten();
    let shared = naming != SessionNaming::Pod;
    if shared && (of_one_pod || source_identity == Some(SourceIdentity::Pod)) {
        check.notice(
            "--session lets pods share sessions, but a tag or source identity that names the pod gives each its own",
        );
    }
    let transitive = check.switch("session-tags-transitive", &raw.transitive);
    if transitive && tags.is_empty() && labels.is_empty() {
        check.notice("--session-tags-transitive has no effect: there are no session tags");
    }
    Attribution {
        tags,
        labels,
        transitive,
        source_identity,
        cluster,
        node: node.name.clone(),
    }
}

fn tags(check: &mut Check, words: &[String]) -> Vec<TagSource> {
    const FLAG: &str = "session-tags";
    let mut tags = Vec::new();
    for word in words.iter().filter(|word| !word.is_empty()) {
        match check.choice(FLAG, word, &SOURCES) {
            Some(tag) if tags.contains(&tag) => {
                check.problem(FLAG, Some(word), "is named twice");
            }
            Some(tag) => tags.push(tag),
            None => {}
        }
    }
    tags
}

fn labels(check: &mut Check, keys: Vec<String>) -> Vec<String> {
    const FLAG: &str = "session-tag-labels";
    let mut labels: Vec<String> = Vec::new();
    for key in keys.into_iter().filter(|key| !key.is_empty()) {
        let lower = key.to_ascii_lowercase();
        let right = if values::annotation_key(&key).is_err() {
            "not the key of a label, such as app or app.kubernetes.io/name"
        } else if RESERVED.iter().any(|prefix| lower.starts_with(prefix)) {
            "would read like a tag that only podiam or AWS may set"
        } else if key.len() > 128 {
            "STS takes keys of at most 128 characters"
        } else if labels.iter().any(|known| known.eq_ignore_ascii_case(&key)) {
            "is named twice; keys of tags differ not by case alone"
        } else {
            labels.push(key);
            continue;
        };
        check.problem(FLAG, Some(&key), right);
    }
    if labels.len() > MAX_LABELS {
        check.problem(FLAG, None, "STS takes 50 tags, of which 44 may be labels");
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn attribution(words: &[&str]) -> Attribution {
        config(words).sessions.attribution
    }

    #[test]
    fn sessions_say_nothing_beside_their_name_unless_told_to() {
        let silent = attribution(&[]);
        assert_eq!(
            silent,
            Attribution {
                node: silent.node.clone(),
                ..Attribution::default()
            }
        );
    }

    #[test]
    fn tags_labels_and_source_identity_are_what_the_operator_lists() {
        let words = [
            "--session-tags=cluster,Namespace,service-account,pod,uid,node",
            "--session-tag-labels=app,app.kubernetes.io/name",
            "--session-tags-transitive",
            "--source-identity=service-account",
            "--cluster-name=prod",
            "--node=n1",
        ];
        let all = attribution(&words);
        assert_eq!(all.tags, SOURCES.map(|(_, source)| source));
        assert_eq!(all.labels, ["app", "app.kubernetes.io/name"]);
        assert!(all.transitive);
        assert_eq!(all.source_identity, Some(SourceIdentity::ServiceAccount));
        assert_eq!(all.cluster.as_deref(), Some("prod"));
        assert_eq!(all.node.as_deref(), Some("n1"));
        assert_eq!(config(&words).annotations.labels, all.labels);
    }

    #[test]
    fn what_sts_or_the_tags_meaning_does_not_allow_is_a_problem() {
        for (flag, right) in [
            ("--session-tags=pods", "write cluster, namespace"),
            ("--session-tags=pod,pod", "twice"),
            ("--session-tags=cluster", "needs --cluster-name"),
            ("--session-tags=node", "needs --node"),
            ("--session-tag-labels=a b", "not the key of a label"),
            ("--session-tag-labels=app,App", "twice"),
            (
                "--session-tag-labels=Kubernetes-Namespace",
                "only podiam or AWS",
            ),
            ("--session-tag-labels=eks-cluster-arn", "only podiam or AWS"),
            ("--source-identity=node", "write none, pod"),
            ("--cluster-name=a\nb", "not the name of a cluster"),
        ] {
            assert_one_problem(&[flag], flag.split('=').next().unwrap(), right);
        }
        let many: Vec<_> = (0..45).map(|number| format!("l{number}")).collect();
        let flag = format!("--session-tag-labels={}", many.join(","));
        assert_one_problem(&[&flag], "--session-tag-labels", "50 tags");
    }

    #[test]
    fn who_shares_sessions_and_names_pods_in_them_is_told() {
        for (words, told) in [
            (&["--session=role", "--session-tags=pod"][..], true),
            (&["--session=workload", "--source-identity=pod"], true),
            (&["--session=role", "--session-tags=namespace"], false),
            (&["--session=pod", "--session-tags=pod"], false),
        ] {
            assert_eq!(
                has_notice(&config(words), "share sessions"),
                told,
                "{words:?}"
            );
        }
    }

    #[test]
    fn every_source_has_a_word_and_a_reserved_key_of_its_own() {
        let mut keys: Vec<_> = SOURCES.iter().map(|(_, source)| source.key()).collect();
        assert!(keys.iter().all(|key| key.starts_with(RESERVED[0])));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), SOURCES.len());
    }
}
