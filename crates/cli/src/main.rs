//! The binary: flags, runtime, logging, exit code.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tidemark::args::Tidemark;
use tidemark::exit::{Exit, Failure};
use tidemark::output::Output;

/// What is logged unless `TIDEMARK_LOG` says otherwise. A peer that does not answer for a moment
/// is news to the engine and to nobody else.
const LOG_DEFAULT: &str = "warn,openraft=error";

fn main() -> ExitCode {
    let flags = Tidemark::parse();
    let output = Output::new(flags.output);
    tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("TIDEMARK_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOG_DEFAULT)),
        )
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(tidemark::run(flags)),
        Err(error) => {
            output.failure(&Failure::internal(format!("no runtime: {error}")));
            Exit::Internal
        }
    };
    exit.into()
}
