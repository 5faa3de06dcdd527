//! The answers to what must be repeated: one for each item, given by flags.

use proto::operator::v1::{Answer, MustRepeat, MustRepeatAnswer};

use crate::drill::evidence::change;
use crate::exit::Failure;
use crate::output::Table;

/// The flags that answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'f> {
    pub(super) repeat: &'f [String],
    pub(super) waive: &'f [String],
    pub(super) reason: Option<&'f str>,
}

/// The items as a table.
pub(super) fn listed(items: &[MustRepeat]) -> String {
    let mut table = Table::new(&["ITEM", "KIND", "ACCOUNT", "AT", "BY", "WHY"]);
    for item in items {
        let of = item.change.as_ref().map(change);
        let cell = |pick: fn(&crate::drill::report::Change) -> &String| {
            of.as_ref().map(|of| pick(of).clone()).unwrap_or_default()
        };
        table.row([
            item.item.clone(),
            cell(|of| &of.kind),
            cell(|of| &of.account),
            cell(|of| &of.at),
            cell(|of| &of.by),
            item.reason.clone(),
        ]);
    }
    table.text()
}

/// The answers of the flags: one for each item, and none for an item that is not there.
pub(super) fn answers(
    of: &[MustRepeat],
    flags: Given<'_>,
) -> Result<Vec<MustRepeatAnswer>, Failure> {
    let items: Vec<&str> = of.iter().map(|item| item.item.as_str()).collect();
    for given in flags.repeat.iter().chain(flags.waive) {
        if !items.contains(&given.as_str()) {
            return Err(Failure::usage(format!(
                "there is no item {given} to answer"
            )));
        }
        if flags.repeat.contains(given) && flags.waive.contains(given) {
            return Err(Failure::usage(format!(
                "item {given} cannot be both repeated and waived"
            )));
        }
    }
    if !flags.waive.is_empty() && flags.reason.is_none() {
        return Err(Failure::usage("a waiver wants --reason, for the evidence"));
    }
    let unanswered: Vec<&str> = items
        .iter()
        .copied()
        .filter(|item| {
            let given = |list: &[String]| list.iter().any(|given| given == item);
            !given(flags.repeat) && !given(flags.waive)
        })
        .collect();
    if !unanswered.is_empty() {
        return Err(Failure::pre_check(format!(
            "items without an answer: {}; nothing was changed",
            unanswered.join(", ")
        ))
        .next(
            "answer each: --repeat ITEM does it again on the main line, --waive ITEM leaves it",
        ));
    }
    let one = |item: &String, answer: Answer, reason: String| MustRepeatAnswer {
        item: item.clone(),
        answer: answer.into(),
        reason,
    };
    let why = flags.reason.unwrap_or_default().to_owned();
    Ok(flags
        .repeat
        .iter()
        .map(|item| one(item, Answer::Repeat, String::new()))
        .chain(
            flags
                .waive
                .iter()
                .map(|item| one(item, Answer::Waive, why.clone())),
        )
        .collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::session::{Rollover, Session};
    use crate::args::{Tidemark, Verb};
    use crate::exit::Exit;

    fn flags(more: &[&str]) -> Rollover {
        let given = ["tidemark", "session", "rollover", "S2", "--profile", "p"];
        let read = Tidemark::try_parse_from(given.iter().chain(more)).unwrap();
        if let Verb::Session(Session::Rollover(flags)) = read.verb {
            return flags;
        }
        unreachable!("the words are those of session rollover")
    }

    fn answers(flags: &Rollover, of: &[MustRepeat]) -> Result<Vec<MustRepeatAnswer>, Failure> {
        let given = Given {
            repeat: &flags.repeat,
            waive: &flags.waive,
            reason: flags.change.reason.as_deref(),
        };
        super::answers(of, given)
    }

    fn preview() -> Vec<MustRepeat> {
        let item = |item: &str| MustRepeat {
            item: item.to_owned(),
            ..MustRepeat::default()
        };
        vec![item("7"), item("9")]
    }

    #[test]
    fn each_item_wants_an_answer_or_it_is_exit_3() {
        let refused = answers(&flags(&["--repeat", "7"]), &preview()).unwrap_err();
        assert_eq!(refused.exit, Exit::PreCheck);
        assert!(refused.what.contains("items without an answer: 9"));
    }

    #[test]
    fn a_waiver_wants_a_reason() {
        let waive = ["--repeat", "7", "--waive", "9"];
        let refused = answers(&flags(&waive), &preview()).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        let given = answers(
            &flags(&[&waive[..], &["--reason", "found again"]].concat()),
            &preview(),
        );
        let given = given.unwrap();
        assert_eq!(given.len(), 2);
        assert!(given.iter().any(|answer| answer.reason == "found again"));
    }

    #[test]
    fn an_answer_to_no_item_or_to_both_sides_is_refused() {
        for wrong in [
            &["--repeat", "8"][..],
            &["--repeat", "7", "--waive", "7", "--reason", "x"][..],
        ] {
            let refused = answers(&flags(wrong), &preview()).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage);
        }
    }

    #[test]
    fn without_items_nothing_needs_an_answer() {
        assert!(answers(&flags(&[]), &[]).unwrap().is_empty());
    }
}
