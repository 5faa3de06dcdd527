//! What a promotion would cost if the primary were lost now.

use proto::operator::v1::PromotionOutlook;

/// For scripts. `lost_changes` is 0 where that can be claimed, and null where nobody can know.
pub(super) fn document(of: &PromotionOutlook) -> serde_json::Value {
    let none = |claimed: bool| claimed.then_some(0);
    serde_json::json!({
        "if_lost": of.primary,
        "to": of.centre,
        "nodes": of.node_count,
        "reachable": of.reachable_count,
        "ready": of.ready,
        "lost_changes": none(of.loses_nothing),
        "lost_changes_if_fenced": none(of.loses_nothing_if_fenced),
        "reason": of.reason,
    })
}

/// For people.
pub(super) fn text(of: &PromotionOutlook) -> String {
    let ready = match of.ready {
        true => "ready".to_owned(),
        false => "NOT ready".to_owned(),
    };
    let loss = match (of.loses_nothing, of.loses_nothing_if_fenced) {
        (true, _) => "would lose 0 changes".to_owned(),
        (false, true) => format!(
            "would lose 0 changes if {} acknowledges the fence, unknown otherwise",
            of.primary
        ),
        (false, false) => "loss unknown".to_owned(),
    };
    format!(
        "PROMOTION if {} is lost now: {} {ready} ({}/{} nodes), {loss}\n  {}",
        of.primary, of.centre, of.reachable_count, of.node_count, of.reason
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_told_only_where_it_can_be_claimed() {
        let sync = PromotionOutlook {
            primary: "east".to_owned(),
            centre: "west".to_owned(),
            node_count: 3,
            reachable_count: 3,
            ready: true,
            loses_nothing: false,
            loses_nothing_if_fenced: true,
            reason: "why".to_owned(),
        };
        let strict = PromotionOutlook {
            loses_nothing: true,
            ..sync.clone()
        };
        let few = PromotionOutlook {
            reachable_count: 1,
            ready: false,
            loses_nothing_if_fenced: false,
            ..sync.clone()
        };
        for (of, wanted, claimed) in [
            (
                &strict,
                "west ready (3/3 nodes), would lose 0 changes\n",
                Some(0),
            ),
            (
                &sync,
                "would lose 0 changes if east acknowledges the fence, unknown otherwise",
                None,
            ),
            (&few, "west NOT ready (1/3 nodes), loss unknown", None),
        ] {
            assert!(text(of).contains(wanted), "{}", text(of));
            assert_eq!(document(of)["lost_changes"].as_u64(), claimed);
        }
    }
}
