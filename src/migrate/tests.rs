//! The module's root and its parts together, on texts.

use serde_json::{Value, json};

use super::*;

const NAMESPACE: &str = "
---
kind: Namespace
metadata: {name: web, annotations: {iam.amazonaws.com/allowed-roles: '[\"app\"]', iam.amazonaws.com/permitted: app}}
";

/// A Deployment of the namespace web.
fn deployment(name: &str, account: &str, annotations: &str) -> String {
    format!(
        "\n---\nkind: Deployment\nmetadata: {{name: {name}, namespace: web}}\nspec: {{template: {{metadata: \
         {{annotations: {annotations}}}, spec: {{serviceAccountName: {account}}}}}}}\n"
    )
}

fn role(name: &str) -> String {
    format!("{{iam.amazonaws.com/role: {name}}}")
}

fn report_with(text: &str, options: &Options) -> Report {
    let mut input = Input::default();
    input.add_text("x.yaml", text).unwrap();
    migrate(&input, options).unwrap()
}

fn report(text: &str) -> Report {
    report_with(text, &Options::default())
}

/// What is told about something.
fn about<'a>(report: &'a Report, about: &str) -> &'a Change {
    let found = report
        .changes
        .iter()
        .find(|change| change.about.contains(about));
    found.unwrap_or_else(|| panic!("{about} in {:?}", report.changes))
}

const KUBE2IAM: &str = "
kind: DaemonSet
metadata: {name: kube2iam, namespace: kube-system}
spec:
  updateStrategy: {type: OnDelete}
  template:
    spec:
      nodeSelector: {pool: workers}
      containers:
      - name: kube2iam
        image: docker.io/jtblin/kube2iam:0.11.1
        args: [--base-role-arn=arn:aws:iam::123456789012:role/, --iptables=true, --host-ip=$(HOST_IP), --node=$(NODE_NAME),
          --host-interface=cali+, --namespace-restrictions, --app-port, \"8282\", --verbose]
        env:
        - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: AWS_REGION, value: eu-west-1}
";

#[test]
fn a_daemonset_of_kube2iam_becomes_values_with_the_same_meaning() {
    let report = report(KUBE2IAM);
    assert_eq!(
        report.values,
        json!({
            "extraArgs": {
                "base-role-arn": "arn:aws:iam::123456789012:role/", "namespace-restrictions": "", "session": "role",
            },
            "extraEnv": {"AWS_REGION": "eu-west-1"},
            "host": {"port": 8182},
            "nodeSelector": {"pool": "workers"},
            "verbose": true,
        })
    );
    assert!(!report.needs_work(), "{:?}", report.changes);
    let removal = &report.plan[3].commands[0];
    assert!(
        removal.contains("kubectl delete daemonset kube2iam --namespace kube-system"),
        "{removal}"
    );
    let rule = report.plan[4].commands.join("\n");
    assert!(
        rule.contains("-i cali+") && rule.contains("$HOST_IP:8282"),
        "{rule}"
    );
}

#[test]
fn a_false_of_kube2iams_chart_stays_on_as_it_was_and_is_told() {
    let report = report(
        "host: {iptables: true, interface: eni+}\nextraArgs: {namespace-restrictions: false, debug: true}",
    );
    assert_eq!(report.values["extraArgs"]["namespace-restrictions"], "");
    assert!(
        about(&report, "namespace-restrictions: false")
            .says
            .contains("ON")
    );
}

#[test]
fn secrets_are_never_repeated() {
    let text = "aws: {access_key: AKIAEXAMPLE, secret_key: hush}\nhost: {iptables: true}";
    let report = report(text);
    assert!(about(&report, "aws.access_key").first);
    let told = report.text().unwrap() + &serde_json::to_string(&report).unwrap();
    assert!(
        !told.contains("hush") && !told.contains("AKIAEXAMPLE"),
        "{told}"
    );

    let object = KUBE2IAM.replace(
        "AWS_REGION, value: eu-west-1",
        "AWS_SECRET_ACCESS_KEY, value: hush",
    );
    let report = super::tests::report(&object);
    assert!(about(&report, "AWS_SECRET_ACCESS_KEY").first);
    assert!(!report.text().unwrap().contains("hush"));
}

#[test]
fn pods_on_a_bridge_get_the_look_that_they_need() {
    for (interface, enabled) in [
        ("docker0", true),
        ("cbr0", true),
        ("eni+", false),
        ("cali+", false),
        ("!eth0", false),
    ] {
        let report = report(&format!(
            "host: {{iptables: true, interface: '{interface}'}}"
        ));
        assert_eq!(
            report.values["selfTest"]["enabled"] == true,
            enabled,
            "{interface}"
        );
    }
}

#[test]
fn podiam_gets_ports_that_the_old_agent_does_not_have() {
    for (port, metrics, expected) in [
        (8181, Value::Null, json!([8182, null])),
        (8182, Value::Null, json!([8183, null])),
        (8181, json!(8182), json!([8183, null])),
        (8181, json!(9181), json!([8182, 9182])),
    ] {
        let text = json!({"host": {"port": port, "iptables": true}, "prometheus": {"metricsPort": metrics}});
        let values = report(&text.to_string()).values;
        assert_eq!(
            json!([values["host"]["port"], values["prometheus"]["metricsPort"]]),
            expected,
            "{text}"
        );
    }
}

#[test]
fn each_workload_is_judged_by_the_agents_own_policy() {
    let text = KUBE2IAM.to_owned()
        + NAMESPACE
        + &deployment("app", "app", &role("app"))
        + &deployment("admin", "app", &role("admin"))
        + &deployment("none", "app", "{}")
        + &deployment("odd", "app", &role("'a b'"));
    let report = report(&text);
    let roles: Vec<_> = report
        .workloads
        .iter()
        .map(|one| (one.workload.as_str(), one.role.as_deref()))
        .collect();
    assert_eq!(
        roles,
        [
            ("Deployment web/admin", None),
            (
                "Deployment web/app",
                Some("arn:aws:iam::123456789012:role/app")
            ),
            ("Deployment web/odd", None),
        ]
    );
    assert!(about(&report, "web/admin").first && about(&report, "web/odd").first);
    assert!(report.needs_work());
}

#[test]
fn a_namespace_that_was_not_read_is_not_guessed() {
    let report = report(&(KUBE2IAM.to_owned() + &deployment("app", "app", &role("app"))));
    assert!(
        about(&report, "web/app")
            .todo
            .contains("the namespace web was not read")
    );
}

#[test]
fn a_base_arn_that_nodes_discover_has_to_be_given() {
    let text = KUBE2IAM
        .replace(
            "--base-role-arn=arn:aws:iam::123456789012:role/",
            "--auto-discover-base-arn",
        )
        .replace("--namespace-restrictions, ", "")
        + &deployment("app", "app", &role("app"));
    let without = report(&text);
    assert!(about(&without, "the base ARN").first);
    assert_eq!(
        (&without.workloads[0].role, &without.workloads[0].refused),
        (&None, &None),
        "cannot tell"
    );
    let options = Options {
        base: Some(BaseArn::parse("arn:aws:iam::123456789012:role/").unwrap()),
        ..Options::default()
    };
    let with = report_with(&text, &options);
    assert_eq!(
        with.workloads[0].role.as_deref(),
        Some("arn:aws:iam::123456789012:role/app")
    );
}

#[test]
fn what_kiam_let_pass_and_podiam_does_not_is_told() {
    let kiam = "agent: {host: {iptables: true, interface: cali+}}\nserver: {roleBaseArn: 'arn:aws:iam::123456789012:role/'}";
    let text = |expression: &str, name: &str| {
        kiam.to_owned()
            + &NAMESPACE.replace("permitted: app", &format!("permitted: '{expression}'"))
            + &deployment("app", "app", &role(name))
    };
    for (expression, name, allowed) in [
        ("app", "app", true),
        ("app|web", "web", true),
        ("app|web", "app-admin", false),
        ("^app$", "app", false),
        (".*", "/app", false),
    ] {
        let report = report(&text(expression, name));
        assert_eq!(
            report.workloads[0].role.is_some(),
            allowed,
            "{expression} {name}"
        );
        let told = report
            .changes
            .iter()
            .any(|change| change.about.contains("web/app"));
        assert_eq!(told, !allowed, "{expression} {name}");
    }
}

#[test]
fn kiams_agent_and_server_make_one_set_of_values() {
    let container = |name: &str, args: &str| {
        format!(
            "---\nkind: DaemonSet\nmetadata: {{name: {name}, namespace: kiam}}\nspec: {{template: {{spec: {{containers: \
             [{{name: kiam, image: 'quay.io/uswitch/kiam:v4.0', command: [/kiam], args: {args}}}]}}}}}}\n"
        )
    };
    let agent = "[agent, --iptables, --host-interface=cali+, --json-log, --port=8181, --cert=/a, --key=/b, --ca=/c, \
        '--server-address=kiam-server:443', '--prometheus-listen-addr=0.0.0.0:9620']";
    let server = "[server, --role-base-arn-autodetect, --session=kiam, --session-duration=60m, --role-alias=a=b, --sync=1m]";
    let report = report(&(container("agent", agent) + &container("server", server)));
    assert_eq!(report.values["extraArgs"]["iam-session-duration"], "60m");
    assert_eq!(report.values["extraArgs"]["auto-discover-base-arn"], "");
    assert_eq!(report.values["extraArgs"]["log-format"], "json");
    assert_eq!(report.values["host"]["port"], 8182);
    assert!(about(&report, "--role-alias").first);
    assert!(
        about(&report, "kiam's own iptables rule")
            .says
            .contains("opens")
    );
    assert_eq!(report.plan[4].commands.len(), 2, "both are taken away");
}

#[test]
fn a_pod_says_nothing_more_than_its_controller() {
    let owned = "
---
kind: ReplicaSet
metadata: {name: app-1, namespace: web, ownerReferences: [{kind: Deployment, name: app}]}
spec: {template: {metadata: {annotations: {iam.amazonaws.com/role: app}}, spec: {serviceAccountName: app}}}
---
kind: Pod
metadata: {name: app-1-x, namespace: web, annotations: {iam.amazonaws.com/role: app}, ownerReferences: [{kind: ReplicaSet, name: app-1}]}
spec: {serviceAccountName: app}
---
kind: Pod
metadata: {name: alone, namespace: web, annotations: {iam.amazonaws.com/role: app}, ownerReferences: [{kind: Workflow, name: w}]}
spec: {serviceAccountName: app}
";
    let report = report(
        &(KUBE2IAM.to_owned() + NAMESPACE + &deployment("app", "app", &role("app")) + owned),
    );
    let names: Vec<_> = report
        .workloads
        .iter()
        .map(|one| one.workload.as_str())
        .collect();
    assert_eq!(names, ["Deployment web/app", "Pod web/alone"]);
}

#[test]
fn the_way_out_names_every_conflict() {
    let text = KUBE2IAM.replace("--namespace-restrictions, ", "")
        + &deployment("one", "shared", &role("one"))
        + &deployment("two", "shared", &role("two"))
        + &deployment("plain", "shared", "{}")
        + &deployment("three", "default", &role("three"))
        + &deployment("far", "far", &role("'arn:aws:iam::210987654321:role/far'"))
        + &deployment(
            "id",
            "id",
            "{iam.amazonaws.com/role: id, iam.amazonaws.com/external-id: x-1}",
        )
        + &deployment("fine", "fine", &role("fine"));
    let provider = "arn:aws:iam::123456789012:oidc-provider/oidc.example/id/A"
        .parse()
        .unwrap();
    let told = |to: Target| {
        report_with(
            &text,
            &Options {
                to: Some(to),
                ..Options::default()
            },
        )
        .leave
        .unwrap()
    };
    let irsa = told(Target::Irsa(provider));
    for words in [
        "service account web/shared: its pods have different roles",
        "service account web/shared: pods that podiam gives no role run as it too, and would have one: Deployment web/plain",
        "service account web/default: every pod of the namespace",
        "arn:aws:iam::210987654321:role/far is in another account",
        "Deployment web/id: an external ID cannot be given",
    ] {
        assert!(
            irsa.conflicts
                .iter()
                .any(|conflict| conflict.contains(words)),
            "{words}: {:?}",
            irsa.conflicts
        );
    }
    assert_eq!(irsa.conflicts.len(), 5);
    let fine = irsa
        .roles
        .iter()
        .find(|role| role.role.ends_with("/fine"))
        .unwrap();
    assert_eq!(
        fine.commands,
        [
            "kubectl annotate serviceaccount fine --namespace web eks.amazonaws.com/role-arn=arn:aws:iam::123456789012:role/fine"
        ]
    );
    let pods = told(Target::PodIdentity("demo".to_owned()));
    assert!(
        pods.roles[0].commands[0]
            .starts_with("aws eks create-pod-identity-association --cluster-name demo")
    );
}

#[test]
fn nothing_and_both_are_errors_that_say_what_was_looked_for() {
    let error = |text: &str| {
        let mut input = Input::default();
        input.add_text("x.yaml", text).unwrap();
        migrate(&input, &Options::default())
            .unwrap_err()
            .to_string()
    };
    assert!(
        error("kind: Pod\nmetadata: {name: a}")
            .contains("neither kube2iam nor kiam was found in 1 workloads")
    );
    assert!(error("host: {}\n---\nagent: {}").contains("both"));
}
