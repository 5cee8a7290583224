//! Joins within joins that no parentheses hold: `a JOIN b JOIN c ON .. ON ..` is `a JOIN (b JOIN c ON ..) ON ..`. The parser gives a join the condition that stands right behind it
//! alone, and finds the other left over.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// The tokens with the parentheses; each lies where the token lies that it stands before.
pub(super) fn parenthesized(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let places = places(&tokens);
    if places.is_empty() {
        return tokens;
    }
    let mut written = Vec::with_capacity(tokens.len() + places.len());
    for (index, token) in tokens.into_iter().enumerate() {
        if let Some(parenthesis) = places.get(&index) {
            written.push(TokenWithSpan::new(parenthesis.clone(), token.span));
        }
        written.push(token);
    }
    written
}

/// A join whose condition is still to come.
struct Open {
    /// The token behind its `JOIN`.
    first: usize,
    /// Whether another join stands before the condition.
    holds: bool,
}

/// Before which tokens a parenthesis is missing.
fn places(tokens: &[TokenWithSpan]) -> BTreeMap<usize, Token> {
    // Of each pair of parentheses that is open the joins, the innermost last.
    let mut lists: Vec<Vec<Open>> = vec![Vec::new()];
    let mut places = BTreeMap::new();
    let (mut has_condition, mut is_name) = (true, false);
    for (index, token) in tokens.iter().enumerate().filter(|(_, token)| !matches!(token.token, Token::Whitespace(_))) {
        // Behind a dot and behind AS every word is a name.
        let names = std::mem::replace(&mut is_name, names_next(&token.token));
        let Some(joins) = lists.last_mut() else { break };
        match &token.token {
            Token::Word(_) if names => {}
            Token::LParen | Token::LBracket => lists.push(Vec::new()),
            Token::RParen | Token::RBracket => drop(lists.pop()),
            Token::Comma | Token::SemiColon => joins.clear(),
            Token::Word(word) => match word.keyword {
                Keyword::SELECT => joins.clear(),
                Keyword::CROSS | Keyword::NATURAL => has_condition = false,
                Keyword::JOIN => {
                    if let Some(outer) = joins.last_mut() {
                        outer.holds = true;
                    }
                    if std::mem::replace(&mut has_condition, true) {
                        joins.push(Open { first: index + 1, holds: false });
                    }
                }
                Keyword::ON | Keyword::USING => {
                    if let Some(Open { first, holds: true }) = joins.pop() {
                        places.insert(first, Token::LParen);
                        places.insert(index, Token::RParen);
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
    places
}

fn names_next(token: &Token) -> bool {
    matches!(token, Token::Period) || matches!(token, Token::Word(word) if word.keyword == Keyword::AS)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn read(sql: &str) -> String {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().expect("are tokens");
        let parsed = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(parenthesized(tokens)).parse_statements();
        parsed.expect(sql).remove(0).to_string()
    }

    #[test]
    fn a_join_within_another_is_held_by_parentheses() {
        for (sql, wanted) in [
            (
                "SELECT 1 AS join FROM a JOIN b JOIN c ON c.on = ARRAY[1, 2] ON a.using = b.join",
                "SELECT 1 AS join FROM a JOIN (b JOIN c ON c.on = ARRAY[1, 2]) ON a.using = b.join",
            ),
            ("SELECT 1 FROM a JOIN b JOIN c ON b.x = c.x ON a.x = b.x", "SELECT 1 FROM a JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x"),
            (
                "SELECT 1 FROM a LEFT JOIN b JOIN c JOIN d USING (x) ON c.y = 1 ON (a.x IS DISTINCT FROM b.x) JOIN e USING (x)",
                "SELECT 1 FROM a LEFT JOIN (b JOIN (c JOIN d USING(x)) ON c.y = 1) ON (a.x IS DISTINCT FROM b.x) JOIN e USING(x)",
            ),
            (
                "SELECT 1 FROM a JOIN (SELECT 1 FROM f JOIN g ON true) AS b CROSS JOIN c ON true, d JOIN e ON true",
                "SELECT 1 FROM a JOIN ((SELECT 1 FROM f JOIN g ON true) AS b CROSS JOIN c) ON true, d JOIN e ON true",
            ),
        ] {
            assert_eq!(read(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn every_other_join_stays() {
        for sql in [
            "SELECT 1 FROM a JOIN b ON a.x = b.x LEFT JOIN c ON true CROSS JOIN d NATURAL JOIN e",
            "SELECT DISTINCT ON (x) x FROM a NATURAL LEFT JOIN b JOIN c USING(x)",
            "SELECT 1 FROM a JOIN (b JOIN c ON true) ON (SELECT x FROM d JOIN e ON true)",
        ] {
            assert_eq!(read(sql), sql);
        }
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, ") JOIN a JOIN b ON )").tokenize_with_location().expect("are tokens");
        assert_eq!(parenthesized(tokens.clone()), tokens, "what was not opened closes nothing");
    }
}
