//! HTML and XHTML to plain text. What is no tag is text.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};

use super::page::Page;

/// The words of `markup`.
pub(crate) fn text(markup: &str) -> String {
    let mut emitter = DefaultEmitter::<()>::default();
    emitter.naively_switch_states(true);
    let mut page = Page::default();
    let mut silent: Option<&'static str> = None;
    let markup = closed(markup);
    for token in Tokenizer::new_with_emitter(markup.as_str(), emitter).flatten() {
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name);
                silent = match (silent, name.as_ref()) {
                    // The end tag of the head may be left out.
                    (Some("head"), "body") => None,
                    (Some(name), _) => Some(name),
                    (None, name) => silencing(name).filter(|_| !tag.self_closing),
                };
                if silent.is_none() {
                    page.tag(&name, false);
                }
            }
            Token::EndTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name);
                if silent.is_none() {
                    page.tag(&name, true);
                } else if silent == Some(name.as_ref()) {
                    silent = None;
                }
            }
            Token::String(words) if silent.is_none() => page.words(&String::from_utf8_lossy(&words)),
            Token::String(_) | Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    page.finish()
}

/// Elements whose content is no text of the page.
fn silencing(name: &str) -> Option<&'static str> {
    ["script", "style", "head", "title", "template"].into_iter().find(|silent| *silent == name)
}

/// A tag that nothing closes would swallow the rest, which is text.
fn closed(markup: &str) -> String {
    match markup.rsplit_once('>') {
        Some((tags, rest)) => format!("{tags}>{}", rest.replace('<', "&lt;")),
        None => markup.replace('<', "&lt;"),
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn blocks_become_lines_and_entities_become_characters() {
        let page = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><h1>Plan</h1>\n <p>Rest &amp; fluids,\n  <b>now</b>.</p><ul><li>K&#43; &#x34;.1</li><li>BP&nbsp;120</li></ul>\
                    <table><tr><td>a</td><td>b</td></tr></table>a &lt; b<br/>c<script>x()</script> d<!-- no --></div>";
        assert_eq!(text(page), "Plan\nRest & fluids, now.\nK+ 4.1\nBP 120\na b\na < b\nc d");
        assert_eq!(text("&ge; 5 &deg;C, &frac12; &alpha;"), "≥ 5 °C, ½ α");
    }

    #[test]
    fn a_page_is_its_body() {
        let page = "<html><head><title>x</title><style>p{a}</style></head><body><p>Chest &lt; 5</p><br/>clear<!-- no --></body></html>";
        assert_eq!(text(page), "Chest < 5\n\nclear");
        assert_eq!(text("<html><head><meta charset=utf-8><body>Chest</html>"), "Chest");
    }

    #[test]
    fn what_is_no_tag_is_text() {
        assert_eq!(text("pH < 7.2 & Na > 130, 5 <6 &foo;"), "pH < 7.2 & Na > 130, 5 <6 &foo;");
        assert_eq!(text("<p>K <b, and Na <a"), "K <b, and Na <a");
        assert_eq!(text("<p"), "<p");
        assert_eq!(text("<script>never closed"), "");
        assert_eq!(text("<pre>a\n  b</pre>c"), "a\n  b\nc");
    }
}
