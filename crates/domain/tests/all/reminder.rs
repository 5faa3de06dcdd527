//! Reminders through `apply`: who gets one, how often, and how much of them there may be.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::change_request::Act;
use domain::id::AccountId;
use domain::notice::{self, Kind, Notice, NoticeId, REMINDED_MAX, REMINDERS_ROOM};
use domain::outcome::Result as Came;
use domain::{Answer, Command, Rejection, Row, State, audit};

const ALL: [&str; 12] = [
    "AD1", "AD2", "AU1", "AU2", "AU3", "AU4", "BD1", "BD2", "BU1", "BU2", "BU3", "BU4",
];

fn remind(accounts: &[&str]) -> Command {
    Command::Notice(notice::Command::Remind {
        accounts: accounts.iter().map(|account| id(account)).collect(),
        reason: "go-live is near".to_owned(),
    })
}

/// Who is reminded of these, and how many the answer says.
fn reminded(world: &mut World, accounts: &[&str]) -> (Vec<String>, u32) {
    let before: Vec<NoticeId> = world.state.outbox().iter().map(|one| one.id).collect();
    let answer = world.done(&operator("ann"), remind(accounts));
    let Answer::Reminded { count, through } = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(through, accounts.iter().max().map(|last| id(last)));
    let new = world
        .state
        .outbox()
        .iter()
        .filter(|one| !before.contains(&one.id));
    let told = new
        .inspect(|one| {
            assert_eq!(one.kind, Kind::Reminder);
            assert_eq!(one.address, format!("{}@example.com", one.account));
        })
        .map(|one| one.account.to_string())
        .collect();
    (told, count)
}

#[test]
fn only_those_who_can_initiate_and_have_not_are_reminded_r1_r8() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.suspend(&operator("ann"), None, "AU2");
    let delete = Act::Delete;
    let (request, made) = world.make(&operator("ann"), None, "AD2", delete);
    assert!(matches!(made.result, Came::Done(_)), "{made:?}");
    let done = world.approve_change(&operator("ben"), None, request);
    assert!(matches!(done.result, Came::Done(_)), "{done:?}");
    let digest = world.state.digests().account;
    // AU1 has initiated, AU2 is suspended, AD2 gone, AU4 and BU4 have no address.
    let (told, count) = reminded(&mut world, &ALL);
    assert_eq!(told, ["AD1", "AU3", "BD1", "BD2", "BU1", "BU2", "BU3"]);
    assert_eq!(count, 7);
    assert_eq!(world.state.digests().account, digest, "no account changed");
    let row = world.rows.last().unwrap();
    assert_eq!(row.kind, audit::Kind::RemindersSent);
    assert_eq!(
        row.detail.as_deref(),
        Some("7 reminded from AD1 to BU4: go-live is near")
    );
    // Nobody of that name, and nobody at all.
    assert_eq!(reminded(&mut world, &["NOBODY"]), (vec![], 0));
    assert_eq!(reminded(&mut world, &[]), (vec![], 0));
}

#[test]
fn nobody_is_reminded_twice_on_one_day_in_hong_kong() {
    let mut world = World::in_session_1();
    assert_eq!(reminded(&mut world, &["AU1", "AU1"]).1, 1);
    assert_eq!(reminded(&mut world, &["AU1", "AU2"]).0, ["AU2"]);
    let now = world.now;
    assert!(world.state.outbox().was_reminded(&id("AU1"), now));
    // It stays so when the mail has left, and after a restart.
    let ids: Vec<NoticeId> = world.state.outbox().iter().map(|one| one.id).collect();
    let sent = notice::Command::Sent {
        sent: ids,
        given_up: Vec::new(),
    };
    world.done(&node(), Command::Notice(sent));
    world.state = State::from_rows(world.state.rows()).unwrap();
    // A millisecond before midnight, and at midnight.
    let midnight = SATURDAY_1800.plus(6 * HOUR);
    world.at(midnight.minus(1));
    assert_eq!(reminded(&mut world, &["AU1"]).1, 0);
    world.at(midnight);
    assert_eq!(reminded(&mut world, &["AU1"]).0, ["AU1"]);
    assert_eq!(world.state.outbox().counts().withheld, 0);
}

#[test]
fn reminders_are_for_operators_of_the_main_line_with_no_branch_open() {
    let mut world = World::in_session_1();
    for other in [front(), back(), node()] {
        let refused = world.rejected(&other, remind(&["AU1"]));
        assert_eq!(refused, Rejection::NotAllowed);
    }
    for reason in [String::new(), "x".repeat(257)] {
        let command = notice::Command::Remind {
            accounts: vec![id("AU1")],
            reason,
        };
        let refused = world.rejected(&operator("ann"), Command::Notice(command));
        assert!(matches!(refused, Rejection::BadValues(_)), "{refused:?}");
    }
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000);
    let mut branch = world.branch();
    let refused = branch.rejected(&operator("ann"), remind(&["AU1"]));
    assert_eq!(refused, Rejection::MainLineOnly);
    let refused = world.rejected(&operator("ann"), remind(&["AU1"]));
    let session = session("S2");
    assert_eq!(refused, Rejection::BranchOpen { session });
    for line in [&world, &branch] {
        assert!(line.state.outbox().is_empty());
        assert!(!line.state.outbox().was_reminded(&id("AU1"), line.now));
    }
}

#[test]
fn an_entry_is_bounded_and_reminders_never_fill_the_outbox() {
    let mut world = World::in_session_1();
    let many: Vec<AccountId> = (0..=REMINDED_MAX).map(|n| id(&format!("X{n}"))).collect();
    let all = |accounts: &[AccountId]| {
        Command::Notice(notice::Command::Remind {
            accounts: accounts.to_vec(),
            reason: "all".to_owned(),
        })
    };
    let refused = world.rejected(&operator("ann"), all(&many));
    assert_eq!(refused, Rejection::TooMany);
    world.done(&operator("ann"), all(&many[1..]));

    world.suspend(&operator("ann"), None, "AU1");
    let first = world.state.outbox().iter().next().unwrap().clone();
    let rows = (1..REMINDERS_ROOM).map(|part| {
        let part = u32::try_from(part).unwrap();
        Row::Notice(Box::new(Notice {
            id: NoticeId { part, ..first.id },
            ..first.clone()
        }))
    });
    world.state = State::from_rows(world.state.rows().chain(rows)).unwrap();
    let refused = world.rejected(&operator("ann"), remind(&["AU3"]));
    assert_eq!(refused, Rejection::TooMany);
    assert!(!world.state.outbox().was_reminded(&id("AU3"), world.now));
    // What becomes of accounts is told all the same.
    world.suspend(&operator("ann"), None, "AU2");
    assert_eq!(world.state.outbox().len(), REMINDERS_ROOM + 1);
    let sent = notice::Command::Sent {
        sent: world
            .state
            .outbox()
            .iter()
            .take(2)
            .map(|one| one.id)
            .collect(),
        given_up: Vec::new(),
    };
    world.done(&node(), Command::Notice(sent));
    assert_eq!(reminded(&mut world, &["AU3"]).0, ["AU3"]);
}
