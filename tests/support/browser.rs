//! A headless Chromium with one page, driven over the DevTools protocol: what a person would see of
//! a page, its test sees too.
//!
//! The browser reads messages from its descriptor 3, and writes them to its descriptor 4. Each
//! message is JSON that ends with a NUL byte. A thread reads them, and sorts them into replies,
//! requests of the page, and problems.

use std::collections::HashMap;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The longest wait for the browser, and for a condition on the page. It is long, so that only a
/// hang fails a test, and not a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The interval for checking a condition, as no event reports its change.
const GLANCE: Duration = Duration::from_millis(20);

/// Names of the browser in Linux distributions.
const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Moves the protocol's pipes to the descriptors where the browser looks for them. The descriptors
/// 0 and 1 are free then: what the browser prints is no message.
const PIPES: &str = r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#;

const FLAGS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    // The sandbox needs privileges that containers lack, and refuses to run as root. The only pages
    // here are the project's own.
    "--no-sandbox",
    // Containers often have a small /dev/shm.
    "--disable-dev-shm-usage",
    "--disable-gpu",
    // Nothing but the page may use the network.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--disable-features=MediaRouter,OptimizationHints,Translate",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--metrics-recording-only",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--no-proxy-server",
    "--password-store=basic",
    "--use-mock-keychain",
    // A page in the background is as fast as one in front.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
];

/// A running browser. It ends, and its folder is removed, when this is dropped.
pub(crate) struct Browser {
    child: Child,
    /// Messages to the browser. Once it is closed, the browser ends by itself.
    orders: Mutex<Option<ChildStdin>>,
    heard: Arc<Heard>,
    /// The page's session. All messages about the page carry it.
    session: String,
    next_id: AtomicU64,
    /// Dropped last: the browser writes there until it has ended.
    folder: Profile,
}

/// What the browser has said.
#[derive(Default)]
struct Heard {
    said: Mutex<Said>,
    news: Condvar,
}

#[derive(Default)]
struct Said {
    /// Replies by the number of their order, until they are fetched.
    replies: HashMap<u64, Value>,
    requests: Vec<String>,
    problems: Vec<String>,
    /// How often a page has loaded.
    loads: usize,
    has_ended: bool,
}

impl Browser {
    /// Starts the browser with an empty page. `None` if none is installed.
    ///
    /// # Panics
    /// If it is installed and does not start.
    pub(crate) fn start() -> Option<Self> {
        let program = program()?;
        let folder = Profile::new();
        let log = File::create(folder.log()).expect("a file in our folder");
        let mut child = Command::new("sh")
            .args(["-c", PIPES, "sh"])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", folder.0.display()))
            .arg("about:blank")
            // It leaves the user's own settings alone.
            .env("HOME", &folder.0)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let heard = Arc::new(Heard::default());
        let output = child.stdout.take().expect("it is piped");
        std::thread::spawn({
            let heard = Arc::clone(&heard);
            move || heard.read(output)
        });
        let orders = Mutex::new(child.stdin.take());
        let mut browser = Self {
            child,
            orders,
            heard,
            session: String::new(),
            next_id: AtomicU64::new(1),
            folder,
        };
        browser.attach();
        Some(browser)
    }

    /// Makes a page, and asks to be told what happens on it.
    fn attach(&mut self) {
        let made = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", target);
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Opens this address, and waits until the page has loaded.
    pub(crate) fn open(&self, url: &str) {
        let before = self.heard.lock().loads;
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "can't open {url}: {opened}");
        self.wait(url, |said| (said.loads > before).then_some(()));
    }

    /// The value of this expression. If it is a promise: what it resolves to.
    ///
    /// # Panics
    /// If the expression throws.
    pub(crate) fn evaluate(&self, expression: &str) -> Value {
        let mut outcome = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true }),
        );
        let thrown = &outcome["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}\nthrows {thrown}");
        outcome["result"]["value"].take()
    }

    /// Waits until this expression is true on the page.
    pub(crate) fn wait_until(&self, expression: &str) {
        let start = Instant::now();
        while self.evaluate(&format!("Boolean({expression})")) != true {
            assert!(
                start.elapsed() < PATIENCE,
                "waited {PATIENCE:?} in vain for: {expression}\nthe page says: {}",
                self.evaluate("document.body.innerText")
            );
            std::thread::sleep(GLANCE);
        }
    }

    /// Sets the size of the window, in CSS pixels.
    pub(crate) fn set_size(&self, width: u32, height: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
    }

    /// Sets what the user prefers: a dark page, or a light one.
    pub(crate) fn set_dark(&self, is_dark: bool) {
        self.set_preference(
            "prefers-color-scheme",
            if is_dark { "dark" } else { "light" },
        );
    }

    /// Sets a feature of the user's media. Other features have their defaults again.
    pub(crate) fn set_preference(&self, name: &str, value: &str) {
        let features = json!([{ "name": name, "value": value }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }

    /// Presses a key, and releases it. `key` is its name in DOM events.
    pub(crate) fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => panic!("a key without a number: {key}"),
        };
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// The address of every request of the page so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.heard.lock().requests.clone()
    }

    /// All errors and warnings of the page so far: uncaught exceptions, failed requests, violations
    /// of its policy, and what it wrote to the console as an error or a warning.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.heard.lock().problems.clone()
    }

    /// Calls a method of the DevTools protocol, for the page if there is one. Returns its result.
    ///
    /// # Panics
    /// If the browser refuses it.
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let sent = match &mut *self.orders.lock().expect("no test panics here") {
            Some(orders) => orders.write_all(&bytes),
            None => Ok(()),
        };
        // If the browser has ended, the wait says so.
        let mut reply = match sent {
            Ok(()) => self.wait(method, |said| said.replies.remove(&id)),
            Err(error) => panic!("{method}: {error}\n{}", self.folder.read_log()),
        };
        assert!(reply["error"].is_null(), "{method}: {}", reply["error"]);
        reply["result"].take()
    }

    /// Waits until the browser has said something.
    fn wait<T>(&self, what: &str, mut condition: impl FnMut(&mut Said) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.heard.lock();
        loop {
            if let Some(value) = condition(&mut said) {
                return value;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if said.has_ended || left.is_zero() {
                let why = if said.has_ended {
                    "it has ended"
                } else {
                    "it is silent"
                };
                drop(said);
                panic!(
                    "{what}: the browser does not answer: {why}\n{}",
                    self.folder.read_log()
                );
            }
            said = self
                .heard
                .news
                .wait_timeout(said, left)
                .expect("no thread panics here")
                .0;
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without orders the browser ends by itself, and its own processes with it.
        if let Ok(mut orders) = self.orders.lock() {
            orders.take();
        }
        let start = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if start.elapsed() > PATIENCE / 10 {
                let _ended_by_itself = self.child.kill();
                let _status = self.child.wait();
                break;
            }
            std::thread::sleep(GLANCE);
        }
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().expect("no thread panics here")
    }

    /// Reads messages until the browser ends.
    fn read(&self, output: impl Read) {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while let Ok(1..) = output.read_until(0, &mut bytes) {
            bytes.pop();
            if let Ok(message) = serde_json::from_slice(&bytes) {
                self.lock().take(message);
                self.news.notify_all();
            }
            bytes.clear();
        }
        self.lock().has_ended = true;
        self.news.notify_all();
    }
}

impl Said {
    /// Sorts in a message.
    fn take(&mut self, message: Value) {
        if let Some(id) = message["id"].as_u64() {
            self.replies.insert(id, message);
            return;
        }
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Page.loadEventFired" => self.loads += 1,
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                self.requests.push(url.to_owned());
            }
            "Runtime.exceptionThrown" => {
                self.problems.push(params["exceptionDetails"].to_string());
            }
            "Runtime.consoleAPICalled" => {
                if let Some("error" | "warning" | "assert") = params["type"].as_str() {
                    self.problems.push(params["args"].to_string());
                }
            }
            "Log.entryAdded" => {
                if let Some("error" | "warning") = params["entry"]["level"].as_str() {
                    self.problems.push(params["entry"].to_string());
                }
            }
            _ => {}
        }
    }
}

/// The folder of one browser, below the folder for temporary files.
struct Profile(PathBuf);

impl Profile {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wasm-pool-browser-{}-{count}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("a temporary folder");
        Self(path)
    }

    /// The browser's standard error.
    fn log(&self) -> PathBuf {
        self.0.join("stderr.log")
    }

    fn read_log(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // The last of the browser's processes may still write there.
        let start = Instant::now();
        while fs::remove_dir_all(&self.0).is_err() && start.elapsed() < PATIENCE / 10 {
            std::thread::sleep(GLANCE);
        }
    }
}

/// The first installed browser.
fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    NAMES.iter().find_map(|name| {
        let mut places = env::split_paths(&path).map(|folder| folder.join(name));
        places.find(|place| Path::is_file(place))
    })
}
