//! The ceiling's file under a running agent.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::agent::Agent;
use crate::support::eventually;
use crate::support::http::ROLES;

/// A `ConfigMap` as the kubelet mounts it: the file is a link into a folder that is a link itself, and an update swaps
/// the latter.
struct ConfigMap(TempDir);

impl ConfigMap {
    fn with(text: &str) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        this.update(text);
        symlink("..data/ceiling.yaml", this.file()).unwrap();
        this
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("ceiling.yaml")
    }

    fn update(&self, text: &str) {
        let path = |name: &str| self.0.path().join(name);
        let versions = fs::read_dir(self.0.path()).unwrap().count();
        let version = format!("..version-{versions}");
        fs::create_dir(path(&version)).unwrap();
        fs::write(path(&version).join("ceiling.yaml"), text).unwrap();
        symlink(&version, path("..new")).unwrap();
        fs::rename(path("..new"), path("..data")).unwrap();
    }
}

const POD: &str = "127.0.2.120";

fn workloads(folder: &Path) -> String {
    let pod = format!(
        "kind: Pod\nmetadata: {{name: app, annotations: {{iam.amazonaws.com/role: app}}}}\nstatus: {{podIP: {POD}}}\n"
    );
    fs::write(folder.join("pods.yaml"), pod).unwrap();
    format!("--workloads={}", folder.display())
}

#[tokio::test]
async fn a_changed_ceiling_is_in_force_at_once_and_a_bad_one_leaves_the_last_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let workloads = workloads(folder.path());
    let map = ConfigMap::with("allow: ['*']\n");
    let ceiling = format!("--ceiling={}", map.file().display());
    let agent = Agent::start("http://127.0.0.1:9", &[&workloads, &ceiling]);
    agent.ready().await;
    agent.gives(POD, "app").await;

    let swapped = Instant::now();
    map.update("deny: ['arn:aws:iam::123456789012:role/app']\n");
    let refusal = agent.refuses(POD, 403).await;
    assert!(
        refusal.body.contains("is denied in this cluster"),
        "{}",
        refusal.body
    );

    // By the notice about the link: the file is read without one every 10 s.
    assert!(
        swapped.elapsed() < Duration::from_secs(5),
        "{:?}",
        swapped.elapsed()
    );

    map.update("deny:\n");
    let logged = agent.process().logs("the ceiling stays as it was").await;
    let right = ["ceiling.yaml", "deny", "expected a sequence"];
    assert!(right.iter().all(|words| logged.contains(words)), "{logged}");
    let found = |present| {
        let agent = &agent;
        async move {
            let readyz = agent.readyz().await?;
            let said = readyz.body.contains("finding ceiling-not-reloaded: ");
            if said == present && readyz.status == 200 {
                Ok(())
            } else {
                Err(readyz.body)
            }
        }
    };
    eventually("a finding about the bad file", || found(true)).await;
    assert_eq!(agent.ask(POD, ROLES).await.status, 403, "the last good one");

    map.update("allow: ['123456789012']\n");
    agent.gives(POD, "app").await;
    eventually("no finding any more", || found(false)).await;
    // It was read more often than that: at the start, and when it was bad.
    let log = agent.process().log();
    assert_eq!(log.matches("a new ceiling is in force").count(), 2, "{log}");
}

#[test]
fn a_bad_ceiling_at_the_start_is_a_configuration_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ceiling.yaml");
    fs::write(&file, "allow: [app]\n").unwrap();
    for (path, right) in [
        (file.as_path(), "allow[0]: \"app\": write an ARN"),
        (Path::new("/nowhere.yaml"), "cannot be read: No such file"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_podiam"))
            .args(["agent", &format!("--ceiling={}", path.display())])
            .env_clear()
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(
            errors.contains(right) && errors.contains(&path.display().to_string()),
            "{errors}"
        );
    }
}
