//! From a text to statements: parsed as PostgreSQL's, with places, and made into what the query engine understands.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use datafusion::sql::sqlparser::ast::{Expr, Statement, visit_expressions};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::datafusion_pg_catalog::sql::rules::{
    AliasDuplicatedProjectionRewrite, CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral, FixVersionColumnName,
    RewriteArrayAnyAllOperation, RewritePgCatalogOperator, SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};

use super::extent::rereadings;
use super::fault::{Refusal, clauses, grammar, syntax};
use super::{catalogue, gate, information};
use crate::spelling::{self, apart, short};

/// A statement may be this long, in bytes.
const TEXT_LIMIT: usize = 1 << 20;
/// A statement may hold this many operators: each is one level of a tree that is walked by recursion.
const OPERATOR_LIMIT: usize = 4_000;

/// A statement may have this many parameters: a client says in sixteen bits how many values it puts.
const PARAMETER_LIMIT: usize = 65_535;

/// So many steps down the parser takes; and so many, by which it is told whether they sufficed.
const STEPS: usize = 50;
const MORE_STEPS: usize = STEPS + 16;

/// As many operators as one of what is looked into again and again counts for.
const NESTING: usize = 40;

static CATALOGUE: LazyLock<PostgresCompatibilityParser> = LazyLock::new(PostgresCompatibilityParser::new);

/// What is changed in the questions of people: spelling alone, never what a question means.
static SPELLING: LazyLock<Vec<Arc<dyn SqlStatementRewriteRule>>> = LazyLock::new(|| {
    vec![
        Arc::new(AliasDuplicatedProjectionRewrite),
        Arc::new(RewriteArrayAnyAllOperation),
        Arc::new(StripCallableQualifier),
        Arc::new(FixArrayLiteral),
        Arc::new(CurrentUserVariableToSessionUserFunctionCall),
        Arc::new(StripCollate),
        Arc::new(RewritePgCatalogOperator),
        Arc::new(FixVersionColumnName),
    ]
});

/// The statements of a text, in order.
pub(crate) fn statements(sql: &str) -> Result<Vec<Statement>, Refusal> {
    if sql.len() > TEXT_LIMIT {
        return Err(Refusal::new("54000", format!("the statement is longer than {TEXT_LIMIT} bytes")));
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().map_err(|error| {
        let words = ParserError::from(error);
        syntax(&words, sql)
    })?;
    let (tokens, is_changed) = short::written_out(tokens);
    if weight(&tokens) > OPERATOR_LIMIT {
        return Err(Refusal::new("54001", "stack depth limit exceeded")
            .with_hint(format!("a statement may hold {OPERATOR_LIMIT} operators; write a list as IN (...) or VALUES")));
    }
    if let Some(number) = tokens.iter().filter_map(|token| parameter(&token.token)).find(|number| *number > PARAMETER_LIMIT) {
        return Err(Refusal::new("42P02", format!("there is no parameter ${number}"))
            .with_hint(format!("parameters are numbered from $1 to ${PARAMETER_LIMIT}")));
    }
    rereadings::check(&tokens)?;
    grammar::check(&tokens, sql)?;
    let parsed = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(STEPS).with_tokens_with_locations(tokens).parse_statements();
    if is_too_deep(&parsed, sql) {
        return Err(syntax(&ParserError::RecursionLimitExceeded, sql));
    }
    let whole =
        parsed.as_ref().ok().filter(|_| is_changed).map(|parsed| parsed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    // Clients' questions about the catalogue are spelled in ways that need more than spelling changed.
    if catalogue::is_asked(sql)
        && let Ok(statements) = CATALOGUE.parse(&catalogue::respelled(whole.as_deref().unwrap_or(sql)))
    {
        return Ok(statements
            .into_iter()
            .map(catalogue::without_asides)
            .map(spelling::functions)
            .map(catalogue::readable)
            .map(information::standard)
            .map(apart::told_apart)
            .collect());
    }
    let parsed = parsed.map_err(|error| gate::unread(&error).unwrap_or_else(|| syntax(&error, sql)))?;
    clauses::check(&parsed, sql)?;
    let spelled = |statement| SPELLING.iter().fold(catalogue::readable(statement), |statement, rule| rule.rewrite(statement));
    Ok(parsed.into_iter().map(spelling::functions).map(spelled).map(apart::told_apart).collect())
}

/// Whether the parser had no steps left. Where none is left for a CASE (or a NOT), it keeps that to itself, takes the word for a name, and finds another thing wrong, or nothing.
fn is_too_deep(parsed: &Result<Vec<Statement>, ParserError>, sql: &str) -> bool {
    let may_be = match parsed {
        Ok(statements) => visit_expressions(statements, |expr| match expr {
            Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("case") => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .is_break(),
        Err(ParserError::RecursionLimitExceeded) => false,
        Err(_) => true,
    };
    may_be && deeper(sql) != *parsed
}

/// What the parser reads that may take more steps.
fn deeper(sql: &str) -> Result<Vec<Statement>, ParserError> {
    let (tokens, _) = short::written_out(Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location()?);
    Parser::new(&PostgreSqlDialect {}).with_recursion_limit(MORE_STEPS).with_tokens_with_locations(tokens).parse_statements()
}

/// The number of a parameter.
fn parameter(token: &Token) -> Option<usize> {
    match token {
        Token::Placeholder(mark) => mark.strip_prefix('$')?.parse().ok(),
        _ => None,
    }
}

/// For how many operators the tokens count.
fn weight(tokens: &[TokenWithSpan]) -> usize {
    let (mut weight, mut before) = (0, &Token::EOF);
    for token in tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_))) {
        // Types of lists of lists are the one thing in which the parser goes down and counts no steps.
        let is_list_of = *token == Token::Lt && matches!(before, Token::Word(word) if word.keyword == Keyword::ARRAY);
        weight += if is_list_of || is_nesting(token) { NESTING } else { usize::from(is_operator(token)) };
        before = token;
    }
    weight
}

/// Whether the token begins what the planner looks into again and again: another relation, or a clock's reading of a reading.
fn is_nesting(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && ["zone", "values"].iter().any(|nesting| word.value.eq_ignore_ascii_case(nesting)))
}

/// Whether the token joins two expressions or two queries.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_none() && is_joining(&word.value),
        Token::Whitespace(_) | Token::Comma | Token::LParen | Token::RParen | Token::SemiColon | Token::Period | Token::EOF => false,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::DollarQuotedString(_) | Token::Placeholder(_) => false,
        Token::NationalStringLiteral(_) | Token::EscapedStringLiteral(_) | Token::HexStringLiteral(_) => false,
        _ => true,
    }
}

/// Whether the word joins two expressions or two queries for the parser, or stands around one: also where the planner knows no such thing, for the tree is
/// walked before it says so.
fn is_joining(word: &str) -> bool {
    [
        "and",
        "or",
        "not",
        "union",
        "except",
        "intersect",
        "minus",
        "join",
        "between",
        "like",
        "ilike",
        "similar",
        "regexp",
        "rlike",
        "member",
        "overlaps",
        "operator",
        "xor",
        "is",
        "when",
        "case",
        "cast",
        "exists",
        "in",
        "collate",
        "isnull",
        "notnull",
    ]
    .iter()
    .any(|joining| word.eq_ignore_ascii_case(joining))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sql: &str) -> (&'static str, Option<usize>) {
        let refusal = statements(sql).expect_err("must be refused");
        (refusal.code, refusal.position)
    }

    #[test]
    fn what_does_not_parse_has_its_class_and_its_place() {
        assert_eq!(refused("SELEC 1"), ("42601", Some(1)));
        assert_eq!(refused("SELECT 1 +\n )"), ("42601", Some(13)));
        assert_eq!(refused("SELECT 'open"), ("42601", Some(8)));
        assert_eq!(refused("SELECT (1"), ("42601", Some(10)));
    }

    #[test]
    fn a_relation_alone_is_a_query() {
        for (sql, wanted) in [
            ("TABLE labels ORDER BY task LIMIT 1", "SELECT * FROM labels ORDER BY task LIMIT 1"),
            ("TABLE pg_class", "SELECT * FROM pg_catalog.pg_class"),
        ] {
            assert_eq!(statements(sql).expect(sql).iter().map(ToString::to_string).collect::<Vec<_>>(), [wanted]);
        }
        assert_eq!(refused("TABLE labels WHERE )"), ("42601", Some(20)), "places are those of the text");
    }

    /// Whoever prepares a statement is told the types of all parameters up to the highest.
    #[test]
    fn a_parameter_that_no_client_can_put_is_refused() {
        assert_eq!(refused("SELECT $1, $65536").0, "42P02");
        assert_eq!(refused("SELECT * FROM labels_at($4000000000)").0, "42P02");
        assert!(statements("SELECT $1, $65535").is_ok());
    }

    /// What is nested or chained a hundred thousand times must not end the process.
    #[test]
    fn deep_statements_are_refused_before_they_are_walked() {
        assert_eq!(refused(&format!("SELECT {}1", "1+".repeat(100_000))).0, "54001");
        assert_eq!(refused(&format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000))).0, "54001");
        assert_eq!(refused(&format!("SELECT {}1", "NOT ".repeat(100_000))).0, "54001");
        assert_eq!(refused(&format!("SELECT {}1", "- ".repeat(100_000))).0, "54001");
        assert_eq!(refused(&format!("SELECT 1{}", " UNION SELECT 1".repeat(50_000))).0, "54001");
        for link in
            [" XOR 1", " OVERLAPS 1", " OPERATOR(a) 1", " SIMILAR TO 'a'", " REGEXP 'a'", " RLIKE 'a'", " MEMBER OF (1)", " MINUS SELECT 1"]
        {
            assert_eq!(refused(&format!("SELECT 1{}", link.repeat(50_000))).0, "54001", "{link}");
        }
        assert_eq!(refused(&format!("SELECT 1::{}", "ARRAY <".repeat(1_000))).0, "54001");
        assert_eq!(refused(&format!("SELECT '{}'", "x".repeat(2_000_000))).0, "54000");
        // The parser would call the word of the innermost a name.
        let cases = |count: usize| format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(count), " END".repeat(count));
        for count in [49, 50, 60, 200] {
            assert_eq!(refused(&cases(count)).0, "54001", "{count}");
        }
        assert_eq!(refused(&format!("SELECT 1 WHERE {}true", "NOT ".repeat(60))).0, "54001");
        assert_eq!(statements(&cases(40)).map(|statements| statements.len()).ok(), Some(1));
        assert_eq!(refused(&format!("{})", cases(40))).0, "42601", "it is wrong, however deep it may be");
        let list = (0..50_000).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(statements(&format!("SELECT 1 WHERE 1 IN ({list})")).map(|statements| statements.len()).ok(), Some(1));
    }
}
