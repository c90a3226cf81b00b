//! A real browser without a head, on the node of a scene, spoken to by its protocol for developer tools: what it makes of a page, as a
//! tree, as what a screen reader is told, and as a picture. Scripts are off; the profile is new each time.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scene::Scene;
use crate::support::PATIENCE;
use crate::support::process::Process;

pub(crate) struct Browser {
    process: Process,
    orders: File,
    answers: Receiver<Value>,
    number: u64,
    /// The page that is open.
    session: String,
    _folder: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eyes {
    pub(crate) dark: bool,
    /// In CSS pixels.
    pub(crate) width: u32,
}

/// Where pictures are kept.
pub(crate) fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("status-page");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Browser {
    /// Starts it with an empty page.
    pub(crate) fn start(scene: &Scene) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            mkfifo(&path, Mode::S_IRWXU).unwrap();
            // Open for both, so that nobody waits for the other's coming.
            let file = OpenOptions::new().read(true).write(true).open(&path);
            (path.display().to_string(), file.unwrap())
        };
        let ((orders_path, orders), (answers_path, answers)) = (pipe("orders"), pipe("answers"));
        let mut command = scene.on_node("sh");
        command
            .args([
                "-c",
                &format!("exec \"$@\" 3<{orders_path} 4>{answers_path}"),
            ])
            .args(["sh", "chromium", "--remote-debugging-pipe"])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ])
            .arg(format!(
                "--user-data-dir={}",
                folder.path().join("profile").display()
            ))
            .arg("about:blank");
        let process = Process::spawn("chromium (Debian's package chromium)", &command);
        let (sender, inbox) = mpsc::channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            process,
            orders,
            answers: inbox,
            number: 0,
            session: String::new(),
            _folder: folder,
        };
        let page = browser.order("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.order("Target.attachToTarget", &attach);
        attached["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        browser.order("Page.enable", &json!({}));
        browser.order(
            "Emulation.setScriptExecutionDisabled",
            &json!({"value": true}),
        );
        browser
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.order("Page.navigate", &json!({"url": url}));
        assert_eq!(opened["errorText"], Value::Null, "{url}: {opened}");
        while self.next()["method"] != "Page.loadEventFired" {}
    }

    /// Looks at the open page in another way.
    pub(crate) fn look(&mut self, eyes: Eyes) {
        let scheme = if eyes.dark { "dark" } else { "light" };
        let scheme = json!({"name": "prefers-color-scheme", "value": scheme});
        self.order("Emulation.setEmulatedMedia", &json!({"features": [scheme]}));
        let screen = json!({"width": eyes.width, "height": 800, "deviceScaleFactor": 1, "mobile": eyes.width < 700});
        self.order("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// The tree.
    pub(crate) fn tree(&mut self) -> String {
        let root = self.order("DOM.getDocument", &json!({"depth": 0}));
        let node = json!({"nodeId": root["root"]["nodeId"]});
        let html = self.order("DOM.getOuterHTML", &node);
        html["outerHTML"].as_str().unwrap().to_owned()
    }

    /// What a screen reader is told: a role and a name each.
    pub(crate) fn spoken(&mut self) -> Vec<(String, String)> {
        let tree = self.order("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes
            .map(|node| (text(&node["role"]), text(&node["name"])))
            .collect()
    }

    /// The width and height of all that is laid out, in CSS pixels.
    pub(crate) fn extent(&mut self) -> (u64, u64) {
        let layout = self.order("Page.getLayoutMetrics", &json!({}));
        let size = &layout["cssContentSize"];
        (
            size["width"].as_u64().unwrap(),
            size["height"].as_u64().unwrap(),
        )
    }

    /// A picture of the whole page, in [`pictures`]. A small one if it is to be a WebP.
    pub(crate) fn picture(&mut self, name: &str) -> PathBuf {
        let (width, height) = self.extent();
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let mut order = match name.rsplit('.').next() {
            Some("webp") => json!({"format": "webp", "quality": 60}),
            _ => json!({"format": "png"}),
        };
        order["captureBeyondViewport"] = true.into();
        order["clip"] = clip;
        let picture = self.order("Page.captureScreenshot", &order);
        let file = pictures().join(name);
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::write(&file, bytes).unwrap();
        file
    }

    /// One order, and what it returns.
    fn order(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let number = self.number;
        let mut order = json!({"id": number, "method": method, "params": parameters});
        if !self.session.is_empty() {
            order["sessionId"] = self.session.clone().into();
        }
        self.orders
            .write_all(format!("{order}\0").as_bytes())
            .unwrap();
        loop {
            let mut answer = self.next();
            if answer["id"] == number {
                assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    fn next(&mut self) -> Value {
        self.answers.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            panic!("chromium says nothing: {error}\n{}", self.process.log())
        })
    }
}
