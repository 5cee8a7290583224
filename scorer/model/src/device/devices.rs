//! Where a model learns: on one device, or on several cards side by side.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::replicas::Team;
use super::{Device, DeviceError};

/// Most cards that may be named, which is more than a machine has.
const MOST_CARDS: usize = 64;

/// One device, or several cards of one machine, each of which reads a portion of every step. The first speaks for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Devices {
    /// One at least; several are cards, none of which stands twice.
    named: Vec<Device>,
}

/// A name that is none of devices to learn on.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownDevices {
    /// Nothing of the kind.
    #[error("there is nothing to learn on named {name}: cpu, cuda, cuda:N, or several cards as in cuda:0,1 or cuda:0-3")]
    Unknown {
        /// As it was written.
        name: String,
    },
    /// A card cannot learn two portions at once.
    #[error("{name} names card {card} twice")]
    Twice {
        /// As it was written.
        name: String,
        /// Which.
        card: usize,
    },
    /// More than a machine has.
    #[error("{name} names more than {MOST_CARDS} cards")]
    TooMany {
        /// As it was written.
        name: String,
    },
}

impl Devices {
    /// Their only one.
    ///
    /// # Errors
    /// If they are several, which no model answers on.
    pub fn one(&self) -> Result<Device, DeviceError> {
        match self.named.as_slice() {
            [one] => Ok(*one),
            _ => Err(DeviceError::Several(self.clone())),
        }
    }

    /// The devices for candle; nothing for the processor's own path.
    pub(crate) fn open(&self) -> Result<Option<Team>, DeviceError> {
        match self.named.as_slice() {
            [one] => Ok(one.open()?.as_ref().map(Team::from)),
            several => self.join(several).map(Some),
        }
    }

    #[cfg(not(feature = "nccl"))]
    fn join(&self, _: &[Device]) -> Result<Team, DeviceError> {
        Err(DeviceError::NotJoined(self.clone()))
    }

    #[cfg(feature = "nccl")]
    fn join(&self, cards: &[Device]) -> Result<Team, DeviceError> {
        let cards = cards.iter().filter_map(|card| card.open().transpose()).collect::<Result<Vec<_>, _>>()?;
        Team::of_cards(cards).map_err(|source| DeviceError::Unjoined { devices: self.clone(), source })
    }
}

impl Default for Devices {
    fn default() -> Self {
        Device::default().into()
    }
}

impl From<Device> for Devices {
    fn from(device: Device) -> Self {
        Self { named: vec![device] }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, device) in self.named.iter().enumerate() {
            match device {
                Device::Cuda(card) if index > 0 => write!(f, ",{card}")?,
                _ => device.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl FromStr for Devices {
    type Err = UnknownDevices;

    fn from_str(name: &str) -> Result<Self, UnknownDevices> {
        let unknown = || UnknownDevices::Unknown { name: name.to_owned() };
        let Some(cards) = name.strip_prefix("cuda:") else { return name.parse::<Device>().map(Self::from).map_err(|_| unknown()) };
        let mut named: Vec<Device> = Vec::new();
        for run in cards.split(',') {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let (first, last): (usize, usize) = first.parse().ok().zip(last.parse().ok()).ok_or_else(unknown)?;
            let more = last.checked_sub(first).ok_or_else(unknown)?;
            if more >= MOST_CARDS - named.len() {
                return Err(UnknownDevices::TooMany { name: name.to_owned() });
            }
            for card in first..=last {
                if named.contains(&Device::Cuda(card)) {
                    return Err(UnknownDevices::Twice { name: name.to_owned(), card });
                }
                named.push(Device::Cuda(card));
            }
        }
        Ok(Self { named })
    }
}

impl TryFrom<String> for Devices {
    type Error = UnknownDevices;

    fn try_from(name: String) -> Result<Self, UnknownDevices> {
        name.parse()
    }
}

impl From<Devices> for String {
    fn from(devices: Devices) -> Self {
        devices.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        name.parse::<Devices>().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn devices_to_learn_on_are_read_as_they_are_written() -> Result<(), UnknownDevices> {
        for name in ["cpu", "cuda:0", "cuda:7", "cuda:0,1", "cuda:5,0,1,2"] {
            assert_eq!(name.parse::<Devices>()?.to_string(), name);
        }
        for (name, same) in [("cuda", "cuda:0"), ("cuda:0-3", "cuda:0,1,2,3"), ("cuda:4,0-1,7-7", "cuda:4,0,1,7")] {
            assert_eq!(name.parse::<Devices>()?, same.parse()?);
        }
        assert_eq!("cuda:0-63".parse::<Devices>()?.named.len(), 64);
        Ok(())
    }

    #[test]
    fn cards_that_cannot_be_meant_are_refused_in_a_sentence() {
        for wrong in ["", "gpu", "cpu,cuda:0", "cuda:0,cpu", "cuda:", "cuda:0,", "cuda:3-1", "cuda:-1", "cuda:0-1-2", "cuda:0, 1"] {
            assert_eq!(
                refusal(wrong),
                format!("there is nothing to learn on named {wrong}: cpu, cuda, cuda:N, or several cards as in cuda:0,1 or cuda:0-3")
            );
        }
        assert_eq!(refusal("cuda:0-2,1"), "cuda:0-2,1 names card 1 twice");
        for many in ["cuda:0-64", "cuda:0-18446744073709551615", "cuda:0-40,50-90"] {
            assert_eq!(refusal(many), format!("{many} names more than 64 cards"));
        }
    }

    #[test]
    fn several_cards_do_not_answer() -> Result<(), UnknownDevices> {
        let refusal = "cuda:0,1".parse::<Devices>()?.one().err().map(|error| error.to_string());
        assert_eq!(refusal.as_deref(), Some("a model answers on one device, not on cuda:0,1"));
        assert!(matches!(Devices::from(Device::Cuda(3)).one(), Ok(Device::Cuda(3))));
        Ok(())
    }

    /// In a program that cannot join them, or on a machine with fewer.
    #[test]
    fn cards_that_are_not_there_are_not_joined() -> Result<(), UnknownDevices> {
        let refusal = "cuda:98,99".parse::<Devices>()?.open().err().map(|error| error.to_string()).unwrap_or_default();
        let expected = if cfg!(feature = "nccl") { "could not use cuda:98" } else { "cuda:98,99 cannot learn together, for this program" };
        assert!(refusal.starts_with(expected), "{refusal}");
        assert!(matches!(Devices::default().open(), Ok(None)));
        Ok(())
    }
}
