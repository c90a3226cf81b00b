//! Looks at an image as its user gets it: the archive is unpacked, every digest is computed anew, what must not be in a
//! root file system is looked for, and the program is run in it with nothing else.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::oci::sha256;
use super::{Arch, emulated};

/// Programs that would let somebody in the container do more than podiam does.
const SHELLS: [&str; 9] = [
    "sh", "bash", "dash", "ash", "busybox", "toybox", "python3", "perl", "env",
];
/// Fewer root certificates than this are not the web's.
const FEWEST_ROOTS: usize = 100;

/// Checks an archive; the first thing that is wrong is the error.
pub(super) fn check(arch: Arch, archive: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let layout = folder.path().join("layout");
    tar::Archive::new(File::open(archive)?).unpack(&layout)?;
    let layer = verify(&layout)?;

    let root = folder.path().join("root");
    let mut tar = tar::Archive::new(layer.as_slice());
    tar.set_preserve_permissions(true);
    tar.unpack(&root)?;
    inspect(&root)?;
    let certificates = fs::read_to_string(root.join("etc/ssl/certs/ca-certificates.crt"))?;
    let count = certificates.matches("BEGIN CERTIFICATE").count();
    ensure!(count >= FEWEST_ROOTS, "{count} root certificates");
    println!("no setuid file, no shell, nothing world-writable; {count} root certificates");
    start(arch, &root)
}

/// Takes the program out of an archive.
pub(crate) fn program(archive: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let file = File::open(archive).with_context(|| format!("{}", archive.display()))?;
    tar::Archive::new(file).unpack(folder.path())?;
    let layer = verify(folder.path())?;
    for entry in tar::Archive::new(layer.as_slice()).entries()? {
        let mut entry = entry?;
        if entry.path()? == Path::new("podiam") {
            let mut program = Vec::new();
            entry.read_to_end(&mut program)?;
            return Ok(program);
        }
    }
    bail!("{} has no podiam", archive.display())
}

/// Follows the digests from the index to the layer, and returns the layer as a tar.
fn verify(layout: &Path) -> Result<Vec<u8>> {
    let blob = |described: &Value| -> Result<Vec<u8>> {
        let digest = described["digest"].as_str().context("no digest")?;
        let hex = digest.strip_prefix("sha256:").context("not SHA-256")?;
        let content = fs::read(layout.join("blobs/sha256").join(hex))?;
        ensure!(sha256(&content) == hex, "{digest} is another's");
        ensure!(described["size"] == content.len(), "the size of {digest}");
        Ok(content)
    };
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])?)?;
    let config: Value = serde_json::from_slice(&blob(&manifest["config"])?)?;
    let mut layer = Vec::new();
    GzDecoder::new(blob(&manifest["layers"][0])?.as_slice()).read_to_end(&mut layer)?;
    let expected = format!("sha256:{}", sha256(&layer));
    ensure!(
        config["rootfs"]["diff_ids"][0] == expected.as_str(),
        "the layer is not the config's"
    );
    ensure!(
        config["config"]["Entrypoint"][0] == "/podiam",
        "the entry point"
    );
    Ok(layer)
}

/// Everything below a folder, links not followed.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found.push(entry.path());
        if entry.file_type()?.is_dir() {
            found.extend(walk(&entry.path())?);
        }
    }
    Ok(found)
}

/// Looks for what must not be in a root file system.
fn inspect(root: &Path) -> Result<()> {
    let mut programs = Vec::new();
    for path in walk(root)? {
        inspect_file(root, &path, &mut programs)?;
    }
    ensure!(
        programs == [Path::new("podiam")],
        "the programs are {programs:?}"
    );
    Ok(())
}

/// Looks at one file; adds it to `programs` where it can be run.
fn inspect_file(root: &Path, path: &Path, programs: &mut Vec<PathBuf>) -> Result<()> {
    let name = path.strip_prefix(root)?;
    let file = fs::symlink_metadata(path)?;
    let last = name.file_name().unwrap_or_default();
    ensure!(
        !SHELLS.iter().any(|shell| last == *shell),
        "a shell: {}",
        name.display()
    );
    if file.is_symlink() {
        let target = fs::read_link(path)?;
        ensure!(
            target == Path::new("podiam"),
            "{} leads to {}",
            name.display(),
            target.display()
        );
        return Ok(());
    }
    let mode = file.permissions().mode();
    ensure!(
        mode & 0o7000 == 0,
        "setuid, setgid or sticky: {}",
        name.display()
    );
    ensure!(
        mode & 0o022 == 0,
        "writable by others than root: {}",
        name.display()
    );
    if file.is_file() && (mode & 0o111 != 0 || is_elf(path)?) {
        programs.push(name.to_owned());
    }
    Ok(())
}

fn is_elf(path: &Path) -> Result<bool> {
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(magic == b"\x7fELF")
}

/// Runs the program with this root and no environment: nothing of this machine can help it.
fn start(arch: Arch, root: &Path) -> Result<()> {
    if arch.name() != native() {
        return emulated::start(arch, root);
    }
    for (program, words) in [
        ("/podiam", &["--version"][..]),
        ("/kube2iam", &["--version"]),
    ] {
        let output = Command::new("chroot")
            .arg(root)
            .arg(program)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .context("cannot start chroot")?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || !said.contains(env!("CARGO_PKG_VERSION")) {
            bail!(
                "{program}: {said} {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        println!("runs in it alone: {program} {}: {said}", words.join(" "));
    }
    Ok(())
}

/// This machine's processor.
pub(super) fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Source, oci};
    use super::*;
    use std::os::unix::fs::symlink;

    /// A root file system with the one program, and what `change` makes of it.
    fn refused(change: impl Fn(&Path)) -> String {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("podiam");
        fs::write(&program, b"\x7fELF").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("podiam", root.path().join("kube2iam")).unwrap();
        assert!(inspect(root.path()).is_ok());
        change(root.path());
        inspect(root.path()).unwrap_err().to_string()
    }

    fn file(root: &Path, name: &str, mode: u32) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "text").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_changed_byte_anywhere_in_the_layout_is_found_and_packing_twice_changes_none() {
        let source = Source {
            version: "1.2.3",
            commit: "c".into(),
            seconds: 1_700_000_000,
            date: "2023-11-14T22:13:20Z".into(),
        };
        let image = oci::pack(Arch::Arm64, &source, b"the layer").unwrap();
        let again = oci::pack(Arch::Arm64, &source, b"the layer").unwrap();
        assert_eq!(image.archive().unwrap(), again.archive().unwrap());

        let folder = tempfile::tempdir().unwrap();
        let archive = image.write(folder.path(), "image").unwrap();
        let layout = folder.path().join("image");
        assert_eq!(verify(&layout).unwrap(), b"the layer");
        let unpacked = folder.path().join("unpacked");
        tar::Archive::new(File::open(archive).unwrap())
            .unpack(&unpacked)
            .unwrap();
        assert_eq!(verify(&unpacked).unwrap(), b"the layer");

        for blob in walk(&layout.join("blobs/sha256")).unwrap() {
            let good = fs::read(&blob).unwrap();
            let mut bad = good.clone();
            *bad.last_mut().unwrap() ^= 1;
            fs::write(&blob, bad).unwrap();
            let why = verify(&layout).unwrap_err().to_string();
            assert!(why.contains("is another's"), "{why}");
            fs::write(&blob, good).unwrap();
        }
    }

    #[test]
    fn what_must_not_be_in_an_image_is_found_wherever_it_is() {
        for (name, mode, words) in [
            ("bin/sh", 0o644, "a shell: bin/sh"),
            ("bin/tool", 0o4755, "setuid, setgid or sticky: bin/tool"),
            (
                "etc/group",
                0o666,
                "writable by others than root: etc/group",
            ),
            ("bin/tool", 0o755, "bin/tool"),
        ] {
            let why = refused(|root| file(root, name, mode));
            assert!(why.contains(words), "{name}: {why}");
        }
        let why = refused(|root| symlink("/etc/passwd", root.join("link")).unwrap());
        assert!(why.contains("link leads to"), "{why}");
        let why = refused(|root| fs::write(root.join("data"), b"\x7fELF").unwrap());
        assert!(why.contains("data"), "{why}");
        let why = refused(|root| fs::remove_file(root.join("podiam")).unwrap());
        assert!(why.contains("[]"), "{why}");
    }
}
