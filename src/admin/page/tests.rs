//! The page: what may be injected into it, what its policy names, whether its colours can be read.

use std::collections::HashMap;

use serde_json::json;

use super::*;

/// A document whose every text is `word`.
fn every_text(word: &str) -> Status {
    let told = json!({"code": word, "text": word});
    let pod = |state: &str, role: Option<&str>| {
        json!({
            "namespace": word, "name": word, "uid": word, "addresses": ["10.0.0.1"], "service_account": word,
            "host_network": false, "known_by": word, "state": state, "role": role, "role_name": role,
            "source": word, "reason": told, "audited": [told],
            "credentials": {"state": "fresh", "session_name": word, "access_key_id": word, "left_seconds": 61},
            "requests": 1, "denials": 1,
        })
    };
    let agent = json!({
        "version": word, "node": word, "time": "2026-11-24T15:00:00Z", "uptime_seconds": 1, "ready": false,
        "conditions": [{"name": word, "missing": word}], "findings": [told],
        "sources": [{"resource": word, "synced": false, "failures": 1, "error": word}],
        "interception": {"mode": word, "repairs": 2, "self_test": word}, "identity": word,
        "sts": {"rate": 20.0, "concurrency": 8, "running": 0, "waiting": [0, 0, 0]},
    });
    let pods = [
        pod("served", Some(word)),
        pod("refused", None),
        pod("no-role", None),
    ];
    serde_json::from_value(json!({"agent": agent, "pods": pods})).unwrap()
}

#[test]
fn no_text_of_the_document_becomes_markup() {
    let attack = "\"'><script>x</script><img src=x onerror=x></style></title><!--";
    let page = render(every_text(attack), View::default()).unwrap();
    // The page is the same, but for the words: as many elements, whatever they say.
    let harmless = render(every_text("word"), View::default()).unwrap();
    for mark in ["<", ">", "\"", "<!--", "<script", "<img", "</style>"] {
        let count = |page: &str| page.matches(mark).count();
        assert_eq!(count(&page), count(&harmless), "{mark} in {page}");
    }
    assert!(page.matches("&#60;script&#62;").count() >= 20, "{page}");
}

#[test]
fn the_policy_names_the_style_that_stands_in_the_page() {
    let page = render(every_text("word"), View::default()).unwrap();
    let (_, rest) = page.split_once("<style>").unwrap();
    let (style, _) = rest.split_once("</style>").unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, style.as_bytes());
    let named = format!("style-src 'sha256-{}'", STANDARD.encode(digest));
    assert!(POLICY.contains(&named), "{}", *POLICY);
    assert_eq!(page.matches("<style").count(), 1);
    for elsewhere in ["src=", "http://", "https://", "url(", "@import", " style="] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn a_reader_gets_the_view_that_was_asked_for_and_links_to_the_others() {
    let view = View::of(Some("refused&refresh"));
    let page = render(every_text("word"), view).unwrap();
    assert!(page.contains("content=\"5\"") && page.contains("The pods that are refused"));
    assert!(page.contains("href=\"/status?refresh\"") && page.contains("href=\"/status?refused\""));
    assert_eq!(
        page.matches("<tr role=\"row\" class=\"refused\"").count(),
        1
    );
    assert!(!page.contains("class=\"served\""), "{page}");
    for query in [None, Some(""), Some("refused=1x&other"), Some("%72efused")] {
        assert_eq!(View::of(query), View::default(), "{query:?}");
    }
}

/// The colours of a theme, by name.
fn theme(css: &str) -> HashMap<&str, [f64; 3]> {
    let declared = css.split(';').filter_map(|declaration| {
        let (name, value) = declaration.trim().rsplit_once(": #")?;
        let channel = |at: usize| u8::from_str_radix(value.get(at..at + 2)?, 16).ok();
        let rgb = [channel(0)?, channel(2)?, channel(4)?];
        let name = name.rsplit("--").next()?;
        Some((name, rgb.map(|channel| f64::from(channel) / 255.0)))
    });
    declared.collect()
}

/// WCAG 2.2, relative luminance and contrast ratio.
fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let luminance = |rgb: [f64; 3]| {
        let linear = rgb.map(|c| {
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    };
    let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
    a.max(b) / a.min(b)
}

#[test]
fn every_text_can_be_read_on_every_ground_in_light_and_dark() {
    let (light, rest) = CSS.split_once("@media").unwrap();
    let (dark, _) = rest.split_once("* {").unwrap();
    for theme in [theme(light), theme(dark)] {
        assert_eq!(theme.len(), 11, "{theme:?}");
        for ground in ["page", "card", "bad-tint", "warn-tint"] {
            for text in ["text", "quiet", "link", "ok", "warn", "bad"] {
                let ratio = contrast(theme[text], theme[ground]);
                // Level AA, for text of any size.
                assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
            }
        }
    }
}
