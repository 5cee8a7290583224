//! A function of the engine's that is looked at with every call: what goes in, what comes out, or both. In all else it is the engine's.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// Who looks.
pub(crate) trait Watch: fmt::Debug + Eq + Hash + Send + Sync + 'static {
    /// What the engine's function gives for this call.
    ///
    /// # Errors
    /// Where the call, or what it gave, is refused; what the function itself refuses.
    fn call(&self, function: &ScalarUDF, call: ScalarFunctionArgs) -> Result<ColumnarValue>;
}

/// The function, under its own name and all its others.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Watched<W> {
    inner: Arc<ScalarUDF>,
    signature: Signature,
    watch: W,
}

impl<W: Watch> Watched<W> {
    pub(crate) fn new(inner: Arc<ScalarUDF>, watch: W) -> Self {
        let signature = inner.signature().clone();
        Self { inner, signature, watch }
    }

    /// The same, called for every batch: never once for all of them, even where all arguments are known before.
    pub(crate) fn volatile(mut self) -> Self {
        self.signature.volatility = Volatility::Volatile;
        self
    }
}

impl<W: Watch> ScalarUDFImpl for Watched<W> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Under a name that is left to the engine's own it would take its others back when a session is made of another.
    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.watch.call(&self.inner, call)
    }
}
