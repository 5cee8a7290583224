//! How often the parser reads what stands within calls: each argument twice, as it may be one with a name. So the innermost of twenty-five calls within one another is read thirty
//! million times, and nothing stops the parser meanwhile.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::roles::fault::Refusal;

/// How often all that stands within calls may be read again.
const LIMIT: u64 = 1 << 20;

/// Words before a parenthesis that call nothing.
const NO_CALLS: [&str; 24] = [
    "all",
    "and",
    "any",
    "as",
    "between",
    "by",
    "else",
    "except",
    "exists",
    "filter",
    "from",
    "in",
    "intersect",
    "join",
    "lateral",
    "not",
    "on",
    "or",
    "over",
    "then",
    "union",
    "values",
    "when",
    "where",
];

/// # Errors
/// 54001 where it would take too long.
pub(in crate::roles) fn check(tokens: &[TokenWithSpan]) -> Result<(), Refusal> {
    let (mut within, mut calls, mut read, mut before) = (Vec::new(), 0_u32, 0_u64, &Token::EOF);
    for token in tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_))) {
        read = read.saturating_add(1_u64.checked_shl(calls).unwrap_or(u64::MAX) - 1);
        match token {
            Token::LParen => {
                let is_call = is_called(before);
                within.push(is_call);
                calls += u32::from(is_call);
            }
            Token::RParen => calls -= u32::from(within.pop().unwrap_or(false)),
            _ => {}
        }
        before = token;
    }
    if read > LIMIT {
        return Err(Refusal::new("54001", "the statement is too complex: too much is called within one another")
            .with_hint("compute the innermost values in a subquery, or in a WITH"));
    }
    Ok(())
}

fn is_called(before: &Token) -> bool {
    matches!(before, Token::Word(word) if word.quote_style.is_some() || !NO_CALLS.iter().any(|other| word.value.eq_ignore_ascii_case(other)))
}

#[cfg(test)]
mod tests {
    use crate::roles::parse;

    fn code(sql: &str) -> &'static str {
        parse::statements(sql).map_or_else(|refusal| refusal.code, |_| "")
    }

    fn called(calls: usize, of: &str) -> String {
        format!("SELECT {}{of}{} FROM t", "abs(".repeat(calls), ")".repeat(calls))
    }

    #[test]
    fn what_would_be_read_for_minutes_is_refused_at_once() {
        assert_eq!(code(&called(25, "1")), "54001");
        assert_eq!(code(&called(200, "1")), "54001");
        assert_eq!(
            code(&called(25, "relname").replace("FROM t", "FROM pg_class")),
            "54001",
            "questions of the catalogue are read by another parser"
        );
        assert_eq!(
            code(&format!("SELECT {} FROM t", vec![called(12, "1").replace("SELECT ", "").replace(" FROM t", ""); 1_000].join(", "))),
            "54001"
        );
    }

    #[test]
    fn what_people_write_is_let_through() {
        for sql in [
            called(12, "1"),
            format!("SELECT {} FROM t", vec!["round(coalesce(avg(nullif(a::float8, 0)), 0)::numeric, 2)"; 500].join(", ")),
            format!("SELECT 1 FROM t WHERE {}a IN (1, 2){}", "b IN (SELECT b FROM t WHERE ".repeat(12), ")".repeat(12)),
            format!("SELECT {}1{}", "(".repeat(40), ")".repeat(40)),
            format!("SELECT * FROM t WHERE a IN ({})", vec!["1"; 100_000].join(", ")),
        ] {
            assert_eq!(code(&sql), "", "{}", sql.chars().take(80).collect::<String>());
        }
    }
}
