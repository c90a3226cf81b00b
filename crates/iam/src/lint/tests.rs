//! Every rule against documents that break it and documents that do not, in JSON and in Terraform.

mod terraform;

use super::*;
use terraform::TUTORIAL;

/// What is found: `CODE:line`, in the report's order.
fn found(sources: &[(&str, &str)], knowledge: &Knowledge) -> Vec<String> {
    let sources: Vec<Source<'_>> = sources
        .iter()
        .map(|&(name, text)| Source {
            name,
            text,
            language: Language::of(name, text),
        })
        .collect();
    let report = lint(&sources, knowledge);
    report
        .findings
        .iter()
        .map(|finding| format!("{}:{}", finding.code, finding.line))
        .collect()
}

fn in_json(text: &str) -> Vec<String> {
    found(&[("-", text)], &Knowledge::default())
}

fn in_hcl(text: &str) -> Vec<String> {
    found(&[("main.tf", text)], &Knowledge::default())
}

/// A policy of one Allow of AssumeRole and, where asked for, its Deny.
fn node_policy(resource: &str, denies: bool) -> String {
    let deny = format!(
        ",\n{{\"Effect\": \"Deny\", \"Action\": \"sts:AssumeRole\", \"NotResource\": {resource:?}}}"
    );
    format!(
        "{{\"Version\": \"2012-10-17\", \"Statement\": [\n{{\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRole\", \
         \"Resource\": {resource:?}}}{}]}}",
        if denies { &deny } else { "" }
    )
}

/// A role as `aws iam get-role` prints it, trusting `principal` (JSON) under `condition` (JSON).
fn role(principal: &str, condition: &str) -> String {
    format!(
        "{{\"Role\": {{\"Arn\": \"arn:aws:iam::123456789012:role/k8s/app\", \"RoleName\": \"app\",\n\
         \"AssumeRolePolicyDocument\": {{\"Version\": \"2012-10-17\", \"Statement\": [\n\
         {{\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRole\", \"Principal\": {principal}, \
         \"Condition\": {condition}}}]}},\n\"MaxSessionDuration\": 3600}}}}"
    )
}

const NODES: &str = r#"{"AWS": "arn:aws:iam::123456789012:role/nodes"}"#;

#[test]
fn how_far_assume_role_reaches_is_found() {
    for (resource, expected) in [
        ("*", &["PI101:2", "PI104:2"][..]),
        ("arn:aws:iam::123456789012:role/*", &["PI102:2", "PI104:2"]),
        ("arn:aws:iam::*:role/k8s/*", &["PI102:2", "PI104:2"]),
        (
            "arn:aws:iam::123456789012:role/k8s-*",
            &["PI103:2", "PI104:2"],
        ),
        ("arn:aws:iam::123456789012:role/k8s/*", &["PI104:2"]),
        ("arn:aws:iam::123456789012:role/k8s/app", &["PI104:2"]),
    ] {
        assert_eq!(
            in_json(&node_policy(resource, false)),
            expected,
            "{resource}"
        );
    }
}

#[test]
fn the_deny_closes_a_scoped_policy_and_is_no_deny_when_it_spares_everything() {
    let scoped = "arn:aws:iam::123456789012:role/k8s/*";
    assert!(in_json(&node_policy(scoped, true)).is_empty());
    assert_eq!(in_json(&node_policy("*", true)), ["PI101:2", "PI104:2"]);

    let conditional = node_policy(scoped, true).replace(
        "\"NotResource\"",
        "\"Condition\": {\"Bool\": {\"aws:SecureTransport\": \"false\"}}, \"NotResource\"",
    );
    assert_eq!(in_json(&conditional), ["PI104:2"]);
}

#[test]
fn actions_are_read_as_iam_reads_them() {
    for (action, assumes) in [
        (r#""Action": "STS:assumerole""#, true),
        (r#""Action": ["s3:GetObject", "sts:*"]"#, true),
        (r#""Action": "*""#, true),
        (r#""Action": "sts:Assume????""#, true),
        (r#""NotAction": "iam:*""#, true),
        (r#""NotAction": "sts:*""#, false),
        (r#""Action": "sts:AssumeRoleWithWebIdentity""#, false),
        (r#""Action": "s3:*""#, false),
    ] {
        let policy = node_policy("*", false).replace(r#""Action": "sts:AssumeRole""#, action);
        assert_eq!(
            in_json(&policy).contains(&"PI101:2".into()),
            assumes,
            "{action}"
        );
    }
    let policy = node_policy("arn:aws:s3:::x", false).replace("\"Resource\"", "\"NotResource\"");
    assert_eq!(in_json(&policy), ["PI101:2", "PI104:2"]);
}

#[test]
fn a_policy_that_reaches_the_node_role_is_found_by_the_trust_that_names_it() {
    let below = node_policy("arn:aws:iam::123456789012:role/n*", true);
    let both = [("p.json", below.as_str()), ("r.json", &role(NODES, "{}"))];
    assert_eq!(found(&both, &Knowledge::default()), ["PI103:2", "PI105:2"]);

    let knowledge = Knowledge {
        node_roles: vec![RoleArn::parse("arn:aws:iam::123456789012:role/k8s/nodes").unwrap()],
        account: None,
    };
    let path = "arn:aws:iam::123456789012:role/k8s/*";
    let policy = node_policy(path, true);
    assert_eq!(found(&[("-", &policy)], &knowledge), ["PI105:2"]);
    let denied = policy.replace(
        "]}",
        ", {\"Effect\": \"Deny\", \"Action\": \"sts:AssumeRole\", \"Resource\": \
         \"arn:aws:iam::123456789012:role/k8s/nodes\"}]}",
    );
    assert!(found(&[("-", &denied)], &knowledge).is_empty());
}

#[test]
fn whom_a_role_trusts_is_found() {
    let external = r#"{"StringEquals": {"sts:ExternalId": "x-1"}}"#;
    let who = r#"{"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/nodes"}}"#;
    let not_who = r#"{"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/x"}}"#;
    let any = r#"{"StringLike": {"sts:ExternalId": "*"}}"#;
    for (principal, condition, expected) in [
        (NODES, "{}", &["PI203:3"][..]),
        (r#""*""#, "{}", &["PI201:3"]),
        (r#"{"AWS": "*"}"#, not_who, &["PI201:3"]),
        (
            r#"{"AWS": "arn:aws:iam::123456789012:root"}"#,
            "{}",
            &["PI202:3"],
        ),
        (r#"{"AWS": "123456789012"}"#, "{}", &["PI202:3"]),
        (
            r#"{"AWS": "arn:aws:iam::123456789012:root"}"#,
            not_who,
            &["PI202:3"],
        ),
        (r#"{"AWS": "arn:aws:iam::123456789012:root"}"#, who, &[]),
        (
            r#"{"AWS": "arn:aws:iam::999999999999:role/nodes"}"#,
            "{}",
            &["PI205:3"],
        ),
        (
            r#"{"AWS": "arn:aws:iam::999999999999:role/nodes"}"#,
            any,
            &["PI205:3"],
        ),
        (
            r#"{"AWS": "arn:aws:iam::999999999999:role/nodes"}"#,
            external,
            &[],
        ),
        (r#"{"AWS": "AROAEXAMPLE1234567890"}"#, "{}", &["PI206:3"]),
        (r#"{"Service": "ec2.amazonaws.com"}"#, "{}", &[]),
        (
            r#"{"AWS": "arn:aws:iam::123456789012:role/nodes", "Service": "ec2.amazonaws.com"}"#,
            "{}",
            &["PI203:3", "PI207:3"],
        ),
        (
            r#"{"Federated": "cognito-identity.amazonaws.com"}"#,
            "{}",
            &[],
        ),
    ] {
        assert_eq!(
            in_json(&role(principal, condition)),
            expected,
            "{principal} {condition}"
        );
    }
    let others = role(NODES, "{}").replace("\"Principal\"", "\"NotPrincipal\"");
    assert_eq!(in_json(&others), ["PI208:3"]);
}

#[test]
fn trust_in_the_node_is_fine_once_its_policy_denies_the_rest() {
    let trust = role(NODES, "{}");
    for (denies, expected) in [(true, &[][..]), (false, &["PI104:2", "PI203:3"])] {
        let policy = node_policy("arn:aws:iam::123456789012:role/k8s/*", denies);
        let both = [("p.json", policy.as_str()), ("r.json", trust.as_str())];
        assert_eq!(found(&both, &Knowledge::default()), expected);
    }
}

#[test]
fn a_session_longer_than_chaining_allows_is_found_where_it_is_set() {
    let long = role(NODES, "{}").replace("3600", "7200");
    assert_eq!(in_json(&long), ["PI203:3", "PI204:4"]);
    let service = role(r#"{"Service": "ec2.amazonaws.com"}"#, "{}").replace("3600", "7200");
    assert!(in_json(&service).is_empty());
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_line() {
    assert_eq!(in_json("{\n\"Statement\": [}"), ["PI001:2"]);
    assert_eq!(in_hcl("x = 1\ny = = 2\n"), ["PI001:2"]);
    let nonsense = "{\"Statement\": [\n{\"Effect\": \"Perhaps\", \"Action\": \"sts:AssumeRole\"}]}";
    assert_eq!(in_json(nonsense), ["PI001:2"]);
}

#[test]
fn policies_in_texts_as_terraforms_plans_hold_them_are_read() {
    let plan = format!(
        "{{\"planned_values\": {{\"root_module\": {{\"resources\": [{{\"address\": \"aws_iam_policy.x\",\n\
         \"values\": {{\"policy\": {:?}}}}}]}}}}}}",
        node_policy("*", false)
    );
    assert_eq!(in_json(&plan), ["PI101:2", "PI104:2"]);
}

#[test]
fn an_ignored_finding_is_counted_and_not_shown() {
    let text = TUTORIAL
        .replace(
            "  statement {",
            "  # podiam:ignore PI101, PI104 the boundary forbids it\n  statement {",
        )
        .replace(
            "data \"aws_iam_policy_document\"",
            "# podiam:ignore PI105 the boundary forbids it\ndata \"aws_iam_policy_document\"",
        );
    assert_eq!(in_hcl(&text), ["PI204:29", "PI203:33", "PI207:33"]);
    let sid =
        node_policy("*", false).replace("\"Effect\"", "\"Sid\": \"PodiamIgnorePI101\", \"Effect\"");
    assert_eq!(in_json(&sid), ["PI104:2"]);
}

#[test]
fn what_podiam_writes_passes_its_own_lint() {
    use crate::documents::{Bootstrap, Bundle, MadeBy};
    use crate::render::{Format, render};
    let file = "baseRoleArn: arn:aws:iam::123456789012:role/k8s/\nnodeRole: nodes\nworkloads:\n  - {role: s3, preset: \
                s3-read, bucket: reports}\n  - {role: ebs, preset: ebs-csi}\n";
    let made_by = MadeBy {
        version: "0".into(),
        words: Vec::new(),
    };
    let roles = Bootstrap::parse(file).unwrap().roles().unwrap();
    let bundle = Bundle::new(made_by, roles).unwrap();
    for format in [Format::Json, Format::Hcl] {
        let text = render(&bundle, format).unwrap();
        assert_eq!(
            found(&[("-", &text)], &Knowledge::default()),
            [] as [&str; 0],
            "{text}"
        );
    }
}

#[test]
fn reports_say_the_same_in_every_format() {
    let source = Source {
        name: "a b.tf",
        text: TUTORIAL,
        language: Language::Hcl,
    };
    let report = lint(&[source], &Knowledge::default());
    assert_eq!(report.worst(), Some(Severity::Error));
    let text = report.write(Output::Text, "1");
    let json: serde_json::Value = serde_json::from_str(&report.write(Output::Json, "1")).unwrap();
    let sarif: serde_json::Value = serde_json::from_str(&report.write(Output::Sarif, "1")).unwrap();
    assert!(
        text.contains("a b.tf:13: error[PI101] data.aws_iam_policy_document.nodes: "),
        "{text}"
    );
    assert!(
        text.ends_with("1 error, 5 warnings, 0 notes in 3 documents; 0 ignored\n"),
        "{text}"
    );
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let findings = json["findings"].as_array().unwrap();
    assert_eq!((results.len(), findings.len()), (6, 6));
    for (result, finding) in results.iter().zip(findings) {
        assert_eq!(result["ruleId"], finding["code"]);
        assert_eq!(result["level"], finding["severity"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.tf");
        assert_eq!(place["region"]["startLine"], finding["line"]);
        let rules = sarif["runs"][0]["tool"]["driver"]["rules"]
            .as_array()
            .unwrap();
        let rule = result["ruleIndex"].as_u64().unwrap();
        assert_eq!(rules[usize::try_from(rule).unwrap()]["id"], finding["code"]);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(
        text in r#"([{}\[\]":,=\\\n$<*?a]|"Statement"|"Effect"|"Allow"|"Principal"|"Action": "sts:AssumeRole"|"Resource": "arn:|\$\{|resource "aws_iam_role" "x" \{|jsonencode\(|<<EOF|# podiam:ignore PI|ä){0,40}"#,
    ) {
        for language in [Language::Json, Language::Hcl] {
            let source = Source { name: "-", text: &text, language };
            let report = lint(&[source], &Knowledge::default());
            proptest::prop_assert!(report.write(Output::Text, "0").ends_with('\n'));
        }
    }
}
