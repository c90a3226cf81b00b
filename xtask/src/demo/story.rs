//! The demo's story, section by section: what a pod can do without podiam, podiam's start, each pod's own role
//! ([`roles`]), what stays out of reach ([`reach`]), and what happens when STS or the agent fails.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use podiam_lab::aws::{Aws, CANARY, Config, Fault, Injection, Service};
use podiam_lab::netns::Vpc;

use super::agent::{Agent, Launch};
use super::pod::{CREDENTIALS, Pod, Told};
use super::{manifests, reach, roles};
use crate::progress::human;
use crate::report::{Report, gist};

/// How long STS takes for an answer here, as one in the same region does.
const STS_LATENCY: Duration = Duration::from_millis(60);

/// Everything that the story is played with. Dropping it removes it.
pub(super) struct Stage {
    pub(super) agent: Agent,
    pub(super) pods: Vec<Pod>,
    pub(super) aws: Aws,
    vpc: Vpc,
    _folder: tempfile::TempDir,
}

/// Tells the whole story. An error is one that it cannot go on after.
pub(super) async fn tell(report: &mut Report, program: &Path) -> Result<()> {
    let examples = crate::workspace().join("examples/manifests");
    let vpc = Vpc::new()?;
    let aws = vpc.start_aws(Config::default())?;
    aws.inject(Service::Sts, Injection::delay(STS_LATENCY));
    let mut pods = Vec::new();
    for subject in manifests::read(&examples)? {
        let netns = vpc.add_pod(subject.address)?;
        pods.push(Pod { subject, netns });
    }
    without_podiam(report, &pods).await?;

    report.section("podiam starts");
    let folder = tempfile::tempdir()?;
    let launch = Launch::new(program, &examples, folder.path());
    report.command(&shown(&launch.arguments, folder.path()));
    let agent = Agent::start(vpc.node().namespace(), launch).await?;
    let ready = format!(
        "in {}: pods known, node credentials usable, rules in the kernel",
        human(agent.ready_after)
    );
    report.expect(true, "ready", &ready);

    let mut stage = Stage {
        agent,
        pods,
        aws,
        vpc,
        _folder: folder,
    };
    report.section("Every pod gets its own role, and no other");
    report.line(&format!(
        "(STS takes {} for an answer here; what it answered is served from memory)",
        human(STS_LATENCY)
    ));
    for pod in &stage.pods {
        match &pod.subject.role {
            Some(role) => roles::with_role(report, &stage, pod, role).await?,
            None => roles::without_role(report, &stage, pod).await?,
        }
    }
    roles::the_same_with_curl(report, &stage.pods).await?;
    reach::out_of_reach(report, &stage).await?;
    failures(report, &mut stage).await
}

/// The command line as one could type it in this folder.
fn shown(arguments: &[String], state: &Path) -> String {
    let line = format!("podiam {}", arguments.join(" "));
    let workspace = format!("{}/", crate::workspace().display());
    line.replace(&workspace, "")
        .replace(&state.display().to_string(), "/var/lib/podiam")
        .replace(" --", " \\\n          --")
}

/// What podiam is for: without it every pod is the node. Proves as well that the pods do reach the node's secrets, so
/// that not finding them later means something.
async fn without_podiam(report: &mut Report, pods: &[Pod]) -> Result<()> {
    let pod = pods.last().context("examples/manifests has no pods")?;
    report.section("Without podiam, a pod that asks is given the node's role");
    report.subject(
        &pod.subject.who,
        &format!("{}, no role of its own", pod.subject.address),
    );
    let mut everything_leaks = true;
    for target in [
        CREDENTIALS.to_owned(),
        format!("{CREDENTIALS}lab-node-role"),
        "/latest/user-data".into(),
    ] {
        let Told { answer, .. } = pod
            .ask("GET", &target, &[])
            .await
            .with_context(|| target.clone())?;
        everything_leaks &= target == CREDENTIALS || answer.contains(CANARY);
        report.line(&format!("GET {target}"));
        report.line(&format!("    {} {}", answer.status, gist(&answer.text())));
    }
    report.expect(
        everything_leaks,
        "leaks",
        "credentials and user data of the node, to any pod",
    );
    Ok(())
}

/// STS throttles, then the agent dies: the first goes unnoticed, the second is never answered by the node's role.
async fn failures(report: &mut Report, stage: &mut Stage) -> Result<()> {
    report.section("When something fails");
    let Some(pod) = stage.pods.iter().find(|pod| pod.subject.role.is_some()) else {
        return Ok(());
    };
    let role = pod.subject.role.as_deref().unwrap_or_default();
    report.subject(&pod.subject.who, "");
    stage.aws.heal(Service::Sts);
    stage
        .aws
        .inject(Service::Sts, Injection::fault(Fault::Throttling));
    let token = pod.token().await?.answer.text();
    let Told { answer, took } = pod.get(&format!("{CREDENTIALS}{role}"), &token).await?;
    report.expect(
        answer.status == 200,
        "STS throttles",
        &format!("{} in {}, still valid", answer.status, human(took)),
    );
    stage.agent.kill()?;
    let refused = pod.ask("GET", CREDENTIALS, &[]).await;
    let told = refused
        .as_ref()
        .map_or_else(ToString::to_string, |told| gist(&told.answer.text()));
    report.expect(
        refused.is_err(),
        "kill -9 agent",
        &format!("{told}: the rules stay, the node's role stays out of reach"),
    );
    stage.aws.heal(Service::Sts);
    stage.agent = stage.agent.again(stage.vpc.node().namespace()).await?;
    let list = pod.get(CREDENTIALS, &token).await?;
    report.expect(
        list.answer.status == 200,
        "agent restarts",
        &format!(
            "ready in {}; the token from before is still good: {}",
            human(stage.agent.ready_after),
            list.answer.status
        ),
    );
    Ok(())
}
