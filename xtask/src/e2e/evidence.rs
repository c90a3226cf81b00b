//! What is kept of a scene that failed: target/e2e/failed/SCENE.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::helm::NAMESPACE;
use super::stage::Stage;

/// Writes down the cluster as it is, what podiam said, the node's rules, and the logs so far.
pub(super) fn keep(stage: &Stage, scene: &str) -> Result<PathBuf> {
    let folder = stage.folder.join("failed").join(scene);
    fs::create_dir_all(&folder)?;
    let write = |name: &str, content: Result<String>| {
        let text = content.unwrap_or_else(|error| format!("{error:#}\n"));
        fs::write(folder.join(name), text)
    };
    let kubectl = |words: &[&str]| stage.kubectl.run(words);
    let selector = [
        "-n",
        NAMESPACE,
        "-l",
        "app.kubernetes.io/name=podiam",
        "--all-containers",
        "--prefix",
    ];
    write(
        "objects.yaml",
        kubectl(&[
            "get",
            "nodes,pods,daemonsets,jobs,namespaces",
            "-A",
            "-o",
            "yaml",
        ]),
    )?;
    write("pods.txt", kubectl(&["get", "pods", "-A", "-o", "wide"]))?;
    write(
        "events.txt",
        kubectl(&["get", "events", "-A", "--sort-by=.lastTimestamp"]),
    )?;
    write(
        "podiam.log",
        kubectl(&[&["logs", "--tail=-1"], &selector[..]].concat()),
    )?;
    write(
        "podiam-before.log",
        kubectl(&[&["logs", "--tail=-1", "--previous"], &selector[..]].concat()),
    )?;
    write("rules.txt", stage.node.run("nft", &["list", "ruleset"]))?;
    write("routes.txt", stage.node.run("ip", &["route"]))?;
    for pod in &stage.pods {
        write(
            &format!("{}.txt", pod.name),
            pod.counts().map(|counts| format!("{counts:#?}\n")),
        )?;
    }
    for entry in fs::read_dir(stage.folder.join("logs"))?.flatten() {
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(folder)
}
