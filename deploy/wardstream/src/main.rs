//! The one binary: subcommands, configuration, telemetry, shutdown. Nothing of the domain lives here.

mod cli;
mod commands;
mod config;
mod demo;
mod embedded;
mod heap;
mod output;
mod page;
mod services;
mod spill;
mod telemetry;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;

/// Batches come and go on many threads: this allocator gives their memory back, where the system's keeps a heap for each thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let outcome = config::Config::load(cli.config.as_deref(), cli.warehouse.as_deref());
    let config = match outcome {
        Ok(config) => config,
        Err(error) => return output::failure(&error.into(), output::WRONG_USAGE),
    };
    // A query or a merge of files holds a worker for tenths of a second; twice as many as cores, and timers and sockets find one free.
    let workers = std::thread::available_parallelism().map_or(4, |cores| 2 * cores.get());
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(workers).enable_all();
    let heap = commands::is_question(&cli.command).then(|| counted(&mut threads));
    let runtime = match threads.build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failure(&error.into(), output::FAILED),
    };
    telemetry::start_logs(&config.telemetry.log);
    let grace = commands::grace(&cli.command);
    let done = runtime.block_on(commands::run(cli.command, config, heap));
    runtime.shutdown_timeout(grace);
    spill::end();
    match done {
        Ok(code) => code,
        Err(error) => output::failure(&error, commands::exit_code(&error)),
    }
}

/// What a process holds that does nothing but answer one question: all of its threads count.
fn counted(threads: &mut tokio::runtime::Builder) -> Arc<dyn warehouse::Heap> {
    let heap: Arc<dyn warehouse::Heap> = Arc::new(heap::Arenas::new());
    heap.count_this_thread();
    let counting = Arc::clone(&heap);
    threads.on_thread_start(move || counting.count_this_thread());
    heap
}
