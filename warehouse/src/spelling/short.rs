//! What is written shorter or longer than the parser reads it: `TABLE labels` in the words that it is short for, `FROM ONLY labels` without a word that changes nothing where no
//! table inherits from another, and joins within joins in parentheses.
//!
//! The parser begins no statement with TABLE, and within one it loses what stands behind the name.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::nested;

/// The tokens as the parser reads them, and whether they are others than they were; what is written in the place of a token lies where it lay.
pub(crate) fn written_out(tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, bool) {
    let (places, count) = (places(&tokens), tokens.len());
    let mut written = Vec::with_capacity(count + 2 * places.len());
    for (index, token) in tokens.into_iter().enumerate() {
        match places.get(&index) {
            Some(Instead::Query) => {
                let query = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
                written.extend(query.map(|word| TokenWithSpan::new(word, token.span)));
            }
            Some(Instead::Nothing) => {}
            None => written.push(token),
        }
    }
    let read = nested::parenthesized(written);
    let is_changed = !places.is_empty() || read.len() != count;
    (read, is_changed)
}

/// What is written in the place of a token.
#[derive(Clone, Copy)]
enum Instead {
    /// `SELECT * FROM`
    Query,
    Nothing,
}

/// The tokens in whose place others are written.
fn places(tokens: &[TokenWithSpan]) -> BTreeMap<usize, Instead> {
    let words = tokens.iter().map(|token| &token.token).enumerate().filter(|(_, token)| !matches!(token, Token::Whitespace(_)));
    let words: Vec<(usize, &Token)> = words.collect();
    let (mut places, mut before) = (BTreeMap::new(), (0, &Token::SemiColon));
    for (place, (index, token)) in words.iter().copied().enumerate() {
        let behind = words.get(place + 1..).unwrap_or_default();
        let is_relation = |next: &Token| is_name(next) || is(next, Keyword::ONLY);
        if is(token, Keyword::TABLE) && begins_query(before.1) && behind.first().is_some_and(|(_, next)| is_relation(next)) {
            places.insert(index, Instead::Query);
        }
        let is_named = places.contains_key(&before.0) || [Keyword::FROM, Keyword::JOIN].iter().any(|word| is(before.1, *word));
        if is(token, Keyword::ONLY)
            && (is_named || *before.1 == Token::Comma)
            && let Some(beside) = around(behind)
        {
            places.extend(beside.into_iter().chain([index]).map(|gone| (gone, Instead::Nothing)));
        }
        before = (index, token);
    }
    places
}

/// The parentheses around the name behind ONLY, where they stand; `None` where no name follows.
fn around(behind: &[(usize, &Token)]) -> Option<Vec<usize>> {
    match behind {
        [(_, name), ..] if is_name(name) => Some(Vec::new()),
        [(open, Token::LParen), (_, name), (close, Token::RParen), ..] if is_name(name) => Some(vec![*open, *close]),
        [(open, Token::LParen), (_, schema), (_, Token::Period), (_, name), (close, Token::RParen), ..]
            if is_name(schema) && is_name(name) =>
        {
            Some(vec![*open, *close])
        }
        _ => None,
    }
}

fn is(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword)
}

/// Whether a query may stand behind the token.
fn begins_query(before: &Token) -> bool {
    match before {
        Token::SemiColon | Token::LParen | Token::RParen => true,
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::ALL
                | Keyword::DISTINCT
                | Keyword::AS
                | Keyword::FOR
                | Keyword::EXPLAIN
                | Keyword::ANALYZE
                | Keyword::VERBOSE
        ),
        _ => false,
    }
}

/// Whether the token names a relation or its schema. Of other words an expression goes on, over a column that is called `table`.
fn is_name(token: &Token) -> bool {
    matches!(token, Token::Word(word) if matches!(word.keyword, Keyword::NoKeyword | Keyword::PUBLIC))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn read(sql: &str) -> String {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().expect("are tokens");
        let written = written_out(tokens).0.into_iter().map(|token| token.token);
        let words = written.filter(|token| !matches!(token, Token::Whitespace(_)));
        words.map(|token| token.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_query_that_is_a_relation_is_written_out() {
        for (sql, wanted) in [
            ("TABLE labels", "SELECT * FROM labels"),
            ("table public.labels ORDER BY 1", "SELECT * FROM public . labels ORDER BY 1"),
            ("TABLE a UNION ALL TABLE \"B\"", "SELECT * FROM a UNION ALL SELECT * FROM \"B\""),
            ("WITH t AS (TABLE a) TABLE t", "WITH t AS ( SELECT * FROM a ) SELECT * FROM t"),
            ("PREPARE p AS TABLE a", "PREPARE p AS SELECT * FROM a"),
            ("EXPLAIN TABLE a; TABLE b", "EXPLAIN SELECT * FROM a ; SELECT * FROM b"),
            ("TABLE ONLY a", "SELECT * FROM a"),
            (
                "SELECT 1 FROM ONLY a, ONLY (b) AS c LEFT JOIN only public.d JOIN ONLY (public.e) ON true ON true",
                "SELECT 1 FROM a , b AS c LEFT JOIN ( public . d JOIN public . e ON true ) ON true",
            ),
        ] {
            assert_eq!(read(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn every_other_table_stays() {
        for sql in [
            "CREATE TABLE t ( a INT )",
            "TRUNCATE TABLE t",
            "SELECT 1 AS table",
            "SELECT 1 AS table FROM t",
            "SELECT ( table IS NULL ) , table , \"table\"",
            "SELECT a FROM only WHERE \"only\" = 1 FETCH FIRST 3 ROWS ONLY",
            "SELECT 1 FROM t ORDER BY a , only",
        ] {
            assert_eq!(read(sql), sql);
        }
    }
}
