//! A terminal with a program on it: a pty, and what its screen shows after all that the program wrote.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use crate::support::{PATIENCE, eventually};

pub(crate) struct Terminal {
    keys: File,
    /// Kept open, so that the terminal's settings can be read when the program has ended.
    other_end: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    child: Child,
}

impl Terminal {
    /// Starts a program as the one whom the terminal belongs to: Ctrl-C is its.
    pub(crate) fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let stdio = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut own = Command::new("setsid");
        own.args(["--ctty", "--wait"]).arg(command.get_program());
        own.args(command.get_args()).env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                own.env(name, value);
            }
        }
        if let Some(path) = std::env::var_os("PATH") {
            own.env("PATH", path);
        }
        own.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let child = own.spawn().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            rows.try_into().unwrap(),
            columns.try_into().unwrap(),
            0,
        )));
        let keys = File::from(pty.master);
        let (mut output, parser) = (keys.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                parser.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self {
            keys,
            other_end: pty.slave,
            screen,
            child,
        }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// What stands on the screen.
    pub(crate) fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen shows all of these.
    pub(crate) async fn shows(&self, words: &[&str]) -> String {
        eventually(&format!("a screen with {words:?}"), || async {
            let text = self.text();
            let all = words.iter().all(|word| text.contains(word));
            all.then_some(text.clone()).ok_or(text)
        })
        .await
    }

    /// What a look at the screen tells.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.screen.lock().unwrap().screen())
    }

    /// Whether what is typed appears.
    pub(crate) fn echoes(&self) -> bool {
        let settings = tcgetattr(&self.other_end).unwrap();
        settings.local_flags.contains(LocalFlags::ECHO)
    }

    /// How the program ends.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut polls = tokio::time::interval(Duration::from_millis(20));
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(tokio::time::Instant::now() < end, "it does not end");
            polls.tick().await;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Hung up, the program below setsid ends too.
            let pid = Pid::from_raw(self.child.id().try_into().unwrap());
            let _ = kill(pid, Signal::SIGHUP);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
