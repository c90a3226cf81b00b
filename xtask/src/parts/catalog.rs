//! The real parts that the tests run, by name and version, and where the cache keeps each. `cargo xtask test` fetches
//! and builds them; the tests include this very file (`tests/support/parts.rs`), so both always mean the same version.
//! It uses the standard library only and never changes anything.

use std::path::{Path, PathBuf};

/// One real part. Its folder in the cache is named after its version and a hash of its recipe, so that a change of
/// either is another folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A virtual environment with moto's server, boto3 and the AWS CLI.
    Python,
    /// The store below the API server.
    Etcd,
    /// The Kubernetes API server.
    KubeApiserver,
    /// The rest of Kubernetes: kubelet, kube-controller-manager, kube-scheduler and kubectl.
    Kubernetes,
    /// What pods of the end-to-end run are made of: a program with AWS's SDK for Go.
    Workload,
    /// Helm, which renders the chart.
    Helm,
    /// `cargo fuzz`.
    CargoFuzz,
    /// `cargo deny`.
    CargoDeny,
    /// `cargo cyclonedx`, which writes the image's bill of materials.
    CargoCyclonedx,
    /// `cargo auditable`, which writes the names of dependencies into the image's program.
    CargoAuditable,
    /// mdBook, which makes a book of docs/.
    Mdbook,
    /// The policy engine that judges IAM documents, for Node.js.
    IamSimulate,
}

impl Part {
    /// Every part that the tests run, the slowest to build first.
    pub(crate) const ALL: [Self; 8] = [
        Self::KubeApiserver,
        Self::Helm,
        Self::CargoDeny,
        Self::Mdbook,
        Self::Etcd,
        Self::Python,
        Self::CargoFuzz,
        Self::IamSimulate,
    ];

    /// What the end-to-end run needs (`cargo xtask e2e`), the slowest to build first.
    pub(crate) const E2E: [Self; 6] = [
        Self::KubeApiserver,
        Self::Kubernetes,
        Self::Helm,
        Self::Etcd,
        Self::Python,
        Self::Workload,
    ];

    /// The name people know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::Kubernetes => "kubernetes",
            Self::Workload => "workload",
            Self::Helm => "helm",
            Self::CargoFuzz => "cargo-fuzz",
            Self::CargoDeny => "cargo-deny",
            Self::CargoCyclonedx => "cargo-cyclonedx",
            Self::CargoAuditable => "cargo-auditable",
            Self::Mdbook => "mdbook",
            Self::IamSimulate => "iam-simulate",
        }
    }

    /// Its version, without a leading `v`.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Python => "moto-5.2.5",
            Self::Etcd => "3.6.8",
            Self::KubeApiserver | Self::Kubernetes => "1.34.4",
            Self::Workload => "1",
            Self::Helm => "3.19.5",
            Self::CargoFuzz => "0.13.2",
            Self::CargoDeny => "0.20.2",
            Self::CargoCyclonedx => "0.5.9",
            Self::CargoAuditable => "0.7.7",
            Self::Mdbook => "0.5.4",
            Self::IamSimulate => "0.1.173",
        }
    }

    /// The files that say how it is made, as they were when this program was compiled.
    pub(crate) fn recipe(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Python => &[(
                "requirements.txt",
                include_str!("../../parts/python/requirements.txt"),
            )],
            Self::Etcd => &[
                ("go.mod", include_str!("../../parts/etcd/go.mod")),
                ("go.sum", include_str!("../../parts/etcd/go.sum")),
            ],
            Self::KubeApiserver => &[
                ("go.mod", include_str!("../../parts/kube-apiserver/go.mod")),
                ("go.sum", include_str!("../../parts/kube-apiserver/go.sum")),
            ],
            Self::Kubernetes => &[
                ("go.mod", include_str!("../../parts/kubernetes/go.mod")),
                ("go.sum", include_str!("../../parts/kubernetes/go.sum")),
            ],
            Self::Workload => &[
                ("go.mod", include_str!("../../parts/workload/go.mod")),
                ("go.sum", include_str!("../../parts/workload/go.sum")),
                ("main.go", include_str!("../../parts/workload/main.go")),
                ("probe.go", include_str!("../../parts/workload/probe.go")),
                ("sdk.go", include_str!("../../parts/workload/sdk.go")),
                ("serve.go", include_str!("../../parts/workload/serve.go")),
            ],
            Self::Helm => &[
                ("go.mod", include_str!("../../parts/helm/go.mod")),
                ("go.sum", include_str!("../../parts/helm/go.sum")),
            ],
            Self::IamSimulate => &[
                (
                    "package.json",
                    include_str!("../../parts/iam-simulate/package.json"),
                ),
                (
                    "package-lock.json",
                    include_str!("../../parts/iam-simulate/package-lock.json"),
                ),
            ],
            Self::CargoFuzz
            | Self::CargoDeny
            | Self::CargoCyclonedx
            | Self::CargoAuditable
            | Self::Mdbook => &[],
        }
    }

    /// Its folder in `cache`. It exists only when the part is complete.
    pub(crate) fn folder(self, cache: &Path) -> PathBuf {
        let mut hash = Fnv::new();
        for (file, content) in self.recipe() {
            hash.write(file);
            hash.write(content);
        }
        cache.join(format!(
            "{}-{}-{:08x}",
            self.name(),
            self.version(),
            hash.finish()
        ))
    }

    /// One of its programs, where it has several.
    pub(crate) fn tool(self, cache: &Path, name: &str) -> PathBuf {
        self.folder(cache).join("bin").join(name)
    }

    /// The program to run. For Python it is the interpreter (`-m moto.server`, `-m awscli`): the scripts beside it hold
    /// the path of the folder they were installed in, which is not where they end. For what Node.js runs it is the file
    /// from whose folder packages are found.
    pub(crate) fn program(self, cache: &Path) -> PathBuf {
        let folder = self.folder(cache);
        match self {
            Self::Python => folder.join("bin/python3"),
            Self::IamSimulate => folder.join("package.json"),
            _ => folder.join("bin").join(self.name()),
        }
    }
}

/// The cache: `$XDG_CACHE_HOME/podiam`, else `~/.cache/podiam`. `None` where neither variable says a place.
pub(crate) fn cache() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("podiam"))
}

/// FNV-1a, 32 bits: a short name for a text, the same on every version of Rust. Guards against mistakes, not attacks.
struct Fnv(u32);

impl Fnv {
    fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn write(&mut self, text: &str) {
        for byte in text.bytes().chain([0]) {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn finish(self) -> u32 {
        self.0
    }
}
