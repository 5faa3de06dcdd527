//! A password that is kept at less than today's cost is kept anew once it was right (S21).
//!
//! It is done after the login's own answer and beside it: how long a login takes must not tell
//! that its password was right (S23). What fails is tried again at the next login.

use consensus::{Line, Proposal};
use credential::associated::Associated;
use credential::password::Verifier;
use domain::factor::{Method, Verdict};
use domain::id::AccountId;
use domain::login::Command;
use domain::{Actor, outcome};
use tokio::sync::oneshot;

use crate::edge::Edge;
use crate::factor;

/// Whose password it is, and what was found about it.
pub(super) struct Judged {
    pub(super) account: AccountId,
    pub(super) method: Method,
    pub(super) verdict: Verdict,
}

/// Proposes the new verifier once it is there; nothing if none comes.
pub(super) fn later(
    edge: &Edge,
    line: &Line,
    actor: Actor,
    judged: Judged,
    anew: oneshot::Receiver<Verifier>,
) {
    let (edge, line) = (edge.clone(), line.clone());
    tokio::spawn(async move {
        let Ok(verifier) = anew.await else { return };
        if let Err(why) = propose(&edge, &line, actor, judged, &verifier).await {
            tracing::info!(why, "a password was not kept anew");
        }
    });
}

async fn propose(
    edge: &Edge,
    line: &Line,
    actor: Actor,
    judged: Judged,
    verifier: &Verifier,
) -> Result<(), String> {
    let Judged {
        account,
        method,
        verdict,
    } = judged;
    let associated = Associated::verifier(&account, method);
    let sealed = factor::seal(edge, verifier.as_bytes(), &associated);
    let command = Command::Rehash {
        account,
        method,
        verdict,
        verifier: sealed.map_err(|error| error.to_string())?,
    };
    let proposal = Proposal {
        actor,
        request: None,
        command: domain::Command::Login(command),
    };
    let outcome = line.propose(proposal).await;
    match outcome.map_err(|error| error.to_string())?.result {
        outcome::Result::Done(_) | outcome::Result::FailedAttempt(_) => Ok(()),
        outcome::Result::Rejected(rejection) => Err(rejection.code()),
    }
}
