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

/// A task file that cannot be read is the configuration's fault, whatever the command: one sentence with its line, and exit 2.
#[test]
fn a_broken_task_file_is_one_sentence_and_a_wrong_configuration() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    std::fs::create_dir(stand.path().join("tasks"))?;
    std::fs::write(stand.path().join("tasks/bad.toml"), "title = 5\n")?;
    stand.configure("[warehouse.tasks]\nfolder = \"tasks\"")?;
    for command in [&["check-config"][..], &["sql", "SELECT 1"], &["verify"], &["dataset", "all", "--out", "out"]] {
        let (told, code) = said(&stand.run(command)?);
        assert!(told.contains("task bad: line 1: `title` must be a text, not integer `5`"), "{command:?}: {told}");
        assert!(!told.trim_end().contains(['|', '^', '\n']) && code == Some(2), "{command:?}: {code:?} {told}");
    }
    Ok(())
}

/// Whatever command meets it, and before anything is reached.
#[test]
fn an_address_or_a_property_that_cannot_be_is_a_wrong_configuration() -> anyhow::Result<()> {
    let said_by = |toml: &str, command: &[&str]| -> anyhow::Result<(String, Option<i32>)> {
        let stand = Stand::folder_only()?;
        stand.configure(toml)?;
        Ok(said(&stand.run(command)?))
    };
    for (toml, command, wanted) in [
        ("[warehouse]\nurl = \"nobody://knows\"", &["verify"][..], "nobody://knows"),
        ("[bus]\nbrokers = \"127.0.0.1:1\"\nproperties = { acks = \"0\" }", &["topics", "create"][..], "Kafka property acks is refused"),
        ("", &["mllp"][..], "mllp.ports is empty: add [[mllp.ports]]"),
        ("[registry]\nurl = \"nowhere\"", &["models", "rollback"][..], "registry.url is no PostgreSQL address"),
    ] {
        let (told, code) = said_by(toml, command)?;
        assert!(told.contains(wanted) && code == Some(2), "{command:?}: {code:?} {told}");
    }
    Ok(())
}

/// What `check-config` would find at a start, it finds before, and makes no file by looking.
#[test]
fn the_files_of_a_configuration_are_looked_into() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    assert_eq!(said(&stand.run(&["check-config"])?), (String::new(), Some(0)));
    assert!(!stand.path().join(".wardstream").exists(), "looking made a file");
    std::fs::write(stand.path().join("cert.pem"), "none")?;
    stand.configure(
        "[[sql.users]]\nname = \"ann\"\nrole = \"operator\"\npassword_file = \"nowhere\"\n[sql.tls]\ncertificate = \"cert.pem\"\nkey = \"cert.pem\"\n\
         [[mllp.ports]]\nlisten = \"127.0.0.1:0\"\ntopic = \"hl7.raw\"\ntls = { certificate = \"cert.pem\", key = \"cert.pem\" }",
    )?;
    let (told, code) = said(&stand.run(&["check-config"])?);
    for wanted in [
        "the password of ann could not be read from nowhere",
        "sql.tls: cert.pem cannot be used",
        "could not use cert.pem for TLS on 127.0.0.1:0",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert_eq!((told.lines().count(), code), (3, Some(2)), "{told}");
    Ok(())
}

/// That no registry is there is no mistake in a query's spelling.
#[test]
fn without_a_registry_that_is_what_is_said() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    for command in [&["models", "list"][..], &["models", "show", "ab"], &["sql", "SELECT count(*) FROM erasures"]] {
        let (told, code) = said(&stand.run(command)?);
        assert!(
            told.contains("ERROR 08006: no registry is configured") && told.contains("\nHINT: set registry.url"),
            "{command:?}: {told}"
        );
        assert_eq!(code, Some(1), "{command:?}");
    }
    let (told, code) = said(&stand.run(&["models", "rollback"])?);
    assert!(told.contains("no registry is configured") && told.contains("set registry.url") && code == Some(1), "{told}");
    Ok(())
}
