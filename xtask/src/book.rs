//! `cargo xtask book`: docs/ as a book of HTML pages in target/book, by mdBook. Links that leave the book lead to the
//! repository; every other one must lead to a page and to a heading of it, as the reader's browser finds it. Nothing is
//! asked of the network.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::parts::{self, Part};

/// Where files outside of the book are read.
const REPOSITORY: &str = "https://github.com/podiam/podiam/blob/main/";

/// Builds the book and looks at its links.
pub(crate) fn run() -> Result<ExitCode> {
    parts::ensure(&[Part::Mdbook])?;
    let root = crate::workspace();
    let folder = crate::target().join("book");
    let status = Command::new(Part::Mdbook.program(&parts::cache()?))
        .arg("build")
        .arg(root)
        .arg("--dest-dir")
        .arg(&folder)
        .status()
        .context("cannot start mdbook")?;
    if !status.success() {
        bail!("mdbook ended with {status}");
    }
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "html") {
            let page = outward(&fs::read_to_string(&path)?, root);
            fs::write(&path, &page)?;
            pages.insert(path, page);
        }
    }
    let broken = broken(&pages);
    for link in &broken {
        println!("{link}");
    }
    if !broken.is_empty() {
        bail!("{} links of the book lead nowhere", broken.len());
    }
    println!(
        "{} ({} pages)",
        folder.join("index.html").display(),
        pages.len()
    );
    Ok(ExitCode::SUCCESS)
}

/// The links of a page: what stands between `href="` and `"`.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let parts = page.split(" href=\"").skip(1);
    parts.filter_map(|part| part.split('"').next())
}

/// The page with its links out of docs/ as links into the repository. mdBook has made `.html` of every `.md`.
fn outward(page: &str, root: &Path) -> String {
    let mut parts = page.split(" href=\"../");
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (link, rest) = part.split_once('"').unwrap_or((part, ""));
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let source = path.strip_suffix(".html").map(|stem| format!("{stem}.md"));
        let path = source
            .filter(|source| root.join(source).exists())
            .unwrap_or_else(|| path.to_owned());
        let anchor = if anchor.is_empty() {
            String::new()
        } else {
            format!("#{anchor}")
        };
        made.extend([" href=\"", REPOSITORY, &path, &anchor, "\"", rest]);
    }
    made
}

/// Links that lead to no file of the book, or to no heading of a page.
fn broken(pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, page) in pages {
        for link in links(page) {
            let outside = link.starts_with("https://");
            if !outside && !leads_somewhere(path, link, pages) {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    broken
}

fn leads_somewhere(page: &Path, link: &str, pages: &BTreeMap<PathBuf, String>) -> bool {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() {
        page.to_owned()
    } else {
        page.with_file_name(file)
    };
    match pages.get(&target) {
        Some(other) => anchor.is_empty() || other.contains(&format!("id=\"{anchor}\"")),
        None => target.exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_book_leads_to_the_repository() {
        let page = "<a href=\"../README.html#see-it\">a</a> <a href=\"../deploy/helm\">b</a> <a href=\"iam.html\">c</a>";
        let made = outward(page, crate::workspace());
        let links: Vec<&str> = links(&made).collect();
        assert_eq!(
            links,
            [
                "https://github.com/podiam/podiam/blob/main/README.md#see-it",
                "https://github.com/podiam/podiam/blob/main/deploy/helm",
                "iam.html"
            ]
        );
    }

    #[test]
    fn a_link_to_no_page_or_to_no_heading_is_broken() {
        let page = |text: &str| text.to_owned();
        let pages = BTreeMap::from([
            (
                PathBuf::from("/book/a.html"),
                page(
                    "<a href=\"b.html#here\"> <a href=\"b.html#there\"> <a href=\"c.html\"> <a href=\"#top\"> \
                      <a href=\"https://example.com\"> <a href=\"http://example.com\">",
                ),
            ),
            (PathBuf::from("/book/b.html"), page("<h2 id=\"here\">")),
        ]);
        let expected = ["b.html#there", "c.html", "#top", "http://example.com"];
        let expected = expected.map(|link| format!("/book/a.html: {link}"));
        assert_eq!(broken(&pages), expected);
    }
}
