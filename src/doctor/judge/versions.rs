//! `version-skew`: all agents run one version, and it is this program's.

use std::collections::BTreeMap;

use crate::doctor::agents::AgentPod;
use crate::doctor::check::Check;
use crate::doctor::finding::{Finding, some_of};

const CHECK: Check = Check::VersionSkew;

/// The agents, or why they are not known; `own` is this program's version.
pub(in crate::doctor) fn judge(pods: Result<&[AgentPod], String>, own: &str) -> Finding {
    let pods = match pods {
        Ok([]) => return Finding::cannot_tell(CHECK, "there are no agents", "see agents"),
        Ok(pods) => pods,
        Err(why) => return Finding::cannot_tell(CHECK, why, "see agents"),
    };
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods {
        let image = pod.agent().map_or("", |container| &container.image);
        *images.entry(image).or_default() += 1;
    }
    let told: Vec<String> = images
        .iter()
        .map(|(image, count)| format!("{image} ({count})"))
        .collect();
    if images.len() > 1 {
        return Finding::warning(
            CHECK,
            format!("agents run different images: {}", some_of(&told, 10)),
            "let the roll-out of the DaemonSet end: kubectl rollout status",
        );
    }
    let image = images.keys().next().copied().unwrap_or_default();
    match tag(image) {
        None => Finding::cannot_tell(
            CHECK,
            format!(
                "all {} agents run {image}, which has no tag with a version",
                pods.len()
            ),
            "compare `podiam --version` in an agent's pod with this program's",
        ),
        Some(tag) if version_of(tag) == Some(own) => Finding::ok(
            CHECK,
            format!("all {} agents and this program are {own}", pods.len()),
        ),
        Some(tag) if version_of(tag).is_none() => Finding::cannot_tell(
            CHECK,
            format!(
                "all {} agents run {image}, whose tag {tag} is no version",
                pods.len()
            ),
            "compare `podiam --version` in an agent's pod with this program's",
        ),
        Some(tag) => Finding::warning(
            CHECK,
            format!(
                "all {} agents run {tag}, and this program is {own}",
                pods.len()
            ),
            "use the doctor of the agents' own version: kubectl exec into an agent's pod",
        ),
    }
}

/// The tag of an image's name, which a digest may follow and a registry's port may precede.
fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next()?;
    let (_, tag) = name.rsplit_once(':')?;
    (!tag.contains('/')).then_some(tag)
}

/// `0.1.0` of `v0.1.0`; `None` for `latest`.
fn version_of(tag: &str) -> Option<&str> {
    let version = tag.strip_prefix('v').unwrap_or(tag);
    let mut parts = version.splitn(3, '.');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    (is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some())
        .then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::agents::tests::pod;
    use crate::doctor::finding::Verdict;

    #[test]
    fn one_version_everywhere_is_right() {
        use Verdict::{CannotTell, Ok as Right, Warning};
        for (images, verdict) in [
            (&["r:5000/podiam:0.1.0", "r:5000/podiam:0.1.0"][..], Right),
            (&["podiam:v0.1.0@sha256:ab"], Right),
            (&["podiam:0.1.0", "podiam:0.2.0"], Warning),
            (&["podiam:0.2.0"], Warning),
            (&["podiam:latest"], CannotTell),
            (&["r:5000/podiam"], CannotTell),
            (&["podiam@sha256:ab"], CannotTell),
            (&[], CannotTell),
        ] {
            let pods: Vec<AgentPod> = images.iter().map(|it| pod("a", it, &["agent"])).collect();
            let finding = judge(Ok(&pods), "0.1.0");
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
    }
}
