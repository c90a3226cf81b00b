//! The order in which to do it, so that no pod is without credentials for longer than a request waits, and none can reach
//! the node's own. Both agents run side by side: podiam on another port, its nftables rules at a priority ahead of the
//! one that iptables' nat table has. `tests/interception/migration.rs` does these steps with real rules.

use super::draft::{Draft, Old};
use super::inventory::Origin;
use super::report::Step;

/// How the image is called where nobody said it.
pub(super) const IMAGE: &str = "registry.example.com/podiam:VERSION";
/// The label of the nodes that have podiam while not all have it.
const LABEL: &str = "podiam.io/migrate";

/// The steps.
pub(super) fn plan(from: Origin, draft: &Draft, image: &str) -> Vec<Step> {
    let old = from.name();
    let mut steps = Vec::new();
    if from == Origin::Kiam {
        steps.push(trust());
    }
    steps.extend([
        prepare(image),
        first_node(old, draft, image),
        every_node(old, image),
        remove(old, &draft.old, draft.metrics_port()),
        left_overs(old, &draft.old),
        tighten(),
    ]);
    steps
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn trust() -> Step {
    Step {
        title: "Let the nodes' role assume the pods' roles".to_owned(),
        why: "kiam's servers did so with a role of their own. Add the nodes' statement to each role's trust policy and leave \
              the servers' in it: both work until the end. The nodes' policy denies every role that is not a pod's."
            .to_owned(),
        commands: lines(&[
            "podiam iam trust-policy --node-role arn:aws:iam::ACCOUNT:role/NODES   # the statement to add",
            "podiam iam node-policy --base-role-arn BASE --node-role NODES         # the nodes' own policy",
        ]),
        check: lines(&[
            "# on a node, for each role; the last word must not be AccessDenied",
            "aws sts assume-role --role-arn ROLE --role-session-name check --duration-seconds 900",
        ]),
        back: lines(&["# take the statements out again: kiam does not use them"]),
    }
}

fn prepare(image: &str) -> Step {
    let (repository, tag) = split(image);
    Step {
        title: "Try the values, and nothing else".to_owned(),
        why: "Write the values above to podiam-values.yaml. Nothing is changed by this step. What is under \"To do before\" \
              comes before the next."
            .to_owned(),
        commands: vec![
            "NAMESPACE=kube-system".to_owned(),
            format!(
                "helm template podiam deploy/helm/podiam --namespace \"$NAMESPACE\" --values podiam-values.yaml \\\n  \
                 --set image.repository={repository} --set-string image.tag={tag} | kubectl apply --dry-run=server --filename -"
            ),
        ],
        check: lines(&["podiam migrate --cluster | sed -n '/^## To do before/,/^## Changes/p'   # what is left to do"]),
        back: Vec::new(),
    }
}

fn first_node(old: &str, draft: &Draft, image: &str) -> Step {
    let (repository, tag) = split(image);
    let (new, port, metrics) = (draft.port(), draft.old.port, draft.metrics_port());
    Step {
        title: "Put podiam beside it on one node".to_owned(),
        why: format!(
            "The init container closes the node first: what {old}'s rule does not translate is refused from then on, and \
             what it does translate still reaches {old}, at port {port}. Then podiam listens at {new} and writes its rules. \
             They come before {old}'s rule, which stays as it is and is not asked any more: from one request to the next \
             pods are answered by podiam. Connections to {old} end there and are made anew. Sessions that pods hold stay \
             valid. No step of this opens the node."
        ),
        commands: vec![
            format!("kubectl label node \"$NODE\" {LABEL}=yes"),
            format!(
                "helm install podiam deploy/helm/podiam --namespace \"$NAMESPACE\" --values podiam-values.yaml \\\n  \
                 --set image.repository={repository} --set-string image.tag={tag} \\\n  \
                 --set-string 'nodeSelector.podiam\\.io/migrate=yes'"
            ),
        ],
        check: vec![
            "kubectl rollout status daemonset/podiam --namespace \"$NAMESPACE\"".to_owned(),
            "kubectl exec --namespace \"$NAMESPACE\" daemonset/podiam -- /podiam intercept status   # in force".to_owned(),
            format!("# on the node: what is missing, and whether a request from a pod got here\ncurl \"http://$HOST_IP:{metrics}/readyz\""),
            "# in a pod of this node that has a role: the role, and a session of it".to_owned(),
            "aws sts get-caller-identity".to_owned(),
        ],
        back: vec![
            "# the node stays closed after the first command; the second gives it back to the old rule, which must still be there"
                .to_owned(),
            "helm uninstall podiam --namespace \"$NAMESPACE\"".to_owned(),
            "kubectl debug node/\"$NODE\" --image=IMAGE-WITH-IPTABLES --profile=netadmin -- \\\n  \
             sh -c 'iptables -t nat -S PREROUTING | grep 169.254.169.254'   # must print a line"
                .to_owned(),
            format!("kubectl debug node/\"$NODE\" --image={image} --profile=netadmin -- /podiam intercept remove"),
        ],
    }
}

fn every_node(old: &str, image: &str) -> Step {
    let (repository, tag) = split(image);
    Step {
        title: "Then on every node".to_owned(),
        why: format!(
            "A few at a time, then all: the same happens on each node. New nodes get both agents; until one of them runs there, \
             a new node is as open as it was with {old} alone. The systemd unit deploy/systemd/podiam-guard.service in the \
             nodes' image closes that, with {old} as with podiam."
        ),
        commands: vec![
            format!("kubectl label nodes --all {LABEL}=yes --overwrite"),
            "# when all are ready: without the label, so that new nodes need none".to_owned(),
            format!(
                "helm upgrade podiam deploy/helm/podiam --namespace \"$NAMESPACE\" --values podiam-values.yaml \\\n  \
                 --set image.repository={repository} --set-string image.tag={tag}"
            ),
        ],
        check: lines(&[
            "kubectl rollout status daemonset/podiam --namespace \"$NAMESPACE\"",
            "# Prometheus: sum(podiam_interception_intact) is the number of nodes",
        ]),
        back: lines(&["# as in the step before, for each node"]),
    }
}

fn remove(old: &str, state: &Old, metrics: u64) -> Step {
    Step {
        title: format!("Take {old} away"),
        why: "Nobody asks it any more. Whatever it does to its own rule as it ends, podiam's are in a table that iptables' \
             programs do not show, and stay. (With intercept.mode=iptables they are not: keep nftables until this is done.)".to_owned(),
        commands: state.remove.clone(),
        check: vec![
            format!("curl \"http://$HOST_IP:{metrics}/readyz\"   # on each node"),
            "aws sts get-caller-identity   # in a pod with a role".to_owned(),
        ],
        back: state
            .restore
            .iter()
            .cloned()
            .chain(["# its rule comes back behind podiam's, and is not asked".to_owned()])
            .collect(),
    }
}

fn left_overs(old: &str, state: &Old) -> Step {
    let interface = match state.interface.strip_prefix('!') {
        Some(other) => format!("! -i {other}"),
        None => format!("-i {}", state.interface),
    };
    let mut why = format!(
        "While podiam's rules are there, a rule of {old} that is left does nothing. Without them it would send pods to a \
         port where nobody listens: closed, not open. A reboot forgets it too."
    );
    if !state.iptables {
        why.push_str(
            " The rule was written by something of yours, so it may look different, and come back.",
        );
    }
    Step {
        title: "Take left-over rules out of the nodes".to_owned(),
        why,
        commands: vec![
            "# on each node, in the variant of iptables that shows it (iptables-legacy, iptables-nft)".to_owned(),
            "iptables -t nat -S PREROUTING | grep 169.254.169.254".to_owned(),
            format!(
                "iptables -t nat -D PREROUTING -p tcp -d 169.254.169.254/32 {interface} --dport 80 \\\n  \
                 -j DNAT --to-destination \"$HOST_IP:{}\"",
                state.port
            ),
            format!("kubectl label nodes --all {LABEL}-"),
        ],
        check: lines(&["podiam intercept status   # still in force"]),
        back: Vec::new(),
    }
}

fn tighten() -> Step {
    Step {
        title: "Close what was open before".to_owned(),
        why: "Each is a change of its own, with audit where there is one.".to_owned(),
        commands: lines(&[
            "podiam iam lint POLICIES               # the nodes' policy: only the pods' roles, and a Deny on the rest",
            "# startupTaint: new pods wait for the agent (docs/startup.md)",
            "# extraArgs.namespace-restrictions: audit, then true; extraArgs.ceiling (docs/guards.md)",
            "# extraArgs.session: pod; extraArgs.imdsv2: required",
        ]),
        check: lines(&["# podiam_audited_total, and the findings in /readyz"]),
        back: Vec::new(),
    }
}

/// Repository and tag.
fn split(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image, "VERSION"),
    }
}
