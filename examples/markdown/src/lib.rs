//! Renders Markdown: reads the file that the path names, by RPC, and answers with HTML.

use pulldown_cmark::{Event, Options, Parser, html};
use wasm_pool_guest::files::ErrorCode;
use wasm_pool_guest::{Request, Response, handler};

/// A larger page is not read: its HTML has to fit into this process's memory too.
const MAX_PAGE_BYTES: usize = 1 << 20;

handler!(answer);

fn answer(request: Request) -> Response {
    if !["GET", "HEAD"].contains(&request.method.as_str()) {
        return Response::text(405, "Pages are only read.\n").with_header("allow", "GET, HEAD");
    }
    let Some(file) = file(&request) else {
        return Response::text(404, "There is no such page.\n");
    };
    match wasm_pool_guest::read_at_most(&file, MAX_PAGE_BYTES) {
        Ok(bytes) => page(&String::from_utf8_lossy(&bytes)),
        Err(ErrorCode::TooLarge) => Response::text(500, "The page is too large to render.\n"),
        Err(_) => Response::text(404, "There is no such page.\n"),
    }
}

/// `guide.md` for `/guide`, and `index.md` for `/`. None for a name that is hidden.
fn file(request: &Request) -> Option<String> {
    let path = request.decoded_path()?;
    let path = path.trim_start_matches('/');
    if path.split('/').any(|name| name.starts_with('.')) {
        return None;
    }
    Some(match path {
        "" => "index.md".to_owned(),
        path => format!("{path}.md"),
    })
}

fn page(markdown: &str) -> Response {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    // HTML in a page is shown and not obeyed: who writes a page need not be trusted.
    let shown = |event| {
        if let Event::Html(raw) | Event::InlineHtml(raw) = event {
            Event::Text(raw)
        } else {
            event
        }
    };
    let events = Parser::new_ext(markdown, options).map(shown);
    let mut content = String::from("<!doctype html>\n<meta charset=\"utf-8\">\n");
    html::push_html(&mut content, events);
    Response::html(200, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    // `cargo test --package markdown` runs these, without a host.

    #[test]
    fn markdown_becomes_html() {
        let response = page("# Hello\n\n*you* & <script>me</script>\n");
        let body = response.body.bytes().unwrap_or_default();
        let body = core::str::from_utf8(body).unwrap_or_default();
        assert!(body.contains("<h1>Hello</h1>"), "{body}");
        assert!(body.contains("<em>you</em> &amp; &lt;script&gt;"), "{body}");
    }

    #[test]
    fn a_path_names_a_file() {
        for (target, named) in [
            ("/", Some("index.md")),
            ("/notes/a%20b", Some("notes/a b.md")),
            ("/.git/config", None),
            ("/..%2Fsecret", None),
            ("/%ff", None),
        ] {
            assert_eq!(
                file(&Request::new("GET", target)).as_deref(),
                named,
                "{target}"
            );
        }
    }

    #[test]
    fn pages_are_only_read() {
        assert_eq!(answer(Request::new("POST", "/")).status, 405);
    }
}
