//! `hospital`: writes a simulated hospital's messages in sending order, and what is true.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hospital::{Plan, Shift, ShiftKind, Speak};
use jiff::civil::Date;

/// Two simulated facilities: north speaks HL7 v2, south speaks FHIR R4.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// Of everything that is drawn; the same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Patients of both facilities together; 8,000 make about 16,000 stays in twelve years.
    #[arg(long, default_value_t = 8_000)]
    patients: u32,
    /// First day.
    #[arg(long, default_value = "2013-01-01")]
    from: Date,
    /// First day after the last.
    #[arg(long, default_value = "2025-01-01")]
    to: Date,
    /// Which facilities speak.
    #[arg(long, value_enum, default_value_t = Speak::Both)]
    speak: Speak,
    /// What changes.
    #[arg(long, value_enum, requires = "shift_at")]
    shift: Option<ShiftKind>,
    /// From when on.
    #[arg(long, requires = "shift")]
    shift_at: Option<Date>,
    /// Folder for hl7/, fhir/ and truth.jsonl.
    #[arg(long)]
    out: PathBuf,
}

#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line speaks")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shift = arguments.shift.zip(arguments.shift_at).map(|(kind, at)| Shift { kind, at });
    let plan =
        Plan { seed: arguments.seed, patients: arguments.patients, from: arguments.from, to: arguments.to, speak: arguments.speak, shift };
    match hospital::simulate(&plan, &arguments.out) {
        Ok(sent) => {
            println!("{}", serde_json::json!({"stays": sent.stays, "records": sent.records, "notes": sent.notes}));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hospital: {error}");
            ExitCode::FAILURE
        }
    }
}
