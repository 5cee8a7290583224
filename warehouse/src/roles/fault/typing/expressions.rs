//! What PostgreSQL takes an expression for, from its parts up, and what it refuses in it.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion, TreeNodeVisitor};
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Between, BinaryExpr, Case, Cast, InList, ScalarFunction, WindowFunctionParams};
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, Operator, Subquery, WindowFrameBound, WindowFrameUnits};

use super::super::Refusal;
use super::kind::{Family, Kind, common};
use super::marks::Marks;

/// What is known of the columns of plans, by where they lie in memory.
pub(super) type Known = HashMap<*const LogicalPlan, Vec<Kind>>;

/// Functions whose first argument is a text for PostgreSQL.
const TEXTS: [&str; 26] = [
    "ascii",
    "btrim",
    "character_length",
    "initcap",
    "left",
    "lower",
    "lpad",
    "ltrim",
    "octet_length",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "string_agg",
    "substr",
    "translate",
    "upper",
];

/// Functions that give a text of whatever they are given.
const WRITING: [&str; 6] = ["chr", "concat", "concat_ws", "md5", "to_char", "to_hex"];

/// Functions over rows that give one of the values.
const CHOOSING: [&str; 7] = ["first_value", "lag", "last_value", "lead", "max", "min", "nth_value"];

/// What functions are called in SQL whose names are the engine's.
const CALLED: [(&str, &str); 2] = [("character_length", "length"), ("substr", "substring")];

/// Where an expression stands: what it may name, and how the engine knows that.
pub(super) struct Scope<'a> {
    pub inputs: Vec<(&'a DFSchema, &'a [Kind])>,
    pub schema: &'a DFSchema,
}

/// What is taken for what in one expression.
pub(super) struct Typing<'a> {
    scope: &'a Scope<'a>,
    queries: &'a Known,
    sql: &'a str,
    kinds: HashMap<*const Expr, Kind>,
}

/// What the whole expression is.
///
/// # Errors
/// A [`Refusal`] with its place where PostgreSQL refuses a part of it.
pub(super) fn kind(expr: &Expr, scope: &Scope<'_>, queries: &Known, sql: &str) -> Result<Kind> {
    let mut typing = Typing { scope, queries, sql, kinds: HashMap::new() };
    expr.visit(&mut typing)?;
    Ok(typing.kind(expr))
}

/// The refusal as an error of the engine's, from which it is read again.
pub(super) fn refused(refusal: Refusal) -> DataFusionError {
    DataFusionError::External(Box::new(refusal))
}

impl<'n> TreeNodeVisitor<'n> for Typing<'_> {
    type Node = Expr;

    fn f_up(&mut self, node: &'n Expr) -> Result<TreeNodeRecursion> {
        let kind = self.of(node)?;
        self.kinds.insert(std::ptr::from_ref(node), kind);
        Ok(TreeNodeRecursion::Continue)
    }
}

impl Typing<'_> {
    /// That of a part which was looked at.
    fn kind(&self, expr: &Expr) -> Kind {
        self.kinds.get(&std::ptr::from_ref(expr)).cloned().unwrap_or(Kind::Any)
    }

    fn of(&self, node: &Expr) -> Result<Kind> {
        Ok(match node {
            Expr::Alias(alias) => self.kind(&alias.expr),
            Expr::Negative(inner) => self.kind(inner),
            Expr::Column(column) => self.column(column),
            Expr::OuterReferenceColumn(field, _) => match Kind::of(field.data_type()) {
                // Stored texts are views; of others it is not known what they were made of.
                Kind::Text if *field.data_type() != DataType::Utf8View => Kind::Any,
                kind => kind,
            },
            Expr::Literal(value, _) => Kind::of_literal(value),
            Expr::Placeholder(_) => Kind::Unknown(None),
            Expr::BinaryExpr(binary) => self.binary(binary)?,
            Expr::Between(between) => self.between(between)?,
            Expr::InList(list) => self.in_list(list)?,
            Expr::InSubquery(asked) => self.within(&asked.expr, "in", &asked.subquery)?,
            Expr::SetComparison(asked) => self.within(&asked.expr, sign(asked.op).unwrap_or("="), &asked.subquery)?,
            Expr::Case(case) => self.case(case)?,
            Expr::Cast(cast) => self.cast(cast)?,
            Expr::TryCast(cast) => Kind::of(cast.field.data_type()),
            Expr::ScalarFunction(call) => self.function(node, call)?,
            Expr::AggregateFunction(call) => {
                self.filtered(call.params.filter.as_deref())?;
                self.over_rows(node, call.func.name(), &call.params.args)?
            }
            Expr::WindowFunction(call) => {
                self.filtered(call.params.filter.as_deref())?;
                self.framed(&call.params)?;
                self.over_rows(node, call.fun.name(), &call.params.args)?
            }
            Expr::ScalarSubquery(query) => self.first_of(query),
            Expr::Not(_) | Expr::Exists(_) | Expr::Like(_) | Expr::SimilarTo(_) => Kind::Boolean,
            Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsTrue(_) | Expr::IsNotTrue(_) => Kind::Boolean,
            Expr::IsFalse(_) | Expr::IsNotFalse(_) | Expr::IsUnknown(_) | Expr::IsNotUnknown(_) => Kind::Boolean,
            _ => Kind::Any,
        })
    }

    fn column(&self, column: &Column) -> Kind {
        let found = self.scope.inputs.iter().find_map(|(schema, kinds)| kinds.get(schema.maybe_index_of_column(column)?));
        found.cloned().unwrap_or(Kind::Any)
    }

    /// That of the one column of a query.
    fn first_of(&self, query: &Subquery) -> Kind {
        self.queries.get(&Arc::as_ptr(&query.subquery)).and_then(|kinds| kinds.first()).cloned().unwrap_or(Kind::Any).settled()
    }

    /// The engine's answer, as far as it can be relied on before it has made one type of all.
    fn given(&self, node: &Expr, name: &str) -> Kind {
        match node.get_type(self.scope.schema) {
            Ok(data_type) if TEXTS.contains(&name) || WRITING.contains(&name) => Kind::of(&data_type).settled(),
            Ok(data_type) => Kind::unsure(&data_type).settled(),
            Err(_) => Kind::Any,
        }
    }

    fn refuse(&self, refusal: Refusal, place: impl FnOnce(&Marks<'_>) -> Option<usize>) -> DataFusionError {
        refused(Refusal { position: place(&Marks::of(self.sql)), ..refusal })
    }

    /// Refuses what is compared by no operator.
    fn compared(&self, kinds: (&Kind, &Kind), sign: &str, place: impl FnOnce(&Marks<'_>) -> Option<usize>) -> Result<()> {
        let (left, right) = kinds;
        if left.is_comparable(right) {
            return Ok(());
        }
        let refusal = Refusal::new("42883", format!("operator does not exist: {left} {sign} {right}"));
        Err(self.refuse(refusal.with_hint("cast one side to the type of the other, as in x::text"), place))
    }

    fn binary(&self, binary: &BinaryExpr) -> Result<Kind> {
        let (left, right) = (self.kind(&binary.left), self.kind(&binary.right));
        let place = |sign: &'static str| move |marks: &Marks<'_>| marks.operator(sign, &binary.left, &binary.right);
        match binary.op {
            Operator::And | Operator::Or => Ok(Kind::Boolean),
            Operator::StringConcat if left == Kind::Any || right == Kind::Any => Ok(Kind::Any),
            Operator::StringConcat => Ok(Kind::Text),
            Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
                Ok(Kind::reckoned(binary.op, &left, &right))
            }
            op => match sign(op) {
                Some(sign) => {
                    let said = if sign == "is" { "=" } else { sign };
                    self.compared((&left, &right), said, place(sign)).map(|()| Kind::Boolean)
                }
                None => Ok(Kind::Any),
            },
        }
    }

    fn between(&self, between: &Between) -> Result<Kind> {
        let kind = self.kind(&between.expr);
        for (sign, end) in [(">=", &between.low), ("<=", &between.high)] {
            self.compared((&kind, &self.kind(end)), sign, |marks| marks.operator("between", &between.expr, end))?;
        }
        Ok(Kind::Boolean)
    }

    fn in_list(&self, list: &InList) -> Result<Kind> {
        let kind = self.kind(&list.expr);
        for value in &list.list {
            self.compared((&kind, &self.kind(value)), "=", |marks| marks.operator("in", &list.expr, value))?;
        }
        Ok(Kind::Boolean)
    }

    /// A value that is held to all rows of a query.
    fn within(&self, value: &Expr, sign: &'static str, query: &Subquery) -> Result<Kind> {
        let said = if sign == "in" { "=" } else { sign };
        let place = |marks: &Marks<'_>| marks.operator(sign, value, value);
        self.compared((&self.kind(value), &self.first_of(query)), said, place).map(|()| Kind::Boolean)
    }

    fn case(&self, case: &Case) -> Result<Kind> {
        for (when, _) in &case.when_then_expr {
            let kind = self.kind(when);
            match &case.expr {
                Some(value) => self.compared((&self.kind(value), &kind), "=", |marks| marks.operator("when", value, when))?,
                None if kind.family().is_some_and(|family| family != Family::Boolean) => {
                    let words = format!("argument of CASE/WHEN must be type boolean, not type {kind}");
                    let refusal = Refusal::new("42804", words).with_hint("compare it, as in x <> 0");
                    return Err(self.refuse(refusal, |marks| marks.value(when, None)));
                }
                None => {}
            }
        }
        // As PostgreSQL goes through them.
        let results = case.else_expr.iter().chain(case.when_then_expr.iter().map(|(_, then)| then));
        self.matched("CASE", &results.map(AsRef::as_ref).collect::<Vec<&Expr>>())
    }

    /// What is made of values of which one is given.
    fn matched(&self, words: &str, values: &[&Expr]) -> Result<Kind> {
        let kinds: Vec<Kind> = values.iter().map(|value| self.kind(value)).collect();
        let made = common(&kinds).map_err(|unmatched| {
            // What is looked at first of a CASE stands behind the others.
            let before = unmatched.place.checked_sub(1).filter(|_| words != "CASE").and_then(|before| values.get(before)).copied();
            let place = |marks: &Marks<'_>| values.get(unmatched.place).and_then(|value| marks.value(value, before));
            self.refuse(unmatched.refusal(words), place)
        })?;
        kinds.iter().try_for_each(|kind| readable(kind, &made, self.sql))?;
        Ok(made)
    }

    fn cast(&self, cast: &Cast) -> Result<Kind> {
        let (from, to) = (self.kind(&cast.expr), Kind::of(cast.field.data_type()));
        if from.is_cast_to(&to) {
            return Ok(to);
        }
        let refusal = Refusal::new("42846", format!("cannot cast type {from} to {to}"));
        let hint = match (from.family(), to.family()) {
            (Some(Family::Number), Some(Family::Instant)) => "make an instant of seconds by to_timestamp(x), a day by date '...' + x",
            (Some(Family::Instant | Family::Span), Some(Family::Number)) => "take a number of it by extract(epoch FROM x)",
            (Some(Family::Boolean), Some(Family::Number)) => "cast it to integer first, as in x::int",
            (_, Some(Family::Boolean)) => "compare it, as in x <> 0",
            _ => "take a part of it by extract(... FROM x), or write it by to_char",
        };
        Err(self.refuse(refusal.with_hint(hint), |marks| marks.cast(cast, cast.field.data_type())))
    }

    fn function(&self, node: &Expr, call: &ScalarFunction) -> Result<Kind> {
        let all = || call.args.iter().collect::<Vec<&Expr>>();
        match (call.name(), call.args.as_slice()) {
            ("coalesce", _) => self.matched("COALESCE", &all()),
            ("greatest", _) => self.matched("GREATEST", &all()),
            ("least", _) => self.matched("LEAST", &all()),
            // Whoever calls it speaks to the engine.
            ("arrow_cast", _) => Ok(Kind::Any),
            ("nullif", [value, other]) => {
                let (kind, other) = (self.kind(value), self.kind(other));
                self.compared((&kind, &other), "=", |marks| marks.call("nullif", &call.args))?;
                // A text in quotes is what it is compared with.
                Ok(if matches!(kind, Kind::Unknown(_)) { other.settled() } else { kind })
            }
            (name, arguments) => {
                self.of_text(name, arguments)?;
                Ok(self.given(node, name))
            }
        }
    }

    fn over_rows(&self, node: &Expr, name: &str, arguments: &[Expr]) -> Result<Kind> {
        self.of_text(name, arguments)?;
        Ok(match arguments.first() {
            Some(value) if CHOOSING.contains(&name) => self.kind(value).settled(),
            _ => self.given(node, name),
        })
    }

    /// Refuses rows that are chosen by what is no truth: the engine would take none of them.
    fn filtered(&self, filter: Option<&Expr>) -> Result<()> {
        let Some(filter) = filter else { return Ok(()) };
        let kind = self.kind(filter);
        if kind.family().is_none_or(|family| family == Family::Boolean) {
            return Ok(());
        }
        let refusal = Refusal::new("42804", format!("argument of FILTER must be type boolean, not type {kind}"));
        Err(self.refuse(refusal.with_hint("compare it, as in x <> 0"), |marks| marks.value(filter, None)))
    }

    /// Refuses distances between values that have none.
    fn framed(&self, params: &WindowFunctionParams) -> Result<()> {
        let is_far = |bound: &WindowFrameBound| matches!(bound, WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) if !distance.is_null());
        let (frame, [key]) = (&params.window_frame, params.order_by.as_slice()) else { return Ok(()) };
        let kind = self.kind(&key.expr);
        let has_none = matches!(kind.family(), Some(Family::Text | Family::Boolean));
        if frame.units != WindowFrameUnits::Range || !has_none || !(is_far(&frame.start_bound) || is_far(&frame.end_bound)) {
            return Ok(());
        }
        let words = format!("RANGE with offset PRECEDING/FOLLOWING is not supported for column type {kind}");
        Err(self.refuse(Refusal::new("0A000", words).with_hint("count rows, as in ROWS 1 PRECEDING"), |marks| marks.frame()))
    }

    /// Refuses a function of texts over what is none.
    fn of_text(&self, name: &str, arguments: &[Expr]) -> Result<()> {
        let kinds: Vec<Kind> = arguments.iter().map(|argument| self.kind(argument)).collect();
        let is_no_text = kinds.first().and_then(Kind::family).is_some_and(|family| family != Family::Text);
        if !is_no_text || !TEXTS.contains(&name) {
            return Ok(());
        }
        let called = CALLED.iter().find(|(engine, _)| *engine == name).map_or(name, |(_, called)| called);
        let kinds = kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let refusal = Refusal::new("42883", format!("function {called}({kinds}) does not exist"));
        Err(self.refuse(refusal.with_hint("make a text of it first, as in x::text"), |marks| marks.call(name, arguments)))
    }
}

/// Refuses a text in quotes that should be of the kind which is made of what stands beside it.
///
/// # Errors
/// 22P02 or 22007 with its place.
pub(super) fn readable(kind: &Kind, made: &Kind, sql: &str) -> Result<()> {
    let Kind::Unknown(Some(text)) = kind else { return Ok(()) };
    let Some(code) = made.refuses(text) else { return Ok(()) };
    let refusal = Refusal::new(code, format!("invalid input syntax for type {made}: \"{text}\""))
        .with_hint("cast what stands beside it to text, as in x::text");
    Err(refused(Refusal { position: Marks::of(sql).literal(text), ..refusal }))
}

/// How a comparison is written, or the word with which it begins.
fn sign(operator: Operator) -> Option<&'static str> {
    Some(match operator {
        Operator::Eq => "=",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => "is",
        _ => return None,
    })
}
