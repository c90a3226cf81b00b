//! Lays the status out as text: a line about the agent, what is missing of it, and a table of its pods that fits the
//! terminal. Pure: the width and whether there is colour are told.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use crate::admin::status::{
    AgentStatus, CredentialState, PodState, PodStatus, Status, Told, minutes, span,
};

/// What the text is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Columns of the terminal; `None`: as many as the text needs.
    pub(super) width: Option<usize>,
    /// Whether there may be colour.
    pub(super) colour: bool,
}

const PLAIN: Style = Style::new();
const BOLD: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();

/// Between two columns.
const GAP: usize = 2;
/// What a column that was cut may not get below.
const NARROWEST: usize = 12;

/// The columns, as they stand. Those with a rank may be left out where there is no room, the highest first.
const COLUMNS: [Column; 9] = [
    Column::new("", 0),
    Column::new("NAMESPACE", 0).elastic(),
    Column::new("POD", 0).elastic(),
    Column::new("IP", 2),
    Column::new("ROLE", 0).elastic(),
    Column::new("SOURCE", 3),
    Column::new("CREDENTIALS", 0),
    Column::new("REQUESTS", 1).number(),
    Column::new("DENIED", 1).number(),
];

struct Column {
    head: &'static str,
    rank: usize,
    is_elastic: bool,
    is_number: bool,
}

impl Column {
    const fn new(head: &'static str, rank: usize) -> Self {
        Self {
            head,
            rank,
            is_elastic: false,
            is_number: false,
        }
    }

    const fn elastic(self) -> Self {
        Self {
            is_elastic: true,
            ..self
        }
    }

    const fn number(self) -> Self {
        Self {
            is_number: true,
            ..self
        }
    }
}

struct Cell {
    text: String,
    style: Style,
}

/// The status, ended by a line break.
pub(super) fn draw(status: &Status, look: Look) -> String {
    let mut out = String::new();
    header(&mut out, status, look);
    pods(&mut out, &status.pods, look);
    out
}

/// What was known last, below a note that it is not known any longer.
pub(super) fn draw_stale(note: &str, last: Option<&Status>, look: Look) -> String {
    let mut out = String::new();
    line(&mut out, note, BAD, look);
    if let Some(status) = last {
        let time = status.agent.time.strftime("%H:%M:%S UTC");
        line(&mut out, &format!("as it was at {time}:"), PLAIN, look);
        out.push_str(&draw(status, look));
    }
    out
}

fn header(out: &mut String, status: &Status, look: Look) {
    let agent = &status.agent;
    let (word, style) = if agent.ready {
        ("ready", BOLD)
    } else {
        ("NOT READY", BAD)
    };
    let first = format!(
        "podiam {} on {}: {word}, up {}; {}",
        agent.version,
        agent.node.as_deref().unwrap_or("every node"),
        span(agent.uptime_seconds),
        view(agent),
    );
    line(out, &first, style, look);
    for (name, missing) in agent.missing() {
        line(out, &format!("  {name}: {missing}"), BAD, look);
    }
    for told in &agent.findings {
        let text = format!("  finding {}: {}", told.code, told.text);
        line(out, &text, QUIET, look);
    }
    let facts = format!(
        "interception {}; identity {}; STS {}",
        agent.interception_in_words(),
        status.identity_in_words(),
        agent.sts_in_words(),
    );
    line(out, &facts, PLAIN, look);
    let counted = PodState::ALL.map(|state| (state, status.count(state)));
    let counted = counted.iter().filter(|(_, count)| *count > 0);
    let counted: Vec<String> = counted
        .map(|(state, count)| format!("{count} {}", state.name()))
        .collect();
    let pods = match counted.as_slice() {
        [] => "no pods".to_owned(),
        some => format!("pods: {}", some.join(", ")),
    };
    line(out, &pods, PLAIN, look);
}

fn view(agent: &AgentStatus) -> String {
    match agent.view_age() {
        None => "the cluster was not read yet".to_owned(),
        Some(0) => "view up to date".to_owned(),
        Some(age) => format!("view {} old", span(age)),
    }
}

fn pods(out: &mut String, pods: &[PodStatus], look: Look) {
    if pods.is_empty() {
        return;
    }
    out.push('\n');
    let rows: Vec<Vec<Cell>> = pods.iter().map(row).collect();
    let widths = widths(&rows, look.width);
    let heads = COLUMNS.map(|column| Cell {
        text: column.head.to_owned(),
        style: BOLD,
    });
    print_row(out, &heads, &widths, look);
    for (pod, row) in pods.iter().zip(&rows) {
        print_row(out, row, &widths, look);
        if let Some(told) = below(pod) {
            explain(out, &told, PLAIN, look);
        }
        for Told { code, text } in &pod.audited {
            explain(out, &format!("audit: {code}: {text}"), WARN, look);
        }
    }
}

/// What is to be said below a pod's row. Of those who ask for nothing there is nothing to be said.
fn below(pod: &PodStatus) -> Option<String> {
    let Told { code, text } = pod.why().filter(|_| pod.state != PodState::NoRole)?;
    match pod.role_name {
        Some(_) => Some(format!("{code}: {text}")),
        // The code stands in the row, in the role's place.
        None => Some(text.clone()),
    }
}

fn row(pod: &PodStatus) -> Vec<Cell> {
    let (sign, style) = match pod.state {
        PodState::Served => ("✓", GOOD),
        PodState::Waiting => ("…", WARN),
        PodState::Refused => ("✕", BAD),
        PodState::NoRole | PodState::Unknown => ("–", QUIET),
    };
    let strong = match pod.state {
        PodState::Refused => BAD,
        PodState::Served => PLAIN,
        _ => style,
    };
    let code = pod.reason.as_ref().map(|reason| reason.code.as_str());
    let role = pod.role_name.as_deref().or(code).unwrap_or("-");
    let address = pod.addresses.first().map(ToString::to_string);
    let (held, held_style) = credentials(pod);
    let cell = |text: &str, style| Cell {
        text: clean(text),
        style,
    };
    vec![
        cell(sign, style),
        cell(&pod.namespace, strong),
        cell(&pod.name, strong),
        cell(address.as_deref().unwrap_or("-"), QUIET),
        cell(role, strong),
        cell(pod.source.as_deref().unwrap_or("-"), QUIET),
        cell(&held, held_style),
        cell(&pod.requests.to_string(), PLAIN),
        cell(
            &pod.denials.to_string(),
            if pod.denials > 0 { WARN } else { QUIET },
        ),
    ]
}

fn credentials(pod: &PodStatus) -> (String, Style) {
    let Some(held) = &pod.credentials else {
        return ("-".to_owned(), QUIET);
    };
    let style = match held.state {
        CredentialState::Fresh | CredentialState::Refreshing => PLAIN,
        CredentialState::Failed => BAD,
        _ => WARN,
    };
    let name = held.state.name();
    match held.left_seconds {
        Some(left) if left > 0 => (format!("{name}, {}", minutes(left)), style),
        _ => (name.to_owned(), style),
    }
}

/// How wide each column is; 0: it is left out. Columns are left out by rank and then cut, until the table fits.
fn widths(rows: &[Vec<Cell>], width: Option<usize>) -> Vec<usize> {
    let natural = COLUMNS.iter().enumerate().map(|(number, column)| {
        let cells = rows.iter().map(|row| row[number].text.width());
        cells.max().unwrap_or(0).max(column.head.width())
    });
    let mut widths: Vec<usize> = natural.collect();
    let Some(room) = width else {
        return widths;
    };
    let total = |widths: &[usize]| {
        let shown = widths.iter().filter(|width| **width > 0);
        shown
            .map(|width| width + GAP)
            .sum::<usize>()
            .saturating_sub(GAP)
    };
    for rank in [3, 2, 1] {
        if total(&widths) <= room {
            break;
        }
        // What would fit without its widest cells is cut, not left out.
        for (number, column) in COLUMNS.iter().enumerate() {
            if column.rank == rank {
                widths[number] = 0;
            }
        }
    }
    while total(&widths) > room {
        let elastic = COLUMNS.iter().enumerate().filter(|(_, it)| it.is_elastic);
        let widest = elastic
            .map(|(number, _)| number)
            .max_by_key(|it| widths[*it]);
        match widest.filter(|it| widths[*it] > NARROWEST) {
            Some(widest) => widths[widest] -= 1,
            None => break,
        }
    }
    widths
}

fn print_row(out: &mut String, row: &[Cell], widths: &[usize], look: Look) {
    let mut cells = Vec::new();
    for ((cell, width), column) in row.iter().zip(widths).zip(&COLUMNS) {
        if *width == 0 {
            continue;
        }
        let text = cut(&cell.text, *width);
        let padding = " ".repeat(width - text.width());
        let painted = paint(&text, cell.style, look);
        cells.push(if column.is_number {
            format!("{padding}{painted}")
        } else {
            format!("{painted}{padding}")
        });
    }
    let _ = writeln!(out, "{}", cells.join(&" ".repeat(GAP)).trim_end());
}

/// Why, below the row that it belongs to.
fn explain(out: &mut String, text: &str, style: Style, look: Look) {
    const INDENT: &str = "     ";
    let room = look.width.map_or(usize::MAX, |width| {
        width.saturating_sub(INDENT.len()).max(20)
    });
    for piece in wrap(&clean(text), room) {
        let _ = writeln!(out, "{INDENT}{}", paint(&piece, style, look));
    }
}

/// A line or as many as it needs.
fn line(out: &mut String, text: &str, style: Style, look: Look) {
    let text = clean(text);
    let indent = text.len() - text.trim_start().len();
    let room = look
        .width
        .map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
    for piece in wrap(text.trim_start(), room) {
        let _ = writeln!(out, "{}{}", " ".repeat(indent), paint(&piece, style, look));
    }
}

/// Breaks a text between words; a word that is too long for a line has one of its own.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let fits = lines
            .last()
            .is_some_and(|line| line.is_empty() || line.width() + 1 + word.width() <= room);
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// What fits, with a sign that something is left out.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if short.width() + c.to_string().width() >= width {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

fn paint(text: &str, style: Style, look: Look) -> String {
    if look.colour && style != PLAIN {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

/// What comes from a cluster and goes to a terminal: nothing in it is an order to the terminal, or breaks the line.
fn clean(text: &str) -> String {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if is_unsafe(c) { '\u{fffd}' } else { c })
        .collect()
}
