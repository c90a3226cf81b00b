//! The pages, and what is in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Pages outside of docs/ that people read as well.
const OTHERS: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "examples/README.md",
    "deploy/terraform/README.md",
];

/// One page.
pub(crate) struct Page {
    /// Its path below the root.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
    /// What a link may name after `#`.
    pub(crate) anchors: BTreeSet<String>,
    /// Where its links and images lead.
    pub(crate) links: Vec<String>,
    /// Words between backticks.
    pub(crate) codes: Vec<String>,
    /// Blocks of code, each with its language.
    pub(crate) blocks: Vec<(String, String)>,
}

impl Page {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(root().join(path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(path, text)
    }

    pub(crate) fn parse(path: &Path, text: String) -> Self {
        let mut page = Self {
            path: path.to_owned(),
            text,
            anchors: BTreeSet::new(),
            links: Vec::new(),
            codes: Vec::new(),
            blocks: Vec::new(),
        };
        let (mut heading, mut block) = (None::<String>, None::<(String, String)>);
        let text = page.text.clone();
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap());
                    page.anchors.insert(anchor);
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some((language, String::new()));
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Text(words) => match (&mut block, &mut heading) {
                    (Some((_, code)), _) => code.push_str(&words),
                    (None, Some(heading)) => heading.push_str(&words),
                    (None, None) => {}
                },
                Event::Code(words) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                    page.codes.push(words.into_string());
                }
                _ => {}
            }
        }
        page
    }

    /// The lines that a person types in blocks of the console, each joined with what follows a backslash.
    pub(crate) fn commands(&self) -> Vec<String> {
        let consoles = self
            .blocks
            .iter()
            .filter(|(language, _)| language == "console");
        let mut commands = Vec::new();
        for (_, text) in consoles {
            let joined = text.replace("\\\n", " ");
            commands.extend(
                joined
                    .lines()
                    .filter_map(|line| line.strip_prefix("$ "))
                    .map(str::to_owned),
            );
        }
        commands
    }
}

/// How GitHub and mdBook name a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

/// The pages of docs/.
pub(crate) fn book() -> Vec<Page> {
    let mut names: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .map(|path| path.strip_prefix(root()).unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() > 10, "{names:?}");
    names.iter().map(|path| Page::read(path)).collect()
}

/// Every page that is written for people.
pub(crate) fn pages() -> Vec<Page> {
    let others = OTHERS.iter().map(|path| Page::read(Path::new(path)));
    book().into_iter().chain(others).collect()
}

/// Every source below a folder of the workspace, with its path below the root.
pub(crate) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![root().join(folder)];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    found
}

#[test]
fn what_a_page_holds_is_found_in_it() {
    let text = "# A `b` C\n\n[x](y.md#z) `--flag`\n\n```console\n$ podiam agent \\\n    --node=x\nout\n```\n";
    let page = Page::parse(Path::new("p.md"), text.to_owned());
    assert_eq!(page.anchors.iter().collect::<Vec<_>>(), ["a-b-c"]);
    assert_eq!(page.links, ["y.md#z"]);
    assert_eq!(page.codes, ["b", "--flag"]);
    assert_eq!(page.commands(), ["podiam agent      --node=x"]);
}
