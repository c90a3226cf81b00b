//! What of the real metadata service can be seen: what is on the list, and never a secret of the node's.

use podiam_lab::aws::CANARY;

use super::support::node::{Node, TOKEN};
use super::{NO_ROLE, READER, pods};

#[tokio::test]
async fn what_is_passed_on_is_listed_and_the_request_is_our_own() {
    let node = Node::start(&pods(), &[]).await;
    let token = node.token(READER).await;
    let headers = [
        (TOKEN, token.as_str()),
        ("X-Canary", "from-the-pod"),
        ("User-Agent", "from-the-pod"),
    ];
    for (target, status) in [
        ("/latest/meta-data/instance-id", 200),
        ("/2021-07-15/meta-data/placement/availability-zone", 200),
        ("/latest/dynamic/instance-identity/document", 200),
        // The real service has these too; nobody listed them.
        ("/latest/meta-data/profile", 404),
        ("/latest/meta-data/block-device-mapping/ami", 404),
        ("/latest/dynamic/fws/instance-monitoring", 404),
        ("/latest/user-data", 404),
        ("/latest/meta-data/public-keys/0/openssh-key", 404),
        ("/latest/dynamic/instance-identity/pkcs7", 404),
    ] {
        assert_eq!(
            node.ask(READER, "GET", target, &headers).await.status,
            status,
            "{target}"
        );
    }
    let unlisted = [
        "profile",
        "block-device",
        "fws",
        "user-data",
        "public-keys",
        "pkcs7",
    ];
    for request in node.aws.imds_requests() {
        assert!(
            !unlisted.iter().any(|name| request.target.contains(name)),
            "not even asked for: {request:?}"
        );
    }
    let seen = format!("{:?}", node.aws.imds_requests());
    assert!(
        !seen.contains("from-the-pod") && !seen.contains(&token),
        "{seen}"
    );
}

/// The control of the leak test below: the canary is there to be found, where an operator opens the way to it.
#[tokio::test]
async fn user_data_is_seen_only_with_a_flag_of_its_own() {
    let node = Node::start(&pods(), &["--allow-user-data"]).await;
    let answer = node.get(READER, "/latest/user-data").await;
    assert!(
        answer.status == 200 && answer.contains(CANARY),
        "{answer:?}"
    );
}

/// The node's credentials, token and user data never appear in any byte that a pod receives.
#[tokio::test]
async fn no_path_leads_to_the_nodes_secrets_under_any_version() {
    let node = Node::start(&pods(), &["--metadata-allow=meta-data/kernel-id"]).await;
    let versions = [
        "latest",
        "1.0",
        "2007-01-19",
        "2007-03-01",
        "2007-08-29",
        "2007-10-10",
        "2007-12-15",
        "2008-02-01",
        "2008-09-01",
        "2009-04-04",
        "2011-01-01",
        "2011-05-01",
        "2012-01-12",
        "2014-02-25",
        "2014-11-05",
        "2015-10-20",
        "2016-04-19",
        "2016-06-30",
        "2016-09-02",
        "2018-03-28",
        "2018-08-17",
        "2018-09-24",
        "2019-10-01",
        "2020-10-27",
        "2021-01-03",
        "2021-03-23",
        "2021-07-15",
        "2022-09-24",
        "2024-04-11",
        "LATEST",
        "..",
        ".",
    ];
    let paths = [
        "user-data",
        "user-data/",
        "User-Data",
        "user%2ddata",
        "user%252ddata",
        "./user-data",
        "meta-data/../user-data",
        "/user-data",
        "user-data;a=b",
        "user-data?x=y",
        "user-data%00",
        "meta-data/iam/info",
        "meta-data/iam",
        "meta-data//iam/info",
        "meta-data/iam/security-credentials/lab-node-role",
        "meta-data/iam/security-credentials/LAB-NODE-ROLE",
        "meta-data/iam/security-credentials//lab-node-role",
        "meta-data/iam/security-credentials/../security-credentials/lab-node-role",
        "meta-data/iam/security-credentials/./lab-node-role",
        "meta-data/iam%2fsecurity-credentials%2flab-node-role",
        "meta-data/iam/security-credentials-extended/",
        "meta-data/iam/security-credentials-extended/lab-node-role",
        "meta-data/identity-credentials/ec2/info",
        "meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
        "meta-data/identity-credentials/ec2/security-credentials/",
        "meta-data/identity-credentials",
        "meta-data/public-keys/",
        "meta-data/public-keys/0/openssh-key",
        "dynamic/instance-identity/pkcs7",
        "dynamic/instance-identity/signature",
        "dynamic/instance-identity/rsa2048",
        "dynamic/",
        "meta-data/",
        "meta-data",
        "api/token",
        "",
    ];
    let mut asked = 0;
    for pod in [READER, NO_ROLE] {
        for version in versions {
            for path in paths {
                let target = format!("/{version}/{path}");
                let answer = node.get(pod, &target).await;
                assert!(!answer.contains(CANARY), "{pod} {target}: {answer:?}");
                asked += 1;
            }
        }
    }
    for raw in [
        "GET http://169.254.169.254/latest/user-data HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        "GET /latest/user-data HTTP/1.1\r\nHost: 169.254.169.254\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n",
    ] {
        let answer = node.connect(READER).await.exchange(raw.as_bytes()).await;
        assert!(
            answer.status >= 400 && !answer.contains(CANARY),
            "{raw}: {answer:?}"
        );
        asked += 1;
    }
    assert_eq!(asked, 2 * versions.len() * paths.len() + 4);
}
