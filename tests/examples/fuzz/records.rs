//! An exported log and a genesis file: an altered one is refused, or gives what the whole one gave.

use consensus::{export, genesis, place};
use domain::SessionId;
use tests::Cluster;
use tests::cluster::S2;

use crate::Run;

pub(crate) async fn throw(cluster: &Cluster, run: &mut Run) {
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&tests::cast::WONG).await;
    cluster.session_2().await;
    let log = cluster.export(1).await;
    let whole_log = std::fs::read(&log).unwrap();
    let digests = export::replay(&log, None).unwrap().state.digests();
    let session = SessionId::parse(S2).unwrap();
    let kept = place::genesis(&cluster.folder().join("nodes/4/data"), &session);
    let whole_genesis = tests::cluster::until("the genesis file is written", async || {
        std::fs::read(&kept).ok()
    })
    .await;
    let genesis_digests = genesis::read(&kept).unwrap().state.digests();

    let altered = cluster.folder().join("altered");
    while run.goes_on() {
        std::fs::write(&altered, run.dice.altered(&whole_log)).unwrap();
        let replayed = export::replay(&altered, None).ok();
        let digest = replayed.as_ref().map(|replayed| replayed.state.digests());
        assert!(digest.is_none_or(|digest| digest == digests), "the log");
        run.count(digest.is_some());

        std::fs::write(&altered, run.dice.altered(&whole_genesis)).unwrap();
        let digest = genesis::read(&altered).ok();
        let digest = digest.map(|image| image.state.digests());
        assert!(
            digest.is_none_or(|digest| digest == genesis_digests),
            "the genesis"
        );
        run.count(digest.is_some());
    }
}
