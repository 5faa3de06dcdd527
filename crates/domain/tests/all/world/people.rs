//! What people and administrators do in the world, step by step as an edge would propose it.

use domain::change::{self, Act, Reason, StepUpProof};
use domain::factor::{CardProof, Channel, CodeProof, Method, NewChannel, Verdict};
use domain::login::{self, Proof, Subject};
use domain::outcome::Result as Came;
use domain::participant::{self, Wanted};
use domain::portal::LandingOption;
use domain::token::{TokenId, Which};
use domain::{
    Actor, ChangeRequestId, Command, Digest, Outcome, ParticipantId, account, change_request,
    initiation, request, token, totp,
};

use super::{World, front, id, operator, sealed};

impl World {
    pub fn subject(&self, who: &str) -> Subject {
        Subject::Known(id(who))
    }

    /// The verdict of an edge that looked at the verifier: right if `password` is what was sealed.
    pub fn verdict(&self, who: &str, method: Method, password: &str) -> Verdict {
        self.state
            .account(&id(who))
            .and_then(|account| account.password(method))
            .filter(|known| known.verifier.bytes == sealed(password).bytes)
            .map_or(Verdict::Wrong, |known| Verdict::Right {
                version: known.version,
            })
    }

    pub fn begin_login(&mut self, who: &str, option: LandingOption, password: &str) -> Outcome {
        let login = domain::LoginId(self.next_id());
        let verdict = self.verdict(who, option.method(), password);
        let subject = self.subject(who);
        self.ask(
            &front(),
            Command::Login(login::Command::Begin {
                login,
                subject,
                option,
                address: None,
                verdict,
                code: Some(sealed("code")),
                nonce: [1; 16],
            }),
        )
    }

    /// The same password under another verifier, as the edge proposes it after a right one.
    pub fn rehash(&mut self, who: &str, method: Method, verdict: Verdict, to: &str) -> Outcome {
        self.ask(
            &front(),
            Command::Login(login::Command::Rehash {
                account: id(who),
                method,
                verdict,
                verifier: sealed(to),
            }),
        )
    }

    pub fn verify_login(&mut self, proof: Proof) -> Outcome {
        let mut login = [0; 16];
        login[..8].copy_from_slice(&self.counter.to_be_bytes());
        let token = Digest::of("token", &[&self.next_id()]);
        let outcome = self.ask(
            &front(),
            Command::Login(login::Command::Verify {
                login: domain::LoginId(login),
                proof,
                codes: 1,
                token,
            }),
        );
        if let Came::Done(_) = outcome.result {
            self.tokens.push(token);
        }
        outcome
    }

    /// A whole login; the proof is what the person's factor gives now.
    pub fn login(&mut self, who: &str, option: LandingOption, password: &str) -> Outcome {
        let begun = self.begin_login(who, option, password);
        if matches!(begun.result, Came::Rejected(_)) {
            return begun;
        }
        let proof = match option.method() {
            Method::Smartcard => Proof::Card(Some(CardProof::bare(
                domain::CardNumber::parse(&format!("CARD-{who}")).unwrap(),
            ))),
            Method::Otp => Proof::Code(self.code(who)),
        };
        self.verify_login(proof)
    }

    /// A whole login of a user with a card of this number.
    pub fn login_with(&mut self, who: &str, card: &str, password: &str) -> Outcome {
        self.begin_login(who, LandingOption::SmartcardOnlineAndReports, password);
        let number = domain::CardNumber::parse(card).unwrap();
        self.verify_login(Proof::Card(Some(CardProof::bare(number))))
    }

    /// The verdict on a code that the person types now.
    pub fn code(&self, who: &str) -> CodeProof {
        let account = self.state.account(&id(who));
        match account.and_then(|account| account.otp.as_ref()) {
            Some(otp) if otp.channel == Channel::Email => CodeProof::Mailed { matched: true },
            Some(_) | None => CodeProof::Step(Some(totp::step(self.now))),
        }
    }

    /// Initiates with an authenticator or e-mail. The last outcome is given.
    pub fn initiate(&mut self, who: &str, password: &str, by_mail: bool) -> Outcome {
        let subject = self.subject(who);
        self.ask(
            &front(),
            Command::Initiation(initiation::Command::Request {
                subject: subject.clone(),
                code: Some(sealed("activation")),
            }),
        );
        let procedure = domain::ProcedureId(self.next_id());
        let channel = if by_mail {
            NewChannel::Email {
                code: sealed("proof"),
            }
        } else {
            NewChannel::Authenticator {
                seed: sealed(&format!("seed {procedure}")),
            }
        };
        let has_card = self
            .state
            .account(&id(who))
            .is_some_and(|account| account.card.is_some());
        let second = if has_card {
            let card = self
                .state
                .account(&id(who))
                .and_then(|account| account.card.as_ref())
                .map_or(0, |card| card.password.version);
            initiation::SecondProof::CardPassword(Verdict::Right { version: card })
        } else {
            self.issue_half(who);
            initiation::SecondProof::IssuedHalf { matched: true }
        };
        let begun = self.ask(
            &front(),
            Command::Initiation(initiation::Command::Begin {
                procedure,
                serial: self.serial(who),
                subject,
                address: None,
                code_matched: true,
                second,
                setting: initiation::Setting::Channel(channel),
            }),
        );
        if !matches!(begun.result, Came::Done(_)) {
            return begun;
        }
        let proof = if by_mail {
            CodeProof::Mailed { matched: true }
        } else {
            CodeProof::Step(Some(totp::step(self.now)))
        };
        self.ask(
            &front(),
            Command::Initiation(initiation::Command::Confirm {
                procedure,
                proof,
                password: Some(sealed(password)),
            }),
        )
    }

    /// Makes a change request; its id, and what came of it.
    pub fn make(
        &mut self,
        by: &Actor,
        token: Option<TokenId>,
        who: &str,
        act: change_request::Act,
    ) -> (ChangeRequestId, Outcome) {
        let request = ChangeRequestId(self.next_id());
        let command = Command::ChangeRequest(change_request::Command::Make {
            id: request,
            account: id(who),
            act,
            reason: "test".into(),
            token,
            seen: None,
        });
        (request, self.ask(by, command))
    }

    /// The serial of the account's activation codes, as an edge sees it.
    pub fn serial(&self, who: &str) -> u32 {
        let activation = self.state.activation(&id(who), self.now);
        activation.map_or(0, |activation| activation.serial)
    }

    pub fn change_password(
        &mut self,
        token: TokenId,
        current: &str,
        new: &str,
        reason: Reason,
    ) -> Outcome {
        let now = self.now;
        let held = self.state.tokens().get(&token, now).cloned();
        let verdict = held.map_or(Verdict::Wrong, |held| {
            self.verdict(held.account.as_str(), held.method(), current)
        });
        self.ask(
            &front(),
            Command::Change(change::Command::Password {
                token,
                verdict,
                password: sealed(new),
                reason,
            }),
        )
    }

    pub fn replace_channel(&mut self, token: TokenId, password: &str, reason: Reason) -> Outcome {
        let step_up = domain::ProcedureId(self.next_id());
        let Some(held) = self.state.tokens().get(&token, self.now).cloned() else {
            return self.end(token);
        };
        let who = held.account.as_str().to_owned();
        self.ask(
            &front(),
            Command::Change(change::Command::BeginStepUp {
                procedure: step_up,
                token,
                act: Act::ReplaceChannel,
                code: Some(sealed("step-up")),
                nonce: [2; 16],
            }),
        );
        let proof = StepUpProof::Code(self.code(&who));
        self.ask(
            &front(),
            Command::Change(change::Command::VerifyStepUp {
                procedure: step_up,
                token,
                proof,
            }),
        );
        let procedure = domain::ProcedureId(self.next_id());
        let verdict = self.verdict(&who, Method::Otp, password);
        self.ask(
            &front(),
            Command::Change(change::Command::BeginReplacement {
                procedure,
                token,
                step_up,
                verdict,
                channel: NewChannel::Authenticator {
                    seed: sealed(&format!("seed {procedure}")),
                },
                reason,
            }),
        );
        let step = totp::step(self.now);
        self.ask(
            &front(),
            Command::Change(change::Command::ConfirmReplacement {
                procedure,
                token,
                proof: CodeProof::Step(Some(step)),
            }),
        )
    }

    pub fn end(&mut self, token: TokenId) -> Outcome {
        self.ask(
            &front(),
            Command::Token(token::Command::End {
                token,
                which: Which::This,
            }),
        )
    }

    /// An operator shuts a firm's people out.
    pub fn suspend_firm(&mut self, who: &str, firm: &str) -> Outcome {
        let command = participant::Command::Suspend {
            participant: ParticipantId::parse(firm).unwrap(),
            reason: "it did not pay".into(),
        };
        self.ask(&operator(who), Command::Participant(command))
    }

    /// An operator says that the firm be resumed or deleted.
    pub fn say_of_firm(&mut self, who: &str, firm: &str, wanted: Wanted) -> Outcome {
        let act = participant::Act {
            participant: ParticipantId::parse(firm).unwrap(),
            wanted,
            seen: None,
        };
        let command = participant::Command::Say {
            act,
            reason: "as agreed".into(),
        };
        self.ask(&operator(who), Command::Participant(command))
    }

    pub fn suspend(&mut self, by: &Actor, token: Option<TokenId>, who: &str) -> Outcome {
        self.ask(
            by,
            Command::Account(account::Command::Suspend {
                account: id(who),
                token,
                reason: "test".into(),
            }),
        )
    }

    /// The token of a whole login with card and Friday's password.
    pub fn card_token(&mut self, who: &str) -> TokenId {
        let option = match self.state.account(&id(who)).unwrap().class {
            account::Class::User => LandingOption::SmartcardOnlineAndReports,
            account::Class::DelegatedAdmin => LandingOption::SmartcardSecurity,
        };
        let outcome = self.login(who, option, "friday");
        assert!(super::issued(&outcome), "{who}: {outcome:?}");
        *self.tokens.last().unwrap()
    }

    pub fn revoke_otp(&mut self, who: &str) -> Outcome {
        self.ask(
            &operator("ann"),
            Command::Account(account::Command::RevokeOtp {
                account: id(who),
                reason: "test".into(),
            }),
        )
    }

    /// A request with an id minted now.
    pub fn key(&mut self, body: &str) -> request::Key {
        self.counter += 1;
        let mut id = [0; 16];
        id[..6].copy_from_slice(&self.now.0.to_be_bytes()[2..]);
        id[6] = 0x70;
        id[8] = 0x80;
        id[9..16].copy_from_slice(&self.counter.to_be_bytes()[1..]);
        request::Key {
            id: domain::RequestId(id),
            body: Digest::of("body", &[body.as_bytes()]),
        }
    }
}
