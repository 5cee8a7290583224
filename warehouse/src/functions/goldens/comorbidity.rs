//! Charlson's index of 20,000 random patients beside that of a public implementation.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::Int64Type;
use serde::Deserialize;

use crate::functions::tests::{Column, asked, session};

#[derive(Deserialize)]
struct Golden {
    codes: Vec<String>,
    /// A patient a letter: the index to the base 36, `-` without a code.
    expected: String,
}

/// The linear congruence of `charlson.py`.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}

#[tokio::test]
async fn charlson_is_that_of_a_public_implementation_on_twenty_thousand_patients() {
    let golden: Golden = serde_json::from_str(include_str!("charlson.json")).expect("the golden is JSON");
    let mut draw = Draw(1);
    let (mut patients, mut codes) = (Vec::new(), Vec::new());
    for patient in 0..golden.expected.len() {
        for _ in 0..draw.below(13) {
            let code = golden.codes[draw.below(golden.codes.len())].clone();
            codes.push(if draw.below(2) == 1 { code.replace('.', "") } else { code });
            patients.push(i64::try_from(patient).expect("few"));
        }
    }
    let ctx = session("codes", vec![("patient", Column::Whole(patients)), ("code", Column::Text(codes))], 3);
    let mut found = vec!['-'; golden.expected.len()];
    for batch in asked(&ctx, "SELECT patient, charlson(code) AS index FROM codes GROUP BY patient").await {
        let column = |nth: usize| batch.column(nth).as_primitive::<Int64Type>();
        assert_eq!(column(1).null_count(), 0);
        for (patient, index) in column(0).values().iter().zip(column(1).values()) {
            let letter = char::from_digit(u32::try_from(*index).expect("an index"), 36).expect("small");
            found[usize::try_from(*patient).expect("a patient")] = letter;
        }
    }
    assert_eq!(found.len(), 20_000);
    let apart: Vec<usize> =
        found.iter().zip(golden.expected.chars()).enumerate().filter(|(_, (a, b))| **a != *b).map(|(nth, _)| nth).collect();
    assert!(apart.is_empty(), "patients {apart:?}");
}
