//! What PostgreSQL spells in a way of its own, as the functions that are meant: zones, parts of texts by a pattern, functions in the place of a relation, questions about queries;
//! and times without seconds, bytes in hexadecimal digits, `FETCH FIRST`.

pub(crate) mod apart;
mod casts;
mod grouped;
pub(crate) mod having;
mod membership;
pub(crate) mod names;
mod nested;
mod patterns;
mod percentiles;
mod places;
mod qualified;
mod series;
pub(crate) mod short;
mod spans;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, CharacterLength, DataType, ExactNumberInfo, Expr, Fetch, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, LimitClause, ObjectName, Query, SelectItem, SetExpr, Statement, TableAlias,
    TableAliasColumnDef, TableFactor, UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Functions of one value that clients ask as if they were relations.
const OF_ONE_VALUE: [&str; 8] =
    ["current_schema", "current_database", "current_catalog", "current_setting", "current_user", "session_user", "version", "now"];

/// The statement with the functions that are meant.
pub(crate) fn functions(mut statement: Statement) -> Statement {
    let _whole = statement.visit(&mut Spelling::new());
    statement
}

/// The expression with the functions that are meant.
pub(crate) fn expression(mut expr: Expr) -> Expr {
    let _whole = expr.visit(&mut Spelling::new());
    expr
}

struct Spelling {
    /// How many bytes of lists, and of texts that are held to several patterns, may be written a second time.
    twice: usize,
}

impl Spelling {
    fn new() -> Self {
        Self { twice: places::TWICE }
    }
}

impl VisitorMut for Spelling {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        membership::as_counts(query);
        with_limit(query);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Cast { data_type, .. } = expr
            && let Some(own) = qualified::by_own_name(data_type)
        {
            *data_type = own;
        }
        match expr {
            Expr::AtTimeZone { timestamp, time_zone } => *expr = call("timezone", vec![(**time_zone).clone(), (**timestamp).clone()]),
            Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: None, .. } if is_text(pattern) => {
                *expr = call("substring_match", vec![(**text).clone(), (**pattern).clone()]);
            }
            Expr::TypedString(stated) if is_timestamp(&stated.data_type) => with_seconds(&mut stated.value.value),
            Expr::Cast { expr: stated, data_type, .. } if is_timestamp(data_type) => {
                if let Expr::Value(stated) = stated.as_mut() {
                    with_seconds(&mut stated.value);
                }
            }
            Expr::Cast { expr: stated, data_type: DataType::Bytea, .. } => {
                if let Expr::Value(stated) = stated.as_mut() {
                    with_bytes(&mut stated.value);
                }
            }
            Expr::Cast { expr: stated, data_type, .. } if length(data_type).is_some() => {
                if let Some(length) = length(data_type) {
                    let text =
                        Expr::Cast { kind: CastKind::Cast, expr: stated.clone(), data_type: DataType::Text, array: false, format: None };
                    *expr = call("left", vec![text, Expr::Value(Value::Number(length.to_string(), false).into())]);
                }
            }
            Expr::Cast { data_type: kind @ DataType::Float(_), .. } if is_double(kind) => *kind = DataType::DoublePrecision,
            Expr::AnyOp { .. } | Expr::AllOp { .. } => membership::as_in(expr),
            Expr::Like { .. } | Expr::ILike { .. } => patterns::one_by_one(expr, &mut self.twice),
            Expr::Value(value) => in_quotes(&mut value.value),
            Expr::SimilarTo { negated, expr: text, pattern, escape_char } => {
                let similar = similar(text, pattern, escape_char.is_some());
                *expr = if *negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(similar) } } else { similar };
            }
            Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => {
                if let (Expr::Tuple(one), Expr::Tuple(other)) = (left.as_ref(), right.as_ref()) {
                    *expr = call("overlaps", [one.as_slice(), other].concat());
                }
            }
            Expr::Function(function) => {
                spans::in_all_parts(function);
                if let Some(meant) = percentiles::meant(function).or_else(|| of_zone(function)).or_else(|| function_meant(function)) {
                    *expr = meant;
                }
            }
            // Their texts are all that is asked of them.
            Expr::Cast { data_type: kind @ (DataType::JSON | DataType::JSONB | DataType::Uuid), .. } => *kind = DataType::Text,
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        places::as_asked(factor, &mut self.twice);
        series::as_elements(factor);
        let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return ControlFlow::Continue(()) };
        if is_called(name, SERIES) {
            let alias = alias.get_or_insert_with(|| named(SERIES));
            if alias.columns.is_empty() {
                alias.columns = vec![TableAliasColumnDef { name: alias.name.clone(), data_type: None }];
            }
            return ControlFlow::Continue(());
        }
        let function = last(name).map(|ident| ident.value.to_lowercase()).unwrap_or_default();
        if !OF_ONE_VALUE.contains(&function.as_str()) {
            return ControlFlow::Continue(());
        }
        let asked = args.args.iter().filter_map(argument);
        if let Some(subquery) = one_value(call(&function, asked.collect()), &function) {
            *factor = derived(subquery, &function, alias.take());
        }
        ControlFlow::Continue(())
    }
}

/// Numbers or instants in steps. PostgreSQL calls their column what it calls the relation.
const SERIES: &str = "generate_series";

/// Whether there is a query within it, in which there may be others.
fn has_query(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |part| match part {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        Expr::Function(function) if matches!(function.args, FunctionArguments::Subquery(_)) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// What a thing is called within whatever holds it.
pub(crate) fn last(name: &ObjectName) -> Option<&Ident> {
    name.0.last().and_then(|part| part.as_ident())
}

fn is_called(name: &ObjectName, wanted: &str) -> bool {
    last(name).is_some_and(|ident| ident.value.eq_ignore_ascii_case(wanted))
}

/// What a function of PostgreSQL's is called here: `mod(a, b)` is `a % b`.
fn function_meant(function: &Function) -> Option<Expr> {
    let arguments = match &function.args {
        FunctionArguments::List(list) => list.args.iter().map(argument).collect::<Option<Vec<_>>>()?,
        _ => return None,
    };
    match arguments.as_slice() {
        [left, right] if is_called(&function.name, "mod") => Some(Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(left.clone()))),
            op: BinaryOperator::Modulo,
            right: Box::new(Expr::Nested(Box::new(right.clone()))),
        }))),
        [_] if is_called(&function.name, "variance") => Some(named_otherwise(function, "var_samp")),
        [_] if is_called(&function.name, "every") => Some(named_otherwise(function, "bool_and")),
        _ => None,
    }
}

/// `date_trunc(unit, instant, zone)`: the instant at which a unit of the zone's clock began.
fn of_zone(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let [unit, instant, zone] = list.args.as_slice() else { return None };
    if !is_called(&function.name, "date_trunc") {
        return None;
    }
    let (unit, instant, zone) = (argument(unit)?, argument(instant)?, argument(zone)?);
    // It is written twice, and so states its zone.
    if !matches!(zone, Expr::Value(_)) {
        return None;
    }
    let reading = call("timezone", vec![zone.clone(), instant]);
    Some(call("timezone", vec![zone, call("date_trunc", vec![unit, reading])]))
}

fn named_otherwise(function: &Function, name: &str) -> Expr {
    Expr::Function(Function { name: ObjectName::from(vec![Ident::new(name)]), ..function.clone() })
}

fn argument(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// The name that PostgreSQL gives a column of a text that is cut, or of a series.
fn cut_column(expr: &Expr) -> Option<String> {
    match expr {
        expr if series::is_column(expr) => Some(SERIES.to_owned()),
        Expr::Function(function) => percentiles::meant(function).or_else(|| of_zone(function)).and(names::lower(&function.name)),
        Expr::Cast { expr, data_type, .. } if length(data_type).is_some() => Some(match expr.as_ref() {
            Expr::Identifier(name) => apart::folded(name),
            Expr::CompoundIdentifier(parts) => parts.last().map(apart::folded)?,
            _ => if matches!(data_type, DataType::Char(_) | DataType::Character(_)) { "bpchar" } else { "varchar" }.to_owned(),
        }),
        _ => None,
    }
}

/// The characters that a text is cut to by a cast: the engine passes over them.
fn length(data_type: &DataType) -> Option<u64> {
    let (DataType::Varchar(length)
    | DataType::CharacterVarying(length)
    | DataType::CharVarying(length)
    | DataType::Char(length)
    | DataType::Character(length)) = data_type
    else {
        return None;
    };
    match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
        _ => None,
    }
}

/// `text SIMILAR TO 'pattern'` as a regular expression; a pattern that is not stated, or has an escape of its own, calls a function that there is not.
fn similar(text: &Expr, pattern: &Expr, has_escape: bool) -> Expr {
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(stated), .. }) = pattern else {
        return call("similar_to", vec![text.clone(), pattern.clone()]);
    };
    if has_escape {
        return call("similar_to", vec![text.clone(), pattern.clone()]);
    }
    let mut written = String::from("^(?:");
    let mut characters = stated.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => written.push_str(".*"),
            '_' => written.push('.'),
            '.' | '^' | '$' => written.extend(['\\', character]),
            '\\' => written.extend(['\\', characters.next().unwrap_or('\\')]),
            other => written.push(other),
        }
    }
    written.push_str(")$");
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(text.clone()),
        op: BinaryOperator::PGRegexMatch,
        right: Box::new(Expr::Value(Value::SingleQuotedString(written).into())),
    }))
}

/// `float` is of 64 bits, and so is `float(25)` and what is more exact: the engine has 32 for all of them.
fn is_double(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float(ExactNumberInfo::None | ExactNumberInfo::Precision(25..)))
}

/// `U&'\0041'`, whose escapes are read by now, as the text that it is.
fn in_quotes(value: &mut Value) {
    if let Value::UnicodeStringLiteral(text) = value {
        *value = Value::SingleQuotedString(std::mem::take(text));
    }
}

fn is_timestamp(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::TimestampNtz(..) | DataType::Datetime(..))
}

/// `2024-01-31 08:00`, with or without an offset behind it, as `2024-01-31 08:00:00`: the engine reads no time without seconds.
fn with_seconds(value: &mut Value) {
    let Value::SingleQuotedString(text) = value else { return };
    let minutes = "0000-00-00 00:00";
    let like = |(stated, form): (u8, u8)| match form {
        b'0' => stated.is_ascii_digit(),
        b' ' => stated == b' ' || stated.eq_ignore_ascii_case(&b'T'),
        form => stated == form,
    };
    let begins = text.len() >= minutes.len() && text.bytes().zip(minutes.bytes()).all(like);
    let more = text.as_bytes().get(minutes.len());
    if begins && more.is_none_or(|next| !next.is_ascii_digit() && *next != b':') {
        text.insert_str(minutes.len(), ":00");
    }
}

/// `'\x4142'`, as PostgreSQL writes bytes, as the two bytes.
fn with_bytes(value: &mut Value) {
    let digits = match value {
        Value::SingleQuotedString(text) => text.strip_prefix("\\x").map(ToOwned::to_owned),
        _ => None,
    };
    if let Some(digits) = digits {
        *value = Value::HexStringLiteral(digits);
    }
}

/// `FETCH FIRST 3 ROWS ONLY` as `LIMIT 3`.
fn with_limit(query: &mut Query) {
    let Some(Fetch { with_ties: false, percent: false, quantity }) = &query.fetch else { return };
    let limit = Some(quantity.clone().unwrap_or_else(|| Expr::Value(Value::Number("1".to_owned(), false).into())));
    match &mut query.limit_clause {
        None => query.limit_clause = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: Vec::new() }),
        Some(LimitClause::LimitOffset { limit: stated @ None, .. }) => *stated = limit,
        Some(_) => return,
    }
    query.fetch = None;
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_)))
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The rows of a query in the place of a relation, under the alias or that name.
pub(crate) fn derived(subquery: Box<Query>, name: &str, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Derived { lateral: false, subquery, alias: Some(alias.unwrap_or_else(|| named(name))), sample: None }
}

fn named(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: Ident::new(name), columns: Vec::new(), at: None }
}

/// The query that this text is.
pub(crate) fn query(sql: &str) -> Option<Box<Query>> {
    match Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?.into_iter().next()? {
        Statement::Query(query) => Some(query),
        _ => None,
    }
}

/// `SELECT value AS name`.
fn one_value(value: Expr, name: &str) -> Option<Box<Query>> {
    let mut query = query("SELECT 1")?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::ExprWithAlias { expr: value, alias: Ident::new(name) }];
    }
    Some(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> String {
        functions(Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses").remove(0)).to_string()
    }

    /// Lists in lists would be written twice as often with each.
    #[test]
    fn lists_are_numbered_within_bounds() {
        let list = |depth: usize| {
            (0..depth)
                .fold("ARRAY[1, 2]".to_owned(), |list, _| format!("(SELECT array_agg(v) FROM unnest({list}) WITH ORDINALITY AS t(v))"))
        };
        assert!(!read(&format!("SELECT {}", list(4))).contains("WITH ORDINALITY"));
        let deep = read(&format!("SELECT {}", list(14)));
        assert!(deep.contains("WITH ORDINALITY") && deep.len() < 1 << 20, "{}", deep.len());
    }

    #[test]
    fn what_is_meant_is_called() {
        assert_eq!(read("SELECT a AT TIME ZONE 'UTC' AT TIME ZONE b"), "SELECT timezone(b, timezone('UTC', a))");
        assert_eq!(read("SELECT substring(a FROM 'x(.)')"), "SELECT substring_match(a, 'x(.)')");
        assert_eq!(read("SELECT timestamp '2024-01-31 08:00'"), "SELECT TIMESTAMP '2024-01-31 08:00:00'");
        assert_eq!(read("SELECT '2024-01-31T08:00+01'::timestamptz"), "SELECT '2024-01-31T08:00:00+01'::TIMESTAMPTZ");
        assert_eq!(read("SELECT * FROM current_schema()"), "SELECT * FROM (SELECT current_schema() AS current_schema) AS current_schema");
        assert_eq!(read("SELECT * FROM pg_catalog.version() AS v"), "SELECT * FROM (SELECT version() AS version) AS v");
        assert_eq!(read("SELECT '\\x4142'::bytea, 'a'::bytea"), "SELECT X'4142'::BYTEA, 'a'::BYTEA");
        assert_eq!(read("SELECT a::float, b::float(24), c::float(53)"), "SELECT a::DOUBLE PRECISION, b::FLOAT(24), c::DOUBLE PRECISION");
        assert_eq!(read("SELECT U&'\\0041b', every(a) FROM t"), "SELECT 'Ab', bool_and(a) FROM t");
        assert_eq!(read("SELECT (a, b) OVERLAPS (c, d) FROM t"), "SELECT overlaps(a, b, c, d) FROM t");
        assert_eq!(
            read("SELECT date_trunc('day', a, 'Asia/Tokyo') FROM t"),
            "SELECT timezone('Asia/Tokyo', date_trunc('day', timezone('Asia/Tokyo', a))) AS \"date_trunc\" FROM t"
        );
        assert_eq!(read("SELECT a::uuid, b::jsonb"), "SELECT a::TEXT, b::TEXT");
        assert_eq!(read("SELECT a FROM t OFFSET 2 FETCH FIRST 3 ROWS ONLY"), "SELECT a FROM t LIMIT 3 OFFSET 2");
        assert_eq!(read("SELECT mod(a, b + 1), variance(a) FROM t"), "SELECT ((a) % (b + 1)), var_samp(a) FROM t");
        assert_eq!(
            read("SELECT Code::varchar(3) FROM t"),
            "SELECT left(Code::TEXT, 3) AS \"code\" FROM t".replace("Code::TEXT", "CAST(Code AS TEXT)")
        );
        assert_eq!(read("SELECT a SIMILAR TO 'b_(c|d)%.' FROM t"), "SELECT (a ~ '^(?:b.(c|d).*\\.)$') FROM t");
        assert_eq!(read("SELECT * FROM generate_series(1, 3) AS x"), "SELECT * FROM generate_series(1, 3) AS x (x)");
        assert_eq!(read("SELECT * FROM unnest(a) AS x"), "SELECT * FROM UNNEST(a) AS x (x)");
        assert_eq!(
            read("SELECT * FROM t, unnest(t.a) WITH ORDINALITY AS x(e, n)"),
            "SELECT * FROM t, LATERAL (SELECT unnest(t.a) AS unnest, \
             unnest(generate_series(1, CAST(array_length(t.a) AS BIGINT))) AS ordinality) AS x (e, n)"
        );
        assert_eq!(
            read("SELECT * FROM generate_series(1, 3) WITH ORDINALITY"),
            "SELECT * FROM LATERAL (SELECT unnest(generate_series(1, 3)) AS unnest, \
             unnest(generate_series(1, CAST(array_length(generate_series(1, 3)) AS BIGINT))) AS ordinality) \
             AS generate_series (generate_series, ordinality)"
        );
        assert_eq!(read("SELECT generate_series(1, 3)"), "SELECT unnest(generate_series(1, 3)) AS \"generate_series\"");
        assert_eq!(
            read("SELECT 1 WHERE a = ANY (SELECT 1) AND b <> ALL (SELECT 2)"),
            "SELECT 1 WHERE a IN (SELECT 1) AND b NOT IN (SELECT 2)"
        );
        assert_eq!(read("SELECT a FROM t FETCH NEXT ROW ONLY"), "SELECT a FROM t LIMIT 1");
    }

    #[test]
    fn a_question_about_a_query_is_a_count_where_it_is_a_value() {
        assert_eq!(read("SELECT EXISTS (SELECT * FROM t)"), "SELECT (SELECT count(*) > 0 AS is_there FROM t) AS \"exists\"");
        assert_eq!(
            read("SELECT NOT 3 > ALL (SELECT a FROM t) AS b"),
            "SELECT NOT NOT (CASE WHEN (SELECT count(*) > 0 AS is_there FROM (SELECT a FROM t) AS \"?among?\" (\"?value?\") \
             WHERE (3) <= \"?among?\".\"?value?\") THEN true \
            WHEN (SELECT CASE WHEN count(*) > count(\"?value?\") THEN 2 WHEN count(*) > 0 THEN 1 ELSE 0 END AS unsaid \
            FROM (SELECT a FROM t) AS \"?among?\" (\"?value?\")) >= CASE WHEN (3) IS NULL THEN 1 ELSE 2 END THEN NULL ELSE false END) AS b"
        );
        for sql in
            ["SELECT 1 FROM t WHERE EXISTS (SELECT 1)", "SELECT (SELECT 1 FROM t WHERE a IN (SELECT 1))", "SELECT a = ANY (b) FROM t"]
        {
            assert_eq!(read(sql).replace("ANY(", "ANY ("), sql);
        }
    }

    #[test]
    fn everything_else_stays() {
        for sql in [
            "SELECT SUBSTRING(a FROM 2 FOR 3)",
            "SELECT SUBSTRING(a FROM b)",
            "SELECT 1 FROM encounters_at('2024-01-01')",
            "SELECT TIMESTAMP '2024-01-31', TIMESTAMP '2024-01-31 08:00:01', '2024-01-31 08:00', CAST('31 08:00' AS TIMESTAMP)",
        ] {
            assert_eq!(read(sql), sql);
        }
    }
}
