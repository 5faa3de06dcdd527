//! Logins step by step, several at a time.

use std::net::IpAddr;

use domain::factor::{CardProof, Method};
use domain::login::{self, Proof};
use domain::portal::LandingOption;
use domain::{Command, Digest, LoginId, Outcome};

use super::{MINUTE, World, front, id, issued, sealed};

impl World {
    /// A login up to the factor, with the password that was typed.
    pub fn open_login(
        &mut self,
        who: &str,
        option: LandingOption,
        password: &str,
        address: Option<IpAddr>,
    ) -> (LoginId, Outcome) {
        let login = LoginId(self.next_id());
        let command = Command::Login(login::Command::Begin {
            login,
            subject: self.subject(who),
            option,
            address,
            verdict: self.verdict(who, option.method(), password),
            code: Some(sealed("code")),
            nonce: [1; 16],
        });
        (login, self.ask(&front(), command))
    }

    /// Its end, with what the edge found about the factor when the login had sent `codes` codes.
    pub fn end_login(&mut self, login: LoginId, proof: Proof, codes: u8) -> Outcome {
        let token = Digest::of("token", &[&self.next_id()]);
        let command = Command::Login(login::Command::Verify {
            login,
            proof,
            codes,
            token,
        });
        let outcome = self.ask(&front(), command);
        if issued(&outcome) {
            self.tokens.push(token);
        }
        outcome
    }

    /// What the person's own factor of the method gives now.
    pub fn factor(&self, who: &str, method: Method) -> Proof {
        let card = || {
            let account = self.state.account(&id(who))?;
            Some(CardProof::bare(account.card.as_ref()?.number.clone()))
        };
        match method {
            Method::Smartcard => Proof::Card(card()),
            Method::Otp => Proof::Code(self.code(who)),
        }
    }

    /// A whole login with a factor that is right, a minute later: no code is shown twice.
    pub fn enter(
        &mut self,
        who: &str,
        option: LandingOption,
        password: &str,
        address: Option<IpAddr>,
    ) -> Outcome {
        self.at(self.now.plus(MINUTE));
        let (login, begun) = self.open_login(who, option, password, address);
        if matches!(begun.result, domain::outcome::Result::Rejected(_)) {
            return begun;
        }
        let proof = self.factor(who, option.method());
        self.end_login(login, proof, 1)
    }
}
