//! Texts within the SQL that we write ourselves.

/// A text as SQL says it.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A list of texts for `IN`; one that nothing is in where it is empty.
pub(crate) fn listed<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<String> = texts.into_iter().map(quoted).collect();
    if list.is_empty() { "NULL".to_owned() } else { list.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_itself_and_nothing_is_in_an_empty_list() {
        assert_eq!(quoted("O'Hara"), "'O''Hara'");
        assert_eq!(listed(["a", "' OR true --"]), "'a', ''' OR true --'");
        assert_eq!(listed([]), "NULL");
    }
}
