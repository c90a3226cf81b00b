//! The configuration of containerd, the pods' network and kubelet.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::super::pods::IMAGE;
use super::{ADDRESS, PODS};

/// Writes it all to `disk`; kubelet's is returned.
pub(super) fn write(disk: &Path, cgroup: &str, bridge: bool) -> Result<PathBuf> {
    let file = |name: &str, content: String| -> Result<PathBuf> {
        let path = disk.join(name);
        fs::write(&path, content)?;
        Ok(path)
    };
    let network = disk.join("cni");
    fs::create_dir_all(&network)?;
    fs::write(
        network.join("10-pods.conflist"),
        pod_network(bridge).to_string(),
    )?;
    file("containerd.toml", containerd(&network))?;
    file("kubelet.yaml", kubelet(disk, cgroup).to_string())
}

fn pod_network(bridge: bool) -> serde_json::Value {
    let addresses = json!({"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]});
    let plugin = if bridge {
        json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": addresses})
    } else {
        json!({"type": "ptp", "ipMasq": false, "ipam": addresses})
    };
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]})
}

fn containerd(network: &Path) -> String {
    format!(
        r#"version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/{IMAGE}"
  # Without CAP_SYS_RESOURCE no process may be made less likely to be killed.
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{}"
"#,
        network.display()
    )
}

/// Relative to the folder of the certificates, which is the site's.
fn kubelet(disk: &Path, cgroup: &str) -> serde_json::Value {
    let authority = disk.with_file_name("pki").join("ca.crt");
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": false,
        "failSwapOn": false,
        "resolvConf": "",
        "volumePluginDir": "/var/lib/kubelet/plugins",
        "nodeStatusUpdateFrequency": "4s",
        // Crashing containers are started again soon, so that a scene need not wait for minutes.
        "featureGates": {"KubeletCrashLoopBackOffMax": true},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
        // The machine's disk may be nearly full; nothing of it is the node's.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
        },
    })
}
