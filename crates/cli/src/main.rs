//! The binary: flags, runtime, logging, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tidemark::args::Tidemark;
use tidemark::exit::{Exit, Failure};
use tidemark::output::Output;

fn main() -> ExitCode {
    let flags = Tidemark::parse();
    let output = Output::new(flags.output);
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("TIDEMARK_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
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
