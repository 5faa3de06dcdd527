//! What one person took away at once is on a list until another person has looked at it (LOGIN.md,
//! "Administration"; R50, S34).
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::approval::retire;
use crate::world::*;
use domain::account::review::{KEPT_MS, REVIEWS_MAX, Review, ReviewId};
use domain::account::{self, By};
use domain::audit::{Kind, Repeat};
use domain::change_request::Act;
use domain::factor::Method;
use domain::migration::{Change, Subject, Switch};
use domain::outcome::Result as Came;
use domain::participant::Wanted;
use domain::registration::Holder;
use domain::token::TokenId;
use domain::{
    Actor, Answer, Carry, Command, FrontEndId, LineId, OperatorId, ParticipantId, Rejection, Row,
    State, migration,
};

fn changed(carry: Carry) -> Answer {
    Answer::Changed { carry }
}

fn ann() -> By {
    By::Operator(OperatorId::parse("ann").unwrap())
}

fn listed(world: &World) -> Vec<Review> {
    world.state.reviews(world.now).cloned().collect()
}

fn waiting(world: &World) -> Vec<Review> {
    let mut all = listed(world);
    all.retain(|review| review.reviewed.is_none());
    all
}

fn review(act: ReviewId, token: Option<TokenId>) -> Command {
    Command::Account(account::Command::Review { act, token })
}

fn suspend(who: &str, token: Option<TokenId>) -> Command {
    Command::Account(account::Command::Suspend {
        account: id(who),
        token,
        reason: "has left".to_owned(),
    })
}

fn revoke_card(who: &str, token: Option<TokenId>) -> Command {
    Command::Account(account::Command::RevokeCard {
        account: id(who),
        token,
        reason: "lost".to_owned(),
    })
}

fn disable(who: &str, token: Option<TokenId>) -> Command {
    Command::Account(account::Command::DisableMethod {
        account: id(who),
        token,
        method: Method::Smartcard,
        from: None,
        reason: "cards returned".to_owned(),
    })
}

fn end_tokens(who: &str, token: Option<TokenId>) -> Command {
    Command::Account(account::Command::EndTokens {
        account: id(who),
        one: None,
        token,
        reason: "a forgotten screen".to_owned(),
    })
}

fn revoke_otp(who: &str) -> Command {
    Command::Account(account::Command::RevokeOtp {
        account: id(who),
        reason: "stolen".to_owned(),
    })
}

fn suspend_firm(firm: &str) -> Command {
    Command::Participant(domain::participant::Command::Suspend {
        participant: ParticipantId::parse(firm).unwrap(),
        reason: "did not pay".to_owned(),
    })
}

/// Carries an act out and gives what it put on the list, which is under the audit's number.
fn noted(world: &mut World, actor: &Actor, act: Command) -> Review {
    let before = listed(world).len();
    world.done(actor, act.clone());
    let after = listed(world);
    assert_eq!(after.len(), before + 1, "{act:?}");
    let noted = after.last().unwrap().clone();
    let row = world.rows.last().unwrap();
    assert_eq!((noted.id.0, noted.kind), (row.sequence, row.kind));
    assert_eq!(noted.account, row.account, "{act:?}");
    assert_eq!(noted.participant, row.participant, "{act:?}");
    assert_eq!((noted.at, &noted.reviewed), (world.now, &None));
    noted
}

#[test]
fn each_act_of_one_person_that_takes_access_away_waits_for_another_person() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    let admin = world.card_token("AD1");
    world.card_token("AU2");
    let by_admin = By::Account(id("AD1"));
    for (act, kind, reason) in [
        (
            end_tokens("AU2", Some(admin)),
            Kind::TokensEnded,
            "a forgotten screen",
        ),
        (
            disable("AU2", Some(admin)),
            Kind::MethodsSet,
            "Smartcard off: cards returned",
        ),
        (revoke_card("AU2", Some(admin)), Kind::CardRevoked, "lost"),
        (
            suspend("AU2", Some(admin)),
            Kind::AccountSuspended,
            "has left",
        ),
    ] {
        let noted = noted(&mut world, &front(), act);
        assert_eq!((noted.kind, &noted.by), (kind, &by_admin));
        assert_eq!(noted.account, Some(id("AU2")));
        assert_eq!(noted.reason, reason);
    }
    world.card_token("BD1");
    let front_end = Holder::FrontEnd(FrontEndId::parse("web").unwrap());
    for (act, kind) in [
        (end_tokens("BD1", None), Kind::TokensEnded),
        (disable("BD1", None), Kind::MethodsSet),
        (revoke_card("BD1", None), Kind::CardRevoked),
        (suspend("BD1", None), Kind::AccountSuspended),
        (revoke_otp("AU1"), Kind::OtpRevoked),
        (suspend_firm("B"), Kind::ParticipantSuspended),
        (retire(front_end), Kind::CallerRetired),
    ] {
        let noted = noted(&mut world, &operator("ann"), act);
        assert_eq!((noted.kind, noted.by), (kind, ann()));
    }
    // What took nothing away puts nothing there.
    let before = listed(&world);
    for act in [
        suspend("BD1", None),
        revoke_card("BD1", None),
        disable("BD1", None),
        revoke_otp("AU1"),
        suspend_firm("B"),
        suspend("NOBODY", None),
    ] {
        world.rejected(&operator("ann"), act);
    }
    let none = world.done(&operator("ann"), end_tokens("BD1", None));
    assert_eq!(none, Answer::TokensEnded { count: 0 });
    assert_eq!(listed(&world), before);
}

#[test]
fn what_two_people_wanted_waits_for_nobody_s34() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    let (maker, checker) = (world.card_token("AD1"), world.card_token("AD2"));
    for act in [Act::ResetBoth, Act::Delete] {
        let (request, _) = world.make(&front(), Some(maker), "AU1", act.clone());
        let done = world.approve_change(&front(), Some(checker), request);
        assert!(matches!(done.result, Came::Done(_)), "{act:?}: {done:?}");
    }
    for who in ["ann", "ben"] {
        world.done(
            &operator(who),
            Command::Migration(migration::Command::Say {
                change: Change::Switch {
                    of: Subject::Participant(ParticipantId::parse("B").unwrap()),
                    method: Method::Otp,
                    switch: Switch::Off,
                },
                reason: "as agreed".to_owned(),
            }),
        );
        world.say_of_firm(who, "B", Wanted::Delete);
    }
    let firm = ParticipantId::parse("B").unwrap();
    assert!(world.state.participant(&firm).unwrap().deleted());
    // Nor does what a person ends of its own.
    let own = world.card_token("AU2");
    world.end(own);
    assert!(listed(&world).is_empty());
}

#[test]
fn who_took_access_away_cannot_review_it_and_another_person_can_once_r50() {
    let mut world = World::in_session_1();
    let [one, two] = [world.card_token("AD1"), world.card_token("AD2")];
    let (user, stranger) = (world.card_token("AU1"), world.card_token("BD1"));
    let act = noted(&mut world, &front(), suspend("AU2", Some(one))).id;
    let account = world.state.digests().account;

    let told = world.rejected(&front(), review(act, Some(one)));
    assert_eq!(told, Rejection::MakerIsChecker);
    let told = world.rejected(&front(), review(act, Some(stranger)));
    assert_eq!(told, Rejection::NoSuchReview, "another firm's is not there");
    let told = world.rejected(&front(), review(ReviewId(999_999), Some(two)));
    assert_eq!(told, Rejection::NoSuchReview);
    // A user reviews nothing (R50); nor does anybody in another's name, or who is no person.
    for (actor, token) in [
        (front(), Some(user)),
        (front(), None),
        (operator("ann"), Some(two)),
        (node(), None),
        (back(), None),
    ] {
        let told = world.rejected(&actor, review(act, token));
        assert_eq!(told, Rejection::NotAllowed, "{actor:?}");
    }
    assert_eq!(waiting(&world).len(), 1);

    let done = world.done(&front(), review(act, Some(two)));
    assert_eq!(done, changed(Carry::CarriedForward));
    let row = world.rows.last().unwrap();
    assert_eq!((row.kind, row.by.as_str()), (Kind::ActReviewed, "AD2"));
    assert_eq!(row.account, Some(id("AU2")));
    let said = format!("AccountSuspended ({act}) by AD1: has left");
    assert_eq!(row.detail.as_deref(), Some(said.as_str()));
    let by = By::Account(id("AD2"));
    assert_eq!(listed(&world)[0].reviewed, Some((by, world.now)));
    for again in [(front(), Some(two)), (operator("ann"), None)] {
        let told = world.rejected(&again.0, review(act, again.1));
        assert_eq!(told, Rejection::AlreadySo);
    }
    // It undid nothing, and is no part of any account.
    assert_eq!(world.state.digests().account, account);
    assert!(!world.state.account(&id("AU2")).unwrap().active());

    // It is there to be read for a month.
    world.at(world.now.plus(KEPT_MS - 1));
    assert_eq!(listed(&world).len(), 1);
    world.at(world.now.plus(1));
    assert!(listed(&world).is_empty());
}

#[test]
fn an_operator_reviews_whatever_another_person_did_and_an_administrator_its_users_alone_r9() {
    let mut world = World::in_session_1();
    let [one, two] = [world.card_token("AD1"), world.card_token("AD2")];
    let of_admin = noted(&mut world, &front(), suspend("AU1", Some(one))).id;
    let of_user = noted(&mut world, &operator("ann"), suspend("AU2", None)).id;
    let of_da = noted(&mut world, &operator("ann"), suspend("BD1", None)).id;
    let of_firm = noted(&mut world, &operator("ann"), suspend_firm("B")).id;
    for act in [of_da, of_firm] {
        let told = world.rejected(&front(), review(act, Some(two)));
        assert_eq!(told, Rejection::NoSuchReview);
    }
    for act in [of_user, of_da, of_firm] {
        let own = world.rejected(&operator("ann"), review(act, None));
        assert_eq!(own, Rejection::MakerIsChecker);
    }
    for act in [of_admin, of_da, of_firm] {
        world.done(&operator("ben"), review(act, None));
    }
    world.done(&front(), review(of_user, Some(two)));
    assert!(waiting(&world).is_empty());
}

/// The world with as many acts on the list as there is room for, from before all that happened;
/// every second one was reviewed if asked for.
fn filled(mut world: World, half_reviewed: bool) -> World {
    let waits = |number: u64| Review {
        id: ReviewId(number),
        kind: Kind::TokensEnded,
        account: Some(id("BU1")),
        participant: Some(ParticipantId::parse("B").unwrap()),
        class: Some(account::Class::User),
        reason: format!("act {number}"),
        by: ann(),
        at: world.now,
        reviewed: (half_reviewed && number % 2 == 1).then(|| (ann(), world.now)),
    };
    // Numbers that the audit has yet to give: none of them is an act's of this world.
    let first = world.state.header().audit.sequence + 1_000;
    let last = first + u64::try_from(REVIEWS_MAX).unwrap();
    let rows = (first..last).map(|number| Row::Review(Box::new(waits(number))));
    let all: Vec<Row> = world.state.rows().chain(rows).collect();
    world.state = State::from_rows(all).unwrap();
    world
}

#[test]
fn a_full_list_refuses_no_act_and_the_oldest_goes_with_a_record_of_it() {
    let mut world = filled(World::in_session_1(), false);
    let oldest = waiting(&world)[0].clone();
    let admin = world.card_token("AD1");
    let before = world.rows.len();
    world.done(&front(), suspend("AU1", Some(admin)));
    assert!(!world.state.account(&id("AU1")).unwrap().active());
    let kinds: Vec<Kind> = world.rows[before..].iter().map(|row| row.kind).collect();
    assert_eq!(kinds, [Kind::AccountSuspended, Kind::ActUnreviewed]);
    let gone = world.rows.last().unwrap();
    assert_eq!(gone.account, Some(id("BU1")));
    assert!(!format!("{gone:?}").contains("AD1"), "firm B reads it");
    let detail = gone.detail.clone().unwrap();
    let named = format!("TokensEnded ({}) by operator ann: act ", oldest.id);
    assert!(detail.starts_with(&named), "{detail}");
    assert!(detail.ends_with("nobody reviewed it in time"), "{detail}");
    let left = waiting(&world);
    assert_eq!(left.len(), REVIEWS_MAX);
    assert!(left.iter().all(|review| review.id != oldest.id));
    let number = ReviewId(world.rows[before].sequence);
    assert!(left.iter().any(|review| review.id == number));
}

#[test]
fn a_firm_that_fills_the_list_pushes_nothing_of_another_firm_off() {
    let mut world = World::in_session_1();
    let other = noted(&mut world, &operator("ann"), suspend("AU1", None)).id;
    let mut world = filled(world, false);
    // Firm A's act is the oldest of all, and B has more than its share.
    let act = |world: &mut World, who| world.done(&operator("ann"), suspend(who, None));
    for who in ["BU1", "BU2", "BU3"] {
        act(&mut world, who);
        let rows = world.rows.iter().rev();
        let told: Vec<_> = rows
            .take_while(|row| row.kind == Kind::ActUnreviewed)
            .collect();
        assert!(!told.is_empty());
        for row in told {
            assert_eq!(row.participant, Some(ParticipantId::parse("B").unwrap()));
        }
        let left = waiting(&world);
        assert_eq!(left.len(), REVIEWS_MAX);
        assert!(left.iter().any(|review| review.id == other));
    }
    // Whoever has less than its share takes the oldest of all.
    act(&mut world, "AU2");
    assert!(waiting(&world).iter().all(|review| review.id != other));
}

#[test]
fn what_was_reviewed_makes_room_before_what_was_not() {
    let mut world = filled(World::in_session_1(), true);
    let waits = waiting(&world).len();
    let before = world.rows.len();
    world.done(&operator("ann"), suspend("AU1", None));
    assert_eq!(world.rows.len(), before + 1, "nothing went unreviewed");
    assert_eq!(waiting(&world).len(), waits + 1);
    assert_eq!(listed(&world).len(), REVIEWS_MAX);
}

#[test]
fn a_branch_has_a_list_of_its_own_and_every_act_to_be_repeated_is_on_it_r44() {
    let mut world = World::in_session_1();
    let main = noted(&mut world, &operator("ann"), suspend("AU1", None)).id;
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000);
    let mut branch = world.branch();
    assert_eq!(
        listed(&branch),
        listed(&world),
        "it begins with the main line's"
    );
    branch.initiate("AU2", "first", true);
    let done = branch.done(&operator("ben"), review(main, None));
    assert_eq!(done, changed(Carry::DiscardedAtRollover));
    branch.card_token("BU1");
    for act in [
        end_tokens("BU1", None),
        disable("BU1", None),
        revoke_card("BU1", None),
        revoke_otp("AU2"),
        suspend("BD1", None),
        suspend_firm("B"),
    ] {
        noted(&mut branch, &operator("ann"), act);
    }
    let taken = |repeat: Option<Repeat>| match repeat {
        Some(
            Repeat::Suspension
            | Repeat::ParticipantSuspension
            | Repeat::OtpRevocation
            | Repeat::CardRevocation
            | Repeat::MethodDisabled,
        ) => true,
        Some(Repeat::PasswordCompromised | Repeat::ChannelCompromised) | None => false,
    };
    let rows = branch.rows.iter().filter(|row| taken(row.repeat));
    let repeated: Vec<u64> = rows.map(|row| row.sequence).collect();
    assert_eq!(repeated.len(), 5);
    let there = waiting(&branch);
    for sequence in repeated {
        assert!(there.iter().any(|review| review.id.0 == sequence));
    }
    // An emergency on the fenced main line is on that one's.
    let emergency = noted(&mut world, &operator("ann"), suspend("BD1", None)).id;
    branch.close("S2", SATURDAY_2300);
    world.close("S2", SATURDAY_2300);
    let evidence = branch.evidence();
    let replies = waive(&evidence);
    let done = world.roll_over(evidence, replies);
    assert!(matches!(done.result, Came::Done(_)), "{done:?}");
    let left: Vec<ReviewId> = waiting(&world).iter().map(|review| review.id).collect();
    assert_eq!(left, [main, emergency], "nothing of the branch's is left");
    assert_eq!(world.line, LineId::Main);
}

#[test]
fn a_list_survives_its_rows_and_a_state_from_before_there_was_one_reads() {
    let mut world = World::in_session_1();
    let act = noted(&mut world, &operator("ann"), suspend("AU1", None)).id;
    noted(&mut world, &operator("ann"), suspend_firm("B"));
    world.done(&operator("ben"), review(act, None));
    let stored: Vec<Row> = world
        .state
        .rows()
        .map(|row| domain::encoding::decode(&domain::encoding::encode(&row)).unwrap())
        .collect();
    let restored = State::from_rows(stored.clone()).unwrap();
    assert_eq!(restored.digests(), world.state.digests());
    let again: Vec<Review> = restored.reviews(world.now).cloned().collect();
    assert_eq!(again, listed(&world));

    let former = stored
        .into_iter()
        .filter(|row| !matches!(row, Row::Review(_)));
    let former = State::from_rows(former).unwrap();
    assert_eq!(former.reviews(world.now).count(), 0);
    assert_eq!(former.digests().account, world.state.digests().account);
    assert_ne!(former.digests().full, world.state.digests().full);
}

#[test]
fn the_entry_of_a_review_keeps_its_form_and_older_endings_of_tokens_read() {
    let command = review(ReviewId(812), None);
    let text = serde_json::to_string(&command).unwrap();
    assert_eq!(text, r#"{"Account":{"Review":{"act":812,"token":null}}}"#);
    let bytes = domain::encoding::encode(&command);
    let decoded: Command = domain::encoding::decode(&bytes).unwrap();
    assert_eq!(decoded, command);
    let golden = "81a74163636f756e7481a652657669657782a3616374cd032ca5746f6b656ec0";
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden);

    // From before a reason was said with it.
    let former = r#"{"Account":{"EndTokens":{"account":"AU1","one":null,"token":null}}}"#;
    let former: Command = serde_json::from_str(former).unwrap();
    let bare = Command::Account(account::Command::EndTokens {
        account: id("AU1"),
        one: None,
        token: None,
        reason: String::new(),
    });
    assert_eq!(former, bare);
    assert!(!serde_json::to_string(&bare).unwrap().contains("reason"));
}
