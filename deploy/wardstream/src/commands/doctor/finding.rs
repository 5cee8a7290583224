//! What one check found out.

use anyhow::Context as _;
use warehouse::Format;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it should be.
    Ok,
    /// Somebody must do something.
    Wrong,
    /// There is nothing to ask, or no time was left for it.
    NotAsked,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Wrong => "wrong",
            Self::NotAsked => "not asked",
        }
    }
}

/// A line of the answer.
#[derive(Debug)]
pub struct Finding {
    check: &'static str,
    state: State,
    found: String,
    what_to_do: String,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), what_to_do: String::new() }
    }

    /// It is not.
    pub fn wrong(check: &'static str, found: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self { check, state: State::Wrong, found: found.into(), what_to_do: what_to_do.into() }
    }

    /// It was not asked, and why; what to do so that it is.
    pub fn not_asked(check: &'static str, found: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self { check, state: State::NotAsked, found: found.into(), what_to_do: what_to_do.into() }
    }

    /// Whether somebody must do something.
    pub fn is_wrong(&self) -> bool {
        self.state == State::Wrong
    }
}

/// The findings as rows, each on one line.
///
/// # Errors
/// Where there is none.
pub fn render(findings: &[Finding], format: Format) -> anyhow::Result<String> {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let row = |finding: &Finding| {
        vec![finding.check.to_owned(), finding.state.as_str().to_owned(), line(&finding.found), line(&finding.what_to_do)]
    };
    let rows: Vec<Vec<String>> = findings.iter().map(row).collect();
    warehouse::render_texts(&["check", "state", "found", "what_to_do"], &rows, format).context("could not show what was found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let findings = [Finding::ok("a", "well"), Finding::wrong("b", "one\ntwo", "mend it"), Finding::not_asked("c", "none", "")];
        let told = render(&findings, Format::Csv).expect("has a form");
        assert_eq!(told, "check,state,found,what_to_do\na,ok,well,\nb,wrong,one two,mend it\nc,not asked,none,\n");
        assert_eq!(findings.iter().map(Finding::is_wrong).collect::<Vec<_>>(), [false, true, false]);
    }
}
