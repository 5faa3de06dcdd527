//! Whatever is written in session 2 is gone after the rollover (R46): every rpc that can change
//! the serving line is called there, by the list in the proto descriptors, and none leaves a
//! trace. A new rpc fails this test until somebody tries it here.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use proto::account::v1::{Channel as OtpChannel, Method};
use proto::admin::v1::change_act::Act;
use proto::admin::v1::{ActReviewState, NewAccount, ParticipantState, Plain};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::begin_initiation_request::Proof;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{EndOwnTokensRequest, ListOwnTokensRequest, ResendCodeRequest};
use proto::line::v1::CarryForward;
use proto::operator::v1::Answer;
use proto::token::v1::BatchIntrospectTokensRequest;
use proto::token::v1::IntrospectTokenRequest;
use proto::token::v1::token_service_client::TokenServiceClient;
use server::table::{Table, Target};
use tests::administration::Admin;
use tests::cast::{
    APP, CARD, CARD_S2, CCMS_CARD, CCMS_OTP, CCMS_REPORTS, CHAN, CHEUNG, HO, LAU, LEE, MAK, NG,
    OTP, OTP_S2, SIT, TAM, WONG, YIP,
};
use tests::cluster::{S2, refused};
use tests::token::ADDRESS;
use tests::{By, Cluster, Token};
use tidemark::drill::{at, call, request, request_as};

/// A participant without people.
const LONE_FIRM: &str = "C00009";

/// What is left in people's hands after session 2.
#[derive(Default)]
struct Hands {
    tokens: Vec<Token>,
    /// Logins that were begun, with a code that was mailed for them.
    logins: Vec<(String, String)>,
    /// Initiations that were begun, with a code of the channel.
    initiations: Vec<(String, String)>,
    /// An activation code of a card holder that was not used.
    activation: Option<String>,
    /// The second half of another that was not used.
    half: Option<String>,
    step_up: Option<String>,
    replacement: Option<(String, String)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_serving_write_works_in_session_2_and_none_leaves_a_trace_r46_i6() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    for person in [&WONG, &LAU, &TAM, &CHEUNG] {
        cluster.sets_up_app(person).await;
    }
    cluster.sets_up_mail(&LEE).await;
    cluster.enter_firm(LONE_FIRM).await.unwrap();
    let boundary = cluster.session_2().await;

    let mut hands = Hands::default();
    for path in serving_writes() {
        Box::pin(try_in_session_2(&cluster, &path, &mut hands)).await;
    }
    cluster.at("2023-06-10 23:00").await;
    for token in &hands.tokens {
        cluster.dead(token).await;
    }
    let done = cluster.rolled_over(Answer::Waive).await;
    let forgotten = done.evidence.unwrap().forgotten;
    for kind in [
        "PasswordChanged",
        "ChannelReplaced",
        "Initiated",
        "AccountSuspended",
        "AccountCreated",
        "AccountRenamed",
        "CardRevoked",
        "ChangeRequested",
        "ParticipantSuspended",
    ] {
        let listed = forgotten
            .iter()
            .any(|change| plain(&change.kind) == plain(kind));
        assert!(listed, "{kind} is not on the list of what is forgotten");
    }

    // No trace: the accounts are what they were at the boundary, in both centres, and in a replay
    // of the exported log, where nothing of the branch stands (I4).
    let digests = cluster.agreed_digests().await;
    assert_eq!(digests.account, boundary.digests.unwrap().account);
    for node in [1, 4] {
        let log = cluster.export(node).await;
        let replayed = consensus::export::replay(&log, None).unwrap();
        let account = replayed.state.digests().account.to_string();
        assert_eq!(account, digests.account, "node {node}");
    }

    cluster.serves_at("2023-06-12 08:00").await;
    nothing_of_the_branch_is_accepted(&cluster, &hands).await;
    cluster.with_app(&WONG).await;
    cluster.with_app(&LAU).await;
    cluster.with_app(&CHEUNG).await;
    cluster.with_card(&CHAN).await;
    cluster.with_card(&NG).await;
    cluster.with_card(&HO).await;
    cluster.end().await;
}

/// The paths of all rpcs that can change the serving line; closing the session comes last.
fn serving_writes() -> Vec<String> {
    let table = Table::read().unwrap();
    let rpcs = table
        .rpcs()
        .filter(|rpc| rpc.writes && rpc.line == Target::Serving);
    let mut paths: Vec<String> = rpcs.map(|rpc| rpc.path.clone()).collect();
    assert!(paths.len() > 15, "{paths:?}");
    paths.sort_by_key(|path| path.ends_with("/CloseSession"));
    paths
}

/// A kind without its spelling.
fn plain(kind: &str) -> String {
    let letters = kind.chars().filter(char::is_ascii_alphabetic);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Calls the rpc so that it succeeds; panics if it does not, or if nobody knows how.
async fn try_in_session_2(cluster: &Cluster, path: &str, hands: &mut Hands) {
    let front = cluster.front();
    match path.trim_start_matches("/tidemark.") {
        "auth.v1.AuthService/BeginLogin" => {
            // Left open: it must not come to life on Monday.
            cluster.mailbox_is_read().await;
            let begun = cluster
                .begin(&front, &LEE, CCMS_REPORTS, OTP)
                .await
                .unwrap();
            let code = cluster.mailed(&LEE, "login-code").await;
            hands.logins.push((begun.login_id, code));
        }
        "auth.v1.AuthService/VerifyFactor" => {
            hands.tokens.push(cluster.with_card(&CHAN).await);
            hands.tokens.push(cluster.with_card(&MAK).await);
            hands.tokens.push(cluster.with_app(&WONG).await);
        }
        "auth.v1.AuthService/ResendCode" => {
            let begun = cluster
                .begin(&front, &LEE, CCMS_REPORTS, OTP)
                .await
                .unwrap();
            cluster.mailed(&LEE, "login-code").await;
            cluster.mailbox_is_read().await;
            let message = ResendCodeRequest {
                request_id: cluster.id(),
                login_id: begun.login_id.clone(),
                client_address: ADDRESS.to_owned(),
            };
            call(&front, |channel| {
                let message = message.clone();
                async move {
                    AuthServiceClient::new(channel)
                        .resend_code(request(message))
                        .await
                }
            })
            .await
            .unwrap();
            let code = cluster.mailed(&LEE, "login-code").await;
            hands.logins.push((begun.login_id, code));
        }
        "auth.v1.AuthService/Logout" => {
            let token = cluster.with_card(&CHAN).await;
            cluster.log_out(&token).await.unwrap();
            hands.tokens.push(token);
        }
        "auth.v1.AuthService/RequestActivation" => {
            cluster.ask_activation(&CHAN).await.unwrap();
            hands.activation = Some(cluster.mailed(&CHAN, "activation-code").await);
        }
        "auth.v1.AuthService/BeginInitiation" => {
            cluster.ask_activation(&MAK).await.unwrap();
            let code = cluster.mailed(&MAK, "activation-code").await;
            let proof = Proof::CardPassword(CARD.to_owned());
            let begun = cluster
                .begin_initiation(&MAK, &code, proof, OtpChannel::Email)
                .await
                .unwrap();
            let code = cluster.mailed(&MAK, "channel-code").await;
            hands.initiations.push((begun.initiation_id, code));
        }
        "auth.v1.AuthService/ConfirmInitiation" => {
            let proof = Proof::CardPassword(CARD.to_owned());
            cluster
                .initiate(&NG, proof, OtpChannel::Authenticator, OTP_S2)
                .await
                .unwrap();
            let by = By::App(APP);
            let token = cluster.log_in(&NG, CCMS_OTP, OTP_S2, by).await;
            hands.tokens.push(token.unwrap());
        }
        "auth.v1.AuthService/BeginStepUp" => {
            let token = cluster.with_app(&WONG).await;
            hands.step_up = Some(cluster.begin_step_up(&token).await.unwrap());
            hands.tokens.push(token);
        }
        "auth.v1.AuthService/VerifyStepUp" => {
            let token = cluster.with_app(&WONG).await;
            let step_up = cluster.begin_step_up(&token).await.unwrap();
            let code = cluster.app_code(&WONG, APP).await;
            cluster
                .verify_step_up(&token, &step_up, &code)
                .await
                .unwrap();
            hands.tokens.push(token);
        }
        "auth.v1.AuthService/BeginReplaceChannel" => {
            let token = cluster.with_app(&TAM).await;
            let step_up = cluster.begin_step_up(&token).await.unwrap();
            let code = cluster.app_code(&TAM, APP).await;
            cluster
                .verify_step_up(&token, &step_up, &code)
                .await
                .unwrap();
            let begun = cluster.begin_replace(&token, &step_up, OTP).await.unwrap();
            let enrolment = begun.authenticator.as_ref();
            let code = cluster.channel_code(&TAM, "never", enrolment).await;
            hands.replacement = Some((begun.replacement_id, code));
            hands.tokens.push(token);
        }
        "auth.v1.AuthService/ConfirmReplaceChannel" => {
            let token = cluster.with_app(&LAU).await;
            cluster.replace_app(&token, OTP, "app-s2").await.unwrap();
            let by = By::App("app-s2");
            let token = cluster.log_in(&LAU, CCMS_OTP, OTP, by).await.unwrap();
            hands.tokens.push(token);
        }
        "auth.v1.AuthService/ChangePassword" => {
            // Its own sign that it works comes with the next login, by the new one.
            let token = cluster.with_app(&CHEUNG).await;
            cluster.change_password(&token, OTP, OTP_S2).await.unwrap();
            let by = By::App(APP);
            let token = cluster
                .log_in(&CHEUNG, CHEUNG.otp_option(), OTP_S2, by)
                .await;
            hands.tokens.push(token.unwrap());
            let token = cluster.with_card(&TAM).await;
            cluster
                .change_password(&token, CARD, CARD_S2)
                .await
                .unwrap();
            let token = cluster.log_in(&TAM, CCMS_CARD, CARD_S2, By::Card).await;
            hands.tokens.push(token.unwrap());
        }
        "auth.v1.AuthService/EndOwnTokens" => {
            let token = cluster.with_card(&CHAN).await;
            let message = EndOwnTokensRequest {
                request_id: cluster.id(),
                token_id: String::new(),
                client_address: ADDRESS.to_owned(),
            };
            let ended = call(&front, |channel| {
                let message = message.clone();
                let text = token.text.clone();
                async move {
                    AuthServiceClient::new(channel)
                        .end_own_tokens(request_as(message, &text))
                        .await
                }
            })
            .await
            .unwrap();
            assert!(ended.ended_count > 0);
            hands.tokens.push(token);
        }
        "admin.v1.AccountService/SuspendAccount" => {
            let admin = cluster.with_card(&CHEUNG).await;
            cluster.suspend(&admin, &HO).await.unwrap();
            hands.tokens.push(admin);
        }
        "admin.v1.AccountService/UpdateAccount" => {
            let admin = cluster.with_card(&CHEUNG).await;
            cluster.rename(&admin, &LEE, "Lee", "").await.unwrap();
            hands.tokens.push(admin);
        }
        "admin.v1.AccountService/DisableMethod" => {
            let admin = cluster.with_card(&CHEUNG).await;
            let by = Admin::Token(&admin);
            let card = Method::Smartcard;
            let whose = HO.resource();
            let done = cluster.disable_method(by, &whose, card, false).await;
            done.unwrap();
            hands.tokens.push(admin);
        }
        "admin.v1.ParticipantService/SuspendParticipant" => {
            // Nobody's of the others, who go on.
            let done = cluster.suspend_firm(LONE_FIRM, false).await.unwrap();
            let state = done.participant.unwrap().state();
            assert_eq!(state, ParticipantState::Suspended);
        }
        "operator.v1.RevocationListService/SetRevocationListOnBranch" => {
            let now = domain::UnixMs(1_686_405_600_000);
            let valid = credential::authority::Validity {
                not_before: now,
                not_after: now.plus(48 * 3_600_000),
            };
            let list = cluster.card_authority().revoke(3, &[], valid).unwrap();
            cluster.set_revocations_on_branch(&list).await.unwrap();
        }
        "admin.v1.AccountService/RevokeCard" => {
            let admin = cluster.with_card(&CHEUNG).await;
            cluster.revoke_card(&admin, &LEE).await.unwrap();
            hands.tokens.push(admin);
        }
        "admin.v1.ChangeRequestService/CreateChangeRequest"
        | "admin.v1.ChangeRequestService/ApproveChangeRequest" => {
            let maker = cluster.with_card(&CHEUNG).await;
            let checker = cluster.with_card(&SIT).await;
            let id = format!("C00001N{}", hands.tokens.len());
            let resource = format!("participants/C00001/users/{id}");
            let act = Act::Create(NewAccount {
                title: "New".to_owned(),
                ..NewAccount::default()
            });
            cluster.given([&maker, &checker], &resource, act).await;
            hands.tokens.extend([maker, checker]);
        }
        "admin.v1.ChangeRequestService/RejectChangeRequest"
        | "admin.v1.ChangeRequestService/WithdrawChangeRequest" => {
            let maker = cluster.with_card(&CHEUNG).await;
            let checker = cluster.with_card(&SIT).await;
            let act = Act::Delete(Plain {});
            let resource = LEE.resource();
            let made = cluster.make(Admin::Token(&maker), &resource, act).await;
            let name = made.unwrap();
            if path.ends_with("RejectChangeRequest") {
                cluster.reject(Admin::Token(&checker), &name).await.unwrap();
            } else {
                cluster.withdraw(Admin::Token(&maker), &name).await.unwrap();
            }
            hands.tokens.extend([maker, checker]);
        }
        "admin.v1.ChangeRequestService/ReviewAct" => {
            let maker = cluster.with_card(&CHEUNG).await;
            let checker = cluster.with_card(&SIT).await;
            let ended = cluster.with_card(&CHAN).await;
            cluster.end_tokens_of(&maker, &CHAN).await.unwrap();
            let by = Admin::Token(&checker);
            let waiting = ActReviewState::Waiting;
            let acts = cluster.acts_to_review(by, "C00001", waiting).await.unwrap();
            let act = acts.last().unwrap();
            assert_eq!(act.account, CHAN.resource());
            let told = cluster.review(by, &act.name, false).await.unwrap();
            assert_eq!(told.carry_forward(), CarryForward::DiscardedAtRollover);
            hands.tokens.extend([maker, checker, ended]);
        }
        "admin.v1.AccountService/IssueActivationCode" => {
            let admin = cluster.with_card(&MAK).await;
            let half = cluster.issue_half(&admin, &YIP).await.unwrap();
            hands.half = Some(half.second_half);
            hands.tokens.push(admin);
        }
        "admin.v1.AccountService/EndAccountTokens" => {
            let token = cluster.with_card(&CHAN).await;
            let admin = cluster.with_card(&CHEUNG).await;
            assert!(cluster.end_tokens_of(&admin, &CHAN).await.unwrap() > 0);
            hands.tokens.extend([token, admin]);
        }
        "token.v1.TokenService/IntrospectToken" => {
            let token = cluster.with_card(&CHAN).await;
            let message = token.question(token.scope(), true);
            assert!(introspected(cluster, vec![message], One::Each).await);
            hands.tokens.push(token);
        }
        "token.v1.TokenService/BatchIntrospectTokens" => {
            let token = cluster.with_card(&CHAN).await;
            let message = token.question(token.scope(), true);
            assert!(introspected(cluster, vec![message.clone(), message], One::Batch).await);
            hands.tokens.push(token);
        }
        "operator.v1.SessionService/CloseSession" => {
            let closed = cluster.close().await.unwrap();
            assert_eq!(closed.session.unwrap().session, S2);
        }
        unknown => panic!("nobody has tried {unknown} in session 2: say here how"),
    }
}

#[derive(PartialEq)]
enum One {
    Each,
    Batch,
}

/// Whether the tokens are good, with activity.
async fn introspected(cluster: &Cluster, requests: Vec<IntrospectTokenRequest>, one: One) -> bool {
    let doors = at(cluster.back(), &cluster.centre());
    if one == One::Each {
        let answer = call(&doors, |channel| {
            let message = requests[0].clone();
            async move {
                TokenServiceClient::new(channel)
                    .introspect_token(request(message))
                    .await
            }
        });
        return answer.await.unwrap().introspection.unwrap().active;
    }
    let answer = call(&doors, |channel| {
        let message = BatchIntrospectTokensRequest {
            requests: requests.clone(),
        };
        async move {
            TokenServiceClient::new(channel)
                .batch_introspect_tokens(request(message))
                .await
        }
    });
    let found = answer.await.unwrap().introspections;
    found.len() == requests.len() && found.iter().all(|token| token.active)
}

/// On Monday: no token, code, half, id or password of the branch opens anything (I6).
async fn nothing_of_the_branch_is_accepted(cluster: &Cluster, hands: &Hands) {
    let front = cluster.front();
    assert!(hands.tokens.len() > 15);
    for token in &hands.tokens {
        assert!(!cluster.good(token, token.scope()).await);
        let own = call(&front, |channel| {
            let text = token.text.clone();
            async move {
                AuthServiceClient::new(channel)
                    .list_own_tokens(request_as(ListOwnTokensRequest::default(), &text))
                    .await
            }
        });
        assert_eq!(refused(own.await), "TOKEN_EXPIRED");
        let changed = cluster.change_password(token, CARD, CARD_S2).await;
        assert_eq!(refused(changed), "TOKEN_EXPIRED");
        let stepped = cluster.begin_step_up(token).await;
        assert_eq!(refused(stepped), "TOKEN_EXPIRED");
        assert_eq!(refused(cluster.suspend(token, &LEE).await), "TOKEN_EXPIRED");
        assert_eq!(
            refused(cluster.issue_half(token, &YIP).await),
            "TOKEN_EXPIRED"
        );
        assert_eq!(
            refused(cluster.end_tokens_of(token, &LEE).await),
            "TOKEN_EXPIRED"
        );
        assert_eq!(refused(cluster.log_out(token).await), "TOKEN_EXPIRED");
    }
    assert_eq!(hands.logins.len(), 2);
    for (login, code) in &hands.logins {
        let done = cluster
            .verify(&front, login, Factor::Code(code.clone()))
            .await;
        assert_eq!(refused(done), "CREDENTIALS_REJECTED");
    }
    assert_eq!(hands.initiations.len(), 1);
    for (initiation, code) in &hands.initiations {
        let done = cluster.confirm_initiation(initiation, code, OTP_S2).await;
        assert_eq!(refused(done), "PROCEDURE_ENDED");
    }
    let code = hands.activation.clone().unwrap();
    let proof = Proof::CardPassword(CARD.to_owned());
    let done = cluster
        .begin_initiation(&CHAN, &code, proof, OtpChannel::Email)
        .await;
    assert_eq!(refused(done), "CREDENTIALS_REJECTED");

    // Half a code of Saturday beside a mailed half of Monday.
    cluster.ask_activation(&YIP).await.unwrap();
    let code = cluster.mailed(&YIP, "activation-code").await;
    let proof = Proof::SecondHalf(hands.half.clone().unwrap());
    let done = cluster
        .begin_initiation(&YIP, &code, proof, OtpChannel::Email)
        .await;
    assert_eq!(refused(done), "CREDENTIALS_REJECTED");

    // Ids of the branch, with a token of Monday.
    let token = cluster.with_app(&WONG).await;
    let step_up = hands.step_up.clone().unwrap();
    let code = cluster.app_code(&WONG, APP).await;
    refused(cluster.verify_step_up(&token, &step_up, &code).await);
    refused(cluster.begin_replace(&token, &step_up, OTP).await);
    let token = cluster.with_app(&TAM).await;
    let (replacement, code) = hands.replacement.clone().unwrap();
    refused(cluster.confirm_replace(&token, &replacement, &code).await);

    for (person, password, by) in [
        (&CHEUNG, OTP_S2, By::App(APP)),
        (&NG, OTP_S2, By::App(APP)),
        (&LAU, OTP, By::App("app-s2")),
    ] {
        let done = cluster
            .log_in(person, person.otp_option(), password, by)
            .await;
        assert_eq!(refused(done), "CREDENTIALS_REJECTED", "{person:?}");
    }
    let done = cluster.log_in(&TAM, CCMS_CARD, CARD_S2, By::Card).await;
    assert_eq!(refused(done), "CREDENTIALS_REJECTED");
}
