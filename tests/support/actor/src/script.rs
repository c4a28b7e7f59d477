//! The parts of a script: statements, words, and short forms of long texts.

/// The statements of a script, each in its words. A block is one word, without its braces.
pub(crate) fn statements(script: &str) -> Vec<Vec<&str>> {
    let mut all = Vec::new();
    let mut words = Vec::new();
    let (mut depth, mut start) = (0, None);
    for (at, letter) in script.char_indices() {
        match letter {
            '{' => {
                if depth == 0 {
                    start = Some(at + 1);
                }
                depth += 1;
            }
            '}' => depth -= 1,
            _ if depth > 0 => continue,
            ';' => {}
            _ if !letter.is_whitespace() => {
                start = start.or(Some(at));
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            words.extend(start.take().map(|start| script[start..at].trim()));
        }
        if depth == 0 && letter == ';' {
            all.push(std::mem::take(&mut words));
        }
    }
    assert_eq!(depth, 0, "braces in {script}");
    words.extend(start.map(|start| &script[start..]));
    all.push(words);
    all.retain(|words| !words.is_empty());
    all
}

/// `x*3` is `xxx`. Other texts stand for themselves.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    match text
        .split_once('*')
        .map(|(what, times)| (what, times.parse()))
    {
        Some((what, Ok(times))) => what.repeat(times).into_bytes(),
        Some((_, Err(_))) | None => text.into(),
    }
}

pub(crate) fn text(text: &str) -> String {
    String::from_utf8_lossy(&bytes(text)).into_owned()
}

/// The reverse, if the short form is shorter.
pub(crate) fn shown(bytes: &[u8]) -> String {
    match bytes {
        [first, .., _] if bytes.len() > 40 && bytes.iter().all(|byte| byte == first) => {
            format!("{}*{}", char::from(*first), bytes.len())
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_words() {
        assert_eq!(
            statements(" spawn a { receive; spawn b { } } ;; kill a"),
            [
                vec!["spawn", "a", "receive; spawn b { }"],
                vec!["kill", "a"]
            ]
        );
        assert_eq!(statements(""), Vec::<Vec<&str>>::new());
        assert_eq!(statements("spawn a {}"), [["spawn", "a", ""]]);
    }

    #[test]
    fn texts_are_short_for_long_ones() {
        assert_eq!(bytes("x*3"), b"xxx");
        assert_eq!(bytes("x*y"), b"x*y");
        assert_eq!(shown(&bytes("x*100")), "x*100");
        assert_eq!(shown(b"xxx"), "xxx");
    }
}
