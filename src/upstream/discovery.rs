//! What the agent itself wants to know about its instance: for /healthz, the STS region, and the two auto-discoveries.

use podiam_iam::BaseArn;
use serde::Deserialize;

use super::{Document, Upstream, UpstreamError};

const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
const REGION: &str = "/latest/meta-data/placement/region";
const IAM_INFO: &str = "/latest/meta-data/iam/info";
const ROLE_NAME: &str = "/latest/meta-data/iam/security-credentials/";

/// `iam/info`, as far as we read it.
#[derive(Deserialize)]
struct IamInfo {
    #[serde(rename = "InstanceProfileArn")]
    instance_profile_arn: String,
}

impl Upstream {
    /// The instance's ID, or `None` where the service has none.
    pub async fn instance_id(&self) -> Result<Option<String>, UpstreamError> {
        self.line(INSTANCE_ID).await
    }

    /// The instance's region.
    pub async fn region(&self) -> Result<Option<String>, UpstreamError> {
        self.line(REGION).await
    }

    /// The base of role names in the account and partition of the node's instance profile, such as
    /// `arn:aws:iam::123456789012:role/`; `None` where the instance has no profile.
    pub async fn base_arn(&self) -> Result<Option<BaseArn>, UpstreamError> {
        let Some(document) = self.get(IAM_INFO).await? else {
            return Ok(None);
        };
        let malformed = |problem: String| UpstreamError::Malformed {
            path: IAM_INFO,
            problem,
        };
        let info: IamInfo =
            serde_json::from_slice(&document.body).map_err(|error| malformed(error.to_string()))?;
        base_of(&info.instance_profile_arn)
            .map(Some)
            .map_err(malformed)
    }

    /// The name of the node's own role, as kube2iam's `--auto-discover-default-role` takes it: without its path.
    /// `None` where the instance has no profile.
    pub async fn node_role_name(&self) -> Result<Option<String>, UpstreamError> {
        self.line(ROLE_NAME).await
    }

    /// A document of one line; an empty one counts as absent.
    async fn line(&self, path: &'static str) -> Result<Option<String>, UpstreamError> {
        let Some(Document { body, .. }) = self.get(path).await? else {
            return Ok(None);
        };
        let malformed = |problem: &str| UpstreamError::Malformed {
            path,
            problem: problem.to_owned(),
        };
        let text = std::str::from_utf8(&body).map_err(|_| malformed("not UTF-8"))?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        match (lines.next(), lines.next()) {
            (None, _) => Ok(None),
            (Some(line), None) => Ok(Some(line.to_owned())),
            (Some(_), Some(_)) => Err(malformed("more than one line")),
        }
    }
}

/// The base of role names in the profile's account. The profile's own path is left out, as kube2iam does: it says
/// nothing about the paths of the roles.
fn base_of(instance_profile_arn: &str) -> Result<BaseArn, String> {
    let shown = || format!("{instance_profile_arn:?} is not the ARN of an instance profile");
    let (account, _) = instance_profile_arn
        .split_once(":instance-profile/")
        .ok_or_else(shown)?;
    BaseArn::parse(&format!("{account}:role/")).map_err(|error| format!("{}: {error}", shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_the_profiles_account_in_its_partition_without_its_path() {
        for (arn, base) in [
            (
                "arn:aws:iam::123456789012:instance-profile/nodes",
                "arn:aws:iam::123456789012:role/",
            ),
            (
                "arn:aws-cn:iam::123456789012:instance-profile/k8s/eu/nodes",
                "arn:aws-cn:iam::123456789012:role/",
            ),
        ] {
            assert_eq!(base_of(arn), Ok(BaseArn::parse(base).unwrap()));
        }
    }

    #[test]
    fn an_arn_of_something_else_is_named_in_the_error() {
        let error = base_of("arn:aws:iam::123456789012:role/nodes").unwrap_err();
        assert!(error.contains("role/nodes"), "{error}");
    }
}
