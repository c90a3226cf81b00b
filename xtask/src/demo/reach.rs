//! What an attacker in a pod would ask for. No byte of the answers may be the node's.

use anyhow::{Context, Result};
use podiam_lab::aws::CANARY;

use super::story::Stage;
use crate::report::{Report, gist};

/// Every pod tries what an attacker in it would.
pub(super) async fn out_of_reach(report: &mut Report, stage: &Stage) -> Result<()> {
    report.section("The node's credentials and user data are out of reach");
    let paths = [
        "user-data",
        "meta-data/iam/info",
        "meta-data/iam/security-credentials/lab-node-role",
        "meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
        "meta-data/public-keys/0/openssh-key",
        "meta-data/../user-data",
        "meta-data/%2e%2e/user-data",
        "%75ser-data",
        "/user-data",
        "user-data;a=b",
        "user-data?a=b",
        "USER-DATA",
    ];
    let (mut asked, mut leaks) = (0, Vec::new());
    for pod in &stage.pods {
        let token = pod.token().await?.answer.text();
        for version in ["latest", "1.0", "2009-04-04", "2021-07-15"] {
            for path in paths {
                let target = format!("/{version}/{path}");
                let with_token = pod.get(&target, &token).await?;
                let bare = pod
                    .ask("GET", &target, &[])
                    .await
                    .with_context(|| target.clone())?;
                asked += 2;
                if with_token.answer.contains(CANARY) || bare.answer.contains(CANARY) {
                    leaks.push(format!("{} read {target}", pod.subject.who));
                }
                let telling =
                    version == "latest" && pod.subject.address == stage.pods[0].subject.address;
                if telling && paths[..6].contains(&path) {
                    let (status, text) = (with_token.answer.status, with_token.answer.text());
                    report.line(&format!("GET {target}"));
                    report.line(&format!("    {status} {}", gist(&text)));
                }
            }
        }
    }
    for leak in &leaks {
        report.fact("LEAK", leak);
    }
    let found = format!(
        "{asked} requests for the node's secrets, {} leaks",
        leaks.len()
    );
    report.expect(leaks.is_empty(), "out of reach", &found);
    let log = stage.agent.log();
    report.expect(
        !log.contains(CANARY),
        "agent's log",
        &format!("{} lines, no secret", log.lines().count()),
    );
    Ok(())
}
