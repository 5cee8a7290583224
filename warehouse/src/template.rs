//! What template a note is written in, told by its headings alone.

use std::collections::BTreeSet;

use sha2::Digest as _;

/// Bytes of the longest line that can be a heading.
const HEADING: usize = 60;

/// Sixteen hexadecimal digits, the same for notes with the same set of headings.
pub fn of(text: &str) -> String {
    let headings: BTreeSet<&str> = text.lines().filter_map(heading).collect();
    let mut hasher = sha2::Sha256::new();
    for heading in headings {
        hasher.update(heading.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What stands before the first colon of a line that begins with a capital, or a line after `#`; no digits, which would be data.
fn heading(line: &str) -> Option<&str> {
    let line = line.trim();
    let stated = match line.strip_prefix('#') {
        Some(rest) => rest.trim_start_matches('#').trim(),
        None => line.split_once(':').map(|(before, _)| before).filter(|before| before.starts_with(char::is_uppercase))?,
    };
    let short = !stated.is_empty() && stated.len() <= HEADING;
    (short && !stated.contains(|c: char| c.is_ascii_digit() || c == '.')).then_some(stated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_one_template_differ_in_their_words_alone() {
        let first = of("HISTORY AND PHYSICAL\nA man of 40.\nPast Medical History:\nNone known.\nPlan: wait.");
        assert_eq!(first, of("Plan:\nnothing at 10:30\nPast Medical History: heart failure. See also: chart."));
        assert_ne!(first, of("## Background\nNone known.\n## Next steps\nWait."));
        assert_ne!(first, of("Past Medical History:\nNone known."));
    }
}
