//! Who may ask in SQL, and the password of our own user.

use std::path::Path;

use anyhow::Context as _;

/// Those of the configuration. The password of the user of our own is made where there is none yet.
///
/// # Errors
/// Where a password cannot be read or kept, or an account is refused.
pub fn of(sql: &warehouse::SqlSettings) -> anyhow::Result<warehouse::Accounts> {
    let own = if sql.user.is_empty() { None } else { Some(password(&sql.password_file)?) };
    with(sql, own)
}

/// Reads the passwords that there are, and makes none.
///
/// # Errors
/// As [`of`].
pub fn check(sql: &warehouse::SqlSettings) -> anyhow::Result<()> {
    let file = &sql.password_file;
    let own = if sql.user.is_empty() || !file.exists() {
        None
    } else {
        let text = std::fs::read_to_string(file).with_context(|| format!("could not read sql.password_file {}", file.display()))?;
        anyhow::ensure!(
            !text.trim().is_empty(),
            "sql.password_file {} is empty: remove it, and the next start makes a password",
            file.display()
        );
        Some(text.trim().to_owned())
    };
    with(sql, own).map(drop)
}

fn with(sql: &warehouse::SqlSettings, own: Option<String>) -> anyhow::Result<warehouse::Accounts> {
    #[expect(clippy::disallowed_methods, reason = "only the binary reads the environment")]
    let environment = |name: &str| std::env::var(name).ok();
    Ok(sql.accounts(own.map(Into::into), environment)?)
}

/// The password in `file`; a new random one where there is no file yet.
fn password(file: &Path) -> anyhow::Result<String> {
    if let Ok(text) = std::fs::read_to_string(file) {
        return Ok(text.trim().to_owned());
    }
    let mut random = [0_u8; 18];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    crate::embedded::write_secret(file, &text).with_context(|| format!("could not keep the SQL password in {}", file.display()))?;
    Ok(text)
}
