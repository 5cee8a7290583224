//! SQL as people ask it: psql against a running server. Needs nothing but the machine.
#![cfg(feature = "live")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tests::stand::{Service, Stand};

const PATIENCE: Duration = Duration::from_secs(60);
const ROLES: &str = "[[sql.roles]]\nname = \"analyst\"\nrow_limit = 1000\nstatement_timeout_ms = 20000\n\
                     [[sql.users]]\nname = \"ann\"\nrole = \"analyst\"\npassword_file = \"ann\"";

/// A server, and psql as a user of it.
struct Server<'a> {
    stand: &'a Stand,
    port: String,
    service: Service,
}

impl<'a> Server<'a> {
    fn start(stand: &'a Stand) -> anyhow::Result<Self> {
        let service = stand.service("serve")?;
        let began = Instant::now();
        loop {
            let log = std::fs::read_to_string(stand.path().join("serve.log"))?;
            let found = log.split("port=").nth(1).and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
            if let Some(port) = found {
                return Ok(Self { stand, port, service });
            }
            ensure!(began.elapsed() < PATIENCE, "the server does not say its port: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn psql(&self, user: &str, commands: &[&str]) -> anyhow::Result<Output> {
        let file = if user == "ann" { "ann" } else { ".wardstream/sql-password" };
        let password = std::fs::read_to_string(self.stand.path().join(file)).context("the password lies in a file")?;
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "VERBOSITY=verbose", "-h", "127.0.0.1", "-p", &self.port, "-U", user, "-d", "wardstream"]);
        psql.env("PGPASSWORD", password.trim()).current_dir(self.stand.path());
        for command in commands {
            psql.args(["-c", command]);
        }
        psql.output().context("could not run psql")
    }

    /// What the commands give; they must be answered.
    fn answers(&self, user: &str, commands: &[&str]) -> anyhow::Result<String> {
        let output = self.psql(user, commands)?;
        let (out, said) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        ensure!(output.status.success() && !said.contains("ERROR"), "{commands:?}: {said}");
        Ok(out)
    }

    /// The page beside SQL, once it has been computed: the head of the answer, and the page.
    fn page(&self) -> anyhow::Result<(String, String)> {
        let began = Instant::now();
        loop {
            let log = std::fs::read_to_string(self.stand.path().join("serve.log"))?;
            let address = log.split("\"url\":\"http://").nth(1).and_then(|rest| rest.split('/').next());
            if let Some(address) = address {
                let mut client = TcpStream::connect(address)?;
                client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")?;
                let mut said = String::new();
                client.read_to_string(&mut said)?;
                let (head, page) = said.split_once("\r\n\r\n").context("an answer has a head")?;
                if !page.contains("being computed") {
                    return Ok((head.to_owned(), page.to_owned()));
                }
            }
            ensure!(began.elapsed() < PATIENCE, "the page never comes: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What is said to the command; it must be refused.
    fn refuses(&self, user: &str, command: &str) -> anyhow::Result<String> {
        let output = self.psql(user, &[command])?;
        ensure!(!output.status.success(), "{command} was answered");
        Ok(String::from_utf8(output.stderr)?)
    }
}

/// psql asks, describes, copies and counts as of a moment; what is wrong or may not be asked is said as PostgreSQL says it.
#[test]
fn psql_is_answered_as_by_postgresql() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    stand.configure(ROLES)?;
    std::fs::write(stand.path().join("ann"), "a word of ann's\n")?;
    let feed = stand.hospital(&["--seed", "7", "--patients", "20", "--from", "2019-01-01", "--to", "2019-06-01", "--speak", "both"])?;
    let published = stand.publish("hl7.raw", &feed.join("hl7"))?;
    let ingest = stand.service("ingest")?;
    stand.until("SELECT count(*) FROM messages WHERE topic = 'hl7.raw'", published)?;
    let server = Server::start(&stand)?;

    let all: u64 = server.answers("ann", &["SELECT count(*) FROM messages"])?.trim().parse()?;
    ensure!(all >= published, "{all} of {published}");
    let half = "SELECT min(known_at) + (max(known_at) - min(known_at)) / 2 FROM messages WHERE topic = 'hl7.raw'";
    let at = server.answers("wardstream", &[half])?;
    let set = format!("SET wardstream.as_known_at = '{}'", at.trim());
    let then: u64 = server.answers("ann", &[&set, "SELECT count(*) FROM messages"])?.trim().parse()?;
    assert!(then > 0 && then < all, "{then} of {all} at {at}");

    for command in ["\\d", "\\dv", "\\dt", "\\dn", "\\l", "\\d labels", "\\d+ notes", "\\df auroc*", "\\du", "\\conninfo"] {
        server.answers("ann", &[command]).with_context(|| command.to_owned())?;
    }
    assert!(server.answers("ann", &["\\d"])?.contains("labels"));
    // Those of the registry are described too: it answers here.
    for (asked, wanted) in [("\\dv+ labels", "what came of it"), ("\\dv+ erasures", "one row per step of an erasure")] {
        let described = server.answers("ann", &[asked])?;
        assert!(described.contains(wanted), "{asked}: {described}");
    }
    let bare = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND obj_description(c.oid) IS NULL";
    assert_eq!(server.answers("ann", &[bare])?.trim(), "0");
    let columns = |user: &str| -> anyhow::Result<Vec<String>> {
        let described = server.answers(user, &["\\d notes"])?;
        Ok(described.lines().filter_map(|line| line.split('|').next()).map(str::to_owned).collect())
    };
    let has = |columns: &[String], name: &str| columns.iter().any(|column| column == name);
    let (hers, all_columns) = (columns("ann")?, columns("wardstream")?);
    assert!(has(&hers, "note_id") && !has(&hers, "text") && has(&all_columns, "text"), "{hers:?} of {all_columns:?}");

    let copied =
        server.answers("ann", &["\\copy (SELECT topic, \"offset\" FROM messages LIMIT 10) TO 'rows.csv' WITH (FORMAT csv, HEADER)"]);
    copied.context("copies")?;
    assert_eq!(std::fs::read_to_string(stand.path().join("rows.csv"))?.lines().count(), 11);
    let fetched = server.answers("ann", &["\\set FETCH_COUNT 100", "SELECT * FROM generate_series(1, 777)"])?;
    assert_eq!(fetched.lines().count(), 777);

    for (command, class) in [
        ("SELECT text FROM notes", "42501"),
        ("SELECT * FROM generate_series(1, 1001)", "54000"),
        ("CREATE TABLE t (a INT)", "25006"),
        ("COPY labels TO '/tmp/x'", "42501"),
        ("SELECT nothing FROM labels", "42703"),
        ("SELECT 1 / 0", "22012"),
    ] {
        let said = server.refuses("ann", command)?;
        assert!(said.contains(class), "{command}: {said}");
    }
    drop(ingest);
    server.service.signal("TERM")?;
    assert_eq!(server.service.ended()?, Some(0));
    Ok(())
}

/// The page is made of the same views: it names the tasks and says that every record is there. Whoever may open it learns of no patient.
#[test]
fn the_page_beside_sql_names_the_tasks_and_no_patient() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let feed = stand.hospital(&["--seed", "7", "--patients", "20", "--from", "2019-01-01", "--to", "2019-06-01", "--speak", "hl7"])?;
    stand.must(&["backfill", "--facility", "north", feed.join("hl7").to_str().context("a folder has a name")?])?;
    let server = Server::start(&stand)?;
    let (head, page) = server.page()?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for told in ["Readmission", "Length of stay", "No alarm is open", "No model answers yet", "None missing, none doubled", ">north<"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(!page.contains("could not be read"), "{page}");
    let numbers = "SELECT DISTINCT value FROM identifiers UNION SELECT DISTINCT visit_number FROM encounters";
    let numbers = stand.must(&["sql", "--format", "csv", numbers])?;
    // Shorter ones are counts as well.
    let numbers: Vec<&str> = numbers.lines().skip(1).filter(|number| number.len() >= 5).collect();
    assert!(!numbers.is_empty() && numbers.iter().all(|number| !page.contains(number)), "a patient's number stands in {page}");
    server.service.signal("TERM")?;
    assert_eq!(server.service.ended()?, Some(0));
    Ok(())
}

/// What the greatest of long texts of many groups takes doubles as it grows, and nobody counts it: questions go to disk by what they truly hold, or are ended.
#[test]
fn questions_at_once_stay_near_the_memory_that_all_may_take() -> anyhow::Result<()> {
    const LIMIT_MB: u64 = 256;
    let stand = Stand::start()?;
    stand.configure(&format!("[warehouse]\nmemory_limit_mb = {LIMIT_MB}\n{ROLES}"))?;
    std::fs::write(stand.path().join("ann"), "a word of ann's\n")?;
    let server = Server::start(&stand)?;
    server.answers("ann", &["SELECT count(*) FROM labels"])?;
    let before = server.service.peak_bytes()?;
    let greedy = "SELECT count(t) FROM (SELECT v % 100000 AS k, max(repeat('x', 7000) || v) AS t FROM generate_series(1, 400000) AS g(v) GROUP BY v % 100000) AS q";
    let said = std::thread::scope(|threads| {
        let asking: Vec<_> = (0..4).map(|_| threads.spawn(|| server.psql("ann", &[greedy]))).collect();
        asking.into_iter().map(|asked| asked.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?).collect::<anyhow::Result<Vec<_>>>()
    })?;
    for output in said {
        let (out, said) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        // Its time may be over on a busy machine.
        ensure!(out.trim() == "100000" || said.contains("53200") || said.contains("57014"), "{out}{said}");
    }
    let taken_mb = (server.service.peak_bytes()? - before) >> 20;
    // What may be held is 640; the rest is what was freed a moment ago. Nobody held to anything takes five times as much.
    ensure!(taken_mb < LIMIT_MB * 8, "{taken_mb} MB");
    assert_eq!(server.answers("ann", &["SELECT 1"])?.trim(), "1");
    server.service.signal("TERM")?;
    assert_eq!(server.service.ended()?, Some(0));
    Ok(())
}
