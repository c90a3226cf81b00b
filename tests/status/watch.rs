//! `podiam status --watch` on a terminal.

use serde_json::Value;

use crate::scene::{Scene, manifests};
use crate::support::process::Process;
use crate::terminal::Terminal;

const PODIAM: &str = env!("CARGO_BIN_EXE_podiam");

fn watch(scene: &Scene, words: &[&str]) -> std::process::Command {
    let mut command = scene.on_node(PODIAM);
    command
        .args(["status", "--watch", "--interval=1"])
        .args(words);
    command.env("TERM", "xterm-256color");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_the_agent_through_a_restart_and_gives_the_terminal_back_on_ctrl_c() {
    let mut scene = Scene::new(&manifests()).await;
    scene.settled().await;
    let mut terminal = Terminal::start(&watch(&scene, &[]), 40, 120);
    let text = terminal.shows(&["ready", "ledger-0", "sts-refused:"]).await;
    assert!(
        text.lines().all(|line| line.chars().count() <= 120),
        "{text}"
    );
    assert!(terminal.look(vt100::Screen::alternate_screen));
    assert!(terminal.look(vt100::Screen::hide_cursor));
    let red = terminal.look(|screen| {
        let rows: Vec<String> = screen.rows(0, 120).collect();
        let row = rows
            .iter()
            .position(|row| row.contains("ledger-0"))
            .unwrap();
        screen.cell(row.try_into().unwrap(), 0).unwrap().fgcolor()
    });
    assert_eq!(red, vt100::Color::Idx(1), "a refused pod stands out");
    assert!(!terminal.echoes());

    let mut fewer = manifests();
    fewer.truncate(9);
    scene.manifests.replace(&fewer);
    crate::support::eventually("a screen without the pods that went", || async {
        let text = terminal.text();
        let gone = !text.contains("ledger-0") && text.contains("api-7d4b9f6c58-q9z7w");
        gone.then_some(()).ok_or(text)
    })
    .await;

    scene.end_agent();
    let away = terminal
        .shows(&[
            "agent not reachable since",
            "refused",
            "as it was at",
            "etl-29c7x",
        ])
        .await;
    assert!(away.starts_with("agent not reachable since"), "{away}");
    scene.start_agent();
    scene.agent().ready().await;
    crate::support::eventually("a screen of the new agent", || async {
        let text = terminal.text();
        let back = text.starts_with("podiam ") && !text.contains("not reachable");
        back.then_some(()).ok_or(text)
    })
    .await;

    terminal.press(b"\x03");
    assert!(terminal.ended().await.success());
    assert!(!terminal.look(vt100::Screen::alternate_screen));
    assert!(!terminal.look(vt100::Screen::hide_cursor));
    assert!(terminal.echoes());
    assert_eq!(terminal.text().trim(), "", "what was there before is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_terminal_has_a_table_that_fits_and_no_color_means_none() {
    let scene = Scene::new(&manifests()).await;
    scene.settled().await;
    let mut command = watch(&scene, &[]);
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::start(&command, 14, 72);
    let text = terminal
        .shows(&["NAMESPACE", "CREDENTIALS", "more lines; -n and --refused"])
        .await;
    assert!(
        text.lines().all(|line| line.chars().count() <= 72),
        "{text}"
    );
    let coloured = terminal.look(|screen| {
        let cells = (0..14).flat_map(|row| (0..72).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| screen.cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default)
    });
    assert!(!coloured, "{text}");
    terminal.press(b"\x03");
    assert!(terminal.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_each_reading_is_a_line_of_json() {
    let scene = Scene::new(&manifests()).await;
    let watching = Process::spawn("podiam status", &watch(&scene, &["--json"]));
    watching.logs("\"agent\"").await;
    crate::support::eventually("a second reading", || async {
        let lines = watching.log().lines().count();
        (lines >= 2).then_some(()).ok_or(format!("{lines} lines"))
    })
    .await;
    for line in watching.log().lines() {
        let status: Value = serde_json::from_str(line).unwrap();
        assert!(status["pods"].is_array());
    }
    let ended = watching.end(nix::sys::signal::Signal::SIGTERM);
    assert!(ended.success(), "{ended}");
}
