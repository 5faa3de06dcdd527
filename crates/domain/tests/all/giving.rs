//! Who may give access: what a delegated administrator proves again first, what is the clearing
//! house's alone, and whose accounts are whose (LOGIN.md, "Administration").
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::account::{self, Class, Imported};
use domain::change::Act as Proved;
use domain::change_request::Act;
use domain::factor::Method;
use domain::outcome::Result as Came;
use domain::portal::LandingOption;
use domain::{Answer, Carry, Command, Digest, Outcome, Rejection};

const CARRIED: Came = Came::Done(Answer::Changed {
    carry: Carry::CarriedForward,
});

fn refused(outcome: &Outcome) -> Rejection {
    match &outcome.result {
        Came::Rejected(rejection) => rejection.clone(),
        other => panic!("{other:?}"),
    }
}

fn two_admins() -> (World, Digest, Digest) {
    let mut world = World::in_session_1();
    let (maker, checker) = (world.card_token("AD1"), world.card_token("AD2"));
    (world, maker, checker)
}

#[test]
fn a_delegated_administrator_approves_after_a_step_up_for_that_very_request_once() {
    let (mut world, maker, checker) = two_admins();
    let email = |address: &str| Act::SetEmail(address.to_owned());
    let (first, _) = world.make(&front(), Some(maker), "AU1", email("a@example.com"));
    let (second, _) = world.make(&front(), Some(maker), "AU2", email("b@example.com"));
    let before = world.state.digests().account;
    let approve = |world: &mut World, token, id| {
        let approved = world.approve_as_it_is(&front(), Some(token), id);
        approved.result
    };
    let required = || Came::Rejected(Rejection::StepUpRequired);
    assert_eq!(approve(&mut world, checker, first), required());
    // For another request, another act, by another token of the same person, or too long ago.
    for act in [
        Proved::ApproveChange(second),
        Proved::IssueActivation(id("AU1")),
    ] {
        let proved = world.step_up(checker, act);
        assert!(matches!(proved.result, Came::Done(_)), "{proved:?}");
        assert_eq!(approve(&mut world, checker, first), required());
    }
    let other = world.card_token("AD2");
    world.step_up(other, Proved::ApproveChange(first));
    assert_eq!(approve(&mut world, checker, first), required());
    world.step_up(checker, Proved::ApproveChange(first));
    let life = world.state.policy().step_up_life_ms;
    assert_eq!(life, 5 * MINUTE);
    let mut late = world.clone();
    late.at(late.now.plus(life));
    assert_eq!(approve(&mut late, checker, first), required());
    assert_eq!(world.state.digests().account, before);
    assert_eq!(approve(&mut world, checker, first), CARRIED);
    // It is used up.
    assert_eq!(approve(&mut world, checker, second), required());
}

#[test]
fn a_refused_approval_leaves_the_step_up_as_it_was() {
    let (mut world, maker, checker) = two_admins();
    let (request, _) = world.make(&front(), Some(maker), "AU1", Act::ResetBoth);
    assert!(
        world
            .state
            .change_requests()
            .get(&request, world.now)
            .is_none()
    );
    world.initiate("AU1", "first", false);
    let (request, _) = world.make(&front(), Some(maker), "AU1", Act::ResetBoth);
    world.step_up(checker, Proved::ApproveChange(request));
    let mut gone = world.clone();
    gone.revoke_otp("AU1");
    let approved = gone.approve_as_it_is(&front(), Some(checker), request);
    assert_eq!(refused(&approved), Rejection::InitiationRequired);
    gone.initiate("AU1", "second", false);
    let approved = gone.approve_as_it_is(&front(), Some(checker), request);
    assert_eq!(approved.result, CARRIED);
}

#[test]
fn a_delegated_administrator_issues_an_activation_code_after_a_step_up_s24() {
    let (mut world, admin, _) = two_admins();
    let issue = |world: &mut World| world.issue(&front(), Some(admin), "AU3");
    assert_eq!(refused(&issue(&mut world)), Rejection::StepUpRequired);
    world.step_up(admin, Proved::IssueActivation(id("AU1")));
    assert_eq!(refused(&issue(&mut world)), Rejection::StepUpRequired);
    assert!(world.state.activation(&id("AU3"), world.now).is_none());
    world.step_up(admin, Proved::IssueActivation(id("AU3")));
    let issued = issue(&mut world);
    assert!(matches!(
        issued.result,
        Came::Done(Answer::HalfIssued { .. })
    ));
    assert_eq!(refused(&issue(&mut world)), Rejection::StepUpRequired);
}

#[test]
fn a_step_up_takes_the_factor_and_not_the_token_alone() {
    let mut world = World::in_session_1();
    world.initiate("AD2", "first", false);
    world.at(world.now.plus(MINUTE));
    world.login("AD2", LandingOption::OtpSecurity, "first");
    let token = *world.tokens.last().unwrap();
    let procedure = domain::ProcedureId(world.next_id());
    let begin = domain::change::Command::BeginStepUp {
        procedure,
        token,
        act: Proved::IssueActivation(id("AU3")),
        code: None,
        nonce: [2; 16],
    };
    world.done(&front(), Command::Change(begin));
    let issued = world.issue(&front(), Some(token), "AU3");
    assert_eq!(
        refused(&issued),
        Rejection::StepUpRequired,
        "begun is not proved"
    );
    // The code that logged in was used; the next one proves.
    for (wait, proves) in [(0, false), (MINUTE, true)] {
        world.at(world.now.plus(wait));
        let proof = domain::change::StepUpProof::Code(world.code("AD2"));
        let verify = domain::change::Command::VerifyStepUp {
            procedure,
            token,
            proof,
        };
        let verified = world.ask(&front(), Command::Change(verify));
        assert_eq!(matches!(verified.result, Came::Done(_)), proves);
        let mut tried = world.clone();
        let issued = tried.issue(&front(), Some(token), "AU3");
        assert_eq!(matches!(issued.result, Came::Done(_)), proves);
    }
}

/// The acts that bring a card, with the verifier of its password.
fn with_a_card(firm: &str, new: &str) -> [(String, Act); 2] {
    let number = |number: &str| domain::CardNumber::parse(number).unwrap();
    let create = Act::Create(Box::new(Imported {
        id: id(new),
        participant: domain::ParticipantId::parse(firm).unwrap(),
        class: Class::User,
        title: new.to_owned(),
        email: None,
        card: Some((number("CHOSEN-1"), sealed("chosen"))),
    }));
    let register = Act::RegisterCard {
        number: number("CHOSEN-2"),
        password: sealed("chosen"),
    };
    [(new.to_owned(), create), (format!("{firm}U3"), register)]
}

#[test]
fn no_delegated_administrator_brings_a_card_or_its_verifier_s25() {
    let (mut world, maker, checker) = two_admins();
    for (who, act) in with_a_card("A", "AU9") {
        let (request, made) = world.make(&front(), Some(maker), &who, act);
        assert_eq!(refused(&made), Rejection::NotAllowed);
        assert!(
            world
                .state
                .change_requests()
                .get(&request, world.now)
                .is_none()
        );
    }
    // Nor does one check what an operator made; two operators bring a user's card.
    let [_, (who, register)] = with_a_card("A", "AU9");
    let (request, made) = world.make(&operator("ann"), None, &who, register);
    assert_eq!(made.result, CARRIED);
    let before = world.state.digests().account;
    let by_admin = world.approve_change(&front(), Some(checker), request);
    assert_eq!(refused(&by_admin), Rejection::NotAllowed);
    let own = world.approve_change(&operator("ann"), None, request);
    assert_eq!(refused(&own), Rejection::MakerIsChecker);
    assert_eq!(world.state.digests().account, before);
    let approved = world.approve_change(&operator("ben"), None, request);
    assert_eq!(approved.result, CARRIED);
    assert!(issued(&world.login_with(&who, "CHOSEN-2", "chosen")));
}

#[test]
fn an_operator_gives_nothing_to_users_whom_an_administrator_looks_after_r9() {
    let (mut world, admin, _) = two_admins();
    let ann = operator("ann");
    let rename = account::Command::SetTitle {
        account: id("AU3"),
        token: None,
        title: "somebody else".into(),
        seen: None,
    };
    let before = world.state.digests().account;
    let issued = world.issue(&ann, None, "AU3");
    assert_eq!(refused(&issued), Rejection::LookedAfterByAdmins);
    assert_eq!(
        world.rejected(&ann, Command::Account(rename.clone())),
        Rejection::LookedAfterByAdmins
    );
    let (_, made) = world.make(&ann, None, "AU3", Act::Unlock(Method::Otp));
    assert_eq!(refused(&made), Rejection::LookedAfterByAdmins);
    assert_eq!(world.state.digests().account, before);
    assert!(world.state.activation(&id("AU3"), world.now).is_none());
    // Its administrators are the operator's, and so are users whom no administrator is left for.
    world.done(&ann, Command::Account(rename_of("AD1")));
    world.suspend(&ann, None, "AD1");
    let issued = world.issue(&ann, None, "AU3");
    assert_eq!(
        refused(&issued),
        Rejection::LookedAfterByAdmins,
        "one is left"
    );
    world.suspend(&ann, None, "AD2");
    assert!(matches!(
        world.issue(&ann, None, "AU3").result,
        Came::Done(_)
    ));
    world.done(&ann, Command::Account(rename));
    assert!(world.state.tokens().get(&admin, world.now).is_none());
    // Taking away is anybody's who may, at once.
    assert_eq!(world.suspend(&ann, None, "BU1").result, CARRIED);
}

fn rename_of(who: &str) -> account::Command {
    account::Command::SetTitle {
        account: id(who),
        token: None,
        title: "another name".into(),
        seen: None,
    }
}
