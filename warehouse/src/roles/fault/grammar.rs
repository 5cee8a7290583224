//! Syntax that PostgreSQL refuses and the parser takes for names, and places of syntax errors at which the parser has gone too far or not far enough.

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{Tokens, is};
use super::{Refusal, character};

/// Words that begin a clause or join two parts. PostgreSQL reserves them: they are no names where an expression is wanted.
const JOINING: [&str; 20] = [
    "from",
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "union",
    "intersect",
    "except",
    "and",
    "or",
    "then",
    "else",
    "end",
    "when",
    "using",
    "select",
    "fetch",
    "window",
];

/// Reserved words after which an expression or a relation is wanted.
const WANTING: [&str; 7] = ["and", "or", "not", "where", "having", "from", "join"];

/// How many queries within one another are looked into for the place of an error.
const DEPTH: usize = 8;

/// Refuses what the parser would read, and PostgreSQL would not: a reserved word for a name, a number with letters at its end, a name without letters.
///
/// # Errors
/// 42601 with its place; 42883 for the sign of equality that other languages have.
pub(crate) fn check(read: &[TokenWithSpan], sql: &str) -> Result<(), Refusal> {
    let at = |token: &TokenWithSpan| character(sql, token.span.start.line, token.span.start.column);
    let wrong =
        |token: &TokenWithSpan, words: &str| Refusal { position: at(token), ..Refusal::new("42601", format!("syntax error{words}")) };
    for (token, next) in read.iter().zip(read.iter().skip(1)) {
        if let (Token::Number(..), Token::Word(word)) = (&token.token, &next.token)
            && word.quote_style.is_none()
        {
            return Err(wrong(token, &format!(": trailing junk after a number: \"{}{}\"", token.token, word.value)));
        }
    }
    if let Some(token) = read.iter().find(|token| is_hexadecimal(token)) {
        return Err(wrong(token, ": trailing junk after a number"));
    }
    let tokens: Vec<&TokenWithSpan> = read.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    if let Some(token) = tokens
        .iter()
        .copied()
        .find(|token| matches!(&token.token, Token::Word(word) if word.quote_style.is_some() && word.value.is_empty()))
    {
        return Err(wrong(token, ": a name in quotes holds nothing"));
    }
    if let Some(token) = tokens.iter().copied().find(|token| token.token == Token::DoubleEq) {
        let refusal = Refusal::new("42883", "operator does not exist: ==").with_hint("write =");
        return Err(Refusal { position: at(token), ..refusal });
    }
    let word_before = |index: usize| index.checked_sub(1).and_then(|before| tokens.get(before)).map(|token| &token.token);
    let mut grants = false;
    for (index, token) in tokens.iter().enumerate() {
        let begins = matches!(word_before(index), None | Some(Token::SemiColon));
        // Rights have the names of statements, and rules hold statements.
        grants = if begins { ["grant", "revoke", "alter", "create"].iter().any(|word| is(&token.token, word)) } else { grants };
        let Some(next) = tokens.get(index + 1).copied() else {
            if !grants && matches!(token.token, Token::Word(_) | Token::Comma) && wants(&token.token, word_before(index)) {
                let position = Some(sql.chars().count() + 1);
                return Err(Refusal { position, ..Refusal::new("42601", "syntax error at end of input") });
            }
            break;
        };
        let joins = JOINING.iter().any(|word| is(&next.token, word)) || (is(&token.token, "join") && is(&next.token, "on"));
        let is_empty = is_empty(&token.token, &next.token, word_before(index));
        if !grants && (is_empty || joins && wants(&token.token, word_before(index))) {
            return Err(wrong(next, &format!(" at or near \"{}\"", next.token)));
        }
    }
    Ok(())
}

/// Whether the token is a number as other languages write it, `0x1f`. Of bytes, `x'1f'`, it is read as the same.
fn is_hexadecimal(token: &TokenWithSpan) -> bool {
    let Token::HexStringLiteral(digits) = &token.token else { return false };
    let columns = token.span.end.column.saturating_sub(token.span.start.column);
    u64::try_from(digits.len()).is_ok_and(|digits| columns == digits + 2)
}

/// Whether nothing stands between two words that hold something; `before` stands before them.
fn is_empty(token: &Token, next: &Token, before: Option<&Token>) -> bool {
    let is_name = matches!(before, Some(Token::Period)) || before.is_some_and(|before| is(before, "as"));
    is(token, "case") && is(next, "end") && !is_name
        || is(token, "distinct") && is(next, "from") && before.is_some_and(|before| is(before, "select"))
}

/// Whether an expression or a relation must follow the token; `before` stands before it.
fn wants(token: &Token, before: Option<&Token>) -> bool {
    match token {
        Token::Word(_) if matches!(before, Some(Token::Period)) || before.is_some_and(|before| is(before, "as")) => false,
        Token::Word(_) if is(token, "by") => {
            before.is_some_and(|before| ["group", "order", "partition"].iter().any(|word| is(before, word)))
        }
        Token::Word(_) if is(token, "over") => before == Some(&Token::RParen),
        Token::Word(_) => WANTING.iter().any(|word| is(token, word)),
        Token::Comma | Token::Eq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => true,
        Token::Plus | Token::Minus | Token::Div | Token::Mod | Token::StringConcat | Token::DoubleColon => true,
        _ => false,
    }
}

/// What the parser says, and the place at the end of its words.
pub(super) fn placed<'a>(words: &'a str, sql: &str) -> (&'a str, Option<usize>) {
    match words.rsplit_once(" at Line: ") {
        Some((said, place)) => {
            let place = place.split_once(", Column: ");
            (said, place.and_then(|(line, column)| character(sql, line.parse().ok()?, column.trim().parse().ok()?)))
        }
        None => (words, None),
    }
}

/// What PostgreSQL would say, and where, of an error that the parser has found at `place`.
pub(super) fn nearer(said: &str, place: Option<usize>, sql: &str) -> (String, Option<usize>) {
    let opened = |opening: &str| Some(sql.get(..sql.rfind(opening)?)?.chars().count() + 1);
    if said.contains("Unterminated dollar-quoted") {
        return (said.to_owned(), opened("$$").or(place));
    }
    if said.contains("multi-line comment") {
        return (said.to_owned(), opened("/*").or(place));
    }
    let tokens = Tokens::of(sql);
    let (mut said, mut place) = (said.to_owned(), place);
    for _ in 0..DEPTH {
        let taken_for_a_join = place.filter(|_| said.starts_with("Expected: joined table"));
        let Some((words, found)) = taken_for_a_join.and_then(|place| within(&tokens, tokens.at(place)?, sql)) else { break };
        (said, place) = (words, Some(found));
    }
    // `LIMIT 10, 5` is wrong from its word on.
    let of_limit = place
        .and_then(|place| tokens.at(place))
        .filter(|index| tokens.get(*index) == Some(&Token::Comma) && index.checked_sub(2).is_some_and(|limit| tokens.is(limit, "limit")));
    if let Some(comma) = of_limit {
        return (said, Some(tokens.place(comma - 2)));
    }
    // A word that opens a clause is right where it stands: what follows is none.
    let opens = |index: &usize| ["group", "order", "partition"].iter().any(|word| tokens.is(*index, word));
    match place.and_then(|place| tokens.at(place)).filter(opens) {
        Some(index) if !tokens.is(index + 1, "by") => (said, Some(tokens.place(index + 1))),
        _ => (said, place),
    }
}

/// What is wrong with a query in parentheses that the parser could not read, and took for a join in parentheses.
fn within(tokens: &Tokens, found: usize, sql: &str) -> Option<(String, usize)> {
    let opens =
        |index: &usize| tokens.get(*index) == Some(&Token::LParen) && (tokens.is(index + 1, "select") || tokens.is(index + 1, "with"));
    let begin = (0..found).rev().find(opens)? + 1;
    let end = tokens.place(tokens.count());
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens.rest(begin));
    match parser.parse_query() {
        Err(ParserError::ParserError(words)) => {
            let (said, place) = placed(&words, sql);
            Some((said.to_owned(), place.unwrap_or(end)))
        }
        Err(_) => None,
        Ok(_) => {
            let next = parser.peek_token();
            let place = character(sql, next.span.start.line, next.span.start.column);
            Some((format!("Expected: ), found: {}", next.token), place.unwrap_or(end)))
        }
    }
}

/// The statements of a text, where it can be read.
pub(super) fn read(sql: &str) -> Option<Vec<Statement>> {
    Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(Tokens::of(sql).rest(0)).parse_statements().ok()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::roles::parse;

    fn checked(sql: &str) -> Option<Option<usize>> {
        let read = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().expect("is read");
        check(&read, sql).err().map(|refusal| refusal.position)
    }

    #[test]
    fn a_reserved_word_is_no_name_where_an_expression_is_wanted() {
        for (sql, place) in [
            ("SELECT task, FROM labels", 14),
            ("SELECT label + FROM labels", 16),
            ("SELECT label:: FROM labels", 16),
            ("SELECT task FROM labels WHERE AND label = 1", 31),
            ("SELECT task FROM labels WHERE label = 1 OR OR label = 2", 44),
            ("SELECT FROM WHERE", 13),
            ("SELECT task FROM select", 18),
            ("SELECT task FROM labels JOIN ON true", 30),
            ("SELECT sum(label) OVER FROM labels", 24),
            ("SELECT task FROM labels GROUP BY HAVING true", 34),
            ("WITH a AS (SELECT 1), SELECT * FROM a", 23),
            ("SELECT task FROM labels WHERE NOT", 34),
            ("SELECT task FROM labels,", 25),
            ("SELECT 'ü', 12abc", 13),
            ("SELECT \"\" FROM labels", 8),
            ("SELECT CASE END FROM labels", 13),
            ("SELECT DISTINCT FROM", 17),
            ("SELECT x'00', 0x", 15),
        ] {
            assert_eq!(checked(sql), Some(Some(place)), "{sql}");
        }
    }

    /// What PostgreSQL reads is never refused here.
    #[test]
    fn reserved_words_stand_where_they_may() {
        for sql in [
            "SELECT 1 AS from, 2 AS and, t.order FROM t",
            "SELECT 1 IS DISTINCT FROM 2, extract(year FROM now()), substring('abc' FROM 2 FOR 1), trim(FROM 'a')",
            "SELECT count(*) FILTER (WHERE true) OVER (ORDER BY a ROWS UNBOUNDED PRECEDING) FROM t GROUP BY a",
            "SELECT * FROM a JOIN b ON NOT EXISTS (SELECT 1) UNION SELECT 1 ORDER BY 1 LIMIT 1 OFFSET 2",
            "SELECT over FROM t; SELECT by, copy FROM t",
            "SET standard_conforming_strings = on",
            "GRANT INSERT, SELECT ON labels TO public",
            "SELECT -1, 1e5, 1.5e-3::int, 'a, FROM b' -- , FROM",
            "SELECT X'0x', x'', 1 IS DISTINCT FROM 2, t.case, 1 AS case",
        ] {
            assert_eq!(checked(sql), None, "{sql}");
        }
    }

    #[test]
    fn errors_stand_where_the_text_goes_wrong() {
        for (sql, place) in [
            ("SELECT task FROM labels GROUP task", 31),
            ("SELECT task FROM labels ORDER task", 31),
            ("SELECT task FROM (SELECT task FROM labels", 42),
            ("SELECT 1 FROM (SELECT 2 FROM (SELECT 3 ORDER 4) AS a) AS b", 46),
            ("SELECT 1 /* open", 10),
            ("SELECT $$open", 8),
            ("SELECT task FROM labels LIMIT 10, 5", 25),
        ] {
            let refusal = parse::statements(sql).expect_err("must be refused");
            assert_eq!((refusal.code, refusal.position), ("42601", Some(place)), "{sql}");
        }
        let refusal = parse::statements("SELECT 1 WHERE 1 == 1").expect_err("must be refused");
        assert_eq!((refusal.code, refusal.position), ("42883", Some(18)));
        assert_eq!(parse::statements("COPY (SELECT 1) TO STDOUT (DELIMITER 'ab')").expect_err("must be refused").code, "0A000");
    }
}
