//! Question marks as drivers write parameters (JDBC, ADBC), made into the numbered ones that statements know here.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

/// The query with its n-th `?` as `$n`. One that numbers its parameters itself, or that cannot be read, stays as it is; so does a question
/// mark within a text, a name or a comment.
pub(super) fn numbered(query: String) -> String {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, &query).tokenize_with_location() else { return query };
    let is_numbered = |token: &Token| matches!(token, Token::Placeholder(mark) if mark.starts_with('$'));
    if tokens.iter().any(|token| is_numbered(&token.token)) {
        return query;
    }
    let marks: Vec<Location> =
        tokens.iter().filter(|token| token.token == Token::Placeholder("?".to_owned())).map(|token| token.span.start).collect();
    let mut written = String::with_capacity(query.len() + marks.len());
    let mut marks = marks.into_iter().zip(1..).peekable();
    let (mut line, mut column) = (1, 1);
    for character in query.chars() {
        match marks.next_if(|(at, _)| (at.line, at.column) == (line, column)) {
            Some((_, number)) => written.push_str(&format!("${number}")),
            None => written.push(character),
        }
        (line, column) = if character == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_numbered_and_those_in_texts_names_and_comments_are_none() {
        for (asked, written) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT ? + ?", "SELECT $1 + $2"),
            (
                "SELECT 'é?', \"?\" -- ?\nFROM t /* ? */ WHERE a = ?\n AND b IN (?, ?)",
                "SELECT 'é?', \"?\" -- ?\nFROM t /* ? */ WHERE a = $1\n AND b IN ($2, $3)",
            ),
            ("SELECT $1, '?'", "SELECT $1, '?'"),
            ("SELECT 'open", "SELECT 'open"),
        ] {
            assert_eq!(numbered(asked.to_owned()), written);
        }
    }
}
