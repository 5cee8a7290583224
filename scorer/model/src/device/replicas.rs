//! One model that learns on several devices, or on one: a replica on each, which reads its portion of a step's lessons on a thread of its own. Their
//! gradients are summed before any replica moves, so that all of them take the same step and stay the same numbers; the first speaks for them.
//!
//! Nobody adds before everybody has computed: what one of them could not do ends the step there, where it would leave the others waiting for ever.

use std::collections::BTreeSet;
use std::panic::resume_unwind;

use candle_core::{Device, Result, Tensor};

use super::learning::{DeviceLearning, Reading};
#[cfg(feature = "nccl")]
use super::nccl::Cards;
use crate::adapters::{Adapters, Draw, Frozen};
use crate::config::Config;
use crate::division::{passes, portions};
use crate::layout::Layout;
use crate::learner::{Arithmetic, Learned, Recipe};
use crate::loss::{Labelled, Losses, Shares};

/// Rows that a replica reads in one pass, unless one lesson has more; more than on a processor, for a device's many units want more rows at once.
const PASS: usize = 8192;

/// Devices that learn together, one at least, and how they add.
#[derive(Debug)]
pub(crate) struct Team {
    devices: Vec<Device>,
    sum: Sum,
}

/// How gradients are summed over replicas.
#[derive(Debug)]
enum Sum {
    /// On a device that all of them share, or of one alone.
    Here,
    #[cfg(feature = "nccl")]
    Nccl(Cards),
}

/// A model's replicas.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// One at least.
    replicas: Vec<DeviceLearning>,
    sum: Sum,
}

impl From<&Device> for Team {
    fn from(device: &Device) -> Self {
        Self { devices: vec![device.clone()], sum: Sum::Here }
    }
}

impl Team {
    /// Several cards.
    #[cfg(feature = "nccl")]
    pub fn of_cards(cards: Vec<Device>) -> Result<Self> {
        Ok(Self { sum: Sum::Nccl(Cards::join(&cards)?), devices: cards })
    }

    /// So many replicas on one device: all but the way in which cards add.
    #[cfg(test)]
    pub fn sharing(device: &Device, count: usize) -> Self {
        Self { devices: vec![device.clone(); count], sum: Sum::Here }
    }

    pub fn is_cuda(&self) -> bool {
        self.devices[0].is_cuda()
    }
}

impl Sum {
    /// Leaves the sum over all replicas in the place of each one's tensors, which stand in one order.
    fn add(&mut self, gradients: &mut [Vec<Tensor>]) -> Result<()> {
        match self {
            Self::Here => {
                for index in 0..gradients[0].len() {
                    let parts: Vec<&Tensor> = gradients.iter().map(|tensors| &tensors[index]).collect();
                    let sum = parts[1..].iter().try_fold(parts[0].clone(), |sum, part| sum + *part)?;
                    gradients.iter_mut().for_each(|tensors| tensors[index] = sum.clone());
                }
                Ok(())
            }
            #[cfg(feature = "nccl")]
            Self::Nccl(cards) => cards.add(gradients),
        }
    }
}

impl Replicas {
    /// Puts what learns onto each device of `team`, and what does not learn beside it where adapters do.
    pub fn new(
        shape: (&Config, &Layout),
        learned: &Learned,
        adapted: Option<(&Frozen, &Adapters)>,
        (team, arithmetic): (Team, Arithmetic),
    ) -> Result<Self> {
        let replicas = at_once(&team.devices, |device| DeviceLearning::new(shape, learned, adapted, (device, arithmetic)))?;
        Ok(Self { replicas, sum: team.sum })
    }

    fn first(&self) -> &DeviceLearning {
        &self.replicas[0]
    }

    /// Where the first learns.
    pub fn device(&self) -> &Device {
        self.first().device()
    }

    /// What products are made of.
    pub fn arithmetic(&self) -> Arithmetic {
        self.first().arithmetic()
    }

    /// Bytes of the weights as each device holds them between steps.
    pub fn bytes(&self) -> usize {
        self.first().bytes()
    }

    /// What learns, as it is now.
    pub fn weights(&self) -> Result<Vec<f32>> {
        self.first().weights()
    }

    /// What learns and its optimiser, as they are now.
    pub fn learned(&self) -> Result<Learned> {
        self.first().learned()
    }

    /// Takes over what another learner of the same left.
    pub fn take(&mut self, learned: &Learned) -> Result<()> {
        at_once(&mut self.replicas, |replica| replica.take(learned)).map(drop)
    }

    /// The losses of `pages` and the norm of their gradient, which is kept for [`Self::apply`]. `letters` and `shares` are those of
    /// [`Network::learn`](crate::network::Network::learn), shares being of the whole batch; `draw` says what is dropped behind so many rows of it.
    pub fn gradient(
        &mut self,
        pages: &[Labelled<'_>],
        (letters, shares): (&[u32], Shares),
        draw: impl Fn(usize) -> Draw,
    ) -> Result<(Losses, f64)> {
        let mut first_row = 0;
        let mut read = |pages: &[Labelled<'_>]| {
            let (reading, draw) = (Reading::of(pages, shares), draw(first_row));
            first_row += reading.rows();
            (reading, draw)
        };
        let mut of_replica = |portion| passes(portion, PASS).into_iter().map(&mut read).collect();
        let readings: Vec<Vec<(Reading, Draw)>> = portions(pages, self.replicas.len()).into_iter().map(&mut of_replica).collect();
        let work = self.replicas.iter_mut().zip(readings);
        let found = at_once(work, |(replica, readings)| replica.gradient(&readings, (letters, shares)))?;
        self.add()?;
        let mut losses = Losses::default();
        found.iter().for_each(|of_replica| losses.add(*of_replica));
        Ok((losses, self.first().norm()?))
    }

    /// Gives each replica the sum of all gradients.
    fn add(&mut self) -> Result<()> {
        if self.replicas.len() == 1 {
            return Ok(());
        }
        // What no replica has a gradient of stays as it is, as it does on one device.
        let found: BTreeSet<usize> = self.replicas.iter().flat_map(DeviceLearning::found).collect();
        let mut gradients = at_once(&mut self.replicas, |replica| replica.give(&found))?;
        self.sum.add(&mut gradients)?;
        self.replicas.iter_mut().zip(gradients).for_each(|(replica, gradients)| replica.receive(&found, gradients));
        Ok(())
    }

    /// Moves what learns by the gradient, `scale` times, as its `steps`th step. Where one replica could not, all must [`take`](Self::take) what was
    /// before.
    pub fn apply(&mut self, recipe: &Recipe, scale: f32, steps: u64) -> Result<()> {
        at_once(&mut self.replicas, |replica| replica.apply(recipe, scale, steps)).map(drop)
    }
}

#[cfg(test)]
impl Replicas {
    /// The gradient that was found last, as each replica has it.
    pub fn gradients(&self) -> Result<Vec<Vec<f32>>> {
        self.replicas.iter().map(DeviceLearning::gradients).collect()
    }

    /// What each replica has learned.
    pub fn all_learned(&self) -> Result<Vec<Learned>> {
        self.replicas.iter().map(DeviceLearning::learned).collect()
    }
}

/// Does `work` with all `items` at once, on a thread each, with one alone on this thread; waits for all, whatever one of them meets.
fn at_once<I: Send, T: Send>(items: impl IntoIterator<Item = I>, work: impl Fn(I) -> Result<T> + Sync) -> Result<Vec<T>> {
    let mut items: Vec<I> = items.into_iter().collect();
    if items.len() < 2 {
        return items.pop().map(work).into_iter().collect();
    }
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        let ended: Vec<Result<T>> = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect();
        ended.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_could_not_do_is_told_when_all_have_ended() {
        let ended = std::sync::atomic::AtomicUsize::new(0);
        let work = |number: usize| {
            if number == 1 {
                return Err(candle_core::Error::Msg("refused".to_owned()));
            }
            ended.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(10 * number)
        };
        let refusal = at_once(0..4, work).err().map(|error| error.to_string());
        assert_eq!((refusal.as_deref(), ended.load(std::sync::atomic::Ordering::SeqCst)), (Some("refused"), 3));
        assert_eq!(at_once([5, 0, 3], work).ok(), Some(vec![50, 0, 30]));
        assert_eq!(at_once([7], work).ok(), Some(vec![70]));
    }
}
