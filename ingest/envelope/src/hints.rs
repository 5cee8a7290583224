//! What a record's headers say about its value. Bytes are sniffed all the same; a header only settles what they leave open.

/// What the headers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The value is a whole CloudEvent in JSON.
    pub structured_event: bool,
    /// The listener saw no end of the frame, or no frame: what follows may be missing, and half a message says other things than a whole.
    pub cut: bool,
}

const STRUCTURED: &[u8] = b"application/cloudevents+json";

impl Hints {
    /// Reads the headers of a consumed record.
    #[must_use]
    pub fn of(headers: &[(String, Option<Vec<u8>>)]) -> Self {
        headers.iter().fold(Self::default(), |hints, (name, value)| hints.and(name, value.as_deref().unwrap_or_default()))
    }

    /// Reads the headers of a stored record: a JSON object of arrays, as `messages.headers` holds them.
    #[must_use]
    pub fn of_stored(headers: &str) -> Self {
        let Ok(object) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(headers) else { return Self::default() };
        let values = object.iter().flat_map(|(name, values)| values.as_array().into_iter().flatten().map(move |value| (name, value)));
        values.fold(Self::default(), |hints, (name, value)| hints.and(name, value.as_str().unwrap_or_default().as_bytes()))
    }

    fn and(self, name: &str, value: &[u8]) -> Self {
        let structured = name.eq_ignore_ascii_case("content-type")
            && value.trim_ascii_start().get(..STRUCTURED.len()).is_some_and(|start| start.eq_ignore_ascii_case(STRUCTURED));
        Self {
            structured_event: self.structured_event || structured,
            cut: self.cut || (name == "mllp_frame" && matches!(value, b"cut" | b"stray")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replay must decide as the first reading did.
    #[test]
    fn stored_headers_say_what_the_records_said() {
        let headers = vec![
            ("Content-Type".to_owned(), Some(b"application/cloudevents+json; charset=UTF-8".to_vec())),
            ("mllp_frame".to_owned(), Some(b"cut".to_vec())),
            ("x".to_owned(), None),
        ];
        let stored = r#"{"Content-Type":["application/cloudevents+json; charset=UTF-8"],"mllp_frame":["cut"],"x":[null]}"#;
        let said = Hints { structured_event: true, cut: true };
        assert_eq!((Hints::of(&headers), Hints::of_stored(stored)), (said, said));
        assert_eq!(Hints::of_stored("{}"), Hints::default());
        assert_eq!(Hints::of(&[("content-type".to_owned(), Some(b"application/json".to_vec()))]), Hints::default());
    }
}
