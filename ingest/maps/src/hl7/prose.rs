//! What the OBX and NTE segments of one document or report say together. A comment (NTE) on a text is a part of it, in its place; a comment on a
//! number is not.

use super::chart::Chart;
use super::reader::Segment;
use super::text;

/// The words of a group of segments.
pub(crate) struct Body {
    /// Plain text, without blank lines at either end.
    pub(crate) text: String,
    /// A line was corrected or taken back.
    pub(crate) corrected: bool,
    /// Every line was taken back, and nothing stands in its place.
    pub(crate) withdrawn: bool,
}

/// Joins what the observations of `group` and the comments on them say, in order.
pub(crate) fn body(chart: &mut Chart<'_>, group: &[Segment<'_>]) -> Body {
    let mut parts: Vec<String> = Vec::new();
    let mut run: Vec<Segment<'_>> = Vec::new();
    let (mut corrected, mut on_text) = (false, true);
    for segment in group {
        match &segment.name {
            b"OBX" => {
                on_text = is_text(segment) && !is_taken_back(segment);
                run.push(*segment);
            }
            b"NTE" if on_text => {
                corrected |= flush(chart, &mut run, &mut parts);
                parts.push(comment(segment));
            }
            // Whatever else stands between has comments of its own.
            b"NTE" => {}
            _ => on_text = false,
        }
    }
    corrected |= flush(chart, &mut run, &mut parts);
    let text = parts.join("\n").trim_matches('\n').trim_end().to_owned();
    let mut observations = group.iter().filter(|segment| segment.name == *b"OBX").peekable();
    let withdrawn = text.is_empty() && observations.peek().is_some() && observations.all(is_taken_back);
    Body { text, corrected, withdrawn }
}

fn flush(chart: &mut Chart<'_>, run: &mut Vec<Segment<'_>>, parts: &mut Vec<String>) -> bool {
    if run.is_empty() {
        return false;
    }
    let body = text::body(chart, run.drain(..));
    if !body.text.is_empty() {
        parts.push(body.text);
    }
    body.corrected
}

/// Whether an observation is of a type that holds text.
pub(crate) fn is_text(obx: &Segment<'_>) -> bool {
    let kind = obx.field(2);
    kind.is_empty() || matches!(kind.raw(), b"TX" | b"FT" | b"ST" | b"CF" | b"ED")
}

/// OBX-11: deleted, wrong, or not to be had.
pub(crate) fn is_taken_back(obx: &Segment<'_>) -> bool {
    matches!(obx.field(11).component(1).raw().trim_ascii(), b"D" | b"W" | b"X")
}

/// NTE-3.
pub(crate) fn comment(nte: &Segment<'_>) -> String {
    nte.field(3).repetitions().map(|line| line.prose()).collect::<Vec<_>>().join("\n")
}
