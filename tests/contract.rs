//! What a pod is answered, as tables: request -> reply, through the real binary, with the lab's AWS behind it. The answer
//! rules are those that make every AWS SDK do the right thing; the routes are kube2iam's.

mod support;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use podiam_lab::aws::{Aws, CANARY, Config, Trust};
use podiam_lab::wire::{self, Answer};
use support::agent::Agent;
use support::http;

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const IMDS_HOST: &str = "169.254.169.254";

const READER: &str = "127.0.1.1";
const NO_ROLE: &str = "127.0.1.2";
const MALFORMED: &str = "127.0.1.3";
const V2_ONLY: &str = "127.0.1.4";
const OPTED_OUT: &str = "127.0.1.5";
const WITH_PATH: &str = "127.0.1.6";
const OTHER_ACCOUNT: &str = "127.0.1.7";
const UNTRUSTED: &str = "127.0.1.8";
const SHARED: &str = "127.0.1.9";
const FINISHED: &str = "127.0.1.10";
const UNKNOWN: &str = "127.0.1.99";

/// The manifests: name, address, phase, annotations.
const PODS: &[(&str, &str, &str, &str)] = &[
    (
        "reader",
        READER,
        "Running",
        "iam.amazonaws.com/role: reader",
    ),
    ("no-role", NO_ROLE, "Running", ""),
    (
        "malformed",
        MALFORMED,
        "Running",
        "iam.amazonaws.com/role: 'no role!'",
    ),
    (
        "v2-only",
        V2_ONLY,
        "Running",
        "iam.amazonaws.com/role: reader, podiam.io/imdsv2: required",
    ),
    (
        "opted-out",
        OPTED_OUT,
        "Running",
        "iam.amazonaws.com/role: ''",
    ),
    (
        "with-path",
        WITH_PATH,
        "Running",
        "iam.amazonaws.com/role: team/a/writer",
    ),
    (
        "other-account",
        OTHER_ACCOUNT,
        "Running",
        "iam.amazonaws.com/role: 'arn:aws:iam::210987654321:role/far+=,@.-_'",
    ),
    (
        "untrusted",
        UNTRUSTED,
        "Running",
        "iam.amazonaws.com/role: untrusted",
    ),
    (
        "one-of-two",
        SHARED,
        "Running",
        "iam.amazonaws.com/role: reader",
    ),
    (
        "two-of-two",
        SHARED,
        "Running",
        "iam.amazonaws.com/role: writer",
    ),
    (
        "finished",
        FINISHED,
        "Succeeded",
        "iam.amazonaws.com/role: reader",
    ),
];

/// A node: the lab's AWS, the manifests, the agent.
struct Node {
    aws: Aws,
    agent: Agent,
    _manifests: tempfile::TempDir,
}

impl Node {
    async fn start(flags: &[&str]) -> Self {
        let mut config = Config::default();
        config.trusts.insert(
            "arn:aws:iam::123456789012:role/untrusted".into(),
            Trust::Nobody,
        );
        let aws = Aws::start(config).await.unwrap();
        let manifests = tempfile::tempdir().unwrap();
        let text: String = PODS
            .iter()
            .map(|(name, ip, phase, annotations)| {
                format!(
                    "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: t, annotations: \
                     {{{annotations}}}}}\nstatus: {{phase: {phase}, podIP: {ip}}}\n"
                )
            })
            .collect();
        std::fs::write(manifests.path().join("pods.yaml"), text).unwrap();
        let imds = aws
            .imds_url()
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned();
        let mut all = vec![
            format!("--workloads={}", manifests.path().display()),
            format!("--metadata-addr={imds}"),
        ];
        all.extend(flags.iter().map(ToString::to_string));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let agent = Agent::start(&aws.sts_url(), &all);
        agent.ready().await;
        Self {
            aws,
            agent,
            _manifests: manifests,
        }
    }

    /// One request of the pod at `ip`, with the Host header that a pod sends.
    async fn ask(&self, ip: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(ip, &wire::request(method, target, IMDS_HOST, headers))
            .await
    }

    async fn get(&self, ip: &str, target: &str) -> Answer {
        self.ask(ip, "GET", target, &[]).await
    }

    /// One request as bytes.
    async fn send(&self, ip: &str, request: &[u8]) -> Answer {
        let mut stream = http::connect(ip.parse().unwrap(), self.agent.pods)
            .await
            .unwrap();
        wire::exchange(&mut stream, request, &mut BytesMut::new())
            .await
            .unwrap()
    }

    async fn token(&self, ip: &str) -> String {
        let answer = self
            .ask(
                ip,
                "PUT",
                "/latest/api/token",
                &[("X-aws-ec2-metadata-token-ttl-seconds", "300")],
            )
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        text(&answer)
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    let head = String::from_utf8(answer.head.to_vec()).unwrap();
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.to_owned())
}

#[tokio::test]
async fn every_pod_is_told_its_own_role_or_why_it_has_none() {
    let node = Node::start(&[]).await;
    for (pod, status, body) in [
        (READER, 200, "reader"),
        (WITH_PATH, 200, "team/a/writer"),
        (
            OTHER_ACCOUNT,
            200,
            "arn:aws:iam::210987654321:role/far+=,@.-_",
        ),
        (NO_ROLE, 404, "the pod has no annotation"),
        (OPTED_OUT, 404, "asks for no role"),
        (MALFORMED, 403, "is malformed"),
        (SHARED, 503, "more than one pod"),
        (FINISHED, 503, "no pod is known"),
        (UNKNOWN, 503, "no pod is known"),
        (V2_ONLY, 401, "token is required"),
    ] {
        for path in [
            ROLES,
            ROLES.trim_end_matches('/'),
            "/2021-07-15/meta-data/iam/security-credentials/",
        ] {
            let answer = node.get(pod, path).await;
            assert_eq!(answer.status, status, "{pod} {path}: {answer:?}");
            assert_eq!(header(&answer, "server").as_deref(), Some("EC2ws"));
            if status == 200 {
                assert_eq!(text(&answer), body, "exactly the name, no newline");
            } else {
                let said = text(&answer);
                assert!(
                    said.contains(body) && said.lines().count() == 1,
                    "{pod}: {said}"
                );
            }
        }
    }
}

#[tokio::test]
async fn credentials_are_given_for_the_pods_role_by_name_and_by_arn_and_for_no_other() {
    let node = Node::start(&[]).await;
    for (pod, role, status) in [
        (READER, "reader", 200),
        (READER, "reader/", 200),
        (READER, "arn:aws:iam::123456789012:role/reader", 200),
        (WITH_PATH, "team/a/writer", 200),
        (
            OTHER_ACCOUNT,
            "arn:aws:iam::210987654321:role/far+=,@.-_",
            200,
        ),
        (READER, "writer", 403),
        (READER, "Reader", 403),
        (READER, "arn:aws:iam::210987654321:role/reader", 403),
        (READER, "lab-node-role", 403),
        (WITH_PATH, "writer", 403),
        (NO_ROLE, "reader", 404),
        (OPTED_OUT, "reader", 404),
        (MALFORMED, "no", 403),
        (UNTRUSTED, "untrusted", 403),
        (SHARED, "reader", 503),
        (UNKNOWN, "reader", 503),
    ] {
        let answer = node.get(pod, &format!("{ROLES}{role}")).await;
        assert_eq!(answer.status, status, "{pod} {role}: {answer:?}");
        if status == 200 {
            let body = text(&answer);
            let keys = [
                "AccessKeyId",
                "Code",
                "Expiration",
                "LastUpdated",
                "SecretAccessKey",
                "Token",
                "Type",
            ];
            let found: Vec<usize> = keys
                .iter()
                .map(|key| body.find(&format!("\"{key}\":")).unwrap())
                .collect();
            assert!(found.is_sorted() && body.lines().count() == 1, "{body}");
            let document: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                (&document["Code"], &document["Type"]),
                (&"Success".into(), &"AWS-HMAC".into())
            );
            let expiration = document["Expiration"].as_str().unwrap();
            assert!(
                expiration.len() == "2026-01-01T00:00:00Z".len() && expiration.ends_with('Z'),
                "{expiration}"
            );
        }
    }
    let refused = text(&node.get(UNTRUSTED, &format!("{ROLES}untrusted")).await);
    assert!(
        !refused.contains("AccessDenied") && !refused.contains("arn:"),
        "no AWS text to a pod: {refused}"
    );
}

#[tokio::test]
async fn methods_heads_and_tokens_are_answered_as_imds_does() {
    let node = Node::start(&[]).await;
    let ttl = |value| vec![("X-aws-ec2-metadata-token-ttl-seconds", value)];
    for (pod, headers, status) in [
        (READER, ttl("21600"), 200),
        (NO_ROLE, ttl("1"), 200),
        (UNKNOWN, ttl("60"), 200),
        (SHARED, ttl("60"), 200),
        (READER, vec![], 400),
        (READER, ttl("0"), 400),
        (READER, ttl("21601"), 400),
        (READER, ttl("x"), 400),
        (
            READER,
            [ttl("60"), vec![("X-Forwarded-For", "10.0.0.1")]].concat(),
            403,
        ),
    ] {
        let answer = node.ask(pod, "PUT", "/latest/api/token", &headers).await;
        assert_eq!(answer.status, status, "{pod} {headers:?}: {answer:?}");
        if status == 200 {
            assert_eq!(
                header(&answer, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds").as_deref(),
                Some(headers[0].1)
            );
        }
    }
    for (method, target, status, allow) in [
        ("GET", "/latest/api/token", 405, Some("PUT")),
        ("PUT", ROLES, 405, Some("GET, HEAD")),
        ("POST", ROLES, 405, Some("GET, HEAD")),
        (
            "DELETE",
            "/latest/meta-data/instance-id",
            405,
            Some("GET, HEAD"),
        ),
        ("HEAD", ROLES, 200, None),
        ("HEAD", "/latest/meta-data/instance-id", 200, None),
    ] {
        let answer = node.ask(READER, method, target, &[]).await;
        assert_eq!(
            (answer.status, header(&answer, "allow").as_deref()),
            (status, allow),
            "{method} {target}"
        );
    }
    let (mine, theirs) = (node.token(READER).await, node.token(NO_ROLE).await);
    for (token, status) in [
        (mine.as_str(), 200),
        (theirs.as_str(), 401),
        ("bad", 401),
        ("", 401),
    ] {
        let answer = node
            .ask(READER, "GET", ROLES, &[("X-aws-ec2-metadata-token", token)])
            .await;
        assert_eq!(answer.status, status, "{token}");
    }
    let token = node.token(V2_ONLY).await;
    let answer = node
        .ask(
            V2_ONLY,
            "GET",
            ROLES,
            &[("X-aws-ec2-metadata-token", &token)],
        )
        .await;
    assert_eq!(
        answer.status, 200,
        "a pod that wants IMDSv2 only, with a token"
    );
}

#[tokio::test]
async fn with_imdsv2_required_nothing_is_answered_without_a_token() {
    let node = Node::start(&["--imdsv2=required"]).await;
    for target in [
        ROLES,
        "/latest/meta-data/iam/info",
        "/latest/meta-data/instance-id",
    ] {
        assert_eq!(node.get(READER, target).await.status, 401, "{target}");
    }
    let token = node.token(READER).await;
    assert_eq!(
        node.ask(
            READER,
            "GET",
            ROLES,
            &[("X-aws-ec2-metadata-token", &token)]
        )
        .await
        .status,
        200
    );
}

#[tokio::test]
async fn the_host_header_must_be_the_service_and_health_is_for_the_node_only() {
    let node = Node::start(&[]).await;
    for (host, status) in [
        ("169.254.169.254", 200),
        ("[fd00:ec2::254]", 200),
        ("metadata.example", 403),
        ("127.0.0.9", 403),
    ] {
        let request = wire::request("GET", ROLES, host, &[]);
        assert_eq!(node.send(READER, &request).await.status, status, "{host}");
    }
    assert_eq!(node.get(READER, "/healthz").await.status, 404);
    assert_eq!(node.get(READER, "/metrics").await.status, 404);
    assert_eq!(node.get(READER, "/debug/store").await.status, 404);
    let health = node.get("127.0.0.1", "/healthz").await;
    assert_eq!(health.status, 200);
    let document: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    assert_eq!(document["hostIP"], "127.0.0.1");
    assert!(
        document["instanceId"].as_str().unwrap().starts_with("i-"),
        "{document}"
    );
    assert_eq!(
        node.get("127.0.0.1", ROLES).await.status,
        403,
        "the node's own address is no pod"
    );
}

#[tokio::test]
async fn an_unknown_pod_is_held_four_tenths_of_a_second_and_no_longer() {
    let node = Node::start(&[]).await;
    let started = Instant::now();
    assert_eq!(node.get(UNKNOWN, ROLES).await.status, 503);
    let held = started.elapsed();
    // SDKs give up at half a second; the rest is this machine's.
    assert!(
        held >= Duration::from_millis(390) && held < Duration::from_millis(900),
        "{held:?}"
    );
}

#[tokio::test]
async fn what_is_passed_on_is_listed_and_the_request_is_our_own() {
    let node = Node::start(&[]).await;
    let token = node.token(READER).await;
    let headers = [
        ("X-aws-ec2-metadata-token", token.as_str()),
        ("X-Canary", "from-the-pod"),
        ("User-Agent", "from-the-pod"),
    ];
    for (target, status) in [
        ("/latest/meta-data/instance-id", 200),
        ("/2021-07-15/meta-data/placement/availability-zone", 200),
        ("/latest/dynamic/instance-identity/document", 200),
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
    let seen = format!("{:?}", node.aws.imds_requests());
    assert!(
        !seen.contains("from-the-pod") && !seen.contains(&token),
        "{seen}"
    );
}

/// The control of the leak test below: the canary is there to be found, where an operator opens the way to it.
#[tokio::test]
async fn user_data_is_seen_only_with_a_flag_of_its_own() {
    let node = Node::start(&["--allow-user-data"]).await;
    let answer = node.get(READER, "/latest/user-data").await;
    assert!(
        answer.status == 200 && answer.contains(CANARY),
        "{answer:?}"
    );
}

/// The node's credentials, token and user data never appear in any byte that a pod receives.
#[tokio::test]
async fn no_path_leads_to_the_nodes_secrets_under_any_version() {
    let node = Node::start(&["--metadata-allow=meta-data/kernel-id"]).await;
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
        let answer = node.send(READER, raw.as_bytes()).await;
        assert!(
            answer.status >= 400 && !answer.contains(CANARY),
            "{raw}: {answer:?}"
        );
        asked += 1;
    }
    assert_eq!(asked, 2 * versions.len() * paths.len() + 4);
}
