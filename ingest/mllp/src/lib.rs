//! A listener for MLLP, the framing in which hospitals send HL7 v2 over TCP: frames become records of a raw topic.
//!
//! It answers that a message is accepted only once Kafka has it. It owns connections, frames and answers; it refuses to read more of a
//! message than its header, to change a byte of it, and to keep anything that Kafka does not have: what was not acknowledged, the
//! sender sends again.
//!
//! **What becomes a record.** The bytes between `0x0B` and `0x1C 0x0D`, exactly. The last `0x0D` may be missing. A `0x0B` inside a frame
//! is content (a vertical tab that somebody pasted), unless a message header follows it: then the frame before it was cut. A `0x1C`
//! inside a frame is content, unless a line end or the next frame follows it, or silence. What was cut, and what stands between frames
//! and is not blank, becomes a record too, with the header `mllp_frame` saying so; it is not answered, since no sender waits for it.
//!
//! **Order.** A record's key is the port and the address of the peer, so that all that one host sends by one port keeps its order, over
//! connections too; a port may order by sending application and facility instead. Readers depend on no key.
//!
//! **Answers.** Original mode (MSH-15 and MSH-16 empty): `AA`, `AE`, `AR`. Enhanced mode: MSH-15 `AL`, `NE`, `ER`, `SU` says whether a
//! `CA`, `CE` or `CR` is sent; where MSH-15 asks for none and MSH-16 asks for one, that is `AA`, `AE` or `AR`. Never more than one
//! answer for a message, in the order of the messages of a connection. `AE` means that Kafka did not confirm within the patience of the
//! configuration; the message may still arrive there, so that a repeated one stands twice: at least once. Whoever asks for no answer
//! gives up that promise: what Kafka did not take before this process ended is lost with it. `AR` means that to repeat is
//! of no use: the message is too large, or it has no header. What has no header is kept on the topic all the same; what is too large
//! is not, and its connection is closed.

mod answer;
mod connection;
mod error;
mod frame;
mod header;
mod listener;
pub mod metrics;
mod settings;
mod tls;

pub use error::MllpError;
pub use listener::{Listener, serve};
pub use settings::{Answers, Order, Port, Settings, Tls};
