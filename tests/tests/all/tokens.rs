//! What back ends and people are told of tokens: that they end at once everywhere (S32), with
//! idleness (S31), one by one by their holder, and as a stream from a position on.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::{Duration, Instant};

use proto::account::v1::Portal;
use proto::admin::v1::Plain;
use proto::admin::v1::change_act::Act;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::{EndOwnTokensRequest, ListOwnTokensRequest, OwnToken};
use proto::token::v1::token_service_client::TokenServiceClient;
use proto::token::v1::watch_revocations_response::Event;
use proto::token::v1::{
    BatchIntrospectTokensRequest, IntrospectTokenRequest, Introspection, WatchRevocationsRequest,
    WatchRevocationsResponse,
};
use tests::cast::{CHAN, CHEUNG, LAU, LEE, NG, SIT, TAM, WONG};
use tests::cluster::refused;
use tests::token::{ADDRESS, Token};
use tests::{Cluster, Person};
use tidemark::drill::{Door, call, request, request_as};
use tonic::{Status, Streaming};

/// S32: how soon an ending is seen everywhere.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(1);
/// How long a stream may take to tell what it must.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

/// The back ends' doors of the centre that serves: one a node.
fn doors(cluster: &Cluster) -> Vec<Door> {
    tidemark::drill::at(cluster.back(), &cluster.centre())
}

async fn introspected(door: &Door, question: IntrospectTokenRequest) -> Introspection {
    let mut client = TokenServiceClient::new(door.channel.clone());
    let answer = client.introspect_token(request(question)).await.unwrap();
    answer.into_inner().introspection.unwrap()
}

/// Every node says within a second of `ended` that the token is not good.
async fn dead_everywhere(cluster: &Cluster, token: &Token, ended: Instant) {
    let doors = doors(cluster);
    assert_eq!(doors.len(), 3);
    for door in doors {
        while introspected(&door, token.question(token.scope(), true))
            .await
            .active
        {
            assert!(ended.elapsed() < EVERYWHERE_WITHIN, "node {}", door.node);
        }
    }
    assert!(ended.elapsed() < EVERYWHERE_WITHIN, "{:?}", ended.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_suspension_deletion_and_an_administrators_word_are_seen_everywhere_s32_s33() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let cheung = cluster.with_card(&CHEUNG).await;
    let sit = cluster.with_card(&SIT).await;
    let people: [&'static Person; 4] = [&CHAN, &LAU, &LEE, &NG];
    let mut tokens = Vec::new();
    for person in people {
        let token = cluster.with_card(person).await;
        for door in doors(&cluster) {
            let said = introspected(&door, token.question(token.scope(), false)).await;
            assert!(said.active, "{} at node {}", person.id, door.node);
        }
        tokens.push(token);
    }
    cluster.log_out(&tokens[0]).await.unwrap();
    dead_everywhere(&cluster, &tokens[0], Instant::now()).await;
    cluster.suspend_main(&LAU).await.unwrap();
    dead_everywhere(&cluster, &tokens[1], Instant::now()).await;
    let delete = Act::Delete(Plain {});
    cluster
        .given([&cheung, &sit], &LEE.resource(), delete)
        .await;
    dead_everywhere(&cluster, &tokens[2], Instant::now()).await;
    assert_eq!(cluster.end_tokens_of(&cheung, &NG).await.unwrap(), 1);
    dead_everywhere(&cluster, &tokens[3], Instant::now()).await;
    assert!(cluster.good(&sit, sit.scope()).await, "nobody else's ended");
    cluster.end().await;
}

async fn watch(door: &Door, position: &str) -> Result<Streaming<WatchRevocationsResponse>, Status> {
    let message = WatchRevocationsRequest {
        position: position.to_owned(),
    };
    // A stream has no deadline.
    let mut client = TokenServiceClient::new(door.channel.clone());
    Ok(client.watch_revocations(message).await?.into_inner())
}

async fn told(stream: &mut Streaming<WatchRevocationsResponse>) -> WatchRevocationsResponse {
    let told = tokio::time::timeout(TOLD_WITHIN, stream.message()).await;
    told.unwrap().unwrap().unwrap()
}

fn ends(token: &Token, told: &WatchRevocationsResponse) -> bool {
    let parsed = credential::secret::Token::parse(&token.text).ok().unwrap();
    match told.event.as_ref().unwrap() {
        Event::TokenEnded(ended) => ended.token_digest == parsed.digest().to_string(),
        Event::ParticipantEnded(_) | Event::AllEnded(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_revocations_goes_on_at_another_node_and_tells_that_a_line_ended_all() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let chan = cluster.with_card(&CHAN).await;
    let tam = cluster.with_card(&TAM).await;
    let lau = cluster.with_card(&LAU).await;
    let east = doors(&cluster);
    let mut first = watch(&east[0], "").await.unwrap();
    cluster.log_out(&chan).await.unwrap();
    let seen = told(&mut first).await;
    assert!(ends(&chan, &seen), "{seen:?}");
    drop(first);
    // Nobody watches while these end.
    cluster.log_out(&tam).await.unwrap();
    cluster.log_out(&lau).await.unwrap();
    let mut second = watch(&east[1], &seen.position).await.unwrap();
    let one = told(&mut second).await;
    let two = told(&mut second).await;
    assert!(ends(&tam, &one) && ends(&lau, &two), "{one:?} {two:?}");
    assert_ne!(one.position, two.position);
    for bad in ["nonsense", "main@1", "main@1:x:y", &"9".repeat(100)] {
        let asked = watch(&east[0], bad).await;
        assert_eq!(refused(asked.map(|_| ())), "MALFORMED_POSITION", "{bad}");
    }
    // A position that this line has not reached, or of another line: nothing is taken as good.
    for far in ["main@1:1:999999", "branch/S9/00@7:1:0"] {
        let mut stream = watch(&east[0], far).await.unwrap();
        let all = told(&mut stream).await;
        assert!(
            matches!(all.event, Some(Event::AllEnded(_))),
            "{far}: {all:?}"
        );
    }
    // Session 2 is another line: who goes on from session 1's position hears that all ended.
    cluster.session_2().await;
    let west = doors(&cluster);
    let mut third = watch(&west[0], &two.position).await.unwrap();
    let all = told(&mut third).await;
    let Some(Event::AllEnded(ended)) = &all.event else {
        panic!("{all:?}");
    };
    assert!(
        ended.line.as_ref().unwrap().line.starts_with("branch/"),
        "{ended:?}"
    );
    let chan = cluster.with_card(&CHAN).await;
    cluster.log_out(&chan).await.unwrap();
    assert!(ends(&chan, &told(&mut third).await));
    cluster.end().await;
}

async fn own(cluster: &Cluster, token: &Token) -> Vec<OwnToken> {
    let front = cluster.front();
    let answer = call(&front, |channel| {
        let text = token.text.clone();
        async move {
            AuthServiceClient::new(channel)
                .list_own_tokens(request_as(ListOwnTokensRequest::default(), &text))
                .await
        }
    });
    answer.await.unwrap().tokens
}

async fn end_own(cluster: &Cluster, token: &Token, id: &str) -> Result<u32, Status> {
    let message = EndOwnTokensRequest {
        request_id: cluster.id(),
        token_id: id.to_owned(),
        client_address: ADDRESS.to_owned(),
    };
    let front = cluster.front();
    let answer = call(&front, |channel| {
        let (message, text) = (message.clone(), token.text.clone());
        async move {
            AuthServiceClient::new(channel)
                .end_own_tokens(request_as(message, &text))
                .await
        }
    });
    Ok(answer.await?.ended_count)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_list_and_end_their_own_tokens_and_nobody_elses() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    let by_card = cluster.with_card(&WONG).await;
    let by_app = cluster.with_app(&WONG).await;
    let other = cluster.with_card(&CHAN).await;
    let mine = own(&cluster, &by_card).await;
    assert_eq!(mine.len(), 2, "{mine:?}");
    let (current, app) = (
        &mine.iter().find(|one| one.current),
        &mine.iter().find(|one| !one.current),
    );
    let (current, app) = (current.unwrap(), app.unwrap());
    assert_ne!(current.method, app.method);
    // What names a token is none.
    let named = Token {
        text: app.token_id.clone(),
        ..by_app.clone()
    };
    assert!(!cluster.good(&named, by_app.scope()).await);
    // Another person's is not there to be ended.
    let theirs = end_own(&cluster, &other, &app.token_id).await;
    assert!(
        theirs.as_ref().map_or(true, |count| *count == 0),
        "{theirs:?}"
    );
    assert!(cluster.good(&by_app, by_app.scope()).await);
    assert_eq!(end_own(&cluster, &by_card, &app.token_id).await.unwrap(), 1);
    dead_everywhere(&cluster, &by_app, Instant::now()).await;
    assert!(cluster.good(&by_card, by_card.scope()).await);
    // All of them: the caller's own too.
    assert_eq!(end_own(&cluster, &by_card, "").await.unwrap(), 1);
    dead_everywhere(&cluster, &by_card, Instant::now()).await;
    assert_eq!(
        refused(end_own(&cluster, &by_card, "").await),
        "TOKEN_EXPIRED"
    );
    assert!(cluster.good(&other, other.scope()).await);
    cluster.end().await;
}

async fn batch(
    cluster: &Cluster,
    requests: Vec<IntrospectTokenRequest>,
) -> Result<Vec<Introspection>, Status> {
    let message = BatchIntrospectTokensRequest { requests };
    let doors = doors(cluster);
    let answer = call(&doors, |channel| {
        let message = message.clone();
        async move {
            TokenServiceClient::new(channel)
                .batch_introspect_tokens(request(message))
                .await
        }
    });
    Ok(answer.await?.introspections)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_its_portal_and_scope_and_while_its_holder_is_busy_s31() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let busy = cluster.with_card(&CHAN).await;
    let idle = cluster.with_card(&TAM).await;
    let ask = |token: &Token| token.question(token.scope(), false);
    let requests = vec![
        ask(&busy),
        IntrospectTokenRequest {
            scope: "security-management".to_owned(),
            ..ask(&busy)
        },
        IntrospectTokenRequest {
            portal: Portal::Dms.into(),
            ..ask(&busy)
        },
        IntrospectTokenRequest {
            access_token: "nonsense".to_owned(),
            ..ask(&busy)
        },
        ask(&idle),
    ];
    let said = batch(&cluster, requests).await.unwrap();
    let active: Vec<bool> = said.iter().map(|one| one.active).collect();
    assert_eq!(active, [true, false, false, false, true]);
    // Nothing else is told of what is not good.
    for dead in &said[1..4] {
        assert_eq!(*dead, Introspection::default());
    }
    assert_eq!(said[0].account, CHAN.resource());
    let many = batch(&cluster, vec![ask(&busy); 501]).await;
    assert!(many.is_err(), "at most 500 at once");

    let touched = |token: &Token| token.question(token.scope(), true);
    cluster.serves_at("2023-06-10 18:14").await;
    let door = &doors(&cluster)[0];
    assert!(introspected(door, touched(&busy)).await.active);
    assert!(
        introspected(door, ask(&idle)).await.active,
        "to ask is no activity"
    );
    cluster.serves_at("2023-06-10 18:16").await;
    dead_everywhere(&cluster, &idle, Instant::now()).await;
    assert!(introspected(door, ask(&busy)).await.active);
    cluster.serves_at("2023-06-10 18:30").await;
    dead_everywhere(&cluster, &busy, Instant::now()).await;
    cluster.end().await;
}
