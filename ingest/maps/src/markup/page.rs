//! Plain text in the making: words parted by single blanks, blocks on lines of their own.

/// A page being written.
#[derive(Default)]
pub(super) struct Page {
    out: String,
    pub(super) is_preformatted: bool,
    /// A blank is due before the next word.
    gap: bool,
}

impl Page {
    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What an element's tag does to the page, whose name is in lower case.
    pub(super) fn tag(&mut self, name: &str, closes: bool) {
        match name {
            "br" if closes => {}
            "br" | "hr" => self.line_break(),
            "td" | "th" | "dd" => self.gap(),
            "pre" => {
                self.is_preformatted = !closes;
                self.new_line();
            }
            "p" | "div" | "li" | "ul" | "ol" | "tr" | "table" | "thead" | "tbody" | "tfoot" | "caption" | "dl" | "dt" | "blockquote"
            | "section" | "article" | "header" | "footer" | "center" | "address" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.new_line()
            }
            // The narrative of C-CDA.
            "title" | "paragraph" | "list" | "item" | "text" => self.new_line(),
            _ => {}
        }
    }

    pub(super) fn words(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '\n' if self.is_preformatted => self.line_break(),
                ' ' | '\t' if self.is_preformatted => self.out.push(letter),
                letter if letter.is_whitespace() || letter.is_control() => self.gap = true,
                letter => self.letter(letter),
            }
        }
    }

    fn letter(&mut self, letter: char) {
        if self.gap && !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push(' ');
        }
        self.gap = false;
        self.out.push(letter);
    }

    pub(super) fn gap(&mut self) {
        self.gap = true;
    }

    fn line_break(&mut self) {
        self.gap = false;
        self.out.push('\n');
    }

    pub(super) fn new_line(&mut self) {
        self.gap = false;
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    pub(super) fn finish(self) -> String {
        self.out.trim().to_owned()
    }
}
