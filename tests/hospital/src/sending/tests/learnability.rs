//! What a bag of words learns from 6,000 notes' first 350 words: the signal is where a small model can find it.

use super::*;

const TRAINING: usize = 6_000;
const WORDS: usize = 350;
const BUCKETS: usize = 1 << 16;
const ROUNDS: usize = 8;
const STEP: f64 = 0.000_6;

/// A note's words and pairs of words, hashed, each once.
fn features(text: &str) -> Vec<usize> {
    let words: Vec<String> = text.split_whitespace().take(WORDS).map(str::to_lowercase).collect();
    let hash = |parts: &[String]| {
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([b' ']));
        let hashed = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        usize::try_from((hashed >> 20) % BUCKETS as u64).unwrap_or(0)
    };
    let mut found: Vec<usize> = words.windows(1).chain(words.windows(2)).map(hash).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Softmax regression over buckets, by small steps: stopping early is all that keeps it from learning by heart.
struct Bag {
    weights: Vec<f64>,
    classes: usize,
}

impl Bag {
    fn new(classes: usize) -> Self {
        Self { weights: vec![0.0; BUCKETS * classes], classes }
    }

    fn answer(&self, features: &[usize]) -> Vec<f64> {
        let logit = |class| features.iter().filter_map(|one| self.weights.get(one * self.classes + class)).sum::<f64>();
        let raised: Vec<f64> = (0..self.classes).map(|class| f64::exp(logit(class))).collect();
        let total: f64 = raised.iter().sum();
        raised.into_iter().map(|one| one / total).collect()
    }

    fn learn(&mut self, features: &[usize], label: usize) {
        for (class, probability) in self.answer(features).into_iter().enumerate() {
            let gradient = probability - f64::from(u8::from(class == label));
            for one in features {
                if let Some(weight) = self.weights.get_mut(one * self.classes + class) {
                    *weight -= STEP * gradient;
                }
            }
        }
    }
}

#[test]
fn every_task_can_be_learned_from_the_first_words() {
    let plan = Plan { patients: 4_600, from: date(2013, 1, 1), to: date(2025, 1, 1), ..plan(31, None) };
    let mut examples: BTreeMap<Task, Vec<(Vec<usize>, TruthLine)>> = BTreeMap::new();
    for patient in patients(&plan) {
        let mut random =
            Random { sending: Chance::of(31, patient.number, Draw::Sending), prose: Chance::of(31, patient.number, Draw::Prose) };
        for (index, stay) in patient.stays.iter().enumerate() {
            let notes = notes::of_stay(&plan, &patient, stay, "V1", &mut random);
            let of_kind = |kind| notes.iter().find(|note| note.document == note_number(kind, "V1")).map(|note| features(&note.text));
            let (Some(coming), Some(going)) = (of_kind(Kind::Admission), of_kind(Kind::Discharge)) else { continue };
            for line in truth::lines(&patient, index, stay, &BTreeSet::new()) {
                let read = if line.task == Task::Readmission { &going } else { &coming };
                examples.entry(line.task).or_default().push((read.clone(), line));
            }
        }
    }
    for task in Task::ALL {
        let examples = examples.get(&task).expect("examples");
        let (learned, held_out) = examples.split_at(TRAINING.min(examples.len() * 3 / 4));
        let mut bag = Bag::new(task.classes());
        for _ in 0..ROUNDS {
            learned.iter().for_each(|(features, line)| bag.learn(features, line.label));
        }
        let answered: Vec<TruthLine> =
            held_out.iter().map(|(features, line)| TruthLine { probability: bag.answer(features), ..line.clone() }).collect();
        let known: Vec<TruthLine> = held_out.iter().map(|(_, line)| line.clone()).collect();
        let reached = ceiling(&answered, task).expect("every class occurs");
        let best = ceiling(&known, task).expect("every class occurs");
        let share = (reached - 0.5) / (best - 0.5);
        assert!(share >= 0.8, "{task}: {reached:.3} of {best:.3} from {} notes", learned.len());
    }
}
