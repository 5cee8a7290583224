//! What a connection holds between its messages: who it is of, its settings, its transaction's moment, its cursors and its turn.

pub(super) mod activity;
mod worded;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use datafusion_postgres::pgwire::api::results::FieldInfo;
use datafusion_postgres::pgwire::api::{ClientInfo, DEFAULT_NAME, PidSecretKeyGenerator, RandomPidSecretKeyGenerator};
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::data::DataRow;
use datafusion_postgres::pgwire::messages::startup::SecretKey;
use futures::stream::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rows::Held;
use super::startup::Passwords;
use super::variables::{Told, Variables};
use crate::metrics;
use crate::roles::desk::Desk;
use crate::roles::fault::{Asked, Refusal};
use crate::roles::moments::Shown;
use crate::roles::strangers::{Stranger, Strangers};
use crate::roles::turn::Turn;
use crate::roles::{Account, Accounts};

/// Pause between two looks at whether statements run.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);
/// Pause between two looks at rows that are read piece by piece; those of which none was read meanwhile are given up.
const UNREAD: std::time::Duration = std::time::Duration::from_secs(600);
/// Savepoints that a transaction may have.
const SAVEPOINTS: usize = 1024;
/// Cursors that a connection may hold open.
const CURSORS: usize = 16;

/// Statements that a connection may hold prepared under names, and the bytes of all their texts.
const STATEMENTS: usize = 4096;
const STATEMENT_BYTES: usize = 16 << 20;

/// What all connections of the port share.
pub(super) struct Server {
    pub desk: Arc<Desk>,
    pub accounts: Accounts,
    pub passwords: Passwords,
    pub tls_required: bool,
    pub strangers: Strangers,
    places: Arc<Semaphore>,
    keys: RandomPidSecretKeyGenerator,
    connected: Mutex<BTreeMap<i32, (SecretKey, Weak<Connection>)>>,
}

impl Server {
    pub(super) fn new(desk: Arc<Desk>, accounts: Accounts, connections: usize, tls_required: bool) -> Self {
        Self {
            desk,
            passwords: Passwords::of(&accounts),
            accounts,
            tls_required,
            strangers: Strangers::default(),
            places: Arc::new(Semaphore::new(connections)),
            keys: RandomPidSecretKeyGenerator::default(),
            connected: Mutex::default(),
        }
    }

    /// Ends when no statement runs.
    pub(super) async fn quiet(&self) {
        while self.is_busy() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_busy(&self) -> bool {
        self.connections().iter().any(|connection| connection.inner().busy)
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected.values().filter_map(|(_, connection)| connection.upgrade()).collect()
    }

    /// Looks from time to time at the rows that cursors and portals hold, and gives up what nobody reads.
    pub(super) async fn tend(&self) {
        loop {
            tokio::time::sleep(UNREAD).await;
            self.connections().iter().for_each(|connection| connection.look());
        }
    }

    /// Cancels the statement of the connection with this number and key; whoever does not know the key changes nothing.
    pub(super) fn cancel(&self, pid: i32, key: &SecretKey) {
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let found = connected.get(&pid).filter(|(known, _)| known.eq_value(key)).and_then(|(_, connection)| connection.upgrade());
        // The last handle of a connection takes it off the list when it goes.
        drop(connected);
        if let Some(connection) = found {
            connection.inner().turn.cancelled.cancel();
        }
    }
}

/// Rows of a cursor that are still to come.
pub(super) type Rows = BoxStream<'static, PgWireResult<DataRow>>;

/// A cursor. Its rows are shared with the answer that reads on.
#[derive(Clone)]
pub(super) struct Cursor {
    pub fields: Arc<Vec<FieldInfo>>,
    pub rows: Arc<tokio::sync::Mutex<Rows>>,
    pub hold: bool,
}

/// One connection.
pub(super) struct Connection {
    pub server: Arc<Server>,
    inner: Mutex<Inner>,
}

struct Inner {
    account: Option<Arc<Account>>,
    stranger: Option<Stranger>,
    place: Option<OwnedSemaphorePermit>,
    pid: Option<i32>,
    variables: Variables,
    /// The settings with which the connection came.
    preset: Vec<(String, String)>,
    /// Of an open transaction, once its first statement has asked.
    moment: Option<Option<Arc<Shown>>>,
    turn: Turn,
    /// Whether a message is being answered.
    busy: bool,
    admitted: Option<OwnedSemaphorePermit>,
    cursors: BTreeMap<String, Cursor>,
    /// Rows of cursors and portals that are still to be read.
    held: Vec<Weak<Held>>,
    /// Names of the prepared statements, and the length of each text in bytes.
    statements: BTreeMap<String, usize>,
    asked: activity::Asked,
    worded: BTreeMap<String, worded::Worded>,
    /// Names of the transaction's savepoints and the settings at each, the oldest first.
    savepoints: Vec<(String, Variables)>,
}

impl Connection {
    pub(super) fn new(server: Arc<Server>, stranger: Stranger) -> Self {
        let turn = Turn::new(std::time::Duration::ZERO, &server.desk.closing);
        let inner = Inner {
            account: None,
            stranger: Some(stranger),
            place: None,
            pid: None,
            variables: Variables::default(),
            preset: Vec::new(),
            moment: None,
            turn,
            busy: false,
            admitted: None,
            cursors: BTreeMap::new(),
            held: Vec::new(),
            statements: BTreeMap::new(),
            asked: activity::Asked::default(),
            worded: BTreeMap::new(),
            savepoints: Vec::new(),
        };
        Self { server, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place among the connections; whoever is about to show who it is, none before.
    pub(super) fn enter(&self) -> Result<(), Refusal> {
        let place = Arc::clone(&self.server.places).try_acquire_owned();
        let place = place.map_err(|_| Refusal::new("53300", "sorry, too many clients already"))?;
        self.inner().place = Some(place);
        Ok(())
    }

    /// A setting with which the connection came.
    pub(super) fn preset(&self, name: &str, value: &str) -> Result<(), Refusal> {
        let mut inner = self.inner();
        inner.variables.set(name, Some(value), false)?;
        inner.preset.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        self.inner().variables.told()
    }

    /// The number and the key of this connection, known from now on.
    pub(super) fn keys(self: &Arc<Self>, client: &dyn ClientInfo) -> (i32, SecretKey) {
        let (pid, key) = self.server.keys.generate(client);
        let mut connected = self.server.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected.insert(pid, (key.clone(), Arc::downgrade(self)));
        self.inner().pid = Some(pid);
        (pid, key)
    }

    /// Whose settings these are; it may still be refused.
    pub(super) fn authorize(&self, user: &str) {
        self.inner().variables.authorize(user);
    }

    /// The account has shown who it is.
    pub(super) fn let_in(&self, account: Arc<Account>) {
        metrics::connected("pgwire", 1.0);
        let mut inner = self.inner();
        inner.account = Some(account);
        inner.stranger = None;
    }

    /// Whose connection this is.
    pub(super) fn account(&self) -> Result<Arc<Account>, Refusal> {
        self.inner().account.clone().ok_or_else(|| Refusal::new("28000", "the connection is not authenticated"))
    }

    /// A statement's turn begins.
    pub(super) fn begin(&self) -> Result<Arc<Account>, Refusal> {
        let account = self.account()?;
        let mut inner = self.inner();
        inner.busy = true;
        inner.turn = self.server.desk.turn(&account.role, Some(inner.variables.statement_timeout()));
        Ok(account)
    }

    /// The statement's turn is over, and another may run.
    pub(super) fn end(&self) {
        let mut inner = self.inner();
        inner.admitted = None;
        inner.busy = false;
        inner.turn = Turn::new(std::time::Duration::ZERO, &self.server.desk.closing);
    }

    pub(super) fn turn(&self) -> Turn {
        self.inner().turn.clone()
    }

    /// Waits until the statement may run; once a turn.
    pub(super) async fn admit(&self) -> Result<(), Refusal> {
        let turn = {
            let inner = self.inner();
            if inner.admitted.is_some() {
                return Ok(());
            }
            inner.turn.clone()
        };
        let permit = self.server.desk.admit(&turn).await?;
        self.inner().admitted = Some(permit);
        Ok(())
    }

    /// What the statement sees: everything committed by now, or the moment of the open transaction.
    pub(super) async fn shown(&self, asked: Asked<'_>) -> Result<Arc<Shown>, Refusal> {
        let (kept, when) = {
            let inner = self.inner();
            (inner.moment.clone().flatten(), inner.variables.when())
        };
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let shown = self.server.desk.shown(when, asked).await?;
        if let Some(moment) = &mut self.inner().moment {
            *moment = Some(Arc::clone(&shown));
        }
        Ok(shown)
    }

    /// Changes a setting; says what the client must be told.
    pub(super) fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<Told, Refusal> {
        let mut inner = self.inner();
        let before = inner.variables.when();
        let told = inner.variables.set(name, value, local)?;
        inner.moved(before);
        Ok(told)
    }

    /// All settings as the connection came with them.
    pub(super) fn reset(&self) {
        let mut inner = self.inner();
        let before = inner.variables.when();
        inner.variables.reset();
        for (name, value) in inner.preset.clone() {
            // It was accepted at the start.
            let _told = inner.variables.set(&name, Some(&value), false);
        }
        inner.moved(before);
    }

    /// Everything as the connection came; gives the names of the statements that were prepared.
    ///
    /// # Errors
    /// 25001 within a transaction.
    pub(super) fn discard(&self) -> Result<Vec<String>, Refusal> {
        if self.is_in_transaction() {
            return Err(Refusal::new("25001", "DISCARD ALL cannot run inside a transaction block"));
        }
        self.reset();
        self.close(None)?;
        self.deallocate(None)
    }

    /// Takes the name of a statement that is to be prepared from a text of so many bytes. The one without a name is replaced each time.
    ///
    /// # Errors
    /// 42P05 where the name is taken, 53400 where too many statements are held.
    pub(super) fn prepare(&self, name: &str, bytes: usize) -> Result<(), Refusal> {
        if name == DEFAULT_NAME {
            return Ok(());
        }
        let mut inner = self.inner();
        if inner.statements.contains_key(name) {
            return Err(Refusal::new("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        if inner.statements.len() >= STATEMENTS || inner.statements.values().sum::<usize>() + bytes > STATEMENT_BYTES {
            return Err(Refusal::new("53400", "the connection holds too many prepared statements")
                .with_hint("close those that are not used, or DEALLOCATE ALL"));
        }
        inner.statements.insert(name.to_owned(), bytes);
        Ok(())
    }

    /// Gives back the name of a statement that is closed, or could not be prepared.
    pub(super) fn unprepare(&self, name: &str) {
        let mut inner = self.inner();
        inner.statements.remove(name);
        inner.worded.remove(name);
    }

    /// The names that a DEALLOCATE gives back: this one, or all.
    ///
    /// # Errors
    /// 26000 where there is none of that name.
    pub(super) fn deallocate(&self, name: Option<&str>) -> Result<Vec<String>, Refusal> {
        let mut inner = self.inner();
        inner.worded.retain(|known, _| name.is_some_and(|name| name != known));
        match name {
            None => Ok(std::mem::take(&mut inner.statements).into_keys().collect()),
            Some(name) => match inner.statements.remove_entry(name) {
                Some((name, _)) => Ok(vec![name]),
                None => Err(Refusal::new("26000", format!("prepared statement \"{name}\" does not exist"))),
            },
        }
    }

    pub(super) fn variables(&self) -> Variables {
        self.inner().variables.clone()
    }

    pub(super) fn open_transaction(&self) {
        let mut inner = self.inner();
        inner.variables.begin();
        inner.moment.get_or_insert(None);
    }

    pub(super) fn commit(&self) {
        let mut inner = self.inner();
        inner.variables.commit();
        inner.close_transaction();
    }

    pub(super) fn rollback(&self) {
        let mut inner = self.inner();
        inner.variables.rollback();
        inner.close_transaction();
    }

    pub(super) fn savepoint(&self, name: &str) -> Result<(), Refusal> {
        let mut inner = self.inner();
        inner.in_transaction("SAVEPOINT")?;
        if inner.savepoints.len() >= SAVEPOINTS {
            return Err(Refusal::new("53400", format!("the transaction has more than {SAVEPOINTS} savepoints")));
        }
        let settings = inner.variables.clone();
        inner.savepoints.push((name.to_owned(), settings));
        Ok(())
    }

    pub(super) fn release(&self, name: &str) -> Result<(), Refusal> {
        let mut inner = self.inner();
        let place = inner.place_of("RELEASE SAVEPOINT", name)?;
        inner.savepoints.truncate(place);
        Ok(())
    }

    /// The settings are as they were then; the savepoint itself stays.
    pub(super) fn rollback_to(&self, name: &str) -> Result<(), Refusal> {
        let mut inner = self.inner();
        let place = inner.place_of("ROLLBACK TO SAVEPOINT", name)?;
        inner.savepoints.truncate(place + 1);
        let before = inner.variables.when();
        if let Some((_, settings)) = inner.savepoints.last().cloned() {
            inner.variables = settings;
        }
        inner.moved(before);
        Ok(())
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.inner().moment.is_some()
    }

    /// Opens a cursor.
    pub(super) fn declare(&self, name: &str, cursor: Cursor) -> Result<(), Refusal> {
        let mut inner = self.inner();
        if inner.cursors.contains_key(name) {
            return Err(Refusal::new("42P03", format!("cursor \"{name}\" already exists")));
        }
        if inner.cursors.len() >= CURSORS {
            return Err(Refusal::new("53400", format!("more than {CURSORS} cursors are open")));
        }
        inner.cursors.insert(name.to_owned(), cursor);
        Ok(())
    }

    /// Keeps an eye on rows that are read piece by piece.
    pub(super) fn hold(&self, rows: &Arc<Held>) {
        let mut inner = self.inner();
        inner.held.retain(|held| held.strong_count() > 0);
        inner.held.push(Arc::downgrade(rows));
    }

    fn look(&self) {
        let held: Vec<_> = self.inner().held.iter().filter_map(Weak::upgrade).collect();
        held.iter().for_each(|held| held.look());
    }

    pub(super) fn cursor(&self, name: &str) -> Result<Cursor, Refusal> {
        let found = self.inner().cursors.get(name).cloned();
        found.ok_or_else(|| Refusal::new("34000", format!("cursor \"{name}\" does not exist")))
    }

    /// Closes a cursor; all where none is named.
    pub(super) fn close(&self, name: Option<&str>) -> Result<(), Refusal> {
        match name {
            None => self.inner().cursors.clear(),
            Some(name) => {
                self.cursor(name)?;
                self.inner().cursors.remove(name);
            }
        }
        Ok(())
    }
}

impl Inner {
    fn in_transaction(&self, what: &str) -> Result<(), Refusal> {
        let outside = || Refusal::new("25P01", format!("{what} can only be used in transaction blocks"));
        self.moment.as_ref().map(|_| ()).ok_or_else(outside)
    }

    /// The newest savepoint of this name.
    fn place_of(&self, what: &str, name: &str) -> Result<usize, Refusal> {
        self.in_transaction(what)?;
        let found = self.savepoints.iter().rposition(|(known, _)| known == name);
        found.ok_or_else(|| Refusal::new("3B001", format!("savepoint \"{name}\" does not exist")))
    }

    /// Another moment was asked for: an open transaction looks anew.
    fn moved(&mut self, before: crate::roles::moments::When) {
        if self.variables.when() != before
            && let Some(moment) = &mut self.moment
        {
            *moment = None;
        }
    }

    fn close_transaction(&mut self) {
        self.moment = None;
        self.savepoints.clear();
        self.cursors.retain(|_, cursor| cursor.hold);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = inner.pid {
            self.server.connected.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
        }
        if inner.account.is_some() {
            metrics::connected("pgwire", -1.0);
        }
    }
}
