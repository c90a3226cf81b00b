//! The real parts that the tests run: fetched through package registries, built once into a cache outside the repo
//! ([`catalog`] says what and where). A part is made in a folder beside its place and renamed when it is complete, under
//! a file lock: an interrupted build leaves nothing that looks finished, and two runs at once build it once.

mod cargo_tool;
pub(crate) mod catalog;
pub(crate) mod debian;
mod golang;
mod node;
mod python;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
pub(crate) use catalog::Part;

use crate::progress::human;

/// How often a build that goes on says so.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Builds at the same time: one of them often waits for the network while another compiles.
const BUILDERS: usize = 2;

/// The cache, made if need be.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache =
        catalog::cache().context("neither XDG_CACHE_HOME nor HOME says where the cache is")?;
    fs::create_dir_all(&cache)
        .with_context(|| format!("cannot make the cache {}", cache.display()))?;
    Ok(cache)
}

/// What a builder tells the one who prints.
enum Report {
    Started(Part),
    Finished(Part, Result<()>),
}

/// Makes sure that all of `parts` are in the cache; builds what is missing and says what it does.
pub(crate) fn ensure(parts: &[Part]) -> Result<()> {
    let cache = cache()?;
    let missing: Vec<Part> = parts
        .iter()
        .copied()
        .filter(|part| !part.folder(&cache).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!(
        "{} of {} parts are to be built into {}",
        missing.len(),
        parts.len(),
        cache.display()
    );

    let queue = Mutex::new(missing.iter().copied().collect::<VecDeque<_>>());
    let next = || {
        queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let (reports, inbox) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..BUILDERS.min(missing.len()) {
            let (reports, cache, next) = (reports.clone(), &cache, &next);
            scope.spawn(move || {
                while let Some(part) = next() {
                    // The receiver lives as long as this scope; if it is gone, so is the one who would read.
                    let _ = reports.send(Report::Started(part));
                    let _ = reports.send(Report::Finished(part, build(part, cache)));
                }
            });
        }
        drop(reports);
        watch(&inbox, &cache, missing.len())
    })
}

/// Prints what the builders report until the last of them is done. The first error wins, but all are shown.
fn watch(inbox: &mpsc::Receiver<Report>, cache: &Path, total: usize) -> Result<()> {
    let mut running: Vec<(Part, Instant)> = Vec::new();
    let mut done = 0;
    let mut failed = Vec::new();
    loop {
        match inbox.recv_timeout(HEARTBEAT) {
            Ok(Report::Started(part)) => {
                println!("      {} {}: started", part.name(), part.version());
                running.push((part, Instant::now()));
            }
            Ok(Report::Finished(part, result)) => {
                done += 1;
                let since = running
                    .iter()
                    .find(|(p, _)| *p == part)
                    .map_or_else(Instant::now, |(_, since)| *since);
                running.retain(|(p, _)| *p != part);
                match result {
                    Ok(()) => println!(
                        "[{done}/{total}] {} {}: {}",
                        part.name(),
                        part.version(),
                        human(since.elapsed())
                    ),
                    Err(error) => {
                        eprintln!(
                            "[{done}/{total}] {} {}: FAILED: {error:#}",
                            part.name(),
                            part.version()
                        );
                        failed.push(part.name());
                    }
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                for (part, since) in &running {
                    let last = last_line(&log_path(*part, cache)).unwrap_or_default();
                    println!("      {} {}: {last}", part.name(), human(since.elapsed()));
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    if !failed.is_empty() {
        bail!("not built: {}", failed.join(", "));
    }
    Ok(())
}

/// Builds one part into its place, unless another run did so while this one waited for the lock.
fn build(part: Part, cache: &Path) -> Result<()> {
    let folder = part.folder(cache);
    let lock = File::create(folder.with_added_extension("lock"))?;
    lock.lock().context("cannot lock the part")?;
    if folder.exists() {
        return Ok(());
    }
    let partial = folder.with_added_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).context("cannot remove what an interrupted build left")?;
    }
    fs::create_dir_all(partial.join("bin"))?;
    for (file, content) in part.recipe() {
        fs::write(partial.join(file), content)?;
    }
    let log = Log::create(log_path(part, cache))?;
    match part {
        Part::Python => python::install(&partial, &log),
        Part::Etcd => golang::build_etcd(part, &partial, &log),
        Part::Helm => golang::build_helm(part, &partial, &log),
        Part::KubeApiserver => golang::build_kube_apiserver(part, &partial, &log),
        Part::Kubernetes => golang::build_kubernetes(part, &partial, &log),
        Part::Workload => golang::build_workload(part, &partial, &log),
        Part::IamSimulate => node::install(&partial, &log),
        // Without what watches files and serves pages.
        Part::Mdbook => cargo_tool::install(
            part,
            &["--no-default-features", "--features=search"],
            &partial,
            &log,
        ),
        Part::CargoFuzz | Part::CargoDeny | Part::CargoCyclonedx | Part::CargoAuditable => {
            cargo_tool::install(part, &[], &partial, &log)
        }
    }?;
    fs::rename(&partial, &folder).context("cannot move the finished part to its place")
}

fn log_path(part: Part, cache: &Path) -> PathBuf {
    part.folder(cache).with_added_extension("log")
}

/// The output of a part's build.
struct Log(PathBuf);

impl Log {
    fn create(path: PathBuf) -> Result<Self> {
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }

    /// Runs a command with its output in the log; where it fails, the error ends with the log's last lines.
    fn run(&self, command: &mut Command) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let out = File::options().append(true).open(&self.0)?;
        let status = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .status()
            .with_context(|| format!("cannot start {program}"))?;
        if !status.success() {
            let log = fs::read_to_string(&self.0).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n  ");
            bail!(
                "{program} ended with {status}; the end of {}:\n  {tail}",
                self.0.display()
            );
        }
        Ok(())
    }
}

/// The last line of a log that says something, cut to what fits beside a name.
fn last_line(path: &Path) -> Option<String> {
    let log = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&log[log.len().saturating_sub(4096)..]).into_owned();
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().chars().take(90).collect())
}
