//! Setting up password and channel, the first time and after a reset, and changing either.

use proto::account::v1::{ChangeReason, Channel as OtpChannel};
use proto::auth::v1::begin_initiation_request::Proof;
use proto::auth::v1::verify_step_up_request::Factor;
use proto::auth::v1::{
    BeginInitiationRequest, BeginReplaceChannelRequest, BeginStepUpRequest, BeginStepUpResponse,
    ChangePasswordRequest, ConfirmInitiationRequest, ConfirmReplaceChannelRequest,
    RequestActivationRequest, SetUp, StepUpAct, VerifyStepUpRequest,
};
use tests::Person;
use tests::cast::{APP, CARD, OTP, OTP_S2};

use super::{FrontEnd, PERSON_AT, request};

impl FrontEnd<'_> {
    /// The first time, with an app; the card's password proves the person beside the mailed code.
    pub(super) async fn initiate_by_app(&self, person: &Person) {
        let proof = Proof::CardPassword(CARD.to_owned());
        self.set_up(person, proof, OtpChannel::Authenticator, OTP)
            .await;
    }

    /// The first time, with mailed codes.
    pub(super) async fn initiate_by_mail(&self, person: &Person) {
        let proof = Proof::CardPassword(CARD.to_owned());
        self.set_up(person, proof, OtpChannel::Email, OTP).await;
    }

    /// The first time without a card: the half of the code that an administrator passed on by
    /// voice proves the person.
    pub(super) async fn initiate_by_half(&self, person: &Person, half: String) {
        self.set_up(person, Proof::SecondHalf(half), OtpChannel::Email, OTP)
            .await;
    }

    /// After the channel was reset the password that is there proves the person, and stays: a new
    /// channel is all that is set up.
    pub(super) async fn set_up_after_a_reset(&self, person: &Person, password: &str) {
        let proof = Proof::CurrentPassword(password.to_owned());
        self.set_up(person, proof, OtpChannel::Authenticator, "")
            .await;
    }

    /// The calls are the same each time; `set_up` says what they set.
    async fn set_up(&self, person: &Person, proof: Proof, channel: OtpChannel, password: &str) {
        self.cluster.mailbox_is_read().await;
        let message = RequestActivationRequest {
            request_id: self.request_id(),
            user_id: person.id.to_owned(),
            portal: person.portal().into(),
            client_address: PERSON_AT.to_owned(),
        };
        let told = self.auth().request_activation(request(message, None)).await;
        println!("set-up: {}", told.unwrap().into_inner().message.unwrap().en);

        let message = BeginInitiationRequest {
            request_id: self.request_id(),
            user_id: person.id.to_owned(),
            portal: person.portal().into(),
            activation_code: self.cluster.mailed(person, "activation-code").await,
            proof: Some(proof),
            channel: channel.into(),
            client_address: PERSON_AT.to_owned(),
        };
        let begun = self.auth().begin_initiation(request(message, None)).await;
        let begun = begun.unwrap().into_inner();
        // Show `notice` first: at the secondary, what is set up now is forgotten. The QR code is
        // an SVG image to put into the page as it is; it is told this once, and cached nowhere.
        println!("  notice: {}", begun.notice);
        let enrolment = begun.authenticator.as_ref();
        if let Some(app) = enrolment {
            println!("  QR code: an image of {} bytes", app.qr_code_svg.len());
        }
        let code = self.cluster.channel_code(person, APP, enrolment).await;
        // Of a channel alone no password is asked.
        let is_channel_alone = begun.set_up() == SetUp::Channel;
        assert_eq!(is_channel_alone, password.is_empty());

        let message = ConfirmInitiationRequest {
            request_id: self.request_id(),
            initiation_id: begun.initiation_id,
            code,
            new_password: password.to_owned(),
            client_address: PERSON_AT.to_owned(),
        };
        let done = self.auth().confirm_initiation(request(message, None)).await;
        println!("  done: {}", done.unwrap().into_inner().notice);
    }

    /// Changing the password of the method that the token was obtained with.
    pub(super) async fn change_password(&self, token: &str) {
        let message = ChangePasswordRequest {
            request_id: self.request_id(),
            current_password: OTP.to_owned(),
            new_password: OTP_S2.to_owned(),
            reason: ChangeReason::Routine.into(),
            client_address: PERSON_AT.to_owned(),
        };
        let done = self.call(|| {
            let (mut service, message) = (self.auth(), message.clone());
            let request = request(message, Some(token));
            async move { service.change_password(request).await }
        });
        println!("password changed: {}", done.await.unwrap().notice);
    }

    /// A step-up: who has the token proves its card, or a code of its channel, once more. It is for
    /// this token and one act, once.
    pub(super) async fn step_up(
        &self,
        token: &str,
        (act, resource): (StepUpAct, &str),
        prove: impl AsyncFnOnce(&BeginStepUpResponse) -> Factor,
    ) -> String {
        let message = BeginStepUpRequest {
            request_id: self.request_id(),
            act: act.into(),
            client_address: PERSON_AT.to_owned(),
            resource: resource.to_owned(),
        };
        let mut service = self.auth();
        let begun = service.begin_step_up(request(message, Some(token))).await;
        let begun = begun.unwrap().into_inner();
        let message = VerifyStepUpRequest {
            request_id: self.request_id(),
            step_up_id: begun.step_up_id.clone(),
            factor: Some(prove(&begun).await),
            client_address: PERSON_AT.to_owned(),
        };
        let proved = service.verify_step_up(request(message, Some(token)));
        proved.await.unwrap();
        begun.step_up_id
    }

    /// Another channel: the current one is proved again, then a code proves the new one.
    pub(super) async fn another_channel(&self, person: &Person, token: &str) {
        let act = (StepUpAct::ReplaceChannel, "");
        let prove = async |_: &_| Factor::Code(self.cluster.app_code(person, APP).await);
        let step_up_id = self.step_up(token, act, prove).await;
        let mut service = self.auth();

        self.cluster.mailbox_is_read().await;
        let message = BeginReplaceChannelRequest {
            request_id: self.request_id(),
            step_up_id,
            channel: OtpChannel::Email.into(),
            // What was lost must be replaced again after a drill.
            reason: ChangeReason::LostOrCompromised.into(),
            client_address: PERSON_AT.to_owned(),
            current_password: OTP_S2.to_owned(),
        };
        let begun = service.begin_replace_channel(request(message, Some(token)));
        let begun = begun.await.unwrap().into_inner();
        let enrolment = begun.authenticator.as_ref();
        let message = ConfirmReplaceChannelRequest {
            request_id: self.request_id(),
            replacement_id: begun.replacement_id,
            code: self.cluster.channel_code(person, APP, enrolment).await,
            client_address: PERSON_AT.to_owned(),
        };
        let done = service.confirm_replace_channel(request(message, Some(token)));
        let done = done.await.unwrap().into_inner();
        println!("channel changed: {}", done.notice);
    }
}
