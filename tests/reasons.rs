//! docs/reasons.md says of every reason what the code says: it is made of the enum, and this test compares the two. After a
//! change of the enum, `PODIAM_WRITE_DOCS=1 cargo test --test reasons` writes it anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

use std::collections::BTreeSet;
use std::fmt::Write;

use podiam::imds::route::Rejection;
use podiam::reason::{Facts, Question, Reason};

const PAGE: &str = "docs/reasons.md";

const HEAD: &str = "\
# Reasons

Why a pod gets no credentials, or no answer at all. Each reason has a code that does not change: it is the metric's
label (`podiam_refusals_total{reason=\"...\"}`), the field `reason` of the access log, and what [`podiam explain`](explain.md)
begins with. The text beside it says which role, namespace or annotation it is about, in the body of the HTTP answer too;
AWS's own words are told to the operator alone.

The status is chosen for the SDKs: 404 and 403 are final for them, 503 is asked again, and 401 makes them fetch a new
token.

This page is made of the code (`src/reason/facts.rs`); `PODIAM_WRITE_DOCS=1 cargo test --test reasons` writes it anew.
";

fn heading(question: Question) -> (&'static str, &'static str) {
    match question {
        Question::Identity => (
            "Who is asking?",
            "Told to the client at that address, in the log and in the metric. `podiam explain` tells it of a pod that \
             can get no other answer.",
        ),
        Question::Share => (
            "How much may one pod use?",
            "Told to the client at that address, in the log and in the metric.",
        ),
        Question::Role => (
            "Which role may it have?",
            "Told to the pod, in the log, in the metric and by `podiam explain`. Guards in audit mode refuse nobody: \
             what they would have said is in `podiam_audited_total{reason=\"...\"}`. What the \
             [admission policy](guards.md) can know it says to whoever applies the pod.",
        ),
        Question::Credentials => (
            "What are its credentials?",
            "Told to the pod, in the log, in the metric and by `podiam explain`, which adds what AWS said and what that \
             means.",
        ),
        Question::Request => (
            "Is the request in order?",
            "Told to the pod, in the log and in the metric.",
        ),
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n| code | status | |\n| --- | --- | --- |\n");
    for Facts {
        code,
        status,
        meaning,
        ..
    } in Reason::ALL
    {
        writeln!(page, "| [`{code}`](#{code}) | {status} | {meaning} |").unwrap();
    }
    for question in Question::ALL {
        let (title, told) = heading(question);
        write!(page, "\n## {title}\n\n{told}\n").unwrap();
        for facts in Reason::ALL
            .iter()
            .filter(|facts| facts.question == question)
        {
            let Facts {
                code,
                status,
                meaning,
                cause,
                fix,
                ..
            } = facts;
            write!(
                page,
                "\n### {code}\n\nHTTP {status}. {meaning}\n\n- **Likely cause:** {cause}\n- **What to do:** {fix}\n"
            )
            .unwrap();
        }
    }
    page.push_str(
        "\n## Requests that no client of the metadata service sends\n\nRefused before it is known who asks; the same \
         label and field tell them.\n\n| code | status | what the client reads |\n| --- | --- | --- |\n",
    );
    for rejection in [
        Rejection::Malformed("..."),
        Rejection::BadTokenTtl,
        Rejection::ForeignHost,
        Rejection::ForwardedToken,
        Rejection::NotFound,
        Rejection::MethodNotAllowed("..."),
    ] {
        let (code, status) = (rejection.code(), rejection.status());
        writeln!(page, "| `{code}` | {status} | {rejection} |").unwrap();
    }
    page.push_str(
        "| `no-document` | 404 | not found (the real metadata service has no such document) |\n",
    );
    page
}

#[test]
fn the_page_of_reasons_says_what_the_code_says() {
    let page = page();
    if std::env::var_os("PODIAM_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    let differs = written
        .lines()
        .zip(page.lines())
        .find(|(written, right)| written != right);
    assert!(
        written == page,
        "{PAGE} is not what the code gives ({differs:?}): PODIAM_WRITE_DOCS=1 cargo test --test reasons"
    );
}

#[test]
fn each_reason_has_a_code_of_its_own_a_status_of_imds_and_three_sentences() {
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|facts| facts.code).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    for facts in Reason::ALL {
        let Facts { code, status, .. } = facts;
        assert!([401, 403, 404, 503].contains(status), "{code}");
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(code.bytes().all(legal), "{code}");
        for sentence in [facts.meaning, facts.cause, facts.fix] {
            assert!(
                sentence.ends_with(['.', ')']) && !sentence.contains(['\n', '|']),
                "{code}: {sentence}"
            );
        }
    }
}
