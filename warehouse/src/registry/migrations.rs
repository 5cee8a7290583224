//! The registry's schema, brought forward and never back. A version is what its file says, for ever: a change is another file.

use tokio_postgres::{Client, Transaction};

use super::RegistryError;

/// Every version, in order: the first brings an empty database to version 1.
const MIGRATIONS: [&str; 4] =
    [include_str!("0001_registry.sql"), include_str!("0002_audit.sql"), include_str!("0003_weights.sql"), include_str!("0004_listed.sql")];
/// Key of the advisory lock under which the schema and the rights on it are changed.
const LOCK: i64 = 0x7761_7264;

fn refused(source: tokio_postgres::Error) -> RegistryError {
    RegistryError::Refused { action: "bring the registry's schema forward", source }
}

/// What a service may do nothing for while it holds the lock: one that was frozen in the midst of it loses it, and those who wait for it, at most
/// as long as a statement may take, come to it.
const IDLE: &str = "SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// A transaction beside which no other service has one under the same lock.
pub(super) async fn alone(client: &mut Client, lock: i64) -> Result<Transaction<'_>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(IDLE).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&lock]).await?;
    Ok(transaction)
}

/// Brings the schema to this release's version. A database that is there already is only looked at, so that a role without the right to
/// change it can serve.
///
/// # Errors
/// Where a newer release has been there, or the role may not change the schema and must.
pub async fn bring_forward(client: &mut Client) -> Result<(), RegistryError> {
    if is_current(client).await? {
        return Ok(());
    }
    let transaction = alone(client, LOCK).await.map_err(refused)?;
    // Another process may have been faster.
    let before = version(transaction.client()).await?;
    for (migration, number) in behind(before)?.iter().zip(before + 1..) {
        transaction.batch_execute(migration).await.map_err(refused)?;
        let note = "CREATE TABLE IF NOT EXISTS wardstream.schema_version (version int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())";
        transaction.batch_execute(note).await.map_err(refused)?;
        transaction.execute("INSERT INTO wardstream.schema_version (version) VALUES ($1)", &[&number]).await.map_err(refused)?;
    }
    transaction.commit().await.map_err(refused)
}

/// Whether the database is at this release's version. Changes nothing.
///
/// # Errors
/// Where a newer release has been there.
pub async fn is_current(client: &Client) -> Result<bool, RegistryError> {
    Ok(behind(version(client).await?)?.is_empty())
}

/// The database's version; 0 where there is none.
async fn version(client: &Client) -> Result<i32, RegistryError> {
    // A query reads the catalogue; `to_regclass` may remember from before the lock that there was no such table.
    let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'wardstream' AND tablename = 'schema_version')";
    let there = client.query_one(there, &[]).await.map_err(refused)?;
    if !there.get::<_, bool>(0) {
        return Ok(0);
    }
    let row = client.query_one("SELECT COALESCE(max(version), 0) FROM wardstream.schema_version", &[]).await.map_err(refused)?;
    Ok(row.get(0))
}

/// The migrations that a database at `version` has not seen.
fn behind(version: i32) -> Result<&'static [&'static str], RegistryError> {
    let seen = usize::try_from(version).unwrap_or(0);
    MIGRATIONS.get(seen..).ok_or(RegistryError::Newer { found: version, known: MIGRATIONS.len() })
}

/// Gives a role what the services need and no more: to read, and to add. Nobody may change or remove a line.
pub async fn grant(client: &mut Client, role: &str) -> Result<(), RegistryError> {
    let granted = |source| RegistryError::Refused { action: "give the service's role its rights", source };
    // PostgreSQL refuses one of two who give rights on the same table at once.
    let transaction = alone(client, LOCK).await.map_err(granted)?;
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let sql = format!(
        "REVOKE ALL ON ALL TABLES IN SCHEMA wardstream FROM {role}; GRANT USAGE ON SCHEMA wardstream TO {role}; \
         GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA wardstream TO {role}; REVOKE INSERT ON wardstream.schema_version FROM {role}; \
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA wardstream TO {role}"
    );
    transaction.batch_execute(&sql).await.map_err(granted)?;
    transaction.commit().await.map_err(granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_newer_release_is_refused_and_an_older_one_gets_what_it_lacks() {
        assert_eq!(behind(0).map(<[_]>::len).ok(), Some(MIGRATIONS.len()));
        assert_eq!(behind(2).map(<[_]>::len).ok(), Some(MIGRATIONS.len() - 2));
        let refused = behind(99).expect_err("newer");
        assert_eq!(
            refused.to_string(),
            format!(
                "the registry is at version 99 and this release knows {}: start the newer release; nothing was changed",
                MIGRATIONS.len()
            )
        );
    }
}
