//! The `tidemark` command, built with the tests, so that a drill played by a test has a process
//! of its own to replay an exported log in.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    Box::pin(tidemark::run(tidemark::args::Tidemark::parse()))
        .await
        .into()
}
