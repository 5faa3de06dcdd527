//! What gives access in the world: imports, step-ups, and what they are for.

use domain::account::import::{self, Part, Row, Terms};
use domain::account::{self, Imported};
use domain::change::{self, Act, StepUpProof};
use domain::factor::CardProof;
use domain::participant::Participant;
use domain::portal::LandingOption;
use domain::token::TokenId;
use domain::{Actor, ChangeRequestId, Command, Digest, Outcome, change_request};

use super::{World, front, id, operator, sealed};

/// The digest of verifiers that the entries of the world stand for.
pub fn verifiers() -> Digest {
    import::verifiers_digest([b"verifier".as_slice()])
}

/// Rows as operators approve them.
pub fn terms(parts: &[(&[Participant], &[Imported])]) -> Terms {
    let count = |rows: usize| u32::try_from(rows).unwrap();
    let digest = |(firms, people): &(&[Participant], &[Imported])| {
        let firms = firms.iter();
        let firms = firms.map(|firm| (firm.id.as_str(), firm.title.as_str()));
        import::part_digest(firms, people.iter().map(Row::of), &verifiers())
    };
    Terms {
        participants: count(parts.iter().map(|(firms, _)| firms.len()).sum()),
        accounts: count(parts.iter().map(|(_, people)| people.len()).sum()),
        parts: parts.iter().map(digest).collect(),
    }
}

/// The entry of an import with these rows.
pub fn entry(
    terms: &Terms,
    index: u32,
    participants: &[Participant],
    accounts: &[Imported],
) -> Command {
    Command::Account(account::Command::Import {
        participants: participants.to_vec(),
        accounts: accounts.to_vec(),
        part: Some(Part {
            import: terms.id(),
            index,
            verifiers: verifiers(),
        }),
    })
}

impl World {
    /// An operator approves an import.
    pub fn approve_import(&mut self, who: &str, terms: &Terms) -> Outcome {
        let terms = terms.clone();
        let command = account::Command::ApproveImport { terms };
        self.ask(&operator(who), Command::Account(command))
    }

    /// Two operators bring firms and people in.
    pub fn import(&mut self, participants: &[Participant], accounts: &[Imported]) -> Outcome {
        let terms = terms(&[(participants, accounts)]);
        for who in ["ann", "ben"] {
            self.approve_import(who, &terms);
        }
        let entry = entry(&terms, 0, participants, accounts);
        self.ask(&operator("ann"), entry)
    }

    /// The person behind the token proves its card, or its channel, for an act.
    pub fn step_up(&mut self, token: TokenId, act: Act) -> Outcome {
        let procedure = domain::ProcedureId(self.next_id());
        let begun = self.ask(
            &front(),
            Command::Change(change::Command::BeginStepUp {
                procedure,
                token,
                act,
                code: None,
                nonce: [2; 16],
            }),
        );
        let held = self.state.tokens().get(&token, self.now);
        let Some(who) = held.map(|held| held.account.clone()) else {
            return begun;
        };
        let card = self.state.account(&who).and_then(|of| of.card.clone());
        let proof = match card {
            Some(card) => StepUpProof::Card(Some(CardProof::bare(card.number))),
            None => StepUpProof::Code(self.code(who.as_str())),
        };
        self.ask(
            &front(),
            Command::Change(change::Command::VerifyStepUp {
                procedure,
                token,
                proof,
            }),
        )
    }

    /// Somebody approves a change request; a delegated administrator after a step-up.
    pub fn approve_change(
        &mut self,
        by: &Actor,
        token: Option<TokenId>,
        id: ChangeRequestId,
    ) -> Outcome {
        if let Some(token) = token {
            self.step_up(token, Act::ApproveChange(id));
        }
        self.approve_as_it_is(by, token, id)
    }

    /// The same without a step-up.
    pub fn approve_as_it_is(
        &mut self,
        by: &Actor,
        token: Option<TokenId>,
        id: ChangeRequestId,
    ) -> Outcome {
        let command = Command::ChangeRequest(change_request::Command::Approve { id, token });
        self.ask(by, command)
    }

    /// An activation code is issued, by the token's person or an operator.
    pub fn issue(&mut self, by: &Actor, token: Option<TokenId>, who: &str) -> Outcome {
        let command = account::Command::IssueActivationCode {
            account: id(who),
            token,
            code: sealed("half"),
        };
        self.ask(by, Command::Account(command))
    }

    /// Whoever looks after the account issues an activation code for it.
    pub fn issue_half(&mut self, who: &str) -> Outcome {
        let outcome = self.issue(&operator("ann"), None, who);
        let admin = format!("{}D1", &who[..1]);
        let there = self.state.account(&id(&admin)).cloned();
        let may = there.is_some_and(|admin| admin.active() && admin.card.is_some());
        if matches!(outcome.result, domain::outcome::Result::Done(_)) || !may {
            return outcome;
        }
        let held = self.tokens.len();
        self.login(&admin, LandingOption::SmartcardSecurity, "friday");
        if self.tokens.len() == held {
            return outcome;
        }
        let Some(token) = self.tokens.pop() else {
            return outcome;
        };
        self.step_up(token, Act::IssueActivation(id(who)));
        let outcome = self.issue(&front(), Some(token), who);
        self.end(token);
        outcome
    }
}
