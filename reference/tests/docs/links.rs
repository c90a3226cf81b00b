//! Links: inside the repository each leads to a file, and to a heading of it; outside only the scheme is looked at.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::markdown::{Page, book, pages, root};

/// `a/b/../c` is `a/c`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// What is wrong with a link of a page.
fn problem(page: &Page, link: &str, pages: &BTreeMap<PathBuf, Page>) -> Option<String> {
    if link.starts_with("https://") {
        return None;
    }
    if link.contains("://") {
        return Some("only https".to_owned());
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        page.path.clone()
    } else {
        normal(&page.path.parent().unwrap().join(path))
    };
    if !root().join(&target).exists() {
        return Some(format!("{} does not exist", target.display()));
    }
    if anchor.is_empty() {
        return None;
    }
    match pages.get(&target) {
        Some(other) if other.anchors.contains(anchor) => None,
        Some(other) => Some(format!("none of the headings {:?}", other.anchors)),
        None => Some("a heading of a page that is not looked at".to_owned()),
    }
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_of_it() {
    let pages: BTreeMap<PathBuf, Page> = pages()
        .into_iter()
        .map(|it| (it.path.clone(), it))
        .collect();
    let mut problems = Vec::new();
    let mut count = 0;
    for page in pages.values() {
        for link in &page.links {
            count += 1;
            if let Some(problem) = problem(page, link, &pages) {
                problems.push(format!("{}: {link}: {problem}", page.path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(count > 100, "only {count} links are found");
}

#[test]
fn every_page_has_its_place_in_the_book() {
    let summary = Page::read(Path::new("docs/SUMMARY.md"));
    for page in book() {
        let name = page.path.file_name().unwrap().to_str().unwrap();
        if name != "SUMMARY.md" {
            let places = summary.links.iter().filter(|link| *link == name).count();
            assert_eq!(places, 1, "docs/SUMMARY.md must name {name} once");
        }
    }
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let page = Page::parse(Path::new("docs/faq.md"), "# Here\n".to_owned());
    let pages = BTreeMap::from([(
        page.path.clone(),
        Page::parse(Path::new("docs/faq.md"), "# Here\n".to_owned()),
    )]);
    let problem = |link| problem(&page, link, &pages).unwrap_or_default();
    assert_eq!(problem("#here"), "");
    assert!(problem("#there").contains("none of the headings"));
    assert!(problem("../no-such-file").contains("does not exist"));
    assert_eq!(problem("../README.md"), "");
    assert_eq!(problem("http://example.com"), "only https");
}
