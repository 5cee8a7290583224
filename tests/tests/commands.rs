//! What commands say where something is wrong: one sentence, what to do, and an exit code that tells a failure from a wrong configuration. Needs nothing but the
//! machine.
#![cfg(feature = "live")]

use std::process::Output;

use tests::stand::Stand;

/// What the command said on stderr, and its exit code.
fn said(output: &Output) -> (String, Option<i32>) {
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn a_mistake_in_a_query_is_told_as_the_servers_tell_it() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    for (query, wanted) in [
        ("SELECT x FROM labels", "wardstream: ERROR 42703 at character 8: column \"x\" does not exist\n"),
        ("SELECT 1 / 0", "wardstream: ERROR 22012 at character 12: division by zero\n"),
        (
            "SHOW wardstream.as_known_at",
            "wardstream: ERROR 0A000: a command has no session whose settings could be set or shown\n\
             HINT: say as of when is asked by --as-known-at INSTANT or --version VERSION\n",
        ),
    ] {
        let (told, code) = said(&stand.run(&["sql", query])?);
        assert!(told.ends_with(wanted) && code == Some(1), "{query}: {told}");
    }
    Ok(())
}
