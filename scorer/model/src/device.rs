//! The same Llama through candle's operations, on whatever device candle has: `bf16` on an NVIDIA card, `f32` on a processor, where it is only
//! there to be tested.
//!
//! One forward pass answers and learns, over the same lists of rows without padding; autograd finds the gradient. What takes time has a gradient
//! of its own ([`fused`]), so that nothing is kept of what lies between; attention has kernels of its own on a card.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::packed::Precision;

mod attention;
#[cfg(feature = "cuda")]
mod card;
mod cross_entropy;
mod devices;
mod fused;
mod learning;
mod linear;
#[cfg(feature = "nccl")]
mod nccl;
mod network;
mod replicas;
mod scorer;

pub use devices::{Devices, UnknownDevices};
pub(crate) use replicas::{Replicas, Team};
pub(crate) use scorer::DeviceScorer;

/// Where a model answers, or learns alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// The processor, by kernels of our own: `cpu`.
    #[default]
    Cpu,
    /// The NVIDIA card of this number: `cuda:0`, or `cuda` for the first.
    Cuda(usize),
}

/// A name that is none of a device.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no device {name}: cpu, cuda or cuda:N, N being the card's number")]
pub struct UnknownDevice {
    name: String,
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The program has no kernels for cards.
    #[error("{0} cannot be used, for this program was built without the feature `cuda`")]
    NotBuilt(Device),
    /// There is no such card, or no driver for it.
    #[error("could not use {device}: is there such a card, and a driver of its toolkit's version?")]
    Unavailable {
        /// Which.
        device: Device,
        /// What the driver says.
        source: candle_core::Error,
    },
    /// The program cannot join cards.
    #[error("{0} cannot learn together, for this program was built without the feature `nccl`")]
    NotJoined(Devices),
    /// The cards are there, and do not come together.
    #[error("could not join {devices}: does NCCL's library go with the driver?")]
    Unjoined {
        /// Which.
        devices: Devices,
        /// What NCCL says.
        source: candle_core::Error,
    },
    /// Several cards learn, and do not answer.
    #[error("a model answers on one device, not on {0}")]
    Several(Devices),
    /// On a card numbers are `bf16` or `f32`.
    #[error("a model answers in f32 or bf16 on {device}, not in {}", precision.as_str())]
    WholeNumbers {
        /// Which.
        device: Device,
        /// What was asked for.
        precision: Precision,
    },
}

impl Device {
    /// The device for candle; nothing for the processor's own path.
    pub(crate) fn open(self) -> Result<Option<candle_core::Device>, DeviceError> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(DeviceError::NotBuilt(self)),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => card::open(number).map(Some).map_err(|source| DeviceError::Unavailable { device: self, source }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Self, UnknownDevice> {
        let unknown = || UnknownDevice { name: name.to_owned() };
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => name.strip_prefix("cuda:").and_then(|number| number.parse().ok()).map(Self::Cuda).ok_or_else(unknown),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = UnknownDevice;

    fn try_from(name: String) -> Result<Self, UnknownDevice> {
        name.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

/// The devices of candle that tests run on, with what products are made of there: always a processor in `f32`, and a card in both where one is at hand.
#[cfg(test)]
pub(crate) fn tested() -> Vec<(candle_core::Device, crate::Arithmetic)> {
    use crate::Arithmetic::{Bf16, F32};
    let mut devices = vec![(candle_core::Device::Cpu, F32)];
    match Device::Cuda(0).open() {
        Ok(card) => devices.extend(card.iter().flat_map(|card| [(card.clone(), F32), (card.clone(), Bf16)])),
        Err(error) => eprintln!("not run on a card: {error}"),
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written_and_others_refused() {
        for (name, device) in [("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:7", Device::Cuda(7))] {
            assert_eq!((name.parse(), device.to_string().as_str()), (Ok(device), name));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "CPU"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }

    /// On a machine with fewer cards, or in a program without kernels for them.
    #[test]
    fn a_card_that_is_not_there_is_refused_in_a_sentence() {
        let refusal = Device::Cuda(99).open().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refusal.contains("cuda:99"), "{refusal}");
        assert!(matches!(Device::Cpu.open(), Ok(None)));
    }
}
