//! Text as it stands in a table of Markdown.

/// A row.
pub(crate) fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The head of a table.
pub(crate) fn head(titles: &[&str]) -> String {
    let titles: Vec<String> = titles.iter().map(|&title| title.to_owned()).collect();
    let rule: Vec<String> = titles.iter().map(|_| "---".to_owned()).collect();
    row(&titles) + &row(&rule)
}

/// Something literal; nothing where it is empty.
pub(crate) fn code(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("`{text}`")
    }
}

/// Words of a help text: what could be read as HTML stays text.
pub(crate) fn words(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('<', "&lt;")
}
