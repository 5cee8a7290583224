//! What a scan says of a condition that failed in it.
//!
//! Conditions on the columns of a table are computed while its files are read, and what was wrong with a value comes back as words alone, as the error's own
//! `Debug` has them. They are read back, so that it makes no difference where a condition was computed.

use datafusion::arrow::error::ArrowError;

use super::Refusal;

/// What stands before the words.
const BEFORE: &str = "Error evaluating filter predicate: ";

/// Classes of what may be refused in a condition.
const CODES: [&str; 9] = ["22003", "22004", "22007", "22008", "22012", "2201B", "22023", "53200", "54000"];

/// The error that the words were made of, where they are those of a condition.
pub(super) fn of(words: &str) -> Option<ArrowError> {
    let (_, words) = words.split_once(BEFORE)?;
    if let Some((_, said)) = words.split_once("Refusal { code: \"") {
        let code = CODES.into_iter().find(|code| said.starts_with(*code)).unwrap_or("22000");
        let (_, message) = said.split_once("message: \"")?;
        return Some(ArrowError::ExternalError(Box::new(Refusal::new(code, text(message)))));
    }
    if words.contains("DivideByZero") {
        return Some(ArrowError::DivideByZero);
    }
    let (kind, said) = words.split_once("(\"")?;
    let said = text(said);
    match kind.rsplit('(').next()? {
        "CastError" => Some(ArrowError::CastError(said)),
        "ParseError" => Some(ArrowError::ParseError(said)),
        "ArithmeticOverflow" => Some(ArrowError::ArithmeticOverflow(said)),
        "ComputeError" | "InvalidArgumentError" | "Execution" => Some(ArrowError::ComputeError(said)),
        _ => None,
    }
}

/// The text that `Debug` has written up to its closing quote.
fn text(written: &str) -> String {
    let mut text = String::new();
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(other) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use datafusion::common::DataFusionError;

    use super::*;

    /// As the reader of files puts it.
    fn put(error: &DataFusionError) -> String {
        format!("External: Compute error: {BEFORE}{error:?}")
    }

    #[test]
    fn an_error_is_read_back_from_its_words() {
        let arrow = |error| DataFusionError::ArrowError(Box::new(error), Some(String::new()));
        for (error, wanted) in [
            (
                arrow(ArrowError::CastError("Cannot cast string 'it\"s' to value of Int32 type".to_owned())),
                "Cast error: Cannot cast string 'it\"s'",
            ),
            (
                arrow(ArrowError::ParseError("Error parsing timestamp from 'x\n'".to_owned())),
                "Parser error: Error parsing timestamp from 'x\n'",
            ),
            (arrow(ArrowError::DivideByZero), "Divide by zero error"),
            (arrow(ArrowError::ArithmeticOverflow("integer out of range".to_owned())), "Arithmetic overflow: integer out of range"),
            (
                DataFusionError::Execution("cannot take square root of a negative number".to_owned()),
                "Compute error: cannot take square root",
            ),
        ] {
            let read = of(&put(&error)).map(|error| error.to_string());
            assert!(read.as_ref().is_some_and(|read| read.starts_with(wanted)), "{read:?}, not {wanted}");
        }
        assert!(of("EOF: file is too short").is_none());
    }

    #[test]
    fn a_refusal_of_ours_keeps_its_class_and_its_words() {
        let refusal = Refusal::new("54000", "repeat would give more than 64 MB").with_hint("ask for less");
        let read = of(&put(&DataFusionError::External(Box::new(refusal))));
        let error = match read {
            Some(ArrowError::ExternalError(error)) => error,
            other => panic!("{other:?}"),
        };
        let refusal = error.downcast_ref::<Refusal>().expect("it is one of ours");
        assert_eq!((refusal.code, refusal.message.as_str()), ("54000", "repeat would give more than 64 MB"));
    }
}
