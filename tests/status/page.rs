//! The page in a real browser, with scripts off.

use std::path::Path;

use crate::browser::{Browser, Eyes};
use crate::scene::{Scene, address, ask, manifests};
use crate::support::manifest;

/// A window, and a phone, in CSS pixels.
const WIDE: u32 = 1000;
const PHONE: u32 = 390;

const URL: &str = "http://127.0.0.1:9181/status";

/// Width and height, as the picture's own header has them.
fn size(png: &Path) -> (u32, u32) {
    let bytes = std::fs::read(png).unwrap();
    assert_eq!(&bytes[1..4], b"PNG");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// The text of an HTML tree, without tags.
fn text(tree: &str) -> String {
    let tags = regex::Regex::new(r"(?s)<style.*?</style>|<[^>]*>").unwrap();
    let text = tags.replace_all(tree, " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The row of a pod.
fn row<'a>(tree: &'a str, pod: &str) -> &'a str {
    let mut rows = tree.split("<tr ");
    let row = rows.find(|row| row.contains(&format!(">{pod}<")));
    row.unwrap_or_else(|| panic!("no row of {pod} in {tree}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_every_pod_with_its_role_or_reason_in_light_and_dark_wide_and_narrow() {
    let scene = Scene::new(&manifests()).await;
    scene.settled().await;
    let (api, cart) = (scene.enter(14), scene.enter(17));
    for _ in 0..12 {
        assert_eq!(ask(&api, "payments-api").await, 200);
    }
    assert_eq!(ask(&cart, "payments-api").await, 403);

    let mut browser = Browser::start(&scene);
    browser.open(URL);
    let dom = browser.tree();
    for (pod, words) in [
        (
            "api-7d4b9f6c58-2xk4p",
            &[
                "✓ served",
                "10.0.100.14",
                "payments-api",
                "named by the pod",
                "fresh",
                "min",
                "ASIA",
                " 12 ",
            ][..],
        ),
        (
            "cart-5c9d8b7f64-m6tpl",
            &[
                "✕ refused",
                "namespace-forbids",
                "is not allowed in the namespace",
            ],
        ),
        (
            "ledger-0",
            &[
                "✕ refused",
                "payments-ledger",
                "sts-refused",
                "AWS STS refuses this role",
                "failed",
            ],
        ),
        ("etl-29c7x", &["… waiting", "etl"]),
        ("frontend-84f7d9c6b5-hj2vn", &["– no role", "no-role"]),
        ("aws-node-8vq2z", &["– no role", "the node’s own"]),
    ] {
        let row = text(row(&dom, pod));
        for word in words {
            assert!(row.contains(word), "{word:?} in {row}");
        }
    }
    let all = text(&dom);
    assert!(
        all.contains("✓ Ready") && all.contains("nftables, rules intact, self-test: intercepted"),
        "{all}"
    );
    assert!(!dom.contains("<script"), "{dom}");

    look_in_every_way(&mut browser);

    browser.open(&format!("{URL}?refused&refresh"));
    let only = text(&browser.tree());
    assert!(
        only.contains("ledger-0") && !only.contains("etl-29c7x"),
        "{only}"
    );
    assert!(only.contains("Stop refreshing"), "{only}");
}

/// In light and dark, at a window and on a phone: nothing is cut off, a screen reader is told what it is, pictures are kept.
fn look_in_every_way(browser: &mut Browser) {
    for (name, dark, width) in [
        ("light.png", false, WIDE),
        ("dark.png", true, WIDE),
        ("light-phone.png", false, PHONE),
        ("dark-phone.png", true, PHONE),
    ] {
        browser.look(Eyes { dark, width });
        let (laid_out, height) = browser.extent();
        assert_eq!(
            laid_out,
            u64::from(width),
            "{name}: nothing is cut off at the side"
        );
        let png = browser.picture(name);
        let (seen, tall) = size(&png);
        assert_eq!(
            (seen, u64::from(tall)),
            (width, height),
            "{}",
            png.display()
        );
        if width == WIDE {
            browser.picture(&name.replace(".png", ".webp"));
        }
        let spoken = browser.spoken();
        let says =
            |role: &str, name: &str| spoken.iter().any(|it| it.0 == role && it.1.contains(name));
        for (role, words) in [
            ("table", "The pods of this node"),
            ("columnheader", "Credentials"),
            ("rowheader", "refused ledger-0"),
            ("cell", "sts-refused"),
            ("link", "Only refused"),
            ("heading", "podiam"),
        ] {
            assert!(
                says(role, words),
                "{name}: no {role} {words:?} in {spoken:#?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hostile_annotation_says_is_shown_as_text_and_becomes_no_element() {
    let attack = r#""><script>document.title='owned'</script><img src=x onerror=alert(1)>"#;
    let pods = [manifest::pod("hostile", &address(21).to_string()).role(attack)];
    let scene = Scene::new(&pods).await;
    let reply = scene.agent().ask_admin("/status").await.unwrap();
    assert!(reply.body.contains("hostile"), "{}", reply.body);
    for raw in ["<script", "<img"] {
        assert!(!reply.body.contains(raw), "{raw} in {}", reply.body);
    }
    let policy = reply.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(reply.headers["x-content-type-options"], "nosniff");
    assert_eq!(reply.headers["cache-control"], "no-store");

    let mut browser = Browser::start(&scene);
    browser.open(URL);
    let dom = browser.tree();
    assert!(!dom.contains("<script") && !dom.contains("<img"), "{dom}");
    let shown = text(&dom);
    assert!(
        shown.contains("malformed-role") && shown.contains("&lt;script&gt;"),
        "{shown}"
    );
}
