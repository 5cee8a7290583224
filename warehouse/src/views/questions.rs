//! The questions that people ask, as the README asks them: what documentation promises, tests ask and benches measure.

const README: &str = include_str!("../../README.md");

/// The README's twelve.
pub fn twelve() -> Vec<(&'static str, &'static str)> {
    let block = README.split_once("## Twelve questions").and_then(|(_, rest)| rest.split_once("```sql"));
    let block = block.and_then(|(_, rest)| rest.split_once("```")).map_or("", |(block, _)| block);
    headed(block)
}

/// The statements of a text, each with the heading above it (`-- heading`).
pub fn headed(text: &str) -> Vec<(&str, &str)> {
    let asked = text.split(';').map(str::trim).filter(|text| !text.is_empty());
    asked.filter_map(|text| text.strip_prefix("-- ")?.split_once('\n')).collect()
}
