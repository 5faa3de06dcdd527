//! What is stored keeps its form, and every stored field of an account moves the digest.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::account::{Account, By, Status};
use domain::change::Reason;
use domain::participant::Participant;
use domain::portal::LandingOption;
use domain::table::Table;
use domain::{Command, Envelope, Row, State, encoding};
use serde_json::Value;

/// A line in which everything has happened that leaves something stored.
fn busy() -> World {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.initiate("AU2", "first", true);
    world.at(world.now.plus(MINUTE));
    world.login("AU1", LandingOption::OtpOnline, "first");
    world.begin_login("AU1", LandingOption::OtpOnline, "guess");
    let address = Some("192.0.2.1".parse().unwrap());
    let login = domain::LoginId(world.next_id());
    let verdict = world.verdict("AU2", domain::factor::Method::Otp, "first");
    let subject = world.subject("AU2");
    world.ask(
        &front(),
        Command::Login(domain::login::Command::Begin {
            login,
            subject,
            option: LandingOption::OtpOnline,
            address,
            verdict,
            code: Some(sealed("code")),
            nonce: [1; 16],
        }),
    );
    let code = domain::factor::CodeProof::Mailed { matched: true };
    let token = domain::Digest::of("token", &[b"mail"]);
    world.ask(
        &front(),
        Command::Login(domain::login::Command::Verify {
            login,
            proof: domain::login::Proof::Code(code),
            codes: 1,
            token,
        }),
    );
    world.suspend(&operator("ann"), None, "AU2");
    let card = LandingOption::SmartcardOnlineAndReports;
    world.login("BU1", card, "friday");
    world.suspend_firm("ann", "B");
    world
}

fn mutate(value: &Value) -> Option<Value> {
    match value {
        Value::Number(number) => Some(Value::from(number.as_u64()? ^ 1)),
        Value::String(text) => {
            let mut changed = text.clone();
            let last = changed.pop()?;
            changed.push(if last == '1' { '2' } else { '1' });
            Some(Value::from(changed))
        }
        Value::Bool(flag) => Some(Value::from(!flag)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Every value below this one that is no container, by its path.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                leaves(item, &format!("{path}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                leaves(field, &format!("{path}/{name}"), found);
            }
        }
        Value::Null => {}
        Value::Number(_) | Value::String(_) | Value::Bool(_) => found.push(path.to_owned()),
    }
}

fn fields_of_a_firm_move_the_digest(firm: &Participant) {
    let whole = serde_json::to_value(firm).unwrap();
    let table = |firm: Participant| std::iter::once(firm).collect::<Table<Participant>>();
    let before = table(firm.clone()).hash().digest();
    let mut paths = Vec::new();
    leaves(&whole, "", &mut paths);
    let suspended = matches!(firm.status, Status::Suspended { .. });
    assert_eq!(paths.len(), if suspended { 5 } else { 3 }, "{paths:?}");
    for path in paths {
        let mut changed = whole.clone();
        let leaf = changed.pointer_mut(&path).unwrap();
        *leaf = mutate(leaf).unwrap();
        let changed: Participant = serde_json::from_value(changed).unwrap();
        assert_ne!(changed.etag(), firm.etag(), "{path} does not move the etag");
        let after = table(changed).hash().digest();
        assert_ne!(after, before, "{path} does not move the digest");
    }
    let active = Participant {
        status: Status::Active,
        endings: 0,
        ..firm.clone()
    };
    assert_ne!(table(active).hash().digest(), before);
}

#[test]
fn every_stored_field_of_an_account_moves_the_digest_i4() {
    let world = busy();
    let mut checked = 0;
    for account in world.state.accounts() {
        let whole = serde_json::to_value(account).unwrap();
        let table = |account: Account| std::iter::once(account).collect::<Table<Account>>();
        let before = table(account.clone()).hash().digest();
        let mut paths = Vec::new();
        leaves(&whole, "", &mut paths);
        for path in paths {
            let mut changed = whole.clone();
            let leaf = changed.pointer_mut(&path).unwrap();
            *leaf = mutate(leaf).unwrap();
            // A variant's name cannot be any text; the variants are told apart below.
            let Ok(changed) = serde_json::from_value::<Account>(changed) else {
                assert!(
                    ["/class", "/status", "/otp/channel"].contains(&path.as_str()),
                    "{path} takes no other value"
                );
                continue;
            };
            assert_ne!(
                table(changed).hash().digest(),
                before,
                "{path} does not move the digest"
            );
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked} fields");
    for status in [
        Status::Active,
        Status::Suspended {
            at: world.now,
            by: By::Operator(domain::OperatorId::parse("ann").unwrap()),
        },
    ] {
        fields_of_a_firm_move_the_digest(&Participant {
            status,
            endings: 3,
            ..Participant::new(domain::ParticipantId::parse("A").unwrap(), "A".into())
        });
    }
    let mut other = world.state.account(&id("AU1")).cloned().unwrap();
    let before = encoding::encode(&other);
    other.class = domain::account::Class::DelegatedAdmin;
    assert_ne!(encoding::encode(&other), before);
    other.card = None;
    assert_ne!(encoding::encode(&other), before);
}

#[test]
fn a_state_survives_its_rows() {
    let world = busy();
    let rows: Vec<Row> = world
        .state
        .rows()
        .map(|row| encoding::decode(&encoding::encode(&row)).unwrap())
        .collect();
    let kinds: std::collections::BTreeSet<String> = rows
        .iter()
        .map(|row| format!("{row:?}").split('(').next().unwrap().to_owned())
        .collect();
    assert!(kinds.len() >= 8, "{kinds:?}");
    let restored = State::from_rows(rows).unwrap();
    assert_eq!(restored.digests(), world.state.digests());
    // What only follows from the rows is there too: a token that ended with its firm's has ended.
    let ended = world.tokens.last().unwrap();
    assert!(restored.tokens().get(ended, world.now).is_none());
}

#[test]
fn a_state_of_newer_rules_is_refused() {
    let rows: Vec<Row> = World::founded()
        .state
        .rows()
        .map(|row| match row {
            Row::Header(mut header) => {
                header.rules_version += 1;
                Row::Header(header)
            }
            other => other,
        })
        .collect();
    let refused = State::from_rows(rows).unwrap_err();
    assert!(refused.to_string().contains("rules"), "{refused}");
}

/// The history whose encoding is kept: each command that a session sees, once.
fn golden_history() -> Vec<Envelope> {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    world.login("AU1", LandingOption::OtpOnline, "first");
    let token = *world.tokens.last().unwrap();
    world.at(world.now.plus(MINUTE));
    world.change_password(token, "first", "second", Reason::Routine);
    world.replace_channel(token, "second", Reason::LostOrCompromised);
    world.end(token);
    let card = domain::factor::Method::Smartcard;
    let right = world.verdict("AU1", card, "friday");
    world.rehash("AU1", card, right, "friday at today's cost");
    world.suspend(&operator("ann"), None, "AU2");
    world.revoke_otp("AU1");
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000);
    let mut branch = world.branch();
    branch.close("S2", SATURDAY_2300);
    world.close("S2", SATURDAY_2300);
    let evidence = branch.evidence();
    world.roll_over(evidence, std::collections::BTreeMap::new());
    world
        .log
        .into_iter()
        .map(|(_, envelope)| envelope)
        .collect()
}

#[test]
fn the_log_keeps_its_form() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/envelopes.txt");
    let mut now = String::new();
    let mut seen = std::collections::BTreeSet::new();
    for envelope in golden_history() {
        let method = envelope.command.method();
        if !seen.insert(method) {
            continue;
        }
        let bytes = encoding::encode(&envelope);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        now.push_str(&format!("{method} {hex}\n"));
        let decoded: Envelope = encoding::decode(&bytes).unwrap();
        assert_eq!(decoded, envelope);
    }
    if std::env::var_os("TIDEMARK_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (was, is) in golden.lines().zip(now.lines()) {
        assert_eq!(was, is, "the stored form of an envelope has changed");
    }
    assert_eq!(golden.lines().count(), now.lines().count());
}
