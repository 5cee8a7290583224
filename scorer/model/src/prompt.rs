//! What a model is asked, word for word (L1 section 3), behind a note that was cleaned.
//!
//! The questions, their options and the rules of [`clean`] share one [`digest`]: a model that learned under another one is refused.

use schemas::cleaning::RULES;
use schemas::{Digest, Task};

pub use schemas::cleaning::clean;

/// The options' letters, in order of the classes.
pub const LETTERS: [&str; 5] = ["A", "B", "C", "D", "E"];

fn asked(task: Task) -> (&'static str, &'static str, &'static [&'static str]) {
    match task {
        Task::Readmission => ("discharge", "will the patient be readmitted to the hospital within 30 days of discharge?", &["no", "yes"]),
        Task::Mortality => ("admission", "will the patient die during the hospital admission?", &["no", "yes"]),
        Task::LengthOfStay => {
            ("admission", "how long will the patient stay at the hospital?", &["0 to 2 days", "3 days", "4 to 5 days", "more than 5 days"])
        }
        Task::Comorbidity => (
            "admission",
            "what is the Charlson Comorbidity Index of the patient?",
            &["score 0", "1 to 2", "3 to 4", "5 to 7", "more than 7"],
        ),
        Task::Denial => ("admission", "will the insurance claim of the patient be denied?", &["no", "yes"]),
    }
}

/// What stands behind the note: a blank line, the question, its options one a line, and `Answer:`. The letter that follows is the
/// answer, as ` A` to ` E`.
///
/// It begins with a line break and a cleaned note ends without one, so the tokens of note and question are those of the whole prompt: unless a tokenizer takes
/// a mark and the line breaks behind it for one word, as Llama 3's does. There a note that ends with a mark is read with its last token apart from the
/// question's first, when the model learns and when it answers.
#[must_use]
pub fn question(task: Task) -> String {
    phrases(task).concat()
}

/// The three parts of a question: of which note it is asked, what is asked, and the lettered options with `Answer:`.
pub(crate) fn phrases(task: Task) -> [String; 3] {
    let (kind, asks, options) = asked(task);
    let options: String = LETTERS.iter().zip(options).map(|(letter, option)| format!("{letter}. {option}\n")).collect();
    [format!("\n\nGiven the above {kind} note of the patient,"), format!(" {asks}\n"), format!("{options}Answer:")]
}

/// Digest of everything that this module turns a note into: 16 hexadecimal digits.
#[must_use]
pub fn digest() -> String {
    let mut all = RULES.to_owned();
    for task in Task::ALL {
        all.push('\u{1f}');
        all.push_str(&question(task));
    }
    Digest::of(all.as_bytes()).to_string().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_stands_as_the_paper_asks_it() {
        assert_eq!(
            question(Task::Comorbidity),
            "\n\nGiven the above admission note of the patient, what is the Charlson Comorbidity Index of the patient?\n\
             A. score 0\nB. 1 to 2\nC. 3 to 4\nD. 5 to 7\nE. more than 7\nAnswer:"
        );
    }

    #[test]
    fn every_class_has_a_letter() {
        for task in Task::ALL {
            assert_eq!(asked(task).2.len(), task.classes());
            assert_eq!(asked(task).0, task.note_kind().as_str());
            assert!(task.classes() <= LETTERS.len());
        }
    }

    /// Changing a word of a prompt makes every model trained so far unusable: that must be meant.
    #[test]
    fn the_digest_changes_only_on_purpose() {
        assert_eq!(digest(), "c7daadd39a5744dc");
    }
}
