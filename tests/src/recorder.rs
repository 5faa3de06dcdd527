//! Clients that call the service all the while, each in its own task, and one record of what they
//! were answered: what was asked, when, of which node, and whether it was acknowledged. They try
//! again as front ends may: the same request with the same id, at another node.
//!
//! Nothing here asks the service what it has; `record` judges.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::account::v1::ChangeReason;
use proto::admin::v1::participant_service_client::ParticipantServiceClient;
use proto::admin::v1::{CreateParticipantRequest, Participant};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{BeginLoginRequest, CardProof, ChangePasswordRequest, VerifyFactorRequest};
use server::gate::PROTECTION;
use tidemark::drill::{Clock, Door, read_challenge, request, request_as};
use tidemark::refusal;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::cast::{CARD, Person, Pockets};
use crate::cluster::{Cluster, local, until_said};
use crate::record::{Answer, Asked, Came, Kept, Record};
use crate::token::ADDRESS;

/// How long a client waits after an answer that does not help it.
const PAUSE: Duration = Duration::from_millis(10);
/// Most tries of one request; the outcome is unknown after them.
const TRIES_MAX: usize = 200;
/// How many of the last answers are shown where one is waited for in vain.
const SHOWN: usize = 30;
/// Most answers that a record holds.
const ANSWERS_MAX: usize = 1_000_000;

static RECORDERS: AtomicU64 = AtomicU64::new(1);

/// Clients at work.
pub struct Recorder {
    round: u64,
    answers: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
    clock: Arc<Clock>,
    pockets: Arc<Pockets>,
    tasks: Vec<JoinHandle<()>>,
}

impl Recorder {
    /// No client yet.
    ///
    /// # Panics
    /// If no node tells the time.
    pub async fn start(cluster: &Cluster) -> Self {
        let clock = Clock::new(cluster.operators(1).to_vec());
        clock.now().await.unwrap();
        let pockets = Pockets::with_cards(cluster.profile(), local("2023-06-10 17:55"));
        Self {
            round: RECORDERS.fetch_add(1, Ordering::Relaxed),
            answers: Arc::default(),
            stop: Arc::default(),
            clock: Arc::new(clock),
            pockets: Arc::new(pockets),
            tasks: Vec::new(),
        }
    }

    /// Somebody logs in by card again and again, with Friday's password.
    pub fn logs_in(&mut self, person: &'static Person, doors: Vec<Door>) {
        let mut client = self.client(doors);
        self.tasks.push(tokio::spawn(async move {
            while client.goes_on() {
                if client.log_in(person, CARD).await.is_err() {
                    client.next().await;
                }
            }
        }));
    }

    /// Somebody changes the card's password again and again, and logs in with each.
    pub fn changes_password(&mut self, person: &'static Person, doors: Vec<Door>) {
        let mut client = self.client(doors);
        self.tasks.push(tokio::spawn(async move {
            let mut held = Held {
                person,
                password: CARD.to_owned(),
                others: Vec::new(),
            };
            for number in 1_u64.. {
                if !client.goes_on() {
                    break;
                }
                client.change_password(&mut held, number).await;
            }
        }));
    }

    /// An operator enters one firm after another, whose names begin with this letter; no other
    /// recorder has names like these.
    pub fn enters_firms(&mut self, letter: char, doors: Vec<Door>) {
        let mut client = self.client(doors);
        let round = self.round;
        self.tasks.push(tokio::spawn(async move {
            for number in 0_u64.. {
                if !client.goes_on() {
                    break;
                }
                client
                    .enter_firm(format!("{letter}{round}X{number:05}"))
                    .await;
            }
        }));
    }

    fn client(&self, doors: Vec<Door>) -> Client {
        Client {
            answers: Arc::clone(&self.answers),
            stop: Arc::clone(&self.stop),
            clock: Arc::clone(&self.clock),
            pockets: Arc::clone(&self.pockets),
            doors,
            at: 0,
        }
    }

    /// Returns once so many more answers of this kind were acknowledged, to what was asked from now
    /// on.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn acknowledged(&self, what: &str, count: usize, kind: impl Fn(&Answer) -> bool) {
        let now = Instant::now();
        until_said(what, async || {
            let answers = self.answers.lock().unwrap();
            let new = answers.iter().rev().take_while(|one| one.ended >= now);
            let new = new.filter(|one| one.began >= now && one.kept().is_some() && kind(one));
            let last = || answers.iter().rev().take(SHOWN).map(Answer::to_string);
            let has_come = (new.count() >= count).then_some(());
            has_come.ok_or_else(|| last().collect::<Vec<_>>().join("\n"))
        })
        .await;
    }

    /// What they were answered so far; they go on.
    ///
    /// # Panics
    /// If a client has panicked.
    #[must_use]
    pub fn so_far(&self) -> Record {
        Record(self.answers.lock().unwrap().clone())
    }

    /// Stops the clients once each has its last answer; what they were answered.
    ///
    /// # Panics
    /// If a client has panicked.
    pub async fn end(self) -> Record {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        Record(std::mem::take(&mut *self.answers.lock().unwrap()))
    }
}

/// The password that a client believes that a person has, and those that the person may have.
struct Held {
    person: &'static Person,
    password: String,
    others: Vec<String>,
}

/// One client, which knows some nodes and stays with the one that helped it last.
struct Client {
    answers: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
    clock: Arc<Clock>,
    pockets: Arc<Pockets>,
    doors: Vec<Door>,
    at: usize,
}

impl Client {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    async fn next(&mut self) {
        self.at = (self.at + 1) % self.doors.len();
        tokio::time::sleep(PAUSE).await;
    }

    fn note(&self, asked: Asked, door: &Door, began: Instant, came: Came) {
        let mut answers = self.answers.lock().unwrap();
        assert!(answers.len() < ANSWERS_MAX, "the record is full");
        answers.push(Answer {
            asked,
            node: door.node,
            centre: door.centre.clone(),
            began,
            ended: Instant::now(),
            came,
        });
    }

    /// Asks once, at the door where this client is, and notes what came.
    async fn ask<T, Fut>(
        &self,
        asked: &Asked,
        call: impl FnOnce(Channel) -> Fut,
    ) -> Result<T, Status>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let door = &self.doors[self.at];
        let began = Instant::now();
        let answer = call(door.channel.clone()).await;
        let came = match &answer {
            Ok(answer) => Came::Acknowledged(kept(answer)),
            Err(status) => read(status),
        };
        self.note(asked.clone(), door, began, came);
        answer.map(Response::into_inner)
    }

    /// Asks for a change until it is acknowledged, or refused for good: the same request every
    /// time. Whether it was acknowledged; nothing if nobody knows.
    async fn change<T, Fut>(&mut self, asked: Asked, call: impl Fn(Channel) -> Fut) -> Option<bool>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut unknown = false;
        for _ in 0..TRIES_MAX {
            match self.ask(&asked, &call).await {
                Ok(_) => return Some(true),
                Err(status) => match read(&status) {
                    Came::Unknown(_) => unknown = true,
                    Came::Refused(_) if passes(&status) => {}
                    Came::Refused(_) if unknown => return None,
                    Came::Refused(_) => return Some(false),
                    Came::Acknowledged(_) => return Some(true),
                },
            }
            self.next().await;
        }
        None
    }

    async fn log_in(&self, person: &'static Person, password: &str) -> Result<String, Status> {
        let begin = BeginLoginRequest {
            request_id: self.clock.request_id(),
            user_id: person.id.to_owned(),
            option: person.card_option().to_owned(),
            password: password.to_owned(),
            client_address: ADDRESS.to_owned(),
        };
        let asked = Asked::Login(person.id);
        let verified = self.ask(&asked, |channel| async move {
            let mut node = AuthServiceClient::new(channel);
            let begun = node.begin_login(request(begin)).await?.into_inner();
            let challenge = begun.card_challenge.as_ref();
            let challenge = challenge.ok_or_else(|| Status::data_loss("no challenge"))?;
            let challenge = read_challenge(challenge).unwrap();
            let card = self.pockets.card(person);
            let proof = CardProof {
                certificate_chain_der: card.chain().iter().map(|der| der.to_vec()).collect(),
                signature: card.sign(&challenge).unwrap(),
            };
            let verify = VerifyFactorRequest {
                request_id: self.clock.request_id(),
                login_id: begun.login_id,
                factor: Some(Factor::Card(proof)),
                client_address: ADDRESS.to_owned(),
            };
            node.verify_factor(request(verify)).await
        });
        Ok(verified.await?.access_token)
    }

    /// Logs in with the password that the person has, or with one that it may have, and changes it.
    async fn change_password(&mut self, held: &mut Held, number: u64) {
        let Ok(token) = self.log_in(held.person, &held.password).await else {
            let others = held.others.clone();
            for other in others {
                if self.log_in(held.person, &other).await.is_ok() {
                    held.others
                        .push(std::mem::replace(&mut held.password, other));
                    return;
                }
            }
            return self.next().await;
        };
        let new = format!("{} pier {number}", held.person.id);
        let message = ChangePasswordRequest {
            request_id: self.clock.request_id(),
            current_password: held.password.clone(),
            new_password: new.clone(),
            reason: ChangeReason::Routine.into(),
            client_address: ADDRESS.to_owned(),
        };
        let asked = Asked::Password(held.person.id, new.clone());
        let changed = self.change(asked, |channel| {
            let message = request_as(message.clone(), &token);
            async move {
                AuthServiceClient::new(channel)
                    .change_password(message)
                    .await
            }
        });
        match changed.await {
            Some(true) => {
                held.password = new;
                held.others.clear();
            }
            Some(false) => {}
            None => held.others.push(new),
        }
    }

    async fn enter_firm(&mut self, id: String) {
        let message = CreateParticipantRequest {
            request_id: self.clock.request_id(),
            participant: Some(Participant {
                name: format!("participants/{id}"),
                title: format!("Firm {id}"),
                ..Participant::default()
            }),
            ..CreateParticipantRequest::default()
        };
        let entered = self.change(Asked::Firm(id), |channel| {
            let message = request(message.clone());
            async move {
                let mut node = ParticipantServiceClient::new(channel);
                node.create_participant(message).await
            }
        });
        entered.await;
        // The next one is asked of another node.
        self.at = (self.at + 1) % self.doors.len();
    }
}

/// Whether an answer said that the other centre has what it tells of.
fn kept<T>(answer: &Response<T>) -> Kept {
    match answer.metadata().get(PROTECTION) {
        None => Kept::Protected,
        Some(_) => Kept::Alone,
    }
}

/// What a refusal says of the request: done before, surely not done by this try, or unknown.
fn read(status: &Status) -> Came {
    match refusal::reason(status) {
        // Without an answer of its own: nothing is known of what else it said.
        Some(reason) if reason == "ALREADY_DONE" => Came::Acknowledged(Kept::Alone),
        Some(reason) if reason == "OUTCOME_UNKNOWN" => Came::Unknown(reason),
        Some(reason) => Came::Refused(reason),
        None => Came::Unknown(format!("{:?}: {}", status.code(), status.message())),
    }
}

/// Whether another node, or the same one later, may do what this one refused.
fn passes(status: &Status) -> bool {
    let elsewhere = ["CENTRE_NOT_SERVING", "SESSION_CLOSED", "BRANCH_OPEN"];
    let reason = refusal::reason(status).unwrap_or_default();
    refusal::passing(status) || elsewhere.contains(&reason.as_str())
}
