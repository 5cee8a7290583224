//! XML to plain text: of a C-CDA document its titles and the narrative of its sections, of any other all its words.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::page::Page;

/// The words of `markup`; from where it is no XML on, it is read as HTML.
pub(crate) fn text(markup: &str) -> String {
    let mut reader = Reader::from_str(markup);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    config.allow_dangling_amp = true;
    let mut walk = Walk::default();
    loop {
        match reader.read_event() {
            Ok(Event::Eof) => break,
            Ok(event) => walk.event(&event),
            Err(_) if walk.page.is_empty() => return super::html(markup),
            Err(_) => {
                let at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
                let rest = markup.get(at..).map(super::html).unwrap_or_default();
                if walk.is_heard() {
                    walk.page.gap();
                    walk.page.words(&rest);
                }
                break;
            }
        }
    }
    walk.page.finish()
}

#[derive(Default)]
struct Walk {
    page: Page,
    is_clinical: bool,
    depth: usize,
    /// How deep the element lies whose words are heard, in a clinical document.
    heard_at: Option<usize>,
    /// How deep the element lies whose words are not.
    silent_at: Option<usize>,
}

impl Walk {
    fn is_heard(&self) -> bool {
        self.silent_at.is_none() && (!self.is_clinical || self.heard_at.is_some())
    }

    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Start(tag) => self.open(tag),
            Event::Empty(tag) => {
                self.open(tag);
                self.close(&name(tag.local_name().as_ref()));
            }
            Event::End(tag) => self.close(&name(tag.local_name().as_ref())),
            Event::Text(words) if self.is_heard() => self.words(words),
            Event::CData(words) if self.is_heard() => self.words(words),
            Event::GeneralRef(entity) if self.is_heard() && **entity == *b"nbsp" => self.page.gap(),
            Event::GeneralRef(entity) if self.is_heard() => {
                let written = format!("&{};", String::from_utf8_lossy(entity));
                let resolved = quick_xml::escape::unescape(&written).map_or_else(|_| super::html(&written), std::borrow::Cow::into_owned);
                self.page.words(&resolved);
            }
            _ => {}
        }
    }

    fn words(&mut self, words: &[u8]) {
        self.page.words(&String::from_utf8_lossy(words));
    }

    fn open(&mut self, tag: &BytesStart<'_>) {
        let name = name(tag.local_name().as_ref());
        self.is_clinical |= self.depth == 0 && name == "clinicaldocument";
        self.depth += 1;
        let is_packed =
            tag.try_get_attribute("representation").ok().flatten().is_some_and(|packed| packed.value.eq_ignore_ascii_case(b"B64"));
        if is_packed || matches!(name.as_str(), "entry" | "style" | "script" | "head") {
            self.silent_at = self.silent_at.or(Some(self.depth));
        }
        if self.is_clinical && matches!(name.as_str(), "title" | "text") {
            self.heard_at = self.heard_at.or(Some(self.depth));
        }
        self.tag(&name, false);
    }

    fn close(&mut self, name: &str) {
        self.tag(name, true);
        self.silent_at = self.silent_at.filter(|at| *at < self.depth);
        self.heard_at = self.heard_at.filter(|at| *at < self.depth);
        self.depth = self.depth.saturating_sub(1);
    }

    fn tag(&mut self, name: &str, closes: bool) {
        if self.is_heard() {
            self.page.tag(name, closes);
            match name {
                "content" | "sub" | "sup" | "linkhtml" | "span" | "b" | "i" | "u" | "em" | "strong" | "a" | "td" | "th" => {}
                _ if closes && !self.is_clinical => self.page.new_line(),
                _ => self.page.gap(),
            }
        }
    }
}

/// An element's name in lower case; longer ones mean nothing here.
fn name(local: &[u8]) -> String {
    local.iter().take(24).map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_clinical_document_is_its_titles_and_narratives() {
        let document = "<?xml version=\"1.0\"?><ClinicalDocument xmlns=\"urn:hl7-org:v3\"><id root=\"1\"/><title>Discharge Summary</title>\
            <recordTarget><patientRole><patient><name>Doe</name></patient></patientRole></recordTarget>\
            <component><structuredBody><component><section><title>Course</title><text><paragraph>BP &lt; 120, <content>stable</content>.</paragraph>\
            <list><item>one</item><item>two</item></list><table><tr><td>K</td><td>4.1</td></tr></table>a<br/>b</text>\
            <entry><observation><text>structured</text><value>9</value></observation></entry></section></component></structuredBody></component></ClinicalDocument>";
        assert_eq!(text(document), "Discharge Summary\nCourse\nBP < 120, stable.\none\ntwo\nK 4.1\na\nb");
    }

    #[test]
    fn other_xml_is_all_its_words_and_a_cut_one_what_is_left() {
        assert_eq!(
            text("<r><one>clear &amp; dry</one><two><![CDATA[x < y]]></two><three>&#233;&nbsp;z &deg;</three></r>"),
            "clear & dry\nx < y\né z °"
        );
        assert_eq!(text("<r><one>clear</one><two>and mo"), "clear\nand mo");
        assert_eq!(text("<r><one>clear</one><two wrong"), "clear\n<two wrong");
        assert_eq!(
            text(
                "<ClinicalDocument><component><nonXMLBody><text mediaType=\"application/pdf\" representation=\"B64\">JVBERi0</text></nonXMLBody></component></ClinicalDocument>"
            ),
            ""
        );
    }
}
