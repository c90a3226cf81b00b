//! The cluster's certificates: made anew for each run, gone with it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

/// The certificate authority, and the folder of what it signed.
pub(super) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Pki {
    /// Makes the authority, and the key pair of ServiceAccount tokens.
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "podiam e2e");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        fs::write(folder.join("ca.crt"), params.self_signed(&key)?.pem())?;
        let accounts = KeyPair::generate()?;
        fs::write(folder.join("accounts.key"), accounts.serialize_pem())?;
        fs::write(folder.join("accounts.pub"), accounts.public_key_pem())?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            folder,
        })
    }

    /// A file of it: `ca.crt`, `NAME.crt`, `NAME.key`.
    pub(super) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A server's certificate for these names and addresses.
    pub(super) fn server(&self, name: &str, names: &[&str]) -> Result<()> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names)?;
        self.sign(name, name, params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's: `user` in `group`, as Kubernetes reads them.
    pub(super) fn client(&self, name: &str, user: &str, group: &str) -> Result<()> {
        let mut params = CertificateParams::default();
        if !group.is_empty() {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        self.sign(name, user, params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A client's, with a kubeconfig around it, whose path is returned.
    pub(super) fn kubeconfig(
        &self,
        name: &str,
        user: &str,
        group: &str,
        server: &str,
    ) -> Result<PathBuf> {
        self.client(name, user, group)?;
        let path = self.folder.join(format!("{name}.kubeconfig"));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority": "ca.crt"}}],
            "users": [{"name": name, "user": {
                "client-certificate": format!("{name}.crt"), "client-key": format!("{name}.key"),
            }}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name}}],
        });
        fs::write(&path, kubeconfig.to_string())?;
        Ok(path)
    }

    fn sign(
        &self,
        name: &str,
        common: &str,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<()> {
        let key = KeyPair::generate()?;
        params.distinguished_name.push(DnType::CommonName, common);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        fs::write(Path::new(&self.file(&format!("{name}.crt"))), certificate)?;
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem())?;
        Ok(())
    }
}
