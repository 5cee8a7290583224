//! One connection of a client: a stranger until a call of it shows a name and its password, and then in a place among the connections.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::roles::strangers::Stranger;

/// What a connection holds.
pub(super) struct Guest {
    places: Arc<Semaphore>,
    holds: Mutex<Holds>,
}

#[derive(Default)]
struct Holds {
    stranger: Option<Stranger>,
    place: Option<OwnedSemaphorePermit>,
}

impl Guest {
    pub(super) fn new(stranger: Stranger, places: &Arc<Semaphore>) -> Arc<Self> {
        let holds = Mutex::new(Holds { stranger: Some(stranger), place: None });
        Arc::new(Self { places: Arc::clone(places), holds })
    }

    /// It has shown who it is, now or before.
    ///
    /// # Errors
    /// 53300 where there is no place; it may try again while it is waited for.
    pub(super) fn enter(&self) -> Result<(), Status> {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        if holds.place.is_none() {
            let place = Arc::clone(&self.places).try_acquire_owned();
            holds.place = Some(place.map_err(|_| Status::resource_exhausted("53300: sorry, too many clients already"))?);
            holds.stranger = None;
        }
        Ok(())
    }
}
