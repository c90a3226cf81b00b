//! What every pod asks of the metadata service, and whether the answers are those of its own role.

use std::process::{Command, Stdio};

use anyhow::Result;
use serde_json::Value;

use super::agent::BASE_ARN;
use super::pod::{CREDENTIALS, Pod, Told};
use super::story::Stage;
use crate::progress::human;
use crate::report::{Report, gist};

/// A pod with a role gets that role's credentials: list, credentials, and the call that they come from.
pub(super) async fn with_role(
    report: &mut Report,
    stage: &Stage,
    pod: &Pod,
    role: &str,
) -> Result<()> {
    report.subject(
        &pod.subject.who,
        &format!("{}, iam.amazonaws.com/role: {role}", pod.subject.address),
    );
    let token = pod.token().await?;
    report.expect(
        token.answer.status == 200,
        "token",
        &format!("{} (IMDSv2)", token.answer.status),
    );
    let key = token.answer.text();
    let list = pod.get(CREDENTIALS, &key).await?;
    let listed = list.answer.text();
    report.expect(list.answer.status == 200 && listed == role, "role", &listed);
    let told = pod.get(&format!("{CREDENTIALS}{listed}"), &key).await?;
    let body: Value = serde_json::from_slice(&told.answer.body).unwrap_or_default();
    let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();

    // The AssumeRole call that these credentials come from, as STS saw it.
    let access_key_id = field("AccessKeyId");
    let calls = stage.aws.assume_role_calls();
    let call = calls.iter().find(|call| {
        call.issued
            .as_ref()
            .is_some_and(|issued| issued.access_key_id == access_key_id)
    });
    let Some((call, issued)) = call.and_then(|call| Some((call, call.issued.as_ref()?))) else {
        report.expect(
            false,
            "credentials",
            &format!("{} {}", told.answer.status, gist(&told.answer.text())),
        );
        return Ok(());
    };
    let session = call.role_session_name.as_deref().unwrap_or_default();
    let arn = format!("{BASE_ARN}{role}");
    report.expect(
        call.role_arn.as_deref() == Some(&arn),
        "assumed",
        call.role_arn.as_deref().unwrap_or_default(),
    );
    report.expect(!session.is_empty(), "session name", session);
    if call.external_id.is_some() || pod.subject.external_id.is_some() {
        let right = call.external_id == pod.subject.external_id;
        report.expect(
            right,
            "external ID",
            call.external_id.as_deref().unwrap_or("missing"),
        );
    }
    let whole = field("Code") == "Success"
        && field("SecretAccessKey") == issued.secret_access_key
        && field("Token") == issued.session_token;
    report.expect(
        whole,
        "credentials",
        &format!("{access_key_id}, secret and token of the same call"),
    );
    report.expect(
        field("Expiration") == issued.expiration,
        "valid until",
        &field("Expiration"),
    );
    report.fact(
        "time taken",
        &format!(
            "token {}, role {}, credentials {}",
            human(token.took),
            human(list.took),
            human(told.took),
        ),
    );
    for other in stage
        .pods
        .iter()
        .filter_map(|other| other.subject.role.as_deref())
        .filter(|other| *other != role)
    {
        let Told { answer, .. } = pod.get(&format!("{CREDENTIALS}{other}"), &key).await?;
        report.expect(
            answer.status == 403,
            "other role",
            &format!("{} {}", answer.status, gist(&answer.text())),
        );
    }
    Ok(())
}

/// A pod without a role is told why it gets none.
pub(super) async fn without_role(report: &mut Report, stage: &Stage, pod: &Pod) -> Result<()> {
    report.subject(
        &pod.subject.who,
        &format!("{}, no annotation", pod.subject.address),
    );
    let token = pod.token().await?;
    let key = token.answer.text();
    let list = pod.get(CREDENTIALS, &key).await?;
    report.expect(
        list.answer.status == 404,
        "role",
        &format!("{} {}", list.answer.status, gist(&list.answer.text())),
    );
    report.fact(
        "time taken",
        &format!("token {}, role {}", human(token.took), human(list.took)),
    );
    for role in stage
        .pods
        .iter()
        .filter_map(|other| other.subject.role.as_deref())
    {
        let Told { answer, .. } = pod.get(&format!("{CREDENTIALS}{role}"), &key).await?;
        report.expect(
            answer.status >= 400,
            "other role",
            &format!("{} for {role}", answer.status),
        );
    }
    Ok(())
}

/// The same question with a client that everybody has, where it is installed.
pub(super) async fn the_same_with_curl(report: &mut Report, pods: &[Pod]) -> Result<()> {
    let Some(pod) = pods.iter().find(|pod| pod.subject.role.is_some()) else {
        return Ok(());
    };
    let token = pod.token().await?.answer.text();
    let mut curl = Command::new("curl");
    curl.args([
        "-s",
        "--noproxy",
        "*",
        "-H",
        &format!("X-aws-ec2-metadata-token: {token}"),
    ]);
    curl.arg(format!("http://169.254.169.254{CREDENTIALS}"))
        .stdout(Stdio::piped());
    let Ok(child) = pod.netns.namespace().spawn(&mut curl) else {
        return Ok(());
    };
    report.subject("By hand", &format!("in {}", pod.subject.who));
    report.command("TOKEN=$(curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)");
    report.command(&format!(
        "curl -sH \"X-aws-ec2-metadata-token: $TOKEN\" http://169.254.169.254{CREDENTIALS}"
    ));
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    report.expect(
        pod.subject.role.as_deref() == Some(&text),
        "curl",
        &gist(&text),
    );
    Ok(())
}
