//! Trails in which an act lacks the people that it takes (S34).

use domain::audit::Approved;

use super::*;

/// What a promotion is named by here: other than what was approved before it.
const OF_ANOTHER_ACT: domain::Digest = domain::Digest([5; 32]);

/// Two operators approve an act, which is then carried out.
fn agreed(act: &str, kind: Kind) -> (Vec<Row>, [Issued; 2]) {
    let by = [operator("li.wei"), operator("chan.mei")];
    let mut rows = rows(Head::default(), 6);
    approves(&mut rows[1], &by[0], act);
    approves(&mut rows[2], &by[1], act);
    carried_out(&mut rows[3], kind);
    (rows, by)
}

fn found(rows: Vec<Row>, at: u64, words: &str) {
    let found = made_anew(&keyring(1), rows).unwrap_err();
    assert!(
        matches!(found, Fault::Row { sequence, .. } if sequence == at),
        "{found}"
    );
    assert!(found.to_string().contains(words), "{words}: {found}");
}

#[test]
fn s34_an_act_without_the_approvals_of_two_operators_is_found_whoever_signed_the_trail() {
    for (act, kind) in [
        ("policy.set", Kind::PolicySet),
        ("account.import", Kind::AccountsImported),
        ("registration.register", Kind::CallerRegistered),
        ("participant.resume", Kind::ParticipantResumed),
        ("go-live.approve", Kind::GoLiveSet),
        ("method.set", Kind::MethodsSet),
        ("session.open", Kind::SessionOpened),
        ("session.abandon", Kind::SessionAbandoned),
        ("centre.nodes", Kind::NodesChanged),
    ] {
        let (whole, [li, chan]) = agreed(act, kind);
        let good = made_anew(&keyring(1), whole.clone()).unwrap();
        assert_eq!((good.rows, good.approvals), (6, 2), "{act}");
        let mut none = whole.clone();
        none[3].approved = None;
        found(none, 3, "names none");
        let mut other = whole.clone();
        other[3].approved.as_mut().unwrap().act = domain::Digest([4; 32]);
        found(other, 3, "two operators");
        let mut one = whole.clone();
        one[1] = rows(Head::default(), 2).remove(1);
        found(one, 3, "two operators");
        let mut twice = whole.clone();
        approves(&mut twice[1], &chan, act);
        found(twice, 3, "two operators");
        let mut after = whole.clone();
        after.swap(2, 3);
        found(after, 2, "two operators");
        let mut late = whole.clone();
        let mut over = statement(act);
        over.expires_at = UnixMs(3);
        late[1].approval = approved(&li, over);
        for row in &mut late {
            row.at = UnixMs(row.sequence);
        }
        found(late, 3, "two operators");
        // What two operators approved is another act of the same digest.
        let (mut another, _) = agreed("script.grant", kind);
        another[3].kind = kind;
        let of_session = kind == Kind::SessionOpened;
        match of_session {
            true => drop(made_anew(&keyring(1), another).unwrap()),
            false => found(another, 3, "another act"),
        }
    }
}

#[test]
fn s34_what_comes_with_its_approvals_has_two_that_are_good() {
    let (mut rows, [li, chan]) = agreed("policy.set", Kind::PolicySet);
    let with = |by: Vec<Option<Box<Approval>>>| {
        let by = by.into_iter().map(|approval| *approval.unwrap());
        Some(Box::new(Approved {
            act: OF_ANOTHER_ACT,
            by: by.collect(),
        }))
    };
    let sign = |by: &Issued, act: &str| {
        let arguments = OF_ANOTHER_ACT;
        approved(
            by,
            Statement {
                arguments,
                ..statement(act)
            },
        )
    };
    let act = "centre.promote";
    rows[4].kind = Kind::Promoted;
    rows[4].actor = "node/4".to_owned();
    rows[4].approved = with(vec![sign(&li, act), sign(&chan, act)]);
    assert_eq!(made_anew(&keyring(1), rows.clone()).unwrap().approvals, 4);
    for (by, words) in [
        (vec![sign(&li, act)], "two operators"),
        (vec![sign(&li, act), sign(&li, act)], "two operators"),
        (
            vec![sign(&li, act), sign(&chan, "session.open")],
            "of another act",
        ),
        (
            vec![sign(&li, act), sign(&operator("chan.mei"), act)],
            "another key",
        ),
    ] {
        let mut tampered = rows.clone();
        tampered[4].approved = with(by);
        found(tampered, 4, words);
    }
    let mut tampered = rows.clone();
    tampered[4].approved.as_mut().unwrap().by[0].signature[9] ^= 1;
    found(tampered, 4, "not what the operator signed");
}

#[test]
fn s34_a_script_opens_what_two_operators_granted() {
    let (mut rows, _) = agreed("script.grant", Kind::ScriptGranted);
    carried_out(&mut rows[4], Kind::SessionOpened);
    rows[4].actor = "script/nightly".to_owned();
    // Long after the approvals.
    for row in &mut rows[4..] {
        row.at = UnixMs(LIFE_MS_MAX * 40);
    }
    made_anew(&keyring(1), rows.clone()).unwrap();
    let mut by_nobody = rows.clone();
    by_nobody[4].approved.as_mut().unwrap().act = domain::Digest([4; 32]);
    found(by_nobody, 4, "two operators");
    let mut not_granted = rows;
    not_granted[3] = super::rows(Head::default(), 4).remove(3);
    found(not_granted, 4, "two operators");
}

/// One administrator asks for a change, and another one approves it.
fn requested() -> Vec<Row> {
    let mut rows = rows(Head::default(), 6);
    for (at, kind, by) in [
        (1, Kind::ChangeRequested, "C1A1"),
        (3, Kind::ChangeApproved, "C1A2"),
        (4, Kind::EmailSet, "C1A2"),
    ] {
        rows[at].kind = kind;
        rows[at].by = by.to_owned();
        rows[at].detail = Some("EmailSet (0a0b): a new (old) one): there".to_owned());
    }
    rows
}

#[test]
fn s34_a_change_that_its_maker_approved_or_nobody_asked_for_is_found() {
    let whole = requested();
    made_anew(&keyring(1), whole.clone()).unwrap();
    let mut own = whole.clone();
    own[3].by = "C1A1".to_owned();
    found(own, 3, "who asked for it");
    let mut unasked = whole.clone();
    unasked[1].detail = Some("EmailSet (0a0c): another".to_owned());
    found(unasked, 3, "nobody asked");
    let mut rejected = whole.clone();
    rejected[1].verdict = Verdict::Rejected("TooMany".to_owned());
    found(rejected, 3, "nobody asked");
    let mut unapproved = whole;
    unapproved[3].kind = Kind::ChangeWithdrawn;
    found(unapproved, 4, "no request for it was approved");
}

#[test]
fn an_export_that_begins_later_is_not_blamed_for_what_stands_before_it() {
    let (all, _) = agreed("policy.set", Kind::PolicySet);
    let ours = keyring(1);
    let mut own = all[2..].to_vec();
    own.extend(requested().into_iter().skip(3).take(2));
    let mut head = all[1].head();
    for (sequence, row) in (2..).zip(&mut own) {
        row.sequence = sequence;
        row.at = UnixMs(sequence);
        row.previous = head.hash;
        head = row.head();
    }
    let mut records: Vec<_> = own.iter().map(row).collect();
    records.push(signed(
        &ours,
        &LineId::Main,
        &own,
        Claim::Export { first: 2 },
    ));
    assert_eq!(read(&records, key(&ours)).unwrap().rows, 6);
}
