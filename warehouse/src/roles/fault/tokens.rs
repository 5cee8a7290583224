//! A statement's text in tokens, each with its place. Blanks and comments are none, and what stands within quotes is one.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// Tokens in the order of the text.
pub(super) struct Tokens {
    /// As they were read, with lines and columns.
    read: Vec<TokenWithSpan>,
    /// In characters from 1, one for each.
    places: Vec<usize>,
    /// The place behind the text.
    end: usize,
}

impl Tokens {
    /// Those of a text; of one that does not end its quotes, those before.
    pub(super) fn of(sql: &str) -> Self {
        let mut read = Vec::new();
        let _all_or_those_before = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location_into_buf(&mut read);
        read.retain(|token| !matches!(token.token, Token::Whitespace(_)));
        let mut lines = vec![0];
        lines.extend(sql.chars().enumerate().filter(|(_, character)| *character == '\n').map(|(index, _)| index + 1));
        let place = |token: &TokenWithSpan| {
            let (line, column) = (usize::try_from(token.span.start.line).ok()?, usize::try_from(token.span.start.column).ok()?);
            Some(lines.get(line.checked_sub(1)?)? + column)
        };
        let end = sql.chars().count() + 1;
        let places = read.iter().map(|token| place(token).unwrap_or(end)).collect();
        Self { read, places, end }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Token> {
        self.read.get(index).map(|token| &token.token)
    }

    pub(super) fn before(&self, index: usize) -> Option<&Token> {
        self.get(index.checked_sub(1)?)
    }

    /// Those from `index` on, with their lines and columns.
    pub(super) fn rest(&self, index: usize) -> Vec<TokenWithSpan> {
        self.read.get(index..).unwrap_or_default().to_vec()
    }

    /// Where the token begins; behind the text where there is none.
    pub(super) fn place(&self, index: usize) -> usize {
        self.places.get(index).copied().unwrap_or(self.end)
    }

    /// The token that begins at the place.
    pub(super) fn at(&self, place: usize) -> Option<usize> {
        self.places.binary_search(&place).ok()
    }

    /// The first token behind the place.
    pub(super) fn behind(&self, place: usize) -> usize {
        self.places.partition_point(|begins| *begins <= place)
    }

    /// Whether the token is this word without quotes, whatever its case.
    pub(super) fn is(&self, index: usize, wanted: &str) -> bool {
        self.get(index).is_some_and(|token| is(token, wanted))
    }

    /// Whether the token before is one of these words.
    pub(super) fn follows(&self, index: usize, words: &[&str]) -> bool {
        self.before(index).is_some_and(|token| words.iter().any(|word| is(token, word)))
    }

    /// The first token of which this is so.
    pub(super) fn find(&self, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        (0..self.read.len()).find(|index| wanted(*index))
    }

    /// The first of a name's parts, of which this is one.
    pub(super) fn head(&self, index: usize) -> usize {
        let mut head = index;
        while head >= 2 && self.before(head) == Some(&Token::Period) {
            head -= 2;
        }
        head
    }

    pub(super) fn count(&self) -> usize {
        self.read.len()
    }
}

/// Whether the token is this word without quotes.
pub(super) fn is(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// The name that the token is, without its quotes.
pub(super) fn name(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) => Some(word.value.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_places_in_characters() {
        let tokens = Tokens::of("SELECT 'ü' AS \"A b\",\n  -- a\n  l.task 'open");
        let places: Vec<usize> = (0..tokens.count()).map(|index| tokens.place(index)).collect();
        assert_eq!(places, [1, 8, 12, 15, 20, 31, 32, 33]);
        assert_eq!((tokens.at(33), tokens.head(7), tokens.behind(33)), (Some(7), 5, 8));
        assert_eq!((tokens.get(3).and_then(name), tokens.is(3, "a b"), tokens.is(7, "TASK")), (Some("A b"), false, true));
        assert_eq!(tokens.place(8), 43);
    }
}
