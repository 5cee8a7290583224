//! Promises of the port, kept with a client of its own over a socket.

mod catalogue;
mod drivers;
mod limits;
mod moments;
mod refusals;
pub(crate) mod stand;
mod texts;
mod tls;
