//! Files that change under a running watch. Every wait is for the status or the snapshot itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use crate::config::PodSource;
use crate::watch::harness::Watch;

fn watch(path: &Path) -> Watch {
    Watch::on(PodSource::Files(path.to_owned()))
}

fn pod(name: &str, address: &str) -> String {
    format!("kind: Pod\nmetadata: {{name: {name}}}\nstatus: {{podIP: {address}}}\n---\n")
}

/// Replaces a file as editors do: written beside it and renamed over it.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[tokio::test]
async fn a_single_file_is_read_and_followed_through_writes_and_renames() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pods.yaml");
    fs::write(&file, pod("first", "10.0.0.1")).unwrap();
    let mut watch = watch(&file);
    watch.synced().await;
    assert_eq!(watch.at("10.0.0.1").as_deref(), Some("first"));

    replace(&file, &pod("second", "10.0.0.1"));
    watch.until_at("10.0.0.1", Some("second")).await;
    fs::write(&file, pod("third", "10.0.0.1")).unwrap();
    watch.until_at("10.0.0.1", Some("third")).await;
}

#[tokio::test]
async fn a_folder_is_all_its_manifests_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.yaml"), pod("a", "10.0.0.1")).unwrap();
    fs::write(path("b.yml"), pod("b", "10.0.0.2")).unwrap();
    fs::write(
        path("c.json"),
        r#"{"kind": "Pod", "metadata": {"name": "c"}, "status": {"podIP": "10.0.0.3"}}"#,
    )
    .unwrap();
    fs::write(path("README.md"), "not: [a manifest").unwrap();
    fs::write(path(".hidden.yaml"), "not: [a manifest").unwrap();
    fs::create_dir(path("sub.yaml")).unwrap();
    fs::write(path("sub.yaml/d.yaml"), pod("d", "10.0.0.4")).unwrap();
    let mut watch = watch(folder.path());
    watch.synced().await;
    let found = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|address| watch.at(address));
    assert_eq!(
        found,
        [Some("a".into()), Some("b".into()), Some("c".into()), None]
    );

    fs::write(path("e.yaml"), pod("e", "10.0.0.5")).unwrap();
    watch.until_at("10.0.0.5", Some("e")).await;
    fs::remove_file(path("a.yaml")).unwrap();
    watch.until_at("10.0.0.1", None).await;
    assert_eq!(watch.at("10.0.0.2").as_deref(), Some("b"));
}

#[tokio::test]
async fn a_bad_manifest_is_told_and_leaves_the_last_good_state_of_all_files() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.yaml"), pod("a", "10.0.0.1")).unwrap();
    fs::write(path("b.yaml"), pod("b", "10.0.0.2")).unwrap();
    let mut watch = watch(folder.path());
    watch.synced().await;

    replace(
        &path("b.yaml"),
        "kind: Pod\nmetadata: {name: b}\nspec: {hostNetwork: maybe}\n",
    );
    let error = watch.failure().await;
    let file = path("b.yaml").display().to_string();
    let expected = format!("{file}, document 1 (line 1): spec.hostNetwork: ");
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(watch.at("10.0.0.2").as_deref(), Some("b"));

    // The next reading sees a good change in one file and another mistake in the other: neither is taken.
    replace(&path("a.yaml"), &pod("a", "10.0.0.9"));
    replace(&path("b.yaml"), "kind: Pod\n");
    watch.failure_saying("metadata.name is missing").await;
    assert_eq!(watch.at("10.0.0.1").as_deref(), Some("a"));
    assert_eq!(watch.at("10.0.0.9"), None);

    replace(&path("b.yaml"), &pod("b", "10.0.0.3"));
    watch.synced().await;
    assert_eq!(watch.at("10.0.0.9").as_deref(), Some("a"));
    assert_eq!(watch.at("10.0.0.3").as_deref(), Some("b"));
    assert_eq!(watch.at("10.0.0.2"), None);
}

#[tokio::test]
async fn a_configmap_volume_is_followed_through_its_links() {
    let volume = TempDir::new().unwrap();
    let path = |name: &str| volume.path().join(name);
    let version = |name: &str, text: &str| {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("pods.yaml"), text).unwrap();
        symlink(name, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
    };
    version("..2026_01", &pod("old", "10.0.0.1"));
    symlink("..data/pods.yaml", path("pods.yaml")).unwrap();
    let mut folder = watch(volume.path());
    let mut file = watch(&path("pods.yaml"));
    folder.synced().await;
    file.synced().await;
    assert_eq!(folder.at("10.0.0.1").as_deref(), Some("old"));

    version("..2026_02", &pod("new", "10.0.0.1"));
    folder.until_at("10.0.0.1", Some("new")).await;
    file.until_at("10.0.0.1", Some("new")).await;
}

#[tokio::test]
async fn a_path_that_is_not_there_is_told_at_each_reading_and_found_when_it_comes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pods");
    let mut watch = watch(&path);
    let error = watch.failure().await;
    let expected = format!("{path:?} of --workloads cannot be read: No such file or directory");
    assert!(error.starts_with(&expected), "{error}");
    watch.failed_times(2).await;

    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), pod("a", "10.0.0.1")).unwrap();
    watch.until_at("10.0.0.1", Some("a")).await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_followed_in_its_new_place() {
    let parent = TempDir::new().unwrap();
    let (path, old, next) = (
        parent.path().join("pods"),
        parent.path().join("old"),
        parent.path().join("next"),
    );
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), pod("a", "10.0.0.1")).unwrap();
    let mut watch = watch(&path);
    watch.synced().await;

    fs::create_dir(&next).unwrap();
    fs::write(next.join("a.yaml"), pod("b", "10.0.0.1")).unwrap();
    fs::rename(&path, &old).unwrap();
    fs::rename(&next, &path).unwrap();
    watch.until_at("10.0.0.1", Some("b")).await;
    replace(&path.join("a.yaml"), &pod("c", "10.0.0.1"));
    watch.until_at("10.0.0.1", Some("c")).await;
}

#[tokio::test]
async fn a_file_that_is_a_link_is_followed_where_it_really_is() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (link, file) = (
        here.path().join("pods.yaml"),
        there.path().join("pods.yaml"),
    );
    fs::write(&file, pod("first", "10.0.0.1")).unwrap();
    symlink(&file, &link).unwrap();
    let mut watch = watch(&link);
    watch.synced().await;

    replace(&file, &pod("second", "10.0.0.1"));
    watch.until_at("10.0.0.1", Some("second")).await;
}
