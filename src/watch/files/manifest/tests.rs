//! Manifests as people write them, and the line that an operator reads about a bad one.

use super::*;
use crate::watch::objects::test_keys;
use crate::workload::PodUid;

fn read_files(files: &[(&str, &str)], node: Option<&str>) -> Result<Manifests, String> {
    let sources: Vec<Source> = files
        .iter()
        .map(|(file, text)| Source {
            file: (*file).into(),
            text: (*text).into(),
        })
        .collect();
    read(&sources, node, &test_keys()).map_err(|error| error.to_string())
}

fn read_text(text: &str) -> Result<Manifests, String> {
    read_files(&[("pods.yaml", text)], None)
}

#[test]
fn documents_of_several_kinds_in_one_file_are_read_and_others_skipped() {
    let manifests = read_text(
        "\
# A tutorial's manifest
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  annotations: {iam.amazonaws.com/allowed-roles: '[\"reader\"]'}
---
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  uid: 5f0c
  creationTimestamp: 2026-01-02T03:04:05Z
  annotations: {iam.amazonaws.com/role: reader}
spec: {serviceAccountName: web, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: '2001:db8::1'}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: v1
kind: ConfigMap
data: {spec: x}
",
    )
    .unwrap();
    let [pod] = manifests.pods.as_slice() else {
        panic!("{manifests:?}")
    };
    assert_eq!(pod.uid, PodUid::new("5f0c"));
    assert_eq!((&*pod.namespace, &*pod.name), ("shop", "web"));
    assert_eq!(pod.annotations.role.as_deref(), Some("reader"));
    assert_eq!(pod.addresses.len(), 2);
    assert_eq!(
        manifests.namespaces,
        [Namespace {
            name: "shop".into(),
            allowed_roles: Some("[\"reader\"]".into()),
            ..Namespace::default()
        }]
    );
    let skipped: Vec<_> = manifests
        .skipped
        .iter()
        .map(|one| (one.document, &*one.kind, one.makes_pods))
        .collect();
    assert_eq!(skipped, [(3, "Deployment", true), (4, "ConfigMap", false)]);
}

#[test]
fn what_a_cluster_would_have_filled_in_has_a_default() {
    let manifests =
        read_text("kind: Pod\nmetadata: {name: web, creationTimestamp: null}\n").unwrap();
    let [pod] = manifests.pods.as_slice() else {
        panic!("{manifests:?}")
    };
    assert_eq!(pod.uid.as_str(), "manifest:default/web");
    assert_eq!(&*pod.namespace, "default");
    assert!(!pod.terminal && !pod.host_network && pod.addresses.is_empty());
    assert_eq!(
        manifests.namespaces,
        [Namespace {
            name: "default".into(),
            ..Namespace::default()
        }]
    );
}

#[test]
fn lists_are_read_in_yaml_and_json_whether_or_not_their_items_say_what_they_are() {
    for list in [
        "kind: List\nitems:\n- kind: Pod\n  metadata: {name: a}\n- kind: Namespace\n  metadata: {name: default}\n",
        "kind: PodList\nitems:\n- metadata: {name: a}\n",
        "{\n\t\"kind\": \"List\",\n\t\"items\": [{\"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}}]\n}\n",
    ] {
        let manifests = read_text(list).unwrap();
        assert_eq!(manifests.pods.len(), 1, "{list}");
        assert_eq!(manifests.namespaces.len(), 1, "{list}");
    }
    assert_eq!(
        read_text("kind: PodList\nitems: []\n").unwrap(),
        Manifests::default()
    );
}

#[test]
fn an_error_names_file_document_line_and_field() {
    let good = "kind: Pod\nmetadata: {name: a}\n---\n";
    for (text, expected) in [
        (
            "kind: Pod\nmetadata: {name: b}\nspec: {hostNetwork: maybe}\n",
            "pods.yaml, document 2 (line 4): spec.hostNetwork: invalid type: string \"maybe\", expected a boolean",
        ),
        (
            "kind: List\nitems:\n- kind: Pod\n  metadata: {name: b}\n- kind: Pod\n  metadata: {name: c, annotations: {k: 1}}\n",
            "pods.yaml, document 2 (line 8): metadata.annotations.k: invalid type: integer `1`, expected a string",
        ),
        (
            "kind: Pod\nmetadata: {name: b}\nstatus: {podIP: 10.0.0.256}\n",
            "pods.yaml, document 2 (line 4): status.podIPs: \"10.0.0.256\" is not an IP address",
        ),
        (
            "kind: Pod\n",
            "pods.yaml, document 2 (line 4): metadata.name is missing",
        ),
        (
            "kind: Pod\nmetadata: {name: \"b\\nc\"}\n",
            "pods.yaml, document 2 (line 4): metadata.name: \"b\\nc\" is not a name that Kubernetes allows",
        ),
        (
            "replicas: 2\n",
            "pods.yaml, document 2 (line 4): kind is missing: this is no Kubernetes manifest",
        ),
        (
            "kind: Pod\nmetadata: {name: [b}\n",
            "pods.yaml, document 2: ",
        ),
        (
            "kind: Pod\nmetadata: {name: a}\n",
            "pods.yaml, document 2 (line 4): the Pod \"default/a\" is in pods.yaml, document 1 (line 1) already",
        ),
    ] {
        let error = read_text(&format!("{good}{text}")).unwrap_err();
        assert!(error.starts_with(expected), "{error:?} is not {expected:?}");
        assert!(!error.contains('\n'), "{error:?}");
    }
}

#[test]
fn a_syntax_error_says_its_line() {
    let error = read_text("kind: Pod\nmetadata: {name: a}\n---\nkind: 'x\n").unwrap_err();
    assert_eq!(
        error,
        "pods.yaml, document 2: unclosed quote at line 4, column 7"
    );
}

#[test]
fn two_pods_cannot_have_one_uid() {
    let files = [
        ("a.yaml", "kind: Pod\nmetadata: {name: a, uid: u}\n"),
        ("b.yaml", "kind: Pod\nmetadata: {name: b, uid: u}\n"),
    ];
    let error = read_files(&files, None).unwrap_err();
    assert_eq!(
        error,
        "b.yaml, document 1 (line 1): the UID \"u\" is in a.yaml, document 1 (line 1) already"
    );
}

#[test]
fn with_a_node_only_its_own_pods_and_those_of_no_node_are_kept() {
    let text = "\
kind: Pod
metadata: {name: here}
spec: {nodeName: node-1}
---
kind: Pod
metadata: {name: there}
spec: {nodeName: node-2}
---
kind: Pod
metadata: {name: anywhere}
";
    let names = |node| {
        let manifests = read_files(&[("pods.yaml", text)], node).unwrap();
        manifests
            .pods
            .iter()
            .map(|pod| pod.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(Some("node-1")), ["here", "anywhere"]);
    assert_eq!(names(None), ["here", "there", "anywhere"]);
}

#[test]
fn a_dump_of_a_large_cluster_is_read() {
    let item = |n: usize| format!("- {{kind: Pod, metadata: {{name: p{n}}}}}\n");
    let items: String = (0..45_000).map(item).collect();
    let manifests = read_text(&format!("kind: List\nitems:\n{items}")).unwrap();
    assert_eq!(manifests.pods.len(), 45_000);
}
