//! The live status page, in a real browser. Without an installed Chromium, these tests pass and say
//! that they saw nothing.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::admin::admin;
use crate::support::browser::Browser;
use crate::support::server::{Server, guest};
use crate::support::{eventually, untested};

/// The cell of the process that runs a request.
const RUNNING: &str = "document.querySelector('.cells [data-state=running]')";

/// The pairs of text and background that are shown, and those with a contrast below 4.5 (WCAG 2.2,
/// "1.4.3 Contrast (Minimum)"). The page has one exit and a lost connection, for their colours.
const CONTRAST: &str = "(() => {
    drawExit({ at_ms: 1, pid: 1, pool: 'main', exit: 'trap', reason: 'a; backtrace: b < c',
        output: 'd', request: 1, served: 1 });
    for (const details of document.querySelectorAll('details')) details.open = true;
    drawConnection('connection lost, trying again', 'bad');
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const linear = (value) => value <= 0.04045 * 255 ? value / 255 / 12.92
        : ((value / 255 + 0.055) / 1.055) ** 2.4;
    const luminance = ([red, green, blue]) =>
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    const behind = (node) => {
        const colour = numbers(getComputedStyle(node).backgroundColor);
        return colour[3] === 0 ? behind(node.parentElement) : colour;
    };
    const low = [];
    let pairs = 0;
    for (const node of document.body.querySelectorAll('*')) {
        const hasText = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE
            && child.data.trim()) || getComputedStyle(node, '::before').content !== 'none';
        if (!hasText || !node.checkVisibility()) continue;
        pairs += 1;
        const [text, back] = [numbers(getComputedStyle(node).color), behind(node)];
        const [dark, light] = [luminance(text), luminance(back)].sort((a, b) => a - b);
        const contrast = (light + 0.05) / (dark + 0.05);
        if (contrast < 4.5 || text.length > 3 || back.length > 3) {
            low.push(`${contrast.toFixed(2)}: ${node.outerHTML.slice(0, 200)}`);
        }
    }
    return { pairs, low, background: getComputedStyle(document.body).backgroundColor };
})()";

/// A server, and a browser that shows its page and its first processes.
fn opened(flags: &str) -> Option<(Server, Browser)> {
    let Some(browser) = Browser::start() else {
        untested("the page, as there is no Chromium");
        return None;
    };
    let server = guest("misbehave", &format!("--admin 0 {flags}"));
    browser.open(&url(admin(&server)));
    browser.wait_until("document.querySelector('.cells li')");
    Some((server, browser))
}

fn url(admin: SocketAddr) -> String {
    format!("http://{admin}/")
}

/// Waits until the page has drawn this many further samples.
fn wait_samples(browser: &Browser, count: usize) {
    for _ in 0..count {
        let before = browser.evaluate("heard");
        browser.wait_until(&format!("heard > {before}"));
    }
}

/// Ends the stream. From then on, the page shows only what the test hands to its functions.
fn cut_off(browser: &Browser) {
    browser.evaluate("source.close()");
}

/// A sample of one pool with these processes, of which there are `alive` in truth.
fn sample(pids: impl Iterator<Item = usize>, state: &str, alive: usize) -> Value {
    let process = |pid| {
        json!({
            "pid": pid, "pool": "main", "kind": "handle", "state": state, "state_ms": 1,
            "age_ms": 1, "requests": 1, "request": null, "request_ms": null, "memory": 1,
            "cpu_ms": 1, "open_files": 0, "messages": null, "parent": null, "names": [],
        })
    };
    let processes: Vec<_> = pids.map(process).collect();
    let times = json!({ "requests": 0, "p50_us": null, "p90_us": null, "p99_us": null });
    json!({
        "version": "1", "pid": 1, "address": "http://127.0.0.1:1", "age_ms": 1, "answered": 0,
        "obstacle": null, "ended": {}, "processes": processes, "alive": alive,
        "rates": [{ "requests": 0, "failed": 0, "p50_us": null, "p99_us": null }],
        "pools": [{
            "name": "main", "routes": ["/*"], "kind": "handle", "module": "m.wasm", "min": 1,
            "max": 9999, "idle": 0, "alive": alive, "waiting": 0, "generation": 1, "memory": 1,
            "is_draining": false, "is_failing": false, "responses": [0, 0, 0, 0, 0],
            "refused": 0, "restarts": 0, "latency": times,
        }],
    })
}

#[test]
fn the_page_loads_without_an_error_and_asks_nobody_else() {
    let Some((server, browser)) = opened("--workers 4") else {
        return;
    };
    assert_eq!(server.get("/trap").status, 502);
    browser.wait_until("document.querySelector('#list > li')");
    wait_samples(&browser, 2);
    assert_eq!(browser.problems(), Vec::<String>::new());
    let own = url(admin(&server));
    let requests = browser.requests();
    assert!(requests.contains(&format!("{own}events")), "{requests:?}");
    let others = requests.iter().filter(|url| !url.starts_with(&own));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn all_processes_are_shown_and_each_has_a_name() {
    let Some((server, browser)) = opened("--workers 4") else {
        return;
    };
    browser.set_size(1280, 800);
    browser.wait_until("document.querySelectorAll('.cells li').length === 4");
    browser.wait_until("document.title === 'ready, 4 alive · wasm-pool-host'");
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().expect("nodes");
    let names = |role: &str| -> Vec<String> {
        let nodes = nodes.iter().filter(|node| node["role"]["value"] == role);
        nodes
            .map(|node| {
                node["name"]["value"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    };
    let cells = names("option");
    assert_eq!(cells.len(), 4);
    for name in cells {
        let (pid, state) = name.split_once(", ").expect("a pid, and a state");
        assert!(pid.starts_with("process ") && !state.is_empty(), "{name}");
    }
    assert_eq!(names("listbox"), ["Processes of main"]);
    for role in ["banner", "main", "complementary", "status"] {
        assert_eq!(names(role).len(), 1, "{role}");
    }
    drop(server);
    browser.wait_until("document.title === 'connection lost, trying again · wasm-pool-host'");
    browser.wait_until("page.news.textContent === 'connection lost, trying again'");
}

#[test]
fn a_crash_shows_within_a_second_and_is_said_once() {
    /// A busy machine may be late, but not each time.
    const TRIES: usize = 10;
    let Some((server, browser)) = opened("--workers 4") else {
        return;
    };
    browser.evaluate(
        "window.delays = []; window.said = [];
         new MutationObserver(() => {
             const time = document.querySelector('#list > li time').dateTime;
             delays.push(Date.now() - Date.parse(time));
         }).observe(page.list, { childList: true });
         new MutationObserver(() => said.push(page.news.textContent))
             .observe(page.news, { childList: true });",
    );
    for crash in 1..=TRIES {
        assert_eq!(server.get("/trap").status, 502);
        browser.wait_until(&format!("page.list.children.length === {crash}"));
        browser.wait_until(&format!("said.length >= {crash}"));
        if browser.evaluate("delays.some((delay) => delay < 1000)") == true {
            break;
        }
        assert!(crash < TRIES, "too late: {}", browser.evaluate("delays"));
    }
    let text = |part: &str| {
        let node = format!("document.querySelector('#list > li {part}').textContent");
        browser
            .evaluate(&node)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(text("strong"), "trap");
    assert!(text("[data-part=reason]").contains("unreachable"));
    assert!(text("[data-part=functions]").contains("misbehave"));
    let crashes = browser.evaluate("page.list.children.length");
    wait_samples(&browser, 3);
    let said = browser.evaluate("said");
    assert_eq!(
        said.as_array().map(Vec::len),
        crashes.as_u64().map(|count| count as usize)
    );
    let first = said[0].as_str().expect("a sentence");
    assert!(
        first.starts_with("process ") && first.ends_with(" of main ended: trap"),
        "{first}"
    );
}

#[test]
fn a_running_request_changes_the_cell_of_its_process() {
    let Some((server, browser)) = opened("--workers 4") else {
        return;
    };
    let spinning = server.send("/spin");
    // At a tick the process waits for its next turn, and a look may fall on that.
    let name = eventually("a cell runs", || {
        let name = browser.evaluate(&format!("{RUNNING}?.ariaLabel"));
        name.as_str().map(str::to_owned)
    });
    assert!(
        name.contains(", running, request ") && name.contains(" for "),
        "{name}"
    );
    browser.wait_until(&format!("{RUNNING}?.hasAttribute('data-long')"));
    spinning.reset();
    browser.wait_until(&format!("!{RUNNING}"));
}

#[test]
fn what_guests_write_stays_text() {
    const MARKUP: &str = "<img src=x onerror=window.harm=1><b>";
    let Some((_server, browser)) = opened("--workers 1") else {
        return;
    };
    cut_off(&browser);
    let exit = json!({
        "at_ms": 1, "pid": 1, "pool": MARKUP, "exit": MARKUP, "request": 1, "served": 1,
        "reason": format!("{MARKUP}; backtrace: {MARKUP} < {MARKUP}"), "output": MARKUP,
    });
    browser.evaluate(&format!("drawExit({exit})"));
    let mut now = sample(1..3, "running", 2);
    now["pools"][0]["name"] = json!(MARKUP);
    for field in ["pool", "state"] {
        now["processes"][0][field] = json!(MARKUP);
    }
    now["processes"][0]["names"] = json!([MARKUP]);
    browser.evaluate(&format!(
        "drawNow({now}); document.querySelector('.cells li').focus()"
    ));
    for part in ["#list li", "#list pre", "#list code", "#pools h2", "#facts"] {
        let text = browser.evaluate(&format!("document.querySelector('{part}').textContent"));
        assert!(
            text.as_str().expect("text").contains(MARKUP),
            "{part}: {text}"
        );
    }
    assert_eq!(
        browser.evaluate("document.querySelectorAll('img, b').length"),
        0
    );
    assert_eq!(browser.evaluate("typeof window.harm"), "undefined");
}

#[test]
fn a_telephone_shows_the_page_without_scrolling_sideways() {
    let Some((_server, browser)) = opened("--workers 4") else {
        return;
    };
    let word = "x".repeat(500);
    browser.set_size(360, 740);
    cut_off(&browser);
    let mut now = sample(1..100, "running", 99);
    now["pools"][0]["module"] = json!(word);
    browser.evaluate(&format!(
        "drawNow({now}); document.querySelector('.cells li').focus()"
    ));
    let exit = json!({
        "at_ms": 1, "pid": 1, "pool": word, "exit": "trap", "request": 1, "served": 1,
        "reason": format!("{word}; backtrace: {word}"), "output": word,
    });
    browser.evaluate(&format!(
        "drawExit({exit}); document.querySelector('details').open = true"
    ));
    let wide = "[...document.querySelectorAll('html, header, section, aside, #facts')]
        .filter((node) => node.scrollWidth > Math.min(node.clientWidth, 360))
        .map((node) => node.outerHTML.slice(0, 200))";
    assert_eq!(browser.evaluate(wide), json!([]));
}

#[test]
fn light_and_dark_can_be_read() {
    let Some((_server, browser)) = opened("--workers 4") else {
        return;
    };
    let backgrounds = [false, true].map(|is_dark| {
        browser.set_dark(is_dark);
        let seen = browser.evaluate(CONTRAST);
        assert_eq!(seen["low"], json!([]), "dark: {is_dark}");
        assert!(seen["pairs"].as_u64() > Some(40), "{seen}");
        seen["background"].clone()
    });
    assert_ne!(backgrounds[0], backgrounds[1]);
}

#[test]
fn arrow_keys_move_the_focus() {
    let Some((_server, browser)) = opened("--workers 4") else {
        return;
    };
    browser.wait_until("document.querySelectorAll('.cells li').length === 4");
    browser.press("Tab");
    let place = || {
        browser
            .evaluate("[...document.querySelectorAll('.cells li')].indexOf(document.activeElement)")
    };
    #[rustfmt::skip] // one line per case
    let cases = [
        ("ArrowLeft", 0), ("ArrowRight", 1), ("End", 3), ("ArrowRight", 3), ("ArrowLeft", 2),
        ("Home", 0), ("ArrowUp", 0), ("ArrowDown", 0),
    ];
    assert_eq!(place(), 0);
    for (key, expected) in cases {
        browser.press(key);
        assert_eq!(place(), expected, "{key}");
    }
    // On a narrow page, there is more than one row.
    browser.evaluate("document.querySelector('.cells').style.width = '60px'");
    for (key, expected) in [("ArrowDown", 2), ("ArrowRight", 3), ("ArrowUp", 1)] {
        browser.press(key);
        assert_eq!(place(), expected, "{key}");
    }
    assert_eq!(
        browser.evaluate("document.querySelectorAll('.cells [tabindex=\"0\"]').length"),
        1
    );
    let shown = browser
        .evaluate("page.which.textContent === `Process ${document.activeElement.process.pid}`");
    assert_eq!(shown, true);
}

#[test]
fn the_panel_shows_the_process_under_the_pointer_or_else_the_chosen_one() {
    let Some((_server, browser)) = opened("--workers 1") else {
        return;
    };
    cut_off(&browser);
    browser.evaluate(&format!("drawNow({})", sample(1000..1010, "idle", 10)));
    browser.evaluate(
        "window.cells = [...document.querySelectorAll('.cells li')]; cells[2].focus();
         window.point = (target, type) => target.dispatchEvent(
             new PointerEvent(type, { bubbles: true, pointerType: 'mouse' }))",
    );
    let is_shown = |pid: u32| {
        assert_eq!(
            browser.evaluate("page.which.textContent"),
            json!(format!("Process {pid}"))
        );
    };
    is_shown(1002);
    browser.evaluate("point(cells[7], 'pointerover')");
    is_shown(1007);
    browser.evaluate("point(page.pools, 'pointerleave')");
    is_shown(1002);
    browser.press("ArrowLeft");
    is_shown(1001);
    browser.press("Escape");
    assert_eq!(browser.evaluate("page.which.textContent"), "Process");
}

#[test]
fn the_focus_survives_samples_and_the_end_of_its_process() {
    let Some((server, browser)) = opened("--workers 1") else {
        return;
    };
    browser.evaluate("window.cell = document.querySelector('.cells li'); cell.focus()");
    wait_samples(&browser, 3);
    assert_eq!(browser.evaluate("document.activeElement === cell"), true);
    assert_eq!(server.get("/trap").status, 502);
    browser.wait_until("document.querySelectorAll('.cells li').length === 2");
    browser.wait_until("cell.ghostUntil < performance.now()");
    wait_samples(&browser, 2);
    assert_eq!(browser.evaluate("document.activeElement === cell"), true);
    let name = browser.evaluate("cell.ariaLabel");
    assert!(
        name.as_str().expect("a name").ends_with(", ended: trap"),
        "{name}"
    );
    browser.press("ArrowRight");
    browser.wait_until("document.querySelectorAll('.cells li').length === 1");
    assert_eq!(
        browser.evaluate("document.activeElement.ariaLabel.endsWith('idle')"),
        true
    );
}

#[test]
fn a_reconnected_page_shows_and_says_no_exit_twice() {
    let Some((server, browser)) = opened("--workers 1") else {
        return;
    };
    for crash in 1..=3 {
        assert_eq!(server.get("/trap").status, 502);
        browser.wait_until(&format!("page.list.children.length === {crash}"));
    }
    wait_samples(&browser, 2);
    browser.evaluate("page.news.textContent = 'old'; window.first = page.list.firstChild");
    cut_off(&browser);
    browser.evaluate("connect()");
    wait_samples(&browser, 3);
    assert_eq!(browser.evaluate("page.list.children.length"), 3);
    assert_eq!(browser.evaluate("page.list.firstChild === first"), true);
    assert_eq!(browser.evaluate("page.news.textContent"), "old");
}

#[test]
fn the_cells_of_many_processes_are_kept() {
    let Some((_server, browser)) = opened("--workers 1") else {
        return;
    };
    cut_off(&browser);
    browser.evaluate(&format!("drawNow({})", sample(100..1100, "idle", 1250)));
    browser.wait_until("document.querySelectorAll('.cells li').length === 1000");
    assert_eq!(
        browser.evaluate("document.querySelector('[data-part=more]').innerText"),
        "and 250 more"
    );
    browser.evaluate(
        "window.before = [...document.querySelectorAll('.cells li')]; window.changes = 0;
         new MutationObserver((all) => changes += all.length)
             .observe(pools.get('main').cells, { subtree: true, childList: true, attributes: true })",
    );
    // The first process ends, another one starts, and all others are as they were.
    browser.evaluate(&format!("drawNow({})", sample(101..1101, "idle", 1000)));
    let kept = "[...document.querySelectorAll('.cells li')].slice(0, -1)
        .every((cell, at) => cell === before[at + 1])";
    assert_eq!(browser.evaluate(kept), true);
    assert_eq!(
        browser.evaluate("Promise.resolve().then(() => changes < 10)"),
        true
    );
    assert_eq!(
        browser.evaluate("document.querySelector('[data-part=more]').hidden"),
        true
    );
}
