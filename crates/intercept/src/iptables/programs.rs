//! The programs of iptables that the node has, in its two variants, and how they are run.
//!
//! `legacy` speaks to the kernel's `ip_tables`, `nft` to nftables; their rules do not see each other. Which one the plain
//! name `iptables` means differs between nodes.

use std::{
    ffi::OsStr,
    fmt,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    error::{Error, LOCK_WAIT, explain},
    ruleset::{Family, TABLES},
    saved::Saved,
};

/// Debian's name, and that of nearly everyone else.
const PACKAGE: &str = "iptables";

/// Which of the kernel's two rule sets a program works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nft,
    Legacy,
}

/// Where programs are looked for.
#[derive(Clone, Debug)]
pub(super) struct Folders(Vec<PathBuf>);

/// The programs of one variant.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) kind: Kind,
    v4: Programs,
    /// Absent where the kernel has no IPv6: nothing has to be refused there.
    v6: Option<Programs>,
}

#[derive(Clone, Debug)]
struct Programs {
    /// `iptables` itself.
    rule: PathBuf,
    save: PathBuf,
    restore: PathBuf,
}

impl Folders {
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self(folders)
    }

    /// The PATH, and where an administrator's programs are: a service's PATH may lack those.
    pub(super) fn of_the_system() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let administration = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        Self(std::env::split_paths(&path).chain(administration).collect())
    }

    /// The variants that are installed, the one first that the plain name `iptables` means.
    pub(super) fn variants(&self) -> Result<Vec<Variant>, Error> {
        let mut variants = Vec::new();
        if let Some(plain) = self.find("iptables") {
            let version = run(&plain, ["-V"], "")?;
            // Versions before 1.8 name no variant: there was but one.
            let kind = if version.contains("nf_tables") {
                Kind::Nft
            } else {
                Kind::Legacy
            };
            variants.push(self.variant(kind, "")?);
        }
        for kind in [Kind::Nft, Kind::Legacy] {
            let is_known = variants.iter().any(|found| found.kind == kind);
            if !is_known && self.find(&format!("iptables-{kind}-save")).is_some() {
                variants.push(self.variant(kind, &format!("-{kind}"))?);
            }
        }
        if variants.is_empty() {
            return Err(missing("iptables".to_owned()));
        }
        Ok(variants)
    }

    fn variant(&self, kind: Kind, suffix: &str) -> Result<Variant, Error> {
        let programs = |family: &str| {
            let find = |action: &str| {
                let name = format!("{family}{suffix}{action}");
                self.find(&name).ok_or_else(|| missing(name))
            };
            Ok(Programs {
                rule: find("")?,
                save: find("-save")?,
                restore: find("-restore")?,
            })
        };
        let has_ipv6 = Path::new("/proc/sys/net/ipv6").exists();
        Ok(Variant {
            kind,
            v4: programs("iptables")?,
            v6: has_ipv6.then(|| programs("ip6tables")).transpose()?,
        })
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let candidates = self.0.iter().map(|folder| folder.join(name));
        candidates.into_iter().find(|path| {
            use std::os::unix::fs::PermissionsExt;
            let is_program = |found: std::fs::Metadata| {
                found.is_file() && found.permissions().mode() & 0o111 != 0
            };
            path.metadata().is_ok_and(is_program)
        })
    }
}

impl Variant {
    /// The families that there are.
    pub(super) fn families(&self) -> impl Iterator<Item = Family> {
        let v6 = self.v6.as_ref().map(|_| Family::V6);
        std::iter::once(Family::V4).chain(v6)
    }

    /// What the kernel has. Without `-t`, so that no table is made by looking.
    pub(super) fn save(&self, family: Family) -> Result<Saved, Error> {
        match self.programs(family) {
            Some(programs) => Saved::parse(
                &run(&programs.save, ["-c"], "")?,
                &programs.save.display().to_string(),
            ),
            None => Ok(Saved::default()),
        }
    }

    /// Does what `script` says, table by table in its order, each wholly or not at all.
    pub(super) fn restore(&self, family: Family, script: &str) -> Result<(), Error> {
        let Some(programs) = self.programs(family) else {
            return Ok(());
        };
        let wait = format!("--wait={LOCK_WAIT}");
        let done = run(&programs.restore, ["--noflush", &wait], script).map(drop);
        // The legacy variant's restore does not say why it cannot have a table; its listing of the table does.
        if self.kind == Kind::Legacy && matches!(done, Err(Error::Failed { .. })) {
            for table in TABLES.iter().filter(|table| script.contains(**table)) {
                run(&programs.rule, ["-w", "-t", table, "-S"], "")?;
            }
        }
        done
    }

    fn programs(&self, family: Family) -> Option<&Programs> {
        match family {
            Family::V4 => Some(&self.v4),
            Family::V6 => self.v6.as_ref(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        })
    }
}

fn missing(program: String) -> Error {
    Error::Missing {
        program,
        package: PACKAGE,
    }
}

/// Runs a program in the network namespace of the calling thread and returns what it printed.
fn run<const N: usize>(
    program: &Path,
    arguments: [impl AsRef<OsStr>; N],
    input: &str,
) -> Result<String, Error> {
    let failed = |source| Error::Run {
        program: program.display().to_string(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        // Failures are told apart by their text.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why on its stderr; a script is far smaller than a pipe holds.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(explain(program, output.status, &said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
