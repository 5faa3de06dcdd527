//! What the API's messages mean, in the words of drills and reports.

use domain::UnixMs;
use proto::line::v1::{CarryForward, LineReference, LogId};
use proto::operator::v1::{CentreRole, PlanStage};

use super::file::Carry;

/// A time as the API writes it.
pub(crate) fn timestamp(at: UnixMs) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(at.0 % 1_000 * 1_000_000).unwrap_or(0),
    }
}

/// A time of the API; 0 if there is none.
pub(crate) fn unix_ms(at: Option<&prost_types::Timestamp>) -> UnixMs {
    let Some(at) = at else {
        return UnixMs(0);
    };
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    let nanos = u64::try_from(at.nanos).unwrap_or(0);
    UnixMs(
        seconds
            .saturating_mul(1_000)
            .saturating_add(nanos / 1_000_000),
    )
}

/// A time of the API for people; a dash if there is none.
pub(crate) fn local(at: Option<&prost_types::Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| unix_ms(Some(at)).to_string())
}

/// What becomes of a change; none if the answer does not say.
pub(crate) fn carry(value: i32) -> Option<Carry> {
    match CarryForward::try_from(value) {
        Ok(CarryForward::CarriedForward) => Some(Carry::Carried),
        Ok(CarryForward::DiscardedAtRollover) => Some(Carry::Discarded),
        Ok(CarryForward::Unspecified) | Err(_) => None,
    }
}

/// A place in a log.
pub(crate) fn log_id(id: &LogId) -> String {
    format!("{}-{}-{}", id.term, id.node, id.index)
}

/// The digest of the genesis in a branch's name; none for the main line.
pub(crate) fn genesis<'l>(line: &'l LineReference, session: &str) -> Option<&'l str> {
    line.line
        .strip_prefix("branch/")?
        .strip_prefix(session)?
        .strip_prefix('/')
}

/// A centre's role in words.
pub(crate) fn centre_role(value: i32) -> &'static str {
    match CentreRole::try_from(value) {
        Ok(CentreRole::Primary) => "primary",
        Ok(CentreRole::Secondary) => "secondary",
        Ok(CentreRole::Unspecified) | Err(_) => "-",
    }
}

/// A plan's stage in words.
pub(crate) fn stage(value: i32) -> &'static str {
    match PlanStage::try_from(value) {
        Ok(PlanStage::Opening) => "opening",
        Ok(PlanStage::Open) => "open",
        Ok(PlanStage::Closed) => "closed",
        Ok(PlanStage::RolledOver) => "rolled over",
        Ok(PlanStage::Abandoned) => "abandoned",
        Ok(PlanStage::Unspecified) | Err(_) => "planned",
    }
}

/// The last part of a resource name: the user id of an account.
pub(crate) fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A stable name without its spelling: `PasswordChanged` and `password_changed` are one.
pub(crate) fn plain(kind: &str) -> String {
    kind.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_api() {
        for at in [UnixMs(0), UnixMs(1_686_391_200_123)] {
            assert_eq!(unix_ms(Some(&timestamp(at))), at);
        }
    }

    #[test]
    fn a_branch_s_name_holds_its_genesis() {
        let line = |name: &str| LineReference {
            cluster: String::new(),
            line: name.to_owned(),
            epoch: 1,
        };
        assert_eq!(genesis(&line("branch/S2/9f3c"), "S2"), Some("9f3c"));
        assert_eq!(genesis(&line("branch/S22/9f3c"), "S2"), None);
        assert_eq!(genesis(&line("main"), "S2"), None);
    }

    #[test]
    fn kinds_are_compared_without_their_spelling() {
        assert_eq!(plain("PASSWORD_CHANGED"), plain("PasswordChanged"));
    }
}
