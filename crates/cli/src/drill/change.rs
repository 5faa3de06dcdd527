//! What people who are logged in change: their own password and channel, and, as delegated
//! administrators, other people's access.

use proto::account::v1::ChangeReason;
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::{IssueActivationCodeRequest, SuspendAccountRequest};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_step_up_request::Factor as WireFactor;
use proto::auth::v1::{
    BeginReplaceChannelRequest, BeginStepUpRequest, ChangePasswordRequest,
    ConfirmReplaceChannelRequest, StepUpAct, VerifyStepUpRequest,
};

use super::action::{ChangePassword, IssueHalf, OtpChannel, ReplaceChannel, Suspend, Why};
use super::file::Carry;
use super::initiation::wire_channel;
use super::people::{Held, resource};
use super::person::ADDRESS;
use super::play::{Done, Player, Told, Trouble};
use super::stage::{call, request_as};
use super::words;

fn reason(why: Why) -> i32 {
    i32::from(match why {
        Why::Routine => ChangeReason::Routine,
        Why::LostOrCompromised => ChangeReason::LostOrCompromised,
    })
}

impl Player {
    /// Keeps a change of the branch, to find it on the list of what is forgotten.
    pub(super) fn note(&mut self, kind: &'static str, account: &str, carry: Option<Carry>) {
        match carry {
            Some(Carry::Discarded) => self.branch_changes.push((kind, account.to_owned())),
            Some(Carry::Carried) | None => {}
        }
    }

    pub(super) async fn change_password(&mut self, act: &ChangePassword) -> Done {
        let held = self.people.token(&act.token)?;
        let person = self.drill.person(&held.person)?.clone();
        let message = ChangePasswordRequest {
            request_id: self.clock.request_id(),
            current_password: Self::password(&person, &act.current)?,
            new_password: Self::password(&person, &act.new)?,
            reason: reason(act.why),
            client_address: ADDRESS.to_owned(),
        };
        let answer = call(&self.stage.front(&held.centre), |channel| {
            let (message, token) = (message.clone(), held.text.clone());
            async move {
                AuthServiceClient::new(channel)
                    .change_password(request_as(message, &token))
                    .await
            }
        })
        .await?;
        let carry = words::carry(answer.carry_forward);
        self.note("PasswordChanged", person.account.as_str(), carry);
        Ok(Told::new(answer.notice).carried(carry))
    }

    /// Proves the card, or the current channel again, for an act: with the app's key where the
    /// step names one.
    async fn step_up(
        &mut self,
        held: &Held,
        (act, resource): (StepUpAct, String),
        key: Option<&str>,
    ) -> Result<String, Trouble> {
        let doors = self.stage.front(&held.centre);
        let begin = BeginStepUpRequest {
            request_id: self.clock.request_id(),
            act: act.into(),
            client_address: ADDRESS.to_owned(),
            resource,
        };
        let begun = call(&doors, |channel| {
            let (message, token) = (begin.clone(), held.text.clone());
            async move {
                AuthServiceClient::new(channel)
                    .begin_step_up(request_as(message, &token))
                    .await
            }
        })
        .await?;
        let person = self.drill.person(&held.person)?.clone();
        let factor = match (key, &begun.card_challenge) {
            (None, Some(challenge)) if person.card.is_some() => {
                WireFactor::Card(self.sign(&person, challenge)?)
            }
            (key, _) => {
                let code = self.app_code(&held.person, key.unwrap_or("app")).await?;
                WireFactor::Code(code)
            }
        };
        let verify = VerifyStepUpRequest {
            request_id: self.clock.request_id(),
            step_up_id: begun.step_up_id.clone(),
            factor: Some(factor),
            client_address: ADDRESS.to_owned(),
        };
        call(&doors, |channel| {
            let (message, token) = (verify.clone(), held.text.clone());
            async move {
                AuthServiceClient::new(channel)
                    .verify_step_up(request_as(message, &token))
                    .await
            }
        })
        .await?;
        Ok(begun.step_up_id)
    }

    pub(super) async fn replace_channel(&mut self, act: &ReplaceChannel) -> Done {
        let held = self.people.token(&act.token)?;
        let person = self.drill.person(&held.person)?.clone();
        let doors = self.stage.front(&held.centre);
        let key = act.key.as_deref().unwrap_or("app");
        let wanted = (StepUpAct::ReplaceChannel, String::new());
        let step_up = self.step_up(&held, wanted, Some(key)).await?;
        let begin = BeginReplaceChannelRequest {
            request_id: self.clock.request_id(),
            step_up_id: step_up,
            channel: i32::from(wire_channel(OtpChannel::App)),
            reason: reason(act.why),
            client_address: ADDRESS.to_owned(),
            current_password: Self::password(&person, &act.current)?,
        };
        let begun = call(&doors, |channel| {
            let (message, token) = (begin.clone(), held.text.clone());
            async move {
                AuthServiceClient::new(channel)
                    .begin_replace_channel(request_as(message, &token))
                    .await
            }
        })
        .await?;
        let enrolment = begun.authenticator.as_ref();
        let code = self
            .channel_code(&person, OtpChannel::App, &act.new_key, enrolment)
            .await?;
        let confirm = ConfirmReplaceChannelRequest {
            request_id: self.clock.request_id(),
            replacement_id: begun.replacement_id,
            code,
            client_address: ADDRESS.to_owned(),
        };
        let answer = call(&doors, |channel| {
            let (message, token) = (confirm.clone(), held.text.clone());
            async move {
                AuthServiceClient::new(channel)
                    .confirm_replace_channel(request_as(message, &token))
                    .await
            }
        })
        .await?;
        let carry = words::carry(answer.carry_forward);
        self.note("ChannelReplaced", person.account.as_str(), carry);
        Ok(Told::new(answer.notice).carried(carry))
    }

    pub(super) async fn issue_half(&mut self, act: &IssueHalf) -> Done {
        let held = self.people.token(&act.token)?;
        let person = self.drill.person(&act.person)?.clone();
        let wanted = (StepUpAct::IssueActivationCode, resource(&person));
        self.step_up(&held, wanted, None).await?;
        let message = IssueActivationCodeRequest {
            request_id: self.clock.request_id(),
            name: resource(&person),
            client_address: ADDRESS.to_owned(),
            ..IssueActivationCodeRequest::default()
        };
        let answer = call(&self.stage.front(&held.centre), |channel| {
            let (message, token) = (message.clone(), held.text.clone());
            async move {
                AccountServiceClient::new(channel)
                    .issue_activation_code(request_as(message, &token))
                    .await
            }
        })
        .await?;
        self.people.halves.insert(person.id, answer.second_half);
        let carry = words::carry(answer.carry_forward);
        Ok(Told::new(answer.notice).carried(carry))
    }

    pub(super) async fn suspend(&mut self, act: &Suspend) -> Done {
        let held = self.people.token(&act.token)?;
        let person = self.drill.person(&act.person)?.clone();
        let message = SuspendAccountRequest {
            request_id: self.clock.request_id(),
            name: resource(&person),
            reason: act.reason.clone(),
            client_address: ADDRESS.to_owned(),
            ..SuspendAccountRequest::default()
        };
        let answer = call(&self.stage.front(&held.centre), |channel| {
            let (message, token) = (message.clone(), held.text.clone());
            async move {
                AccountServiceClient::new(channel)
                    .suspend_account(request_as(message, &token))
                    .await
            }
        })
        .await?;
        let carry = words::carry(answer.carry_forward);
        self.note("AccountSuspended", person.account.as_str(), carry);
        Ok(Told::new(answer.notice).carried(carry))
    }
}
