//! Where in a statement's text an expression of its plan stands: columns know their places, and what is made of them is looked for from there.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Cast;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::super::tokens::{Tokens, is};
use super::super::{character, operators, places};

/// A text, and its tokens.
pub(super) struct Marks<'a> {
    sql: &'a str,
    tokens: Tokens,
}

impl<'a> Marks<'a> {
    pub(super) fn of(sql: &'a str) -> Self {
        Self { sql, tokens: Tokens::of(sql) }
    }

    /// Where the sign stands between the two; before the NOT of `NOT IN`.
    pub(super) fn operator(&self, sign: &str, left: &Expr, right: &Expr) -> Option<usize> {
        let is_sign = |index: &usize| self.tokens.get(*index).is_some_and(|token| is_sign(token, sign));
        let all = 0..self.tokens.count();
        let found = match (self.columns(left), self.columns(right)) {
            (Some((_, last)), _) => (last..all.end).find(is_sign),
            (None, Some((first, _))) => (0..first).rev().find(is_sign),
            (None, None) => None,
        };
        // Of a comparison with a query nothing is left where it stood but its word.
        let found = found.or_else(|| all.clone().find(is_sign)).or_else(|| all.clone().find(|index| self.tokens.is(*index, "in")))?;
        let is_negated = matches!(sign, "in" | "between") && self.tokens.follows(found, &["not"]);
        Some(self.tokens.place(if is_negated { found - 1 } else { found }))
    }

    /// Where the expression begins that stands behind `before`.
    pub(super) fn value(&self, expr: &Expr, before: Option<&Expr>) -> Option<usize> {
        let from = before.and_then(|before| self.columns(before)).map_or(0, |(_, last)| last + 1);
        self.start(expr, from).map(|index| self.tokens.place(index))
    }

    /// Where the function is called, by whatever name.
    pub(super) fn call(&self, name: &str, arguments: &[Expr]) -> Option<usize> {
        let first = arguments.first().and_then(|first| self.start(first, 0));
        let called = first.map(|first| (first, self.caller(first))).filter(|(first, caller)| caller < first);
        called.map(|(_, caller)| self.tokens.place(caller)).or_else(|| places::of_word(self.sql, name))
    }

    /// Where the cast is asked for.
    pub(super) fn cast(&self, cast: &Cast, to: &DataType) -> Option<usize> {
        let columns = self.columns(&cast.expr);
        let called = self.start(&cast.expr, 0).filter(|_| columns.is_some()).map(|first| self.caller(first));
        let called = called.filter(|index| self.tokens.is(*index, "cast"));
        let behind = || {
            let (_, last) = columns?;
            (last..self.tokens.count()).find(|index| self.tokens.get(*index) == Some(&Token::DoubleColon))
        };
        let index = called.or_else(behind).or_else(|| operators::cast(&self.tokens, &format!("CAST to {to}")))?;
        Some(self.tokens.place(index))
    }

    /// Where a window begins that is told by distances.
    pub(super) fn frame(&self) -> Option<usize> {
        let range = self.tokens.find(|index| self.tokens.is(index, "range"))?;
        Some(self.tokens.place(range + 1 + usize::from(self.tokens.is(range + 1, "between"))))
    }

    /// Where the text stands within quotes.
    pub(super) fn literal(&self, text: &str) -> Option<usize> {
        places::of_literal(self.sql, text)
    }

    /// Where the list begins of the query behind UNION and the like.
    pub(super) fn beside(&self, word: &str) -> Option<usize> {
        places::of(&format!("{word} queries"), self.sql)
    }

    /// The first and the last token at which a column of the expression begins. A line and a column are counted out in the text for these two alone: an expression may hold a
    /// hundred thousand.
    fn columns(&self, expr: &Expr) -> Option<(usize, usize)> {
        let mut ends: Option<((u64, u64), (u64, u64))> = None;
        let _whole = expr.apply(|part| {
            if let Expr::Column(column) = part
                && let Some(span) = column.spans().first()
            {
                let at = (span.start.line, span.start.column);
                ends = Some(ends.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let token = |(line, column)| self.tokens.at(character(self.sql, line, column)?);
        let (first, last) = ends?;
        Some((token(first)?, token(last)?))
    }

    /// The first token of the expression; a constant is looked for from `from` on.
    fn start(&self, expr: &Expr, from: usize) -> Option<usize> {
        let (mut part, mut calls) = (expr, 0);
        loop {
            let inner = match part {
                Expr::Alias(alias) => Some(alias.expr.as_ref()),
                Expr::Cast(cast) => Some(cast.expr.as_ref()),
                Expr::BinaryExpr(binary) => Some(binary.left.as_ref()),
                Expr::ScalarFunction(call) => call.args.first(),
                Expr::AggregateFunction(call) => call.params.args.first(),
                _ => None,
            };
            let Some(inner) = inner else { break };
            calls += usize::from(matches!(part, Expr::ScalarFunction(_) | Expr::AggregateFunction(_)));
            part = inner;
        }
        let index = match part {
            Expr::Literal(value, _) => (from..self.tokens.count()).find(|index| self.is_value(*index, value))?,
            part => self.columns(part)?.0,
        };
        Some((0..calls).fold(index, |index, _| self.caller(index)))
    }

    /// The name before the parenthesis that opens before the token; itself where there is none.
    fn caller(&self, index: usize) -> usize {
        let opens = index >= 2 && self.tokens.before(index) == Some(&Token::LParen);
        if opens && matches!(self.tokens.get(index - 2), Some(Token::Word(_))) { self.tokens.head(index - 2) } else { index }
    }

    fn is_value(&self, index: usize, value: &ScalarValue) -> bool {
        match self.tokens.get(index) {
            Some(Token::SingleQuotedString(text)) => value.try_as_str().flatten() == Some(text.as_str()),
            Some(Token::Number(digits, _)) => match (digits.parse::<f64>(), value.to_string().parse::<f64>()) {
                (Ok(written), Ok(read)) => value.data_type().is_numeric() && written.to_bits() == read.to_bits(),
                _ => false,
            },
            Some(token) => matches!(value, ScalarValue::Boolean(Some(truth)) if is(token, if *truth { "true" } else { "false" })),
            None => false,
        }
    }
}

fn is_sign(token: &Token, sign: &str) -> bool {
    match token {
        Token::Neq => sign == "<>",
        Token::Word(_) => is(token, sign),
        token => token.to_string() == sign,
    }
}
