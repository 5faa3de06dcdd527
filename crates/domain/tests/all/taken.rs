//! What one person takes away at once: a method, a token, a card by the revocation list; and what
//! nobody was heard for, counted.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::net::IpAddr;

use crate::world::*;
use domain::audit::{Kind, Repeat, Verdict};
use domain::change_request::Act;
use domain::factor::{CardProof, Method};
use domain::login::{Command as Login, Proof, UNHEARD_MAX};
use domain::migration::Switch;
use domain::outcome::Result as Came;
use domain::portal::LandingOption;
use domain::revocation::{List, Serial};
use domain::token::TokenId;
use domain::{Answer, CardNumber, Command, Outcome, Rejection, UnixMs, account};

const CARD: LandingOption = LandingOption::SmartcardOnlineAndReports;

fn refused(outcome: &Outcome) -> Rejection {
    match &outcome.result {
        Came::Rejected(rejection) => rejection.clone(),
        other => panic!("{other:?}"),
    }
}

fn off(who: &str, token: Option<TokenId>, from: Option<UnixMs>) -> Command {
    Command::Account(account::Command::DisableMethod {
        account: id(who),
        token,
        method: Method::Smartcard,
        from,
        reason: "cards returned".to_owned(),
    })
}

fn switch(world: &World, who: &str) -> Switch {
    let account = world.state.account(&id(who)).unwrap();
    account.methods.get(Method::Smartcard)
}

#[test]
fn one_person_switches_a_method_off_and_two_switch_it_on() {
    let mut world = World::in_session_1();
    let (maker, checker) = (world.card_token("AD1"), world.card_token("AD2"));
    world.done(&front(), off("AU1", Some(maker), None));
    assert_eq!(switch(&world, "AU1"), Switch::OffFrom(world.now));
    let row = world.rows.last().unwrap();
    assert_eq!((row.kind, row.by.as_str()), (Kind::MethodsSet, "AD1"));
    let login = world.login("AU1", CARD, "friday");
    let Came::FailedAttempt(Answer::Refused(told)) = &login.result else {
        panic!("{login:?}");
    };
    assert!(matches!(**told, Rejection::MethodOff { .. }));
    // That it was tried, with the right factors, and what was told, is on record.
    let row = world.rows.last().unwrap();
    assert_eq!(
        (row.kind, &row.verdict),
        (Kind::LoginVerified, &Verdict::Failed)
    );
    assert_eq!(row.detail.as_deref(), Some("refused: MethodOff"));
    let again = world.rejected(&front(), off("AU1", Some(maker), None));
    assert_eq!(again, Rejection::AlreadySo);

    let allow = Act::AllowMethod(Method::Smartcard);
    let (request, made) = world.make(&front(), Some(maker), "AU1", allow.clone());
    assert!(matches!(made.result, Came::Done(_)));
    assert!(
        !issued(&world.login("AU1", CARD, "friday")),
        "asked for is not given"
    );
    let own = world.approve_change(&front(), Some(maker), request);
    assert_eq!(refused(&own), Rejection::MakerIsChecker);
    world.approve_change(&front(), Some(checker), request);
    assert_eq!(switch(&world, "AU1"), Switch::On);
    assert!(issued(&world.login("AU1", CARD, "friday")));
    let (_, again) = world.make(&front(), Some(maker), "AU1", allow);
    assert_eq!(refused(&again), Rejection::AlreadySo);
}

#[test]
fn a_method_is_taken_from_ones_own_people_alone_and_a_later_time_gives_nothing_back() {
    let mut world = World::in_session_1();
    let admin = world.card_token("AD1");
    for who in ["BU1", "AD2", "NOBODY"] {
        let refusal = world.rejected(&front(), off(who, Some(admin), None));
        assert_eq!(refusal, Rejection::OtherParticipant, "{who}");
    }
    let user = world.card_token("AU1");
    let refusal = world.rejected(&front(), off("AU2", Some(user), None));
    assert_eq!(refusal, Rejection::NotAllowed);
    world.done(&operator("ann"), off("AD2", None, None));
    // In the future: on until then, and then off.
    let later = world.now.plus(60_000);
    world.done(&front(), off("AU1", Some(admin), Some(later)));
    assert!(issued(&world.login("AU1", CARD, "friday")));
    world.at(later);
    assert!(!issued(&world.login("AU1", CARD, "friday")));
    let later = world.now.plus(60_000);
    let before = world.state.digests().account;
    let refusal = world.rejected(&front(), off("AU1", Some(admin), Some(later)));
    assert_eq!(refusal, Rejection::AlreadySo);
    assert_eq!(world.state.digests().account, before);
}

#[test]
fn a_method_switched_off_on_a_branch_must_be_repeated() {
    let mut world = World::in_session_1();
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000);
    let mut branch = world.branch();
    let admin = branch.card_token("AD1");
    branch.done(&front(), off("AU1", Some(admin), None));
    let repeat = branch.rows.last().unwrap().repeat;
    assert_eq!(repeat, Some(Repeat::MethodDisabled));
}

#[test]
fn one_of_an_accounts_tokens_is_ended_and_no_other_account_s_s33() {
    let mut world = World::in_session_1();
    let admin = world.card_token("AD1");
    let [one, two] = [world.card_token("AU1"), world.card_token("AU1")];
    let other = world.card_token("AU2");
    let end = |token| {
        Command::Account(account::Command::EndTokens {
            account: id("AU1"),
            one: Some(token),
            token: Some(admin),
            reason: String::new(),
        })
    };
    let ended = |count| Answer::TokensEnded { count };
    assert_eq!(world.done(&front(), end(other)), ended(0));
    assert_eq!(world.done(&front(), end(one)), ended(1));
    assert_eq!(world.done(&front(), end(one)), ended(0));
    let live = |world: &World, token| world.state.tokens().get(&token, world.now).is_some();
    assert!(!live(&world, one));
    assert!(live(&world, two) && live(&world, other));
}

fn list(world: &World, number: u64, serials: &[u8]) -> Command {
    Command::SetRevocationList(Box::new(List {
        number,
        this_update: world.now,
        next_update: world.now.plus(3_600_000),
        serials: serials.iter().map(|serial| Serial(vec![*serial])).collect(),
    }))
}

/// The right card of AU1, as the edge found it before the list changed.
fn shown(serials: &[u8]) -> Proof {
    Proof::Card(Some(CardProof {
        number: CardNumber::parse("CARD-AU1").unwrap(),
        serials: serials.iter().map(|serial| Serial(vec![*serial])).collect(),
    }))
}

#[test]
fn a_login_that_races_the_revocation_of_its_card_or_issuer_is_rejected_s36() {
    for revoked in [3, 7] {
        let mut world = World::in_session_1();
        world.begin_login("AU1", CARD, "friday");
        let set = list(&world, 1, &[1, revoked]);
        world.done(&operator("ann"), set);
        let late = world.verify_login(shown(&[3, 7]));
        assert_eq!(
            late.result,
            Came::FailedAttempt(Answer::CredentialsRejected)
        );
        // Another card's certificate is good still.
        world.begin_login("AU1", CARD, "friday");
        assert!(issued(&world.verify_login(shown(&[4, 8]))));
    }
}

#[test]
fn a_branch_takes_a_list_of_its_own_and_the_main_line_keeps_its() {
    let mut world = World::in_session_1();
    let set = list(&world, 1, &[1]);
    world.done(&operator("ann"), set);
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000);
    let mut branch = world.branch();
    let set = list(&world, 2, &[3]);
    world.done(&operator("ann"), set);
    branch.begin_login("AU1", CARD, "friday");
    assert!(
        issued(&branch.verify_login(shown(&[3]))),
        "nothing flows from line to line"
    );
    let set = list(&branch, 2, &[3]);
    branch.done(&operator("ann"), set);
    branch.begin_login("AU1", CARD, "friday");
    assert!(!issued(&branch.verify_login(shown(&[3]))));
    let set = list(&branch, 9, &[]);
    branch.done(&operator("ann"), set);
    assert_eq!(world.state.revocations().unwrap().number, 2);
    let by_person = list(&branch, 10, &[]);
    assert_eq!(branch.rejected(&front(), by_person), Rejection::NotAllowed);
}

#[test]
fn attempts_that_nobody_was_heard_for_are_counted_by_address() {
    let mut world = World::in_session_1();
    let at: IpAddr = "203.0.113.9".parse().unwrap();
    let counts = vec![(Some(at), 17), (None, 4)];
    let unheard = |counts| Command::Login(Login::Unheard { counts });
    let before = world.state.digests().account;
    world.done(&node(), unheard(counts.clone()));
    let told: Vec<_> = world.rows.iter().rev().take(2).collect();
    assert!(told.iter().all(|row| row.kind == Kind::AttemptsUnheard));
    assert_eq!(told[1].detail.as_deref(), Some("17 from 203.0.113.9"));
    assert_eq!(told[0].detail.as_deref(), Some("4 from other addresses"));
    assert_eq!(world.state.digests().account, before);
    for actor in [front(), back(), operator("ann")] {
        let refusal = world.rejected(&actor, unheard(counts.clone()));
        assert_eq!(refusal, Rejection::NotAllowed);
    }
    let too_many = vec![(Some(at), 1); UNHEARD_MAX + 1];
    assert_eq!(
        world.rejected(&node(), unheard(too_many)),
        Rejection::NotAllowed
    );
}
