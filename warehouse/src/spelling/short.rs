//! `TABLE labels` in the words that it is short for. The parser begins no statement with it, and within one it loses what stands behind the name.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// The tokens with `SELECT * FROM` wherever a query is `TABLE` and a name; what is written in its place lies where it lay.
pub(crate) fn written_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let places = places(&tokens);
    if places.is_empty() {
        return tokens;
    }
    let mut written = Vec::with_capacity(tokens.len() + 2 * places.len());
    for (index, token) in tokens.into_iter().enumerate() {
        if places.contains(&index) {
            let query = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
            written.extend(query.map(|word| TokenWithSpan::new(word, token.span)));
        } else {
            written.push(token);
        }
    }
    written
}

/// Where a query is so short.
fn places(tokens: &[TokenWithSpan]) -> BTreeSet<usize> {
    let words = tokens.iter().map(|token| &token.token).enumerate().filter(|(_, token)| !matches!(token, Token::Whitespace(_)));
    let mut words = words.peekable();
    let (mut places, mut before) = (BTreeSet::new(), &Token::SemiColon);
    while let Some((index, token)) = words.next() {
        if is_table(token) && begins_query(before) && words.peek().is_some_and(|(_, next)| is_name(next)) {
            places.insert(index);
        }
        before = token;
    }
    places
}

fn is_table(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.keyword == Keyword::TABLE)
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
        let written = written_out(tokens).into_iter().map(|token| token.token);
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
        ] {
            assert_eq!(read(sql), sql);
        }
    }
}
