//! The words of the command line. No field here mirrors one of the configuration.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use model::{Device, Devices, InstructionSet, Precision};

/// Operational predictions from a hospital's own message stream.
#[derive(Parser)]
#[command(name = "wardstream", version, about, long_about = None)]
pub struct Cli {
    /// Configuration file; `wardstream.toml` where it exists.
    #[arg(long, global = true, env = "WARDSTREAM_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Overrides the warehouse of the configuration: a folder or an object store's URL.
    #[arg(long, global = true, value_name = "URL")]
    pub warehouse: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// All services in one process; starts Kafka and PostgreSQL of its own where no address is configured.
    Up,
    /// The embedded Kafka and PostgreSQL alone, until a signal; the other commands find them.
    Services,
    /// Kafka into the warehouse.
    Ingest,
    /// Canonical notes into predictions, and the watch over drift.
    Scorer,
    /// Refreshes the models when an alarm or the schedule calls for it.
    Trainer {
        /// Runs one cycle now, on all that is known, and ends.
        #[arg(long)]
        once: bool,
        /// Learns from nothing, not from the weights of the model that answers: what those carry of patients who were erased since is not carried on.
        #[arg(long, requires = "once")]
        anew: bool,
    },
    /// Trains by hand: one cycle now, on all that is known, from the model that answers (or a first model where none does), and says what came of it: the new
    /// version, its figures, whether it was promoted, and else why not. The same as `trainer --once`. Exit 1 where the gate refuses the model.
    Train {
        /// Learns from nothing, not from the weights of the model that answers: what those carry of patients who were erased since is not carried on.
        #[arg(long)]
        anew: bool,
    },
    /// SQL over the PostgreSQL protocol and Arrow Flight SQL, and the page that says whether the models hold.
    Serve,
    /// HL7 v2 over TCP (MLLP) onto raw topics, by the ports of the configuration.
    Mllp,
    /// Puts the records of files on a topic, in order.
    Publish(Publish),
    /// What the maps make of each record of the files, one JSON line a record.
    Map {
        /// Facility in whose zone and number space the records are read.
        #[arg(long, default_value = "north")]
        facility: String,
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Files into the warehouse without Kafka; repeating it adds nothing.
    Backfill {
        /// Whose records they are.
        #[arg(long)]
        facility: String,
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// One query.
    Sql {
        /// Only what was known at this instant: a day or a time, in UTC where it says no offset.
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        as_known_at: Option<jiff::Timestamp>,
        /// Version of the `messages` table.
        #[arg(long)]
        version: Option<i64>,
        #[arg(long, value_enum, default_value_t = Rows::Table)]
        format: Rows,
        /// Into this file instead of stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        query: String,
    },
    /// A task's splits as Parquet, with a manifest.
    Dataset(Dataset),
    /// The warehouse in another form.
    Export {
        #[command(subcommand)]
        what: Export,
    },
    /// Maps stored messages again: those that were refused or read by maps of another version, or those that meet a condition.
    Replay(Replay),
    /// Removes a patient: shows how much there is, and with --confirm does it.
    Erase(Erase),
    /// Measures on this machine; one JSON object a figure.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Conservation and integrity of the tables; exit 1 where something is missing or doubled.
    Verify,
    /// The registry's models.
    Models {
        #[command(subcommand)]
        what: Models,
    },
    /// Scores notes of a file with a model folder: `{"id", "text", "tasks"}` a line.
    Score(Score),
    /// How good a model's answers to the labelled notes of a file are, `{"id", "text", "tasks", "labels": {"mortality": 1}}` a line: n, positives, AUROC, Brier
    /// score, calibration error and log loss of each task. Labels are classes, counted from 0; what has none is not asked.
    Evaluate(Evaluate),
    /// Makes the topics that Wardstream reads and writes.
    Topics {
        #[command(subcommand)]
        what: Topics,
    },
    /// What is wrong here, a line for each thing that could be, with what to do; exit 1 where something is.
    Doctor {
        #[arg(long, value_enum, default_value_t = Rows::Table)]
        format: Rows,
    },
    /// What the configuration resolves to, secrets blind; exit 2 where it or a file that it names is wrong. Reaches nothing over a network.
    CheckConfig,
    /// The main job on embedded defaults, with a simulated hospital and a report.
    Demo(Demo),
}

#[derive(clap::Args)]
pub struct Publish {
    #[arg(long)]
    pub topic: String,
    /// Records a second; as fast as it goes where absent.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Kafka timestamp: the record's own sending time, or now.
    #[arg(long, value_enum, default_value_t = Clock::Now)]
    pub clock: Clock,
    /// Facility in whose zone sending times without an offset are read.
    #[arg(long, default_value = "north")]
    pub facility: String,
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

#[derive(clap::Args)]
pub struct Dataset {
    /// `readmission`, `mortality`, ..., or `all`, as the trainer learns from them.
    pub task: String,
    /// Only what was known at this instant, a day or a time, in UTC where it says no offset; the log's watermark where absent.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub as_known_at: Option<jiff::Timestamp>,
    /// Folder that is made; its files hold the examples of the periods in `[warehouse.splits]`.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Subcommand)]
pub enum Export {
    /// A MEDS 0.4 dataset with the labels of every task.
    Meds {
        /// Folder that is made.
        dir: PathBuf,
        /// Only what was known at this instant, a day or a time, in UTC where it says no offset; the log's watermark where absent.
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        as_known_at: Option<jiff::Timestamp>,
        /// Most subjects of a shard.
        #[arg(long, default_value_t = 10_000)]
        shard_subjects: u64,
    },
}

#[derive(clap::Args)]
pub struct Demo {
    /// Seed of the simulated hospital and of everything drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keeps SQL and metrics up until Ctrl-C afterwards.
    #[arg(long)]
    pub serve: bool,
}

#[derive(Subcommand)]
pub enum Models {
    /// Every version and what happened to it last.
    List {
        #[arg(long, value_enum, default_value_t = Rows::Table)]
        format: Rows,
    },
    /// Everything that happened to one version.
    Show { version: String },
    /// Makes a version the champion.
    Promote {
        version: String,
        #[arg(long, default_value = "by hand")]
        reason: String,
    },
    /// Makes the champion before this one the champion again.
    Rollback {
        #[arg(long, default_value = "by hand")]
        reason: String,
    },
}

#[derive(clap::Args)]
pub struct Replay {
    /// A condition over the columns of `messages`, `control_id = '17'`.
    #[arg(long = "where", value_name = "SQL")]
    pub condition: Option<String>,
    /// Also publishes the notes of what changed on `clinical.note.v1`.
    #[arg(long)]
    pub publish: bool,
    /// Writes facts and notes anew even where they are the same: mends records whose rows `verify` misses.
    #[arg(long)]
    pub force: bool,
}

#[derive(clap::Args)]
pub struct Erase {
    /// Assigning authority of the identifier, as in the view `identifiers`.
    #[arg(long)]
    pub system: String,
    /// The identifier; `-` reads it from stdin, so that no list of processes shows it.
    #[arg(long)]
    pub value: String,
    /// Whose identifier it is, where several facilities use it.
    #[arg(long)]
    pub facility: Option<String>,
    /// Why; kept in the audit. No patient's data.
    #[arg(long)]
    pub reason: String,
    /// Who asks; kept in the audit.
    #[arg(long, default_value = "operator")]
    pub by: String,
    /// Does it. Without, nothing is changed.
    #[arg(long)]
    pub confirm: bool,
    /// Also removes the earlier versions at once, not within `warehouse.erasure_within_days`. Queries that run meanwhile may fail.
    #[arg(long, requires = "confirm")]
    pub now: bool,
}

#[derive(Subcommand)]
pub enum Bench {
    /// Reading and mapping the records of files, on one thread.
    Parse {
        /// Facility in whose zone and number space the records are read.
        #[arg(long, default_value = "north")]
        facility: String,
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Kafka to committed rows, exactly once: a backlog as fast as it goes, then a steady rate.
    Ingest(BenchIngest),
    /// The model's path with random weights: prompts, questions behind one note, loading, steps of learning.
    Model(BenchModel),
    /// The SQL functions over made-up rows in memory.
    Sql(BenchSql),
    /// The daily views and the README's questions over the warehouse of the configuration: computed anew, and once more.
    Views(BenchViews),
}

/// An instant as a session's `SET wardstream.as_known_at` takes it.
fn instant(text: &str) -> Result<jiff::Timestamp, &'static str> {
    warehouse::instant(text).ok_or(warehouse::INSTANTS)
}

/// Threads of one model: one at least, and no more than machines have processors for, as starting them takes longer than they save.
fn threads() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::from(1_u64..=1024)
}

/// How a model answers.
#[derive(clap::Args)]
pub struct Answering {
    /// Where it answers: cpu, or cuda:0 for an NVIDIA card of a program that was built with the feature `cuda`.
    #[arg(long, default_value_t = Device::Cpu)]
    pub device: Device,
    /// How weights are held and multiplied: f32, bf16, int16 or int8; where none is named, as the model's own manifest allows and this machine is best at.
    /// 8 bits of which the manifest says nothing are tried on one page first, and not taken if they move an answer.
    #[arg(long)]
    pub precision: Option<Precision>,
    /// Widest instructions: portable, avx2, avx512, avx512-bf16 or amx; the widest there are where none is named.
    #[arg(long)]
    pub instructions: Option<InstructionSet>,
    /// Threads of the model's pool; one a processor where none is named.
    #[arg(long, value_parser = threads())]
    pub threads: Option<usize>,
    /// A folder that keeps packed weights: what it holds of an earlier time is not packed again.
    #[arg(long, value_name = "DIR")]
    pub packed_cache: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct Score {
    /// A model folder in Hugging Face layout, or a GGUF file.
    #[arg(long)]
    pub model: PathBuf,
    #[command(flatten)]
    pub how: Answering,
    /// Adds to each line the logits of the options' letters before softmax, in the letters' order, in the precision that answers.
    #[arg(long)]
    pub logits: bool,
    pub file: PathBuf,
}

#[derive(clap::Args)]
pub struct Evaluate {
    /// A model folder in Hugging Face layout, or a GGUF file.
    #[arg(long)]
    pub model: PathBuf,
    #[command(flatten)]
    pub how: Answering,
    /// Also how well the model foretells the notes themselves: the mean cross-entropy of each next token by its language-model head, natural logarithm, over all tokens of all
    /// notes, cleaned and cut as for an answer. In f32 on the processor, whatever the precision that answers; the weights are loaded once more for it.
    #[arg(long)]
    pub next_token: bool,
    #[arg(long, value_enum, default_value_t = Rows::Table)]
    pub format: Rows,
    pub file: PathBuf,
}

#[derive(clap::Args)]
pub struct BenchModel {
    /// Which of prefill, questions, tasks, words, load, train; all but train, which takes minutes, where none is named.
    pub what: Vec<String>,
    /// Which of llama-110m, lang1-100m, lang1-1b, smollm2-135m.
    #[arg(long, default_value = "llama-110m")]
    pub shape: String,
    /// A model folder or GGUF file in place of random weights.
    #[arg(long, conflicts_with = "shape")]
    pub model: Option<PathBuf>,
    /// Threads of the model's pool.
    #[arg(long, default_value_t = 2, value_parser = threads())]
    pub threads: usize,
    /// Where it answers or learns: cpu, or cuda:0 for an NVIDIA card of a program that was built with the feature `cuda`; for train also cuda:0,1 or
    /// cuda:0-3 for several together, with the feature `nccl`.
    #[arg(long, default_value_t)]
    pub device: Devices,
    /// How weights are held and multiplied: f32, bf16 or, for answering, int16 and int8. Where none is named a model answers as one whose AUROC was found not
    /// to be moved by 8 bits, and learns in what this machine is best at.
    #[arg(long)]
    pub precision: Option<String>,
    /// Widest instructions: portable, avx2, avx512, avx512-bf16 or amx; the widest there are where none is named.
    #[arg(long)]
    pub instructions: Option<String>,
    /// What is read, once or more: `ROWSxTOKENS`, the same with `mixed` for lengths from 25 to 100 %, `questionsN` of random tokens,
    /// `tasksN` of those really asked behind a note of 512 tokens, or `wordsN`, the same word by word, as a model that was not trained here
    /// has them. For train `ROWSxTOKENS`, or `ROWSxTOKENS+QUESTIONSxTOKENS` for notes with so many questions each; 8x512 where none is named.
    #[arg(long)]
    pub batch: Vec<String>,
    /// What a step minimises: full for the next token everywhere, answer for the answers alone.
    #[arg(long, default_value = "full")]
    pub loss: String,
    /// Rank of the adapters that alone learn, beside all weights of a layer; the whole model learns where none is named.
    #[arg(long)]
    pub lora: Option<usize>,
    /// Megabytes that layers may keep between a step's forward pass and its gradient; 1,074 where none is named.
    #[arg(long)]
    pub activation_mb: Option<usize>,
    /// Rounds of which the median is told.
    #[arg(long, default_value_t = 5)]
    pub reps: usize,
}

#[derive(clap::Args)]
pub struct BenchSql {
    /// Which of auroc, bootstraps, delong, psi, ks, wasserstein; all where none is named.
    pub questions: Vec<String>,
    /// Rows of the predictions, and of each of the two samples.
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: usize,
}

#[derive(clap::Args)]
pub struct BenchViews {
    /// Which views; those for daily questions and the README's twelve where none is named.
    pub views: Vec<String>,
    /// The statements of this file instead, each under a heading (`-- heading`).
    #[arg(long, conflicts_with = "views")]
    pub file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct BenchIngest {
    /// Messages of the backlog.
    #[arg(long, default_value_t = 200_000)]
    pub messages: usize,
    /// Bytes a message.
    #[arg(long, default_value_t = 3_000)]
    pub bytes: usize,
    /// Messages a second at the steady rate,
    #[arg(long, default_value_t = 1_000)]
    pub rate: u32,
    /// for this many seconds.
    #[arg(long, default_value_t = 30)]
    pub seconds: u32,
}

#[derive(Subcommand)]
pub enum Topics {
    /// Creates those that do not exist yet.
    Create,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Clock {
    Own,
    Now,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Rows {
    Table,
    Csv,
    Json,
    Ndjson,
    Parquet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_as_many_as_a_machine_may_have() {
        let asked = |threads: &str| {
            let score = Cli::try_parse_from(["wardstream", "score", "--model", "model", "--threads", threads, "notes"]);
            let bench = Cli::try_parse_from(["wardstream", "bench", "model", "--threads", threads]);
            (score.is_ok(), bench.is_ok())
        };
        assert_eq!([asked("1"), asked("1024")], [(true, true); 2]);
        assert_eq!([asked("0"), asked("1025"), asked("-1")], [(false, false); 3]);
    }

    #[test]
    fn an_instant_is_taken_as_a_session_takes_it() {
        let taken = |text: &str| match Cli::try_parse_from(["wardstream", "sql", "--as-known-at", text, "SELECT 1"]).ok()?.command {
            Command::Sql { as_known_at, .. } => as_known_at.map(|at| at.to_string()),
            _ => None,
        };
        for text in ["2020-01-01", "2020-01-01 00:00", "2020-01-01T00:00:00Z", "2020-01-01 01:00:00+01"] {
            assert_eq!(taken(text).as_deref(), Some("2020-01-01T00:00:00Z"), "{text}");
            let others = [vec!["dataset", "all", "--out", "out"], vec!["export", "meds", "out"]];
            for other in others {
                assert!(Cli::try_parse_from([vec!["wardstream"], other, vec!["--as-known-at", text]].concat()).is_ok(), "{text}");
            }
        }
        let refused = Cli::try_parse_from(["wardstream", "sql", "--as-known-at", "yesterday", "SELECT 1"]).err();
        assert!(refused.is_some_and(|refused| refused.to_string().contains("write 2024-01-31")));
    }

    /// Whatever a batch may be called, its help says.
    #[test]
    fn the_help_names_every_kind_of_batch() {
        let help = <Cli as clap::CommandFactory>::command();
        let model = help.find_subcommand("bench").and_then(|bench| bench.find_subcommand("model")).expect("is there");
        let batch = model.get_arguments().find(|argument| argument.get_id() == "batch").and_then(|batch| batch.get_help());
        let told = batch.expect("has help").to_string();
        let refused = "nothing".parse::<model::bench::Batch>().expect_err("is none").to_string();
        for kind in ["ROWSxTOKENS", "mixed", "questionsN", "tasksN", "wordsN"] {
            assert!(refused.contains(kind) && told.contains(kind), "{kind}: {told}");
        }
    }

    /// A trainer that runs answers alarms by refreshes: it would learn from nothing again and again.
    #[test]
    fn learning_from_nothing_is_asked_for_once() {
        assert!(Cli::try_parse_from(["wardstream", "trainer", "--once", "--anew"]).is_ok());
        assert!(Cli::try_parse_from(["wardstream", "trainer", "--anew"]).is_err());
        assert!(Cli::try_parse_from(["wardstream", "train", "--anew"]).is_ok());
    }
}
