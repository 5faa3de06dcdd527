//! The `tidemark` command: it founds clusters, runs nodes, and is what operators work with.
//! Nothing here decides anything about accounts or sessions; that is the nodes'. Data goes to
//! stdout, talk to stderr, and the exit codes are an interface.

pub mod accounts;
pub mod approval;
pub mod args;
pub mod client;
pub mod drill;
pub mod exit;
pub mod founding;
pub mod output;
pub mod profile;
pub mod refusal;
pub mod terms;
pub mod verb;

use args::account::Account;
use args::{Tidemark, Verb};
use exit::{Exit, Failure};
use output::Output;

/// Does what the flags say, and says how it ended.
pub async fn run(flags: Tidemark) -> Exit {
    let output = Output::new(flags.output);
    match act(flags.verb, output).await {
        Ok(()) if client::was_degraded() => {
            output.talk(
                "committed, not protected: the secondary centre does not confirm, and the change \
                 is lost if the primary is lost now\n  next: tidemark status",
            );
            Exit::Loss
        }
        Ok(()) => Exit::Done,
        Err(failure) => {
            output.failure(&failure);
            failure.exit
        }
    }
}

async fn act(verb: Verb, output: Output) -> Result<(), Failure> {
    let has_rows = matches!(&verb, Verb::Account(Account::Readiness(_)))
        || matches!(&verb, Verb::Account(Account::Remind(flags)) if flags.change.dry_run);
    // Said before anything is asked for: a change is not made for an answer that cannot be shown.
    if output.csv() && !has_rows {
        let what = "this command has no CSV";
        return Err(Failure::usage(what).next("use --output table or json"));
    }
    match verb {
        Verb::Init(flags) => verb::init::run(&flags, output),
        Verb::Serve(flags) => Box::pin(verb::serve::run(&flags, output)).await,
        Verb::Demo(flags) => Box::pin(verb::demo::run(&flags, output)).await,
        Verb::Status(flags) => verb::status::run(&flags, output).await,
        Verb::Doctor(flags) => Box::pin(verb::doctor::run(&flags, output)).await,
        Verb::Drill(flags) => Box::pin(verb::drill::run(&flags, output)).await,
        Verb::Session(flags) => Box::pin(verb::session::run(&flags, output)).await,
        Verb::Calendar(flags) => verb::calendar::run(&flags, output).await,
        Verb::Account(flags) => verb::account::run(&flags, output).await,
        Verb::Request(flags) => verb::request::run(&flags, output).await,
        Verb::Policy(flags) => verb::policy::run(&flags, output).await,
        Verb::Centre(flags) => verb::centre::run(&flags, output).await,
        Verb::Node(flags) => verb::node::run(&flags, output).await,
        Verb::Key(flags) => verb::key::run(&flags, output).await,
        Verb::Backup(flags) => verb::backup::run(&flags, output).await,
        Verb::Completions(flags) => {
            output.completions(flags.shell);
            Ok(())
        }
        Verb::Audit(flags) => verb::audit::run(&flags, output).await,
        Verb::Caller(flags) => Box::pin(verb::caller::run(&flags, output)).await,
        Verb::Script(flags) => Box::pin(verb::script::run(&flags, output)).await,
        Verb::Certificate(flags) => verb::certificate::run(&flags, output),
        Verb::Log(flags) => verb::log::run(&flags, output).await,
        Verb::Method(flags) => verb::method::run(&flags, output).await,
        Verb::Participant(flags) => verb::participant::run(&flags, output).await,
        Verb::Revocation(flags) => verb::revocation::run(&flags, output).await,
        Verb::Token(flags) => verb::token::run(&flags, output).await,
    }
}
