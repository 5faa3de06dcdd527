//! Setting up 2FA, and changing what was set up.

use proto::account::v1::{ChangeReason, Channel as OtpChannel};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::begin_initiation_request::Proof;
use proto::auth::v1::verify_step_up_request::Factor;
use proto::auth::v1::{
    AuthenticatorEnrolment, BeginInitiationRequest, BeginInitiationResponse,
    BeginReplaceChannelRequest, BeginReplaceChannelResponse, BeginStepUpRequest,
    ChangePasswordRequest, ChangePasswordResponse, ConfirmInitiationRequest,
    ConfirmInitiationResponse, ConfirmReplaceChannelRequest, ConfirmReplaceChannelResponse,
    RequestActivationRequest, StepUpAct, VerifyStepUpRequest,
};
use tidemark::drill::{call, request, request_as};
use tonic::Status;

use crate::cast::{APP, CARD, OTP, Person};
use crate::cluster::Cluster;
use crate::token::{ADDRESS, Token};

impl Cluster {
    /// Asks for an activation code; what everybody is told.
    ///
    /// # Errors
    /// The refusal.
    pub async fn ask_activation(&self, person: &Person) -> Result<String, Status> {
        self.mailbox.lock().await.forget();
        let message = RequestActivationRequest {
            request_id: self.id(),
            user_id: person.id.to_owned(),
            portal: person.portal().into(),
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
        Ok(answer.message.unwrap().en)
    }

    /// Begins an initiation.
    ///
    /// # Errors
    /// The refusal.
    pub async fn begin_initiation(
        &self,
        person: &Person,
        activation_code: &str,
        proof: Proof,
        channel: OtpChannel,
    ) -> Result<BeginInitiationResponse, Status> {
        let message = BeginInitiationRequest {
            request_id: self.id(),
            user_id: person.id.to_owned(),
            portal: person.portal().into(),
            activation_code: activation_code.to_owned(),
            channel: channel.into(),
            client_address: ADDRESS.to_owned(),
            proof: Some(proof),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .begin_initiation(request(message))
                    .await
            }
        })
        .await
    }

    /// Confirms an initiation.
    ///
    /// # Errors
    /// The refusal.
    pub async fn confirm_initiation(
        &self,
        initiation_id: &str,
        code: &str,
        password: &str,
    ) -> Result<ConfirmInitiationResponse, Status> {
        let message = ConfirmInitiationRequest {
            request_id: self.id(),
            initiation_id: initiation_id.to_owned(),
            code: code.to_owned(),
            new_password: password.to_owned(),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .confirm_initiation(request(message))
                    .await
            }
        })
        .await
    }

    /// A code of a channel that is being set up.
    pub async fn channel_code(
        &self,
        person: &Person,
        app: &'static str,
        enrolment: Option<&AuthenticatorEnrolment>,
    ) -> String {
        match enrolment {
            Some(enrolment) => {
                let secret = &enrolment.secret_base32;
                self.pockets.lock().unwrap().keep(person, app, secret);
                self.app_code(person, app).await
            }
            None => self.mailed(person, "channel-code").await,
        }
    }

    /// The whole of an initiation: the code by mail, the proof, the channel, and the password.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn initiate(
        &self,
        person: &Person,
        proof: Proof,
        channel: OtpChannel,
        password: &str,
    ) -> Result<ConfirmInitiationResponse, Status> {
        self.ask_activation(person).await?;
        let code = self.mailed(person, "activation-code").await;
        let begun = self.begin_initiation(person, &code, proof, channel).await?;
        let code = self
            .channel_code(person, APP, begun.authenticator.as_ref())
            .await;
        self.confirm_initiation(&begun.initiation_id, &code, password)
            .await
    }

    /// An initiation with an app, by the card's password.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn sets_up_app(&self, person: &Person) -> ConfirmInitiationResponse {
        let proof = Proof::CardPassword(CARD.to_owned());
        self.initiate(person, proof, OtpChannel::Authenticator, OTP)
            .await
            .unwrap()
    }

    /// An initiation with e-mail, by the card's password.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn sets_up_mail(&self, person: &Person) -> ConfirmInitiationResponse {
        let proof = Proof::CardPassword(CARD.to_owned());
        self.initiate(person, proof, OtpChannel::Email, OTP)
            .await
            .unwrap()
    }

    /// Changes the password of the token's method.
    ///
    /// # Errors
    /// The refusal.
    pub async fn change_password(
        &self,
        token: &Token,
        current: &str,
        new: &str,
    ) -> Result<ChangePasswordResponse, Status> {
        let message = ChangePasswordRequest {
            request_id: self.id(),
            current_password: current.to_owned(),
            new_password: new.to_owned(),
            reason: ChangeReason::Routine.into(),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .change_password(request_as(message, &token.text))
                    .await
            }
        })
        .await
    }

    /// Begins to prove the current app again; the step-up's id.
    ///
    /// # Errors
    /// The refusal.
    pub async fn begin_step_up(&self, token: &Token) -> Result<String, Status> {
        let message = BeginStepUpRequest {
            request_id: self.id(),
            act: StepUpAct::ReplaceChannel.into(),
            client_address: ADDRESS.to_owned(),
            resource: String::new(),
        };
        let begun = call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .begin_step_up(request_as(message, &token.text))
                    .await
            }
        })
        .await?;
        Ok(begun.step_up_id)
    }

    /// Proves it with a code.
    ///
    /// # Errors
    /// The refusal.
    pub async fn verify_step_up(
        &self,
        token: &Token,
        step_up_id: &str,
        code: &str,
    ) -> Result<(), Status> {
        let factor = Factor::Code(code.to_owned());
        self.prove_step_up(token, step_up_id, factor).await
    }

    pub(crate) async fn prove_step_up(
        &self,
        token: &Token,
        step_up_id: &str,
        factor: Factor,
    ) -> Result<(), Status> {
        let message = VerifyStepUpRequest {
            request_id: self.id(),
            step_up_id: step_up_id.to_owned(),
            factor: Some(factor),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .verify_step_up(request_as(message, &token.text))
                    .await
            }
        })
        .await?;
        Ok(())
    }

    /// Begins the change to another app, for the reason that the old one may be in other hands.
    ///
    /// # Errors
    /// The refusal.
    pub async fn begin_replace(
        &self,
        token: &Token,
        step_up_id: &str,
        password: &str,
    ) -> Result<BeginReplaceChannelResponse, Status> {
        let message = BeginReplaceChannelRequest {
            request_id: self.id(),
            step_up_id: step_up_id.to_owned(),
            channel: OtpChannel::Authenticator.into(),
            reason: ChangeReason::LostOrCompromised.into(),
            client_address: ADDRESS.to_owned(),
            current_password: password.to_owned(),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .begin_replace_channel(request_as(message, &token.text))
                    .await
            }
        })
        .await
    }

    /// Changes the channel.
    ///
    /// # Errors
    /// The refusal.
    pub async fn confirm_replace(
        &self,
        token: &Token,
        replacement_id: &str,
        code: &str,
    ) -> Result<ConfirmReplaceChannelResponse, Status> {
        let message = ConfirmReplaceChannelRequest {
            request_id: self.id(),
            replacement_id: replacement_id.to_owned(),
            code: code.to_owned(),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .confirm_replace_channel(request_as(message, &token.text))
                    .await
            }
        })
        .await
    }

    /// Replaces the app by another: step-up, new key, a code of it.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn replace_app(
        &self,
        token: &Token,
        password: &str,
        new_app: &'static str,
    ) -> Result<ConfirmReplaceChannelResponse, Status> {
        let step_up = self.begin_step_up(token).await?;
        let code = self.app_code(token.person, APP).await;
        self.verify_step_up(token, &step_up, &code).await?;
        let begun = self.begin_replace(token, &step_up, password).await?;
        let enrolment = begun.authenticator.as_ref();
        let code = self.channel_code(token.person, new_app, enrolment).await;
        self.confirm_replace(token, &begun.replacement_id, &code)
            .await
    }
}
