//! How people set up 2FA: an activation code, what the code alone does not prove, and a code of
//! the new channel (R30, S24).

use credential::secret::Seed;
use proto::account::v1::{Channel as OtpKind, Portal};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::begin_initiation_request::Proof as WireProof;
use proto::auth::v1::{
    AuthenticatorEnrolment, BeginInitiationRequest, ConfirmInitiationRequest,
    RequestActivationRequest,
};

use super::action::{AskActivation, Initiate, OtpChannel, Proof};
use super::file::{Carry, Person};
use super::people::{portal, resource};
use super::person::ADDRESS;
use super::play::{Done, Player, Told, Trouble};
use super::report::Carried;
use super::stage::{call, request};
use super::words;
use crate::exit::Failure;

impl Player {
    async fn request_activation(&mut self, person: &Person) -> Result<(), Trouble> {
        self.mailbox.forget();
        let message = RequestActivationRequest {
            request_id: self.clock.request_id(),
            user_id: person.account.to_string(),
            portal: Portal::into(portal(person.class)),
            client_address: ADDRESS.to_owned(),
        };
        let answer = call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .request_activation(request(message))
                    .await
            }
        })
        .await?;
        let said = answer.message.map(|text| text.en).unwrap_or_default();
        let known = self.activation_answer.get_or_insert_with(|| said.clone());
        if *known == said {
            Ok(())
        } else {
            Err(Failure::mismatch(format!(
                "not everybody is told the same: \"{known}\" and \"{said}\""
            ))
            .into())
        }
    }

    pub(super) async fn ask_activation(&mut self, act: &AskActivation) -> Done {
        let person = self.drill.person(&act.person)?.clone();
        self.request_activation(&person).await?;
        if act.mail {
            self.mailed(&person, "activation-code").await?;
        }
        Ok(Told::new(
            self.activation_answer.clone().unwrap_or_default(),
        ))
    }

    pub(super) async fn initiate(&mut self, act: &Initiate) -> Done {
        let person = self.drill.person(&act.person)?.clone();
        self.request_activation(&person).await?;
        let code = match self.mailed(&person, "activation-code").await {
            Ok(code) => code,
            // Lost with a node: the person asks again.
            Err(_) => {
                self.request_activation(&person).await?;
                self.mailed(&person, "activation-code").await?
            }
        };
        let proof = match act.proof {
            Proof::CardPassword => WireProof::CardPassword(Self::password(&person, "card")?),
            Proof::SecondHalf => {
                WireProof::SecondHalf(self.people.halves.remove(&person.id).ok_or_else(|| {
                    Failure::pre_check(format!("nobody told {} a second half", person.id))
                })?)
            }
        };
        self.mailbox.forget();
        let message = BeginInitiationRequest {
            request_id: self.clock.request_id(),
            user_id: person.account.to_string(),
            portal: Portal::into(portal(person.class)),
            activation_code: code,
            proof: Some(proof),
            channel: i32::from(wire_channel(act.channel)),
            client_address: ADDRESS.to_owned(),
        };
        let begun = call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .begin_initiation(request(message))
                    .await
            }
        })
        .await?;
        let key = act.key.as_deref().unwrap_or("app");
        let code = self
            .channel_code(&person, act.channel, key, begun.authenticator.as_ref())
            .await?;
        let message = ConfirmInitiationRequest {
            request_id: self.clock.request_id(),
            initiation_id: begun.initiation_id,
            code,
            new_password: Self::password(&person, &act.password)?,
            client_address: ADDRESS.to_owned(),
        };
        let answer = call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .confirm_initiation(request(message))
                    .await
            }
        })
        .await?;
        let carry = words::carry(answer.carry_forward);
        self.initiated(&person, carry).await?;
        Ok(Told::new(answer.notice).carried(carry))
    }

    async fn initiated(&mut self, person: &Person, carry: Option<Carry>) -> Result<(), Failure> {
        match carry {
            Some(Carry::Discarded) => self
                .branch_changes
                .push(("Initiated", person.account.to_string())),
            Some(Carry::Carried) | None => {
                let acknowledged = self.now().await?.to_string();
                self.carried.push(Carried {
                    account: resource(person),
                    acknowledged,
                    found_after: false,
                });
            }
        }
        Ok(())
    }

    /// A code of a channel that is being set up.
    pub(super) async fn channel_code(
        &mut self,
        person: &Person,
        channel: OtpChannel,
        key: &str,
        enrolment: Option<&AuthenticatorEnrolment>,
    ) -> Result<String, Failure> {
        match channel {
            OtpChannel::Email => self.mailed(person, "channel-code").await,
            OtpChannel::App => {
                let secret = enrolment.map(|enrolment| enrolment.secret_base32.as_str());
                let seed = Seed::parse(secret.unwrap_or_default())
                    .map_err(|error| Failure::internal(format!("no key for the app: {error}")))?;
                self.people.keep_key(&person.id, key, seed);
                self.app_code(&person.id, key).await
            }
        }
    }
}

/// The API's name of a channel.
pub(super) fn wire_channel(channel: OtpChannel) -> OtpKind {
    match channel {
        OtpChannel::App => OtpKind::Authenticator,
        OtpChannel::Email => OtpKind::Email,
    }
}
