//! Trails that were tampered with, and what is found.

use domain::approval::{Approval, LIFE_MS_MAX, Statement};
use domain::audit::{Kind, Verdict};
use domain::cluster::KeyPin;
use domain::id::ClusterId;
use domain::{LineId, LineRef};

use super::*;
use crate::approval;
use crate::authority::{Authority, Issued, Validity};
use crate::certificate::{self, Holder, Identity};
use crate::checkpoint::Seen;
use crate::keyring::Keyring;
use crate::{SeededEntropy, key_file};

const AT: UnixMs = UnixMs(1_686_391_200_000);
const VALID: Validity = Validity {
    not_before: UnixMs(1_577_836_800_000),
    not_after: UnixMs(2_208_988_800_000),
};

fn keyring(seed: u64) -> Keyring {
    Keyring::parse(&key_file::found(AT, &SeededEntropy::new(seed)))
        .ok()
        .unwrap()
}

fn key(of: &Keyring) -> PublicKey {
    of.checkpoint_keys().next().unwrap().1
}

fn rows(from: Head, count: u64) -> Vec<Row> {
    let mut head = from;
    (0..count)
        .map(|_| {
            let row = Row {
                sequence: head.sequence,
                previous: head.hash,
                log: LogId::default(),
                at: UnixMs(head.sequence),
                session: None,
                kind: Kind::LoggedOut,
                verdict: Verdict::Done,
                actor: "front-end/web-1".to_owned(),
                by: "C1".to_owned(),
                account: None,
                participant: None,
                class: None,
                portal: None,
                method: None,
                repeat: None,
                detail: None,
                approval: None,
                approved: None,
            };
            head = row.head();
            row
        })
        .collect()
}

fn operator(id: &str) -> Issued {
    let identity = Identity {
        cluster: ClusterId([7; 16]),
        holder: Holder::Operator(id.parse().unwrap()),
    };
    let authority = Authority::create("test operator CA", VALID).unwrap();
    authority.issue_client(&identity, VALID).unwrap()
}

fn statement(act: &str) -> Statement {
    Statement {
        cluster: ClusterId([7; 16]),
        epoch: 1,
        act: act.to_owned(),
        arguments: domain::Digest([3; 32]),
        index: 41,
        expires_at: UnixMs(LIFE_MS_MAX),
    }
}

fn approved(by: &Issued, statement: Statement) -> Option<Box<Approval>> {
    let signed = approval::sign(&by.key_pem, &by.certificate_pem, statement);
    Some(Box::new(signed.unwrap()))
}

/// The row is an operator's approval of an act.
fn approves(row: &mut Row, by: &Issued, act: &str) {
    row.kind = match act {
        "registration.register" => Kind::RegistrationApproved,
        "script.grant" => Kind::ScriptGrantApproved,
        "method.set" | "go-live.approve" => Kind::MigrationProposed,
        _ => Kind::ActApproved,
    };
    row.approval = approved(by, statement(act));
    let certificate = &row.approval.as_ref().unwrap().certificate;
    let peer = certificate::peer(certificate).unwrap();
    let Holder::Operator(id) = peer.identity.holder else {
        panic!("an operator's");
    };
    row.actor = format!("operator/{id}");
}

/// The row is of the carrying out of what `statement` approves.
fn carried_out(row: &mut Row, kind: Kind) {
    row.kind = kind;
    row.actor = "operator/chan.mei".to_owned();
    let (act, by) = (domain::Digest([3; 32]), Vec::new());
    row.approved = Some(Box::new(domain::audit::Approved { act, by }));
}

/// Two operators approve a plan, and what else there is.
fn with_approvals(li: &Issued, chan: &Issued) -> Vec<Row> {
    let mut rows = rows(Head::default(), 6);
    for (at, who, by) in [(1, "li.wei", li), (4, "chan.mei", chan)] {
        rows[at].kind = Kind::ActApproved;
        rows[at].actor = format!("operator/{who}");
        rows[at].approval = approved(by, statement("session.open"));
    }
    rows
}

/// The trail as whoever holds the nodes and their keys could make it anew.
fn made_anew(by: &Keyring, mut rows: Vec<Row>) -> Result<Whole, Fault> {
    let mut head = Head::default();
    for (sequence, row) in (0..).zip(&mut rows) {
        row.sequence = sequence;
        row.previous = head.hash;
        head = row.head();
    }
    read(&exported(by, &rows), key(by))
}

#[test]
fn s34_operators_approvals_are_found_good() {
    let rows = with_approvals(&operator("li.wei"), &operator("chan.mei"));
    let whole = made_anew(&keyring(1), rows).unwrap();
    assert_eq!((whole.rows, whole.approvals), (6, 2));
}

#[test]
fn s34_an_altered_missing_or_wrongly_signed_approval_is_found_whoever_signed_the_trail() {
    let (li, chan) = (operator("li.wei"), operator("chan.mei"));
    let ours = keyring(1);
    let other = |act: &str| {
        let mut statement = statement(act);
        statement.cluster = ClusterId([8; 16]);
        approved(&li, statement)
    };
    let late = |at: u64| {
        let mut statement = statement("session.open");
        statement.expires_at = UnixMs(at);
        approved(&li, statement)
    };
    type Change<'a> = Box<dyn Fn(&mut Row) + 'a>;
    let changed = |change: fn(&mut Approval)| -> Change<'_> {
        Box::new(move |row| change(row.approval.as_mut().unwrap()))
    };
    let tampered: [(&str, Change<'_>); 13] = [
        ("has none", Box::new(|row| row.approval = None)),
        (
            "not what the operator signed",
            changed(|of| of.signature[9] ^= 1),
        ),
        (
            "not what the operator signed",
            changed(|of| of.statement.index += 1),
        ),
        (
            "not what the operator signed",
            changed(|of| of.statement.arguments = domain::Digest([4; 32])),
        ),
        (
            "not what the operator signed",
            changed(|of| of.statement.act = "session.abandon".to_owned()),
        ),
        ("has another key", changed(|of| of.key = KeyPin([1; 32]))),
        ("cannot be read", changed(|of| of.certificate.truncate(40))),
        (
            "somebody else",
            Box::new(|row| row.approval = approved(&chan, statement("session.open"))),
        ),
        (
            "another key than the operator's",
            Box::new(|row| {
                row.approval = approved(&operator("li.wei"), statement("session.open"));
            }),
        ),
        (
            "of another act",
            Box::new(|row| row.approval = approved(&li, statement("script.grant"))),
        ),
        (
            "another cluster",
            Box::new(|row| row.approval = other("session.open")),
        ),
        ("not valid then", Box::new(|row| row.approval = late(3))),
        (
            "not valid then",
            Box::new(|row| row.approval = late(LIFE_MS_MAX + 4)),
        ),
    ];
    for (words, change) in tampered {
        let mut rows = with_approvals(&li, &chan);
        // The same operator's good one before it.
        rows[3].kind = Kind::ActApproved;
        rows[3].actor = "operator/li.wei".to_owned();
        rows[3].approval = approved(&li, statement("session.open"));
        assert_eq!(made_anew(&ours, rows.clone()).unwrap().approvals, 3);
        change(&mut rows[3]);
        let found = made_anew(&ours, rows).unwrap_err();
        assert!(matches!(found, Fault::Row { sequence: 3, .. }), "{found}");
        assert!(found.to_string().contains(words), "{words}: {found}");
    }
}

#[test]
fn s34_an_operator_who_was_registered_anew_signs_with_that_key_alone() {
    let (li, chan) = (operator("li.wei"), operator("chan.mei"));
    let again = operator("li.wei");
    let mut rows = with_approvals(&li, &chan);
    approves(&mut rows[0], &li, "registration.register");
    approves(&mut rows[1], &chan, "registration.register");
    carried_out(&mut rows[2], Kind::CallerRegistered);
    rows[2].detail = Some(format!("operator/li.wei, key {}: a new card", again.key));
    rows[3].kind = Kind::ActApproved;
    rows[3].actor = "operator/li.wei".to_owned();
    rows[3].approval = approved(&again, statement("session.open"));
    assert_eq!(made_anew(&keyring(1), rows.clone()).unwrap().approvals, 4);
    rows[3].approval = approved(&li, statement("session.open"));
    let found = made_anew(&keyring(1), rows).unwrap_err();
    assert!(found.to_string().contains("another key"), "{found}");
}

#[test]
fn approvals_of_another_cluster_than_the_trails_are_found() {
    let stranger = Authority::create("test operator CA", VALID).unwrap();
    let identity = Identity {
        cluster: ClusterId([8; 16]),
        holder: Holder::Operator("li.wei".parse().unwrap()),
    };
    let li = stranger.issue_client(&identity, VALID).unwrap();
    let mut rows = rows(Head::default(), 6);
    rows[1].kind = Kind::ActApproved;
    rows[1].actor = "operator/li.wei".to_owned();
    let statement = Statement {
        cluster: ClusterId([8; 16]),
        ..statement("session.open")
    };
    rows[1].approval = approved(&li, statement);
    let found = made_anew(&keyring(1), rows).unwrap_err();
    assert!(matches!(found, Fault::Checkpoint { .. }), "{found}");
}

mod acts;

fn signed(by: &Keyring, trail: &LineId, rows: &[Row], claim: Claim) -> Vec<u8> {
    let seen = Seen {
        trail: Trail::Line(LineRef {
            cluster: ClusterId([7; 16]),
            line: trail.clone(),
            epoch: 1,
        }),
        head: rows.last().map(Row::head).unwrap_or_default(),
        at: AT,
        claim,
    };
    checkpoint(&by.sign_checkpoint(seen).unwrap())
}

const ALL: Claim = Claim::Export { first: 0 };

/// The records of an export of six rows, with a checkpoint after the third.
fn exported(by: &Keyring, rows: &[Row]) -> Vec<Vec<u8>> {
    let mut records: Vec<_> = rows.iter().map(row).collect();
    records.insert(3, signed(by, &LineId::Main, &rows[..3], Claim::End));
    records.push(signed(by, &LineId::Main, rows, ALL));
    records
}

fn read(records: &[Vec<u8>], key: PublicKey) -> Result<Whole, Fault> {
    let mut chain = Chain::believing(&[key]);
    chain.take(BEGINNING)?;
    // In small parts, as a stream may come.
    for part in records.concat().chunks(7) {
        chain.take(part)?;
    }
    chain.end()
}

#[test]
fn a_whole_trail_is_found_whole() {
    let ours = keyring(1);
    let rows = rows(Head::default(), 6);
    let whole = read(&exported(&ours, &rows), key(&ours)).unwrap();
    assert_eq!((whole.rows, whole.first), (6, 0));
    assert_eq!(whole.head, Some(rows[5].head()));
    assert_eq!(whole.checkpoints, Some(2));
    assert_eq!(whole.ended_at, Some(AT));
    assert_eq!(whole.trail.unwrap().name(), "main");
}

#[test]
fn an_altered_removed_reordered_or_added_record_is_found() {
    let ours = keyring(1);
    let rows = rows(Head::default(), 6);
    let whole = exported(&ours, &rows);
    for at in 0..whole.len() {
        let mut removed = whole.clone();
        removed.remove(at);
        // Without one checkpoint among them, the rows are still all there.
        assert_eq!(read(&removed, key(&ours)).is_ok(), at == 3, "{at} removed");
        let mut doubled = whole.clone();
        doubled.insert(at, whole[at].clone());
        assert_eq!(read(&doubled, key(&ours)).is_ok(), at == 3, "{at} added");
        if at > 0 {
            let mut swapped = whole.clone();
            swapped.swap(at - 1, at);
            assert!(read(&swapped, key(&ours)).is_err(), "{at} in another place");
        }
    }
    let all = whole.concat();
    for at in 0..all.len() {
        let mut altered = all.clone();
        altered[at] ^= 1;
        assert!(read(&[altered], key(&ours)).is_err(), "byte {at} altered");
    }
}

#[test]
fn a_trail_that_was_cut_off_anywhere_is_found() {
    let ours = keyring(1);
    let rows = rows(Head::default(), 6);
    let all = exported(&ours, &rows).concat();
    for length in 0..all.len() {
        // The end of the third row's checkpoint is among these.
        assert!(read(&[all[..length].to_vec()], key(&ours)).is_err());
    }
    assert!(read(&exported(&ours, &rows)[1..], key(&ours)).is_err());
}

#[test]
fn a_chain_that_was_made_anew_fits_no_signature() {
    let (ours, theirs) = (keyring(1), keyring(2));
    let mut forged = rows(Head::default(), 3);
    forged[1].by = "C2".to_owned();
    let mut head = Head::default();
    for row in &mut forged {
        row.previous = head.hash;
        head = row.head();
    }
    let rows = rows(Head::default(), 3);
    let mut records: Vec<_> = forged.iter().map(row).collect();
    records.push(signed(&ours, &LineId::Main, &rows, ALL));
    let found = read(&records, key(&ours)).unwrap_err();
    assert!(matches!(found, Fault::Checkpoint { .. }), "{found}");
    records.pop();
    records.push(signed(&theirs, &LineId::Main, &forged, ALL));
    let found = read(&records, key(&ours)).unwrap_err();
    assert!(found.to_string().contains("no key"), "{found}");
}

#[test]
fn a_branchs_trail_begins_where_its_signature_says() {
    let ours = keyring(1);
    let all = rows(Head::default(), 6);
    let line = LineId::Branch {
        session: "S2-2023-06-10".parse().unwrap(),
        genesis: domain::Digest([1; 32]),
    };
    let own = &all[2..];
    let mut records: Vec<_> = own.iter().map(row).collect();
    records.push(signed(&ours, &line, own, Claim::Export { first: 2 }));
    let whole = read(&records, key(&ours)).unwrap();
    assert_eq!((whole.rows, whole.first), (4, 2));
    assert_eq!(whole.trail.unwrap().name(), "S2-2023-06-10");
    assert!(read(&records[1..], key(&ours)).is_err());
}
