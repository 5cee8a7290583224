//! The states of a run on disk: the newest, from which a run that died goes on, and the last that was seen to be good, to which a loss that spikes goes back.
//!
//! A step's loss is that of the weights before it: what a step made of them shows in the next one. So a state is good once the step behind
//! it did not spike, and until then the good one before it stays.

use std::path::{Path, PathBuf};

use model::Learner;

use crate::cycle::CycleError;

/// Where they lie, and whether the newest is still to be judged.
pub struct Checkpoints<'a> {
    newest: &'a Path,
    good: PathBuf,
    is_unseen: bool,
}

fn is_kept(folder: &Path) -> bool {
    Learner::state_file(folder).exists()
}

impl<'a> Checkpoints<'a> {
    /// Those of `folder`, which need not be there yet.
    pub fn of(folder: &'a Path) -> Self {
        Self { newest: folder, good: folder.join("good"), is_unseen: true }
    }

    /// Takes up the newest state where a process that died left one, and gives back what was kept beside it. Otherwise keeps the state of this moment, so
    /// that the first steps have one to go back to.
    pub fn begin(&mut self, learner: &mut Learner, beside: &str, said: &dyn Fn(String)) -> Result<Option<String>, CycleError> {
        let mut left = None;
        // The folder may have been made by a process that died before it held anything.
        if is_kept(self.newest) {
            match learner.go_on(self.newest) {
                Ok(kept) => left = Some(kept),
                // Damaged, or of an earlier release: what it had is not worth a cycle that never ends.
                Err(error) => {
                    said(format!("beginning anew: {error}"));
                    std::fs::remove_dir_all(self.newest).map_err(|source| self.failed(source))?;
                }
            }
        }
        if left.is_none() {
            self.keep(learner, beside)?;
        }
        if !is_kept(&self.good) {
            self.newest_is_good()?;
        }
        Ok(left)
    }

    /// Keeps the state of this moment as the newest, and `beside` with it.
    pub fn keep(&mut self, learner: &Learner, beside: &str) -> Result<(), CycleError> {
        learner.save_state_with(self.newest, beside)?;
        self.is_unseen = true;
        Ok(())
    }

    /// A step behind the newest state did not spike.
    pub fn seen_good(&mut self) -> Result<(), CycleError> {
        if self.is_unseen { self.newest_is_good() } else { Ok(()) }
    }

    /// Takes the learner back to the last good state. The newest, if it was not seen to be good before, may be what spiked.
    pub fn go_back(&mut self, learner: &mut Learner) -> Result<(), CycleError> {
        learner.go_back(&self.good)?;
        self.is_unseen = false;
        Ok(())
    }

    /// Gives the newest state a second name, which is moved to the place of the good one at once.
    fn newest_is_good(&mut self) -> Result<(), CycleError> {
        let (newest, partial, good) = (Learner::state_file(self.newest), self.good.join("partial"), Learner::state_file(&self.good));
        let named = || {
            std::fs::create_dir_all(&self.good)?;
            if partial.exists() {
                std::fs::remove_file(&partial)?;
            }
            // A file system that knows no second names gets a copy.
            if std::fs::hard_link(&newest, &partial).is_err() {
                std::fs::copy(&newest, &partial)?;
            }
            std::fs::rename(&partial, &good)
        };
        named().map_err(|source| self.failed(source))?;
        self.is_unseen = false;
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> CycleError {
        CycleError::Folder { path: self.newest.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use model::{Config, Draft, Recipe, train_tokenizer};
    use schemas::Task;

    use super::*;

    fn learner() -> Learner {
        let tokenizer = train_tokenizer(std::iter::once("The patient was seen and examined."), 400).expect("a tokenizer");
        Learner::new(Config::demo(tokenizer.get_vocab_size(true)), tokenizer, 1).expect("a learner")
    }

    /// What spoils the weights in the last step before a checkpoint lies in it, and shows behind it; whether or not the process lived on.
    #[test]
    fn a_state_behind_which_the_loss_spikes_is_not_gone_back_to() {
        let place = tempfile::tempdir().expect("room");
        let (state, exported) = (place.path().join("state"), place.path().join("model"));
        let version = |learner: &Learner| learner.export(&exported, Draft::default()).expect("written");
        let (mut lived, mut resumed) = (learner(), learner());
        let lesson = lived.encode("Seen with the team.", &[(Task::Mortality, 1)]);
        let step = |learner: &mut Learner, learning_rate: f32| {
            learner.step(&[&lesson], &Recipe { learning_rate, ..Recipe::default() }, 1).expect("a step");
        };
        let mut checkpoints = Checkpoints::of(&state);
        assert_eq!(checkpoints.begin(&mut lived, "none", &|_| ()).expect("begins"), None);
        step(&mut lived, 1e-3);
        checkpoints.keep(&lived, "one").expect("kept");
        checkpoints.seen_good().expect("good");
        let good = version(&lived);
        step(&mut lived, 1e3);
        checkpoints.keep(&lived, "two").expect("kept");
        assert_ne!(version(&lived), good);
        let mut left = Checkpoints::of(&state);
        assert_eq!(left.begin(&mut resumed, "none", &|_| ()).expect("goes on"), Some("two".to_owned()));
        for (learner, checkpoints) in [(&mut lived, &mut checkpoints), (&mut resumed, &mut left)] {
            checkpoints.go_back(learner).expect("goes back");
            // The step behind does not make the newest a good one: it is behind another.
            checkpoints.seen_good().expect("known");
            checkpoints.go_back(learner).expect("goes back");
            assert_eq!((version(learner), learner.steps(), learner.position()), (good.clone(), 1, 2));
        }
    }

    #[test]
    fn a_run_that_has_not_begun_is_gone_back_to_its_beginning() {
        let place = tempfile::tempdir().expect("room");
        let (state, mut learner) = (place.path().join("state"), learner());
        let mut checkpoints = Checkpoints::of(&state);
        checkpoints.begin(&mut learner, "", &|_| ()).expect("begins");
        let lesson = learner.encode("Seen with the team.", &[(Task::Mortality, 1)]);
        learner.step(&[&lesson], &Recipe::default(), 1).expect("a step");
        checkpoints.go_back(&mut learner).expect("goes back");
        assert_eq!((learner.steps(), learner.position()), (0, 1));
        std::fs::write(Learner::state_file(&state), b"damaged").expect("written");
        let mut said = std::cell::RefCell::new(String::new());
        let left = Checkpoints::of(&state).begin(&mut learner, "", &|what| *said.borrow_mut() = what);
        assert_eq!(left.expect("begins anew"), None);
        assert!(said.get_mut().starts_with("beginning anew"), "{said:?}");
    }
}
