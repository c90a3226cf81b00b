//! The terminal while a table is refreshed on it: the alternate screen, without cursor and echo. What was there comes back
//! when it is dropped, however the watch ends; where there is no terminal, each reading is printed below the last.

use std::io::{self, Write};
use std::time::Duration;

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// The alternate screen, and no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The cursor, and the screen from before.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// The upper left corner.
const HOME: &str = "\x1b[H";
/// The rest of the line is empty.
const CLEAR_LINE: &str = "\x1b[K";
/// The rest of the screen is empty.
const CLEAR_BELOW: &str = "\x1b[J";

pub(super) struct Screen {
    in_place: bool,
    /// The terminal's settings from before.
    before: Option<Termios>,
    signals: Signals,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    resize: Signal,
}

/// Why a wait is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    Pause,
    /// The terminal has another size.
    Resized,
    /// The user, or the system, wants it to end.
    Enough,
}

impl Screen {
    /// Takes the terminal, if the table is to be refreshed in place.
    pub(super) fn open(in_place: bool) -> io::Result<Self> {
        let signals = Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            resize: signal(SignalKind::window_change())?,
        };
        let mut screen = Self {
            in_place,
            before: None,
            signals,
        };
        if in_place {
            screen.silence();
            write(ENTER)?;
        }
        Ok(screen)
    }

    /// Keeps what is typed from being written into the table. Without a terminal to type on there is nothing to keep.
    fn silence(&mut self) {
        let Ok(before) = termios::tcgetattr(io::stdin()) else {
            return;
        };
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        if termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &quiet).is_ok() {
            self.before = Some(before);
        }
    }

    /// Shows this and nothing else, from its top, as far as there is room. Whether there is anybody left who reads it.
    pub(super) fn show(&self, text: &str) -> io::Result<bool> {
        let written = if self.in_place {
            write(&frame(text, rows()))
        } else {
            write(text)
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }

    pub(super) async fn wait(&mut self, pause: Duration) -> Waited {
        let Signals {
            interrupt,
            terminate,
            hang_up,
            resize,
        } = &mut self.signals;
        let in_place = self.in_place;
        let resized = async {
            loop {
                resize.recv().await;
                if in_place {
                    return;
                }
            }
        };
        tokio::select! {
            () = sleep(pause) => Waited::Pause,
            _ = interrupt.recv() => Waited::Enough,
            _ = terminate.recv() => Waited::Enough,
            _ = hang_up.recv() => Waited::Enough,
            () = resized => Waited::Resized,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.in_place {
            // There is nobody to tell of a terminal that has gone.
            let _ = write(LEAVE);
        }
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

/// The bytes that replace what the screen shows, without a moment in which it is empty.
fn frame(text: &str, rows: Option<usize>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.unwrap_or(lines.len()).max(1);
    let mut frame = HOME.to_owned();
    let hidden = lines.len().saturating_sub(room);
    let shown = if hidden > 0 { room - 1 } else { lines.len() };
    for (number, line) in lines.iter().take(shown).enumerate() {
        if number > 0 {
            frame.push_str("\r\n");
        }
        frame.push_str(line);
        frame.push_str(CLEAR_LINE);
    }
    if hidden > 0 {
        let rest = format!(
            "\r\n({} more lines; -n and --refused show fewer)",
            hidden + 1
        );
        frame.push_str(if shown == 0 { rest.trim_start() } else { &rest });
        frame.push_str(CLEAR_LINE);
    }
    frame.push_str(CLEAR_BELOW);
    frame
}

fn rows() -> Option<usize> {
    let (_, height) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(height.0))
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_ends_where_the_screen_does_and_says_how_much_it_hides() {
        let frame_of = |rows| frame("a\nb\nc\n", rows).replace('\x1b', "");
        assert_eq!(frame_of(Some(3)), "[Ha[K\r\nb[K\r\nc[K[J");
        assert_eq!(
            frame_of(Some(2)),
            "[Ha[K\r\n(2 more lines; -n and --refused show fewer)[K[J"
        );
        assert_eq!(frame_of(None), frame_of(Some(3)));
    }
}
