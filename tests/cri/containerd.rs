//! containerd with runc and CNI plugins in network, mount and process namespaces of its own: whatever it starts ends with
//! its first process. Its one image is busybox, which only waits.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::grpc::{
    Cri, LinuxConfig, Metadata, Nothing, RunPodSandbox, SandboxConfig, SandboxId, StatusResponse,
};
use crate::support::process::Process;

/// Addresses of loopback, so that a client of these tests can be bound to one.
const PODS: &str = "127.0.9.0/24";
const IMAGE: &str = "podiam.test/pause:1";

/// A sandbox that runs.
pub(crate) struct Sandbox {
    id: String,
    pub(crate) address: String,
}

/// A runtime. Dropped: all of it ends.
pub(crate) struct Containerd {
    cri: Cri,
    attempts: u32,
    // Ends before the folder goes.
    _process: Process,
    cgroup: String,
    folder: TempDir,
}

impl Containerd {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("podiam-cri-")
            .tempdir()
            .unwrap();
        let path = folder.path();
        configure(path);
        let cgroup = format!("podiam-cri-{}", std::process::id());
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-euc", SCRIPT])
            .arg(path.join("containerd.toml"))
            .arg(&cgroup);
        let process = Process::spawn("containerd", &command);
        process.logs("containerd successfully booted").await;
        let socket = path.join("containerd.sock");
        import(path, &socket);
        Self {
            cri: Cri::connect(&socket).await,
            attempts: 0,
            _process: process,
            cgroup,
            folder,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("containerd.sock")
    }

    /// Runs a sandbox for a pod, as a kubelet does.
    pub(crate) async fn run(&mut self, name: &str, uid: &str) -> Sandbox {
        self.attempts += 1;
        let config = SandboxConfig {
            metadata: Some(Metadata {
                name: name.to_owned(),
                uid: uid.to_owned(),
                namespace: "cri".to_owned(),
                attempt: self.attempts,
            }),
            linux: Some(LinuxConfig {
                cgroup_parent: format!("/{}", self.cgroup),
            }),
        };
        let request = RunPodSandbox {
            config: Some(config),
        };
        let made: SandboxId = self.cri.call("RunPodSandbox", request).await.unwrap();
        let status: StatusResponse = self
            .cri
            .call("PodSandboxStatus", made.clone())
            .await
            .unwrap();
        let address = status.status.unwrap().network.unwrap().ip;
        Sandbox {
            id: made.id,
            address,
        }
    }

    pub(crate) async fn stop(&mut self, sandbox: &Sandbox) {
        let id = SandboxId {
            id: sandbox.id.clone(),
        };
        let _: Nothing = self.cri.call("StopPodSandbox", id).await.unwrap();
    }
}

/// What runs it. The control groups are the one thing that namespaces do not hold: the sandboxes have theirs below a group
/// `$1`, which goes when the rest has ended. Where no hierarchy is to be seen, they are mounted.
const SCRIPT: &str = r#"
mount --make-rprivate /
root=/sys/fs/cgroup
if [ -z "$(ls $root)" ]; then
    mount -t tmpfs tmpfs $root
    for name in $(cut -d: -f2 /proc/self/cgroup); do
        mkdir "$root/${name#name=}"
        mount -t cgroup -o "$name" cgroup "$root/${name#name=}"
    done
fi
if [ -e $root/cgroup.controllers ]; then all=$root; else all=$(ls -d $root/*/ | grep -v unified); fi
for one in $all; do mkdir "$one/$1"; done
unshare --net --pid --fork --kill-child --mount-proc sh -euc \
    'ip link set lo up; exec containerd --config "$0"' "$0" &
child=$!
trap 'kill -KILL $child' TERM
wait $child || wait $child || true
for try in $(seq 50); do
    left=
    for one in $all; do
        find "$one/$1" -depth -type d -exec rmdir {} + 2>/dev/null || left=yes
    done
    [ -n "$left" ] || break
    sleep 0.05
done
"#;

fn configure(folder: &Path) {
    let here = folder.display();
    fs::create_dir(folder.join("cni")).unwrap();
    let network = format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [{{"type": "bridge", "bridge": "cni0",
            "ipam": {{"type": "host-local", "dataDir": "{here}/ipam", "ranges": [[{{"subnet": "{PODS}"}}]]}}}}]}}"#
    );
    fs::write(folder.join("cni/10-pods.conflist"), network).unwrap();
    let config = format!(
        r#"version = 2
root = "{here}/root"
state = "{here}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{here}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{here}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{here}/cni"
"#
    );
    fs::write(folder.join("containerd.toml"), config).unwrap();
}

/// Makes an image of busybox without any registry and gives it to containerd.
fn import(folder: &Path, socket: &Path) {
    let mut layer = tar::Builder::new(Vec::new());
    append(
        &mut layer,
        "busybox",
        &fs::read("/bin/busybox").expect("busybox-static"),
        0o755,
    );
    let layer = layer.into_inner().unwrap();
    let digest = sha256(&layer);
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": ["/busybox", "sleep", "1000000"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    })
    .to_string();
    let names = (
        format!("{}.json", sha256(config.as_bytes())),
        format!("{digest}/layer.tar"),
    );
    let manifest =
        serde_json::json!([{"Config": names.0, "RepoTags": [IMAGE], "Layers": [names.1]}]);
    let mut image = tar::Builder::new(Vec::new());
    append(&mut image, &names.0, config.as_bytes(), 0o644);
    append(&mut image, &names.1, &layer, 0o644);
    append(
        &mut image,
        "manifest.json",
        manifest.to_string().as_bytes(),
        0o644,
    );
    let path = folder.join("pause.tar");
    fs::write(&path, image.into_inner().unwrap()).unwrap();
    let imported = Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args([
            "--namespace",
            "k8s.io",
            "images",
            "import",
            "--snapshotter",
            "native",
        ])
        .arg(&path)
        .output()
        .expect("ctr, of the package containerd");
    assert!(imported.status.success(), "{imported:?}");
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len().try_into().unwrap());
    header.set_mode(mode);
    archive.append_data(&mut header, name, content).unwrap();
}

fn sha256(content: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
