//! `podiam status` once: the table, JSON, filters, and what it says where there is no agent.

use std::net::Ipv4Addr;
use std::process::Command;

use podiam_lab::aws::{Aws, Config};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::scene::{NODE, Scene, ask, manifests};
use crate::support::{free_address, program};

const PODIAM: &str = env!("CARGO_BIN_EXE_podiam");

fn run(mut command: Command) -> (i32, String, String) {
    program::run(&mut command, "")
}

fn status(words: &[&str]) -> Command {
    let mut command = Command::new(PODIAM);
    command.arg("status").args(words).env_clear();
    command
}

/// The row of a pod.
fn row<'a>(table: &'a str, pod: &str) -> &'a str {
    let mut rows = table.lines();
    rows.find(|line| line.contains(pod))
        .unwrap_or_else(|| panic!("no {pod} in\n{table}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_every_pod_with_its_role_or_reason_and_the_filters_narrow_it() {
    let scene = Scene::new(&manifests()).await;
    scene.settled().await;
    let api = scene.enter(14);
    assert_eq!(ask(&api, "payments-api").await, 200);
    assert_eq!(ask(&api, "another").await, 403);
    let on_node = |words: &[&str]| {
        let mut command = scene.on_node(PODIAM);
        command.arg("status").args(words);
        run(command)
    };

    let (code, table, stderr) = on_node(&[]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{table}");
    assert!(!table.contains('\x1b'), "no terminal, no colour: {table:?}");
    let first = table.lines().next().unwrap();
    assert!(
        first.starts_with(&format!(
            "podiam {} on {NODE}: ready, up ",
            env!("CARGO_PKG_VERSION")
        )),
        "{first}"
    );
    assert!(
        table.contains("interception nftables, rules intact, self-test: intercepted"),
        "{table}"
    );
    assert!(
        table.contains("pods: 2 refused, 1 waiting, 3 served, 2 no role"),
        "{table}"
    );
    for (pod, words) in [
        (
            "api-7d4b9f6c58-2xk4p",
            &[
                "✓",
                "payments",
                "10.0.100.14",
                "payments-api",
                "pod",
                "fresh, 5",
            ][..],
        ),
        ("cart-5c9d8b7f64-m6tpl", &["✕", "web", "namespace-forbids"]),
        ("ledger-0", &["✕", "payments-ledger", "failed"]),
        ("etl-29c7x", &["…", " etl "]),
        ("frontend-84f7d9c6b5-hj2vn", &["–", "no-role"]),
        ("aws-node-8vq2z", &["–", "node-address"]),
    ] {
        let row = row(&table, pod);
        for word in words {
            assert!(row.contains(word), "{word} in {row}");
        }
    }
    assert!(
        row(&table, "api-7d4b9f6c58-2xk4p").ends_with("        2       1"),
        "{table}"
    );
    assert!(
        table.contains("     the role arn:aws:iam::123456789012:role/payments-api is not allowed in the namespace \"web\"\n"),
        "the reason stands below its row:\n{table}"
    );
    let names: Vec<&str> = table
        .lines()
        .filter(|line| line.contains("payments  "))
        .collect();
    assert!(names.is_sorted(), "{names:#?}");

    let (_, refused, _) = on_node(&["--refused"]);
    assert!(
        refused.contains("ledger-0") && refused.contains("cart-"),
        "{refused}"
    );
    assert!(
        !refused.contains("etl-") && !refused.contains("api-7d4b"),
        "{refused}"
    );
    let (_, web, _) = on_node(&["-n", "web"]);
    assert!(
        web.contains("cart-") && web.contains("frontend-") && !web.contains("ledger"),
        "{web}"
    );
    let (_, none, _) = on_node(&["--namespace=nowhere"]);
    assert!(none.ends_with("no pods\n"), "{none}");

    let (code, json, _) = on_node(&["--json", "-n", "payments"]);
    assert_eq!(code, 0);
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told["pods"].as_array().unwrap().len(), 3, "{json}");
    assert_eq!(told["agent"]["node"], NODE);

    let (code, _, _) = on_node(&["--agent=http://10.0.0.10:9181"]);
    assert_eq!(code, 0, "the host's own address is as good");
    let mut from_a_pod = crate::support::agent::enter(api.namespace(), PODIAM);
    from_a_pod.args(["status", "--agent=http://10.0.0.10:9181"]);
    let (code, stdout, stderr) = run(from_a_pod);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.contains("refuses: this is told to the node itself alone"),
        "{stderr}"
    );
}

#[test]
fn help_tells_the_flags_and_what_is_no_url_is_told_with_what_would_be() {
    let (code, help, _) = run(status(&["--help"]));
    assert_eq!(code, 0);
    for flag in [
        "--agent <URL>",
        "--watch",
        "--interval <SECONDS>",
        "--refused",
        "--json",
        "-n, --namespace",
    ] {
        assert!(help.contains(flag), "{flag} in {help}");
    }
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("[default: http://127.0.0.1:9181]"), "{help}");
    for (url, problem) in [
        ("https://127.0.0.1:9181", "only http"),
        ("127.0.0.1:9181", "write http://HOST:PORT"),
        ("http://127.0.0.1:9181/status", "the path"),
        ("http://me@127.0.0.1:9181", "no user name"),
        ("http://:9181", "write http://HOST:PORT"),
    ] {
        let (code, stdout, stderr) = run(status(&["--agent", url]));
        assert_eq!((code, stdout.as_str()), (2, ""), "{url}");
        assert!(
            stderr.contains("--agent") && stderr.contains(problem),
            "{url}: {stderr}"
        );
    }
    let (code, _, stderr) = run(status(&["--interval=0"]));
    assert_eq!(code, 2);
    assert!(stderr.contains("1..=3600"), "{stderr}");
}

#[test]
fn where_nobody_listens_the_url_is_named_and_how_to_give_another() {
    let nobody = format!("http://{}", free_address(Ipv4Addr::LOCALHOST));
    let (code, stdout, stderr) = run(status(&["--agent", &nobody]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    for words in [nobody.as_str(), "--agent=URL", "--metrics-port", "refused"] {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
}

/// Answers one request with `answer`, whatever it is.
async fn stranger(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_agent_or_an_older_one_is_told_apart() {
    let old = "here are /healthz, /readyz, /metrics, and with --debug /debug/store\n";
    let old: &'static str = format!(
        "HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{old}",
        old.len()
    )
    .leak();
    for (answer, words) in [
        (old, "older than this command"),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found",
            "is not a podiam agent: it answers 404",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "is not a podiam agent: it tells no status",
        ),
        (
            "HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\nevil \x1b[2J",
            "answers 500 Internal Server Error: evil [2J",
        ),
        ("SSH-2.0-OpenSSH_9.2p1\r\n", "is not a podiam agent"),
    ] {
        let url = stranger(answer).await;
        let (code, stdout, stderr) = run(status(&["--agent", &url]));
        assert_eq!((code, stdout.as_str()), (1, ""), "{answer}");
        assert!(stderr.contains(words) && stderr.contains(&url), "{stderr}");
        assert!(!stderr.contains('\x1b'), "{stderr:?}");
    }
    // A real service that is not podiam.
    let aws = Aws::start(Config::default()).await.unwrap();
    let (code, _, stderr) = run(status(&["--agent", &aws.imds_url()]));
    assert_eq!(code, 1);
    assert!(stderr.contains("is not a podiam agent"), "{stderr}");
}
