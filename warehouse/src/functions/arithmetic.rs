//! `+`, `-`, `*`, `/` and `%` that refuse what has no result, as PostgreSQL does: the engine's own wrap whole numbers around and make infinite ones of broken ones.
//! And casts to whole numbers that round, where the engine's cut off.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum, PrimitiveArray};
use datafusion::arrow::compute::kernels::numeric::{add, div, mul, rem, sub};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::utils::take_function_args;
use datafusion::common::{DFSchema, Result, exec_err, plan_datafusion_err};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable as _, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::scalar::ScalarValue;

/// The operators that are made exact.
const OPERATORS: [Operator; 5] = [Operator::Plus, Operator::Minus, Operator::Multiply, Operator::Divide, Operator::Modulo];

/// The rewriting by which the operators between numbers are exact.
pub(crate) fn exact() -> Arc<dyn FunctionRewrite + Send + Sync> {
    let nearest = |ties| Arc::new(ScalarUDF::from(Nearest { ties, signature: Signature::any(1, Volatility::Immutable) }));
    Arc::new(Rewriting { stated: nearest(Ties::AwayFromZero), computed: nearest(Ties::ToEven) })
}

#[derive(Debug)]
struct Rewriting {
    /// What is written into a statement is a decimal to PostgreSQL,
    stated: Arc<ScalarUDF>,
    /// and what is computed a binary fraction.
    computed: Arc<ScalarUDF>,
}

impl Rewriting {
    /// The cast of the nearest whole number, where one of a broken number is asked for.
    fn rounded(&self, cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let is_rounded = matches!(cast.expr.as_ref(), Expr::ScalarFunction(call) if call.name() == NEAREST);
        if is_rounded || !cast.field.data_type().is_integer() {
            return Ok(Transformed::no(Expr::Cast(cast)));
        }
        let nearest = match cast.expr.get_type(schema) {
            Ok(DataType::Float32 | DataType::Float64) if matches!(cast.expr.as_ref(), Expr::Literal(..)) => {
                self.stated.call(vec![*cast.expr])
            }
            Ok(DataType::Float32 | DataType::Float64) => self.computed.call(vec![*cast.expr]),
            // Of decimals the engine rounds itself, where they stay decimals.
            Ok(DataType::Decimal128(_, scale)) if scale > 0 => Expr::Cast(Cast::new(cast.expr, DataType::Decimal128(38, 0))),
            _ => return Ok(Transformed::no(Expr::Cast(cast))),
        };
        Ok(Transformed::yes(Expr::Cast(Cast { expr: Box::new(nearest), ..cast })))
    }
}

impl FunctionRewrite for Rewriting {
    fn name(&self) -> &'static str {
        "exact arithmetic"
    }

    /// Instants, intervals and decimals are the engine's, which refuses for itself; so is what it does not know the type of yet.
    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let (left, op, right) = match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if OPERATORS.contains(&op) => (left, op, right),
            Expr::Cast(cast) => return self.rounded(cast, schema),
            other => return Ok(Transformed::no(other)),
        };
        let is_exact = |expr: &Expr| matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<Exact>());
        // A chain is asked for its type once and not at each of its links.
        let is_of_numbers = |expr: &Expr| is_exact(expr) || expr.get_type(schema).is_ok_and(|kind| is_number(&kind));
        if !is_of_numbers(&left) || !is_of_numbers(&right) {
            return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
        }
        let (mut operators, mut arguments) = match *left {
            Expr::ScalarFunction(call) if call.func.inner().is::<Exact>() => {
                let before = call.func.inner().downcast_ref::<Exact>().map(|exact| exact.operators.clone());
                (before.unwrap_or_default(), call.args)
            }
            left => (Vec::new(), vec![left]),
        };
        operators.push(op);
        arguments.push(*right);
        Ok(Transformed::yes(ScalarUDF::from(Exact::new(operators)).call(arguments)))
    }
}

/// How halves are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ties {
    AwayFromZero,
    ToEven,
}

const NEAREST: &str = "nearest";

/// The nearest whole number, of the same type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Nearest {
    ties: Ties,
    signature: Signature,
}

impl ScalarUDFImpl for Nearest {
    fn name(&self) -> &'static str {
        NEAREST
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        let [kind] = take_function_args(NEAREST, kinds)?;
        Ok(kind.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = take_function_args(NEAREST, args.args)?;
        let is_for_all = matches!(value, ColumnarValue::Scalar(_));
        let array = value.into_array(args.number_rows.max(1))?;
        let rounded: ArrayRef = match (array.data_type(), self.ties) {
            (DataType::Float64, Ties::AwayFromZero) => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round)),
            (DataType::Float64, Ties::ToEven) => {
                Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even))
            }
            (DataType::Float32, Ties::AwayFromZero) => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round)),
            (DataType::Float32, Ties::ToEven) => {
                Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round_ties_even))
            }
            (other, _) => return exec_err!("{NEAREST} takes a number, not {other}"),
        };
        Ok(if is_for_all { ColumnarValue::Scalar(ScalarValue::try_from_array(&rounded, 0)?) } else { ColumnarValue::Array(rounded) })
    }
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || matches!(kind, DataType::Float32 | DataType::Float64)
}

/// Operators between numbers, one after another from the left, each between two of the type that the engine would bring both to.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    name: String,
    operators: Vec<Operator>,
    signature: Signature,
}

impl Exact {
    fn new(operators: Vec<Operator>) -> Self {
        // A long chain is named after its beginning.
        let first = operators.iter().take(4).map(ToString::to_string).collect::<Vec<_>>().join(" ");
        Self { name: format!("exact[{first}]"), operators, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn one(operator: Operator, left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
        let (left_kind, right_kind) = BinaryTypeCoercer::new(&left.data_type(), &operator, &right.data_type()).get_input_types()?;
        let (left, right) = (left.cast_to(&left_kind, None)?, right.cast_to(&right_kind, None)?);
        Ok(match (&left, &right) {
            (ColumnarValue::Array(left), ColumnarValue::Array(right)) => ColumnarValue::Array(Self::of(operator, left, right)?),
            (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => {
                ColumnarValue::Array(Self::of(operator, left, &right.to_scalar()?)?)
            }
            (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => {
                ColumnarValue::Array(Self::of(operator, &left.to_scalar()?, right)?)
            }
            (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
                let result = Self::of(operator, &left.to_array()?, &right.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
            }
        })
    }

    fn of(operator: Operator, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        let result = match operator {
            Operator::Plus => add(left, right),
            Operator::Minus => sub(left, right),
            Operator::Multiply => mul(left, right),
            Operator::Modulo => rem(left, right),
            _ => div(left, right),
        };
        // The kernels' words quote the operands.
        let result = result.map_err(|error| match error {
            ArrowError::ArithmeticOverflow(_) => out_of_range(left.get().0.data_type()),
            other => other,
        })?;
        match result.data_type() {
            DataType::Float64 => Self::finite::<Float64Type>(operator, &result, left, right)?,
            DataType::Float32 => Self::finite::<Float32Type>(operator, &result, left, right)?,
            _ => {}
        }
        Ok(result)
    }

    /// Refuses what is finite on neither side of an operator alone: what was infinite, or no number, may stay so.
    fn finite<T: ArrowPrimitiveType>(operator: Operator, result: &ArrayRef, left: &dyn Datum, right: &dyn Datum) -> Result<(), ArrowError>
    where
        T::Native: Into<f64>,
    {
        let result = result.as_primitive::<T>();
        if result.values().iter().all(|value| (*value).into().is_finite()) {
            return Ok(());
        }
        for row in (0..result.len()).filter(|row| result.is_valid(*row)) {
            let [left, right] = [value_at::<T>(left, row), value_at::<T>(right, row)];
            if matches!(operator, Operator::Divide | Operator::Modulo) && right == 0.0 && !left.is_nan() {
                return Err(ArrowError::DivideByZero);
            }
            if !result.value(row).into().is_finite() && left.is_finite() && right.is_finite() {
                return Err(out_of_range(result.data_type()));
            }
        }
        Ok(())
    }
}

/// What stands in a row, or for all of them.
fn value_at<T: ArrowPrimitiveType>(side: &dyn Datum, row: usize) -> f64
where
    T::Native: Into<f64>,
{
    let (array, for_all) = side.get();
    let array: &PrimitiveArray<T> = array.as_primitive::<T>();
    array.value(if for_all { 0 } else { row }).into()
}

fn out_of_range(kind: &DataType) -> ArrowError {
    let words = match kind {
        DataType::Int8 | DataType::Int16 => "smallint out of range",
        DataType::Int32 => "integer out of range",
        DataType::Float32 | DataType::Float64 => "value out of range: overflow",
        _ => "bigint out of range",
    };
    ArrowError::ArithmeticOverflow(words.to_owned())
}

impl ScalarUDFImpl for Exact {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        let (first, others) = kinds.split_first().ok_or_else(|| plan_datafusion_err!("{} has operands", self.name))?;
        let after =
            |left: DataType, (operator, right): (&Operator, &DataType)| BinaryTypeCoercer::new(&left, operator, right).get_result_type();
        self.operators.iter().zip(others).try_fold(first.clone(), after)
    }

    /// Each operator brings its own two together.
    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        Ok(kinds.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut operands = args.args.iter();
        let first = operands.next().ok_or_else(|| plan_datafusion_err!("{} has operands", self.name))?.clone();
        self.operators.iter().zip(operands).try_fold(first, |left, (operator, right)| Self::one(*operator, &left, right))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    fn session() -> SessionContext {
        let mut state = SessionContext::new().state();
        datafusion::execution::FunctionRegistry::register_function_rewrite(&mut state, exact()).expect("is taken");
        SessionContext::new_with_state(state)
    }

    async fn answered(sql: &str) -> Result<String> {
        Ok(pretty_format_batches(&session().sql(sql).await?.collect().await?)?.to_string())
    }

    /// Constants are worked out by the planner, columns by the kernels: both refuse.
    #[tokio::test]
    async fn what_has_no_result_is_refused() {
        let numbers =
            "(VALUES (9223372036854775807, 2147483647::int, 1.5e308, 0.0), (NULL, NULL, NULL, NULL)) AS t(big, small, wide, zero)";
        for (wrong, words) in [
            ("9223372036854775807 + 1", "bigint out of range"),
            ("big + 1", "bigint out of range"),
            ("1 + big", "bigint out of range"),
            ("-2 - big", "bigint out of range"),
            ("big * big", "bigint out of range"),
            ("small + 1::int", "integer out of range"),
            ("wide * 2.0", "value out of range: overflow"),
            ("wide + wide", "value out of range: overflow"),
            ("wide / 0.1", "value out of range: overflow"),
            ("1.0 / 0", "Divide by zero"),
            ("1.0 / zero", "Divide by zero"),
            ("zero / zero", "Divide by zero"),
            ("wide / zero", "Divide by zero"),
            ("wide % 0", "Divide by zero"),
            ("big / 0", "Divide by zero"),
        ] {
            let refused = answered(&format!("SELECT {wrong} FROM {numbers}")).await;
            let refused = refused.unwrap_or_else(|error| error.to_string());
            assert!(refused.contains(words), "{wrong}: {refused}");
        }
    }

    #[tokio::test]
    async fn everything_else_is_as_it_was() {
        let one = |sql: &'static str| async move {
            answered(sql).await.expect(sql).lines().nth(3).expect("a row").trim_matches(['|', ' ']).to_owned()
        };
        assert_eq!(one("SELECT 7 / 2").await, "3");
        assert_eq!(one("SELECT 7 / 2.0").await, "3.5");
        assert_eq!(one("SELECT 7 - 2 * 3 - 4 + a * 2 - 1 FROM (VALUES (5)) AS t(a)").await, "6");
        assert_eq!(one("SELECT 2::int * 3 + 1").await, "7");
        assert_eq!(one("SELECT sum(a) FROM (VALUES (1), (NULL)) AS t(b) CROSS JOIN (SELECT 1 + 2 AS a)").await, "6");
        assert_eq!(one("SELECT a - b FROM (VALUES ('inf'::float8, 1.0)) AS t(a, b)").await, "inf");
        assert_eq!(one("SELECT a / 0.0 FROM (VALUES ('nan'::float8)) AS t(a)").await, "NaN");
        assert_eq!(one("SELECT CASE WHEN a = 0 THEN 0 ELSE 1 / a END FROM (VALUES (0)) AS t(a)").await, "0");
        assert_eq!(one("SELECT a / b FROM (VALUES (1.0, NULL)) AS t(a, b)").await, "");
        assert_eq!(one("SELECT timestamp '2024-01-31' + interval '1 day'").await, "2024-02-01T00:00:00");
    }

    #[tokio::test]
    async fn casts_to_whole_numbers_round() {
        let sql = "SELECT 2.5::int, -2.5::int, 0.7::bigint, a::int, b::int, c::int, d::int, TRY_CAST(a AS int) AS cut \
            FROM (VALUES (2.5, 3.5, 2.5::numeric(5, 2), 7)) AS t(a, b, c, d)";
        let answer = answered(sql).await.expect(sql);
        let values: Vec<&str> = answer.lines().nth(3).expect("a row").split('|').map(str::trim).filter(|value| !value.is_empty()).collect();
        assert_eq!(values, ["3", "-3", "1", "2", "4", "3", "7", "2"]);
        assert!(answered("SELECT a::int FROM (VALUES (3e9)) AS t(a)").await.expect_err("is too large").to_string().contains("3000000000"));
    }

    /// A column that nobody named is called after what was written.
    #[tokio::test]
    async fn columns_keep_their_names() {
        let columns = session().sql("SELECT a + 1 FROM (VALUES (1)) AS t(a)").await.expect("plans");
        let plan = columns.into_optimized_plan().expect("is optimized");
        assert_eq!(plan.schema().field(0).name(), "t.a + Int64(1)");
    }
}
