//! HTML, written piece by piece. What is markup is a constant of this program; whatever comes from elsewhere (names of tasks and feeds, reasons, versions,
//! figures) can only be written as text, and is escaped for elements and for quoted attributes alike.

use std::fmt::{self, Display, Write as _};

use super::facts::Told;

/// A page, or a part of one.
#[derive(Default)]
pub struct Markup(String);

impl Markup {
    /// A piece of the page itself.
    pub fn raw(&mut self, piece: &'static str) -> &mut Self {
        self.0.push_str(piece);
        self
    }

    /// Text within an element, or between the quotes of an attribute.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        // A text grows or the program ends: there is no failure to report.
        let _always = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// What was told, or the sentence that stands in its place.
    pub fn told<T>(&mut self, told: &Told<T>, show: impl FnOnce(&mut Self, &T)) {
        match told {
            Ok(told) => show(self, told),
            Err(sentence) => {
                self.raw("<p class=\"trouble\">").text(sentence).raw("</p>");
            }
        }
    }

    /// A table that scrolls by itself where the page is narrow; `label` says what it is of, `heads` what its columns are.
    pub fn table(&mut self, label: impl Display, heads: &[&'static str], rows: impl FnOnce(&mut Self)) {
        self.raw("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"").text(label).raw("\"><table><thead><tr>");
        for &head in heads {
            self.raw("<th scope=\"col\">").raw(head).raw("</th>");
        }
        self.raw("</tr></thead><tbody>");
        rows(self);
        self.raw("</tbody></table></div>");
    }

    /// The whole.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Writes text so that no sign of it is markup.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for sign in text.chars() {
            match sign {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                sign if sign.is_control() => self.0.push('\u{fffd}'),
                sign => self.0.push(sign),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut html = Markup::default();
        html.raw("<p title=\"").text("\"><script>alert('a & b')</script>\u{0}").raw("\"></p>");
        assert_eq!(html.into_string(), "<p title=\"&quot;&gt;&lt;script&gt;alert(&#39;a &amp; b&#39;)&lt;/script&gt;\u{fffd}\"></p>");
    }

    #[test]
    fn what_was_not_told_is_one_sentence() {
        let mut html = Markup::default();
        html.told(&Err::<i64, _>("not <today>".to_owned()), |_, _| unreachable!("there is nothing to show"));
        html.told(&Ok(7), |html, number| {
            html.text(number);
        });
        assert_eq!(html.into_string(), "<p class=\"trouble\">not &lt;today&gt;</p>7");
    }
}
