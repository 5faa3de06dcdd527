//! The player: goes through a drill step by step, judges what came of each, and keeps what the
//! report needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::calendar::Timetable;
use domain::{CentreName, SessionId, UnixMs};
use tonic::Status;

use super::action::Action;
use super::clock::Clock;
use super::file::{Carry, Drill, Step};
use super::people::{Mailbox, People};
use super::report::{Boundary, Carried, Proof, Report, SCHEMA, StepRow, Verdict};
use super::stage::Stage;
use crate::exit::{Exit, Failure, file_failure};
use crate::output::Output;
use crate::profile::Profile;
use crate::refusal::{self, Asked};

/// How long a step waits for the cluster to follow its clock and its plan.
const SETTLE: Duration = Duration::from_secs(15);
/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Why a step did not come to an end.
pub(super) enum Trouble {
    /// A node refused.
    Refused(Box<Status>),
    /// Something is not as it must be.
    Failed(Failure),
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What came of a step that was done.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// In words.
    pub(super) text: String,
    /// What becomes of the change, if it was one.
    pub(super) carry: Option<Carry>,
}

impl Told {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            carry: None,
        }
    }

    pub(super) fn carried(mut self, carry: Option<Carry>) -> Self {
        self.carry = carry;
        self
    }
}

/// The result of an act.
pub(super) type Done = Result<Told, Trouble>;

/// A login that passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Passed {
    pub(super) session: String,
    pub(super) account: String,
    pub(super) method: String,
}

/// What a drill needs besides its file.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The profile with every identity.
    pub profile: Profile,
    /// The folder of the drill file, where its data files are found.
    pub folder: PathBuf,
    /// The program that replays exported logs: `tidemark` itself.
    pub replayer: PathBuf,
}

/// A drill under way.
pub(super) struct Player {
    pub(super) drill: Drill,
    pub(super) setting: Setting,
    pub(super) timetable: Timetable,
    pub(super) stage: Stage,
    pub(super) clock: Clock,
    pub(super) people: People,
    pub(super) mailbox: Mailbox,
    /// The centre that people are sent to.
    pub(super) centre: CentreName,
    /// Whether a step waited in vain: those after it do not wait again before the next time.
    pub(super) stuck: bool,
    /// What everybody is told who asks for an activation code.
    pub(super) activation_answer: Option<String>,
    pub(super) boundary: Option<proto::line::v1::Boundary>,
    pub(super) rolled_over: bool,
    /// Changes that were acknowledged on the branch: kind and account.
    pub(super) branch_changes: Vec<(&'static str, String)>,
    pub(super) passed: Vec<Passed>,
    pub(super) carried: Vec<Carried>,
    pub(super) proofs: Vec<Proof>,
    pub(super) measured_ms: BTreeMap<String, u64>,
    /// What was out of the ordinary and is no fault.
    pub(super) anomalies: Vec<String>,
}

impl Player {
    /// Everybody takes their place; nothing has been asked of a node yet.
    pub(super) fn new(drill: Drill, setting: Setting) -> Result<Self, Failure> {
        let path = setting.folder.join(&drill.data.timetable);
        let text =
            std::fs::read_to_string(&path).map_err(|error| file_failure("read", &path, &error))?;
        let timetable = Timetable::parse(&text).map_err(|problems| {
            let listed: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Failure::pre_check(format!("{}:\n  {}", path.display(), listed.join("\n  ")))
        })?;
        let stage = Stage::dial(&setting.profile)?;
        let centre = centre_of(&timetable, &drill.first_session)?;
        Ok(Self {
            people: People::with_cards(&drill, &setting.profile)?,
            mailbox: Mailbox::open(&setting.profile),
            clock: Clock::new(stage.operator(None)?.to_vec()),
            stuck: false,
            activation_answer: None,
            boundary: None,
            rolled_over: false,
            branch_changes: Vec::new(),
            passed: Vec::new(),
            carried: Vec::new(),
            proofs: Vec::new(),
            measured_ms: BTreeMap::new(),
            anomalies: Vec::new(),
            drill,
            setting,
            timetable,
            stage,
            centre,
        })
    }

    /// Plays every step. A step that fails does not end the drill: what follows is evidence too.
    pub(super) async fn play(mut self, output: Output) -> Result<Report, Failure> {
        let began = Instant::now();
        let drill = self.drill.clone();
        let mut rows = Vec::new();
        for (index, part) in drill.part.iter().enumerate() {
            output.progress(&format!("\n{}", part.title));
            for step in &part.step {
                let row = self.step(index + 1, step).await?;
                output.progress(&format!(
                    "  {}  {:>6} ms  {}{}",
                    row.result.word(),
                    row.took_ms,
                    row.title,
                    match row.result {
                        Verdict::Pass => String::new(),
                        Verdict::Fail => format!("\n        {}", row.told),
                    }
                ));
                rows.push(row);
            }
        }
        self.measured_ms
            .insert("whole drill".to_owned(), millis(began.elapsed()));
        self.report(rows).await
    }

    async fn step(&mut self, part: usize, step: &Step) -> Result<StepRow, Failure> {
        if let Some(at) = step.at {
            self.clock.until(at.0).await?;
            self.stuck = false;
        }
        let at = self.clock.now().await?;
        let began = Instant::now();
        let (result, told) = loop {
            let done = self.act(step).await;
            match judge(step, &done) {
                Ok(told) => break (Verdict::Pass, told),
                // The cluster may still be on its way to where the step begins.
                Err(_) if settles(&done) && !self.stuck && began.elapsed() < SETTLE => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(told) => {
                    self.stuck |= settles(&done);
                    break (Verdict::Fail, told);
                }
            }
        };
        Ok(StepRow {
            part,
            title: step.title.clone(),
            at: at.to_string(),
            result,
            took_ms: millis(began.elapsed()),
            told,
            shows: step.shows.clone(),
        })
    }

    async fn act(&mut self, step: &Step) -> Done {
        let refused = step.refused.is_some();
        match &step.action {
            Action::Import(act) => self.import(act).await,
            Action::SetTimetable(act) => self.set_timetable(act).await,
            Action::Unready(act) => self.unready(act).await,
            Action::Login(act) => self.login(act, refused).await,
            Action::Logout(act) => self.logout(act).await,
            Action::AskActivation(act) => self.ask_activation(act).await,
            Action::IssueHalf(act) => self.issue_half(act).await,
            Action::Initiate(act) => self.initiate(act).await,
            Action::ChangePassword(act) => self.change_password(act).await,
            Action::ReplaceChannel(act) => self.replace_channel(act).await,
            Action::Suspend(act) => self.suspend(act).await,
            Action::EmergencySuspend(act) => self.emergency_suspend(act).await,
            Action::Introspect(act) => self.introspect(act).await,
            Action::Approve(act) => self.approve(act).await,
            Action::Open(act) => self.open(act).await,
            Action::Close(act) => self.close(act).await,
            Action::Rollover(act) => self.roll_over(act).await,
            Action::BranchIsBoundary(act) => self.branch_is_boundary(act).await,
            Action::ForgottenIsDone(act) => self.forgotten_is_done(act).await,
            Action::BranchSecretsDead(act) => self.branch_secrets_dead(act).await,
            Action::NodesAgree(_) => self.nodes_agree().await,
            Action::ReplayAgrees(_) => self.replay_agrees().await,
            Action::MatrixAgrees(_) => self.matrix_agrees().await,
        }
    }

    /// The centre that holds a session, by the drill's timetable.
    pub(super) fn centre_of(&self, session: &SessionId) -> Result<CentreName, Failure> {
        centre_of(&self.timetable, session)
    }

    /// The time of the cluster.
    pub(super) async fn now(&mut self) -> Result<UnixMs, Failure> {
        self.clock.now().await
    }

    async fn report(mut self, steps: Vec<StepRow>) -> Result<Report, Failure> {
        let seen = self.gather().await;
        let mut missing = false;
        let mut anomalies = std::mem::take(&mut self.anomalies);
        let seen = seen.unwrap_or_else(|failure| {
            missing = true;
            anomalies.push(format!("the report is not whole: {failure}"));
            super::evidence::Seen::default()
        });
        let carried_all = self.carried.iter().all(|carried| carried.found_after);
        self.proofs.push(Proof::of_finding(
            "I3",
            "each initiation that was acknowledged in session 1 logged in after the rollover",
            carried_all && !self.carried.is_empty(),
        ));
        let holds = steps.iter().all(|step| step.result == Verdict::Pass)
            && self
                .proofs
                .iter()
                .all(|proof| proof.result == Verdict::Pass)
            && !missing;
        Ok(Report {
            schema: SCHEMA.to_owned(),
            drill: self.drill.id,
            title: self.drill.title,
            source: self.drill.source,
            cluster: self.setting.profile.cluster().to_string(),
            result: Verdict::of(holds),
            timetable: seen.timetable,
            approved_by: seen.approved_by,
            boundary: self.boundary.as_ref().map(|boundary| Boundary {
                log_id: boundary
                    .log_id
                    .as_ref()
                    .map(super::words::log_id)
                    .unwrap_or_default(),
                epoch: boundary.line.as_ref().map_or(0, |line| line.epoch),
                digest: full_digest(boundary),
            }),
            steps,
            measured_ms: self.measured_ms,
            carried: self.carried,
            forgotten: seen.forgotten,
            must_repeat: seen.must_repeat,
            proofs: self.proofs,
            matrix: seen.matrix,
            anomalies,
        })
    }
}

/// The full digest at a boundary.
pub(super) fn full_digest(boundary: &proto::line::v1::Boundary) -> String {
    boundary
        .digests
        .as_ref()
        .map(|digests| digests.full.clone())
        .unwrap_or_default()
}

fn centre_of(timetable: &Timetable, session: &SessionId) -> Result<CentreName, Failure> {
    timetable
        .sessions
        .iter()
        .find(|planned| planned.id == *session)
        .map(|planned| planned.centre.clone())
        .ok_or_else(|| {
            Failure::pre_check(format!("the drill's timetable has no session {session}"))
        })
}

/// Whether what came of a step is what was expected; in words, either way.
fn judge(step: &Step, done: &Done) -> Result<String, String> {
    let holds = |text: &str| {
        step.says
            .as_ref()
            .is_none_or(|says| text.contains(says.as_str()))
    };
    match (done, &step.refused) {
        (Ok(told), None) => {
            if step.carry.is_some() && told.carry != step.carry {
                return Err(format!(
                    "the answer says {:?} of the change, not {:?}",
                    told.carry, step.carry
                ));
            }
            if holds(&told.text) {
                Ok(told.text.clone())
            } else {
                Err(format!("the answer does not say so: {}", told.text))
            }
        }
        (Ok(told), Some(reason)) => Err(format!(
            "it was done, not refused: {} ({reason})",
            told.text
        )),
        (Err(Trouble::Refused(status)), expected) => {
            let said = refusal::failure(status, Asked::Read);
            let reason = said
                .reason
                .clone()
                .unwrap_or_else(|| format!("{:?}", status.code()));
            if expected.as_ref() == Some(&reason) && holds(&said.what) {
                Ok(format!("refused, as it must be: {}", said.what))
            } else {
                Err(format!("refused with {reason}: {}", said.what))
            }
        }
        (Err(Trouble::Failed(failure)), _) => Err(failure.what.clone()),
    }
}

/// Whether the refusal is one that goes by itself when the cluster has followed its plan.
fn settles(done: &Done) -> bool {
    match done {
        Err(Trouble::Refused(status)) => refusal::reason(status).is_some_and(|reason| {
            matches!(
                reason.as_str(),
                "SESSION_CLOSED"
                    | "CENTRE_NOT_SERVING"
                    | "CENTRE_CHANGING"
                    | "NO_LEADER"
                    | "LINE_CHANGED"
                    | "CLOCK_OFF"
                    | "CLOCK_JUMP"
                    | "EARLIER_SESSION_OPEN"
                    | "OUTSIDE_SESSION"
                    // The branch's records are on their way between the centres.
                    | "NO_EVIDENCE"
                    // The answer was lost with its secret: the person starts again (LINES.md).
                    | "ALREADY_DONE"
            )
        }),
        Ok(_) | Err(Trouble::Failed(_)) => false,
    }
}

/// Milliseconds, as reports show them.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Plays the drill of a file.
///
/// # Errors
/// If it cannot be played at all; a step that fails is in the report.
pub async fn play(file: &Path, setting: Setting, output: Output) -> Result<Report, Failure> {
    let drill = Drill::read(file)?;
    output.talk(&format!("{} ({})", drill.title, drill.source));
    let player = Player::new(drill, setting)?;
    let report = player.play(output).await?;
    output.progress(&format!(
        "\n{}  {} steps, {} proofs",
        report.result.word(),
        report.steps.len(),
        report.proofs.len()
    ));
    Ok(report)
}

/// The failure that a report stands for, if it is not all well.
#[must_use]
pub fn failure(report: &Report) -> Option<Failure> {
    let failed = report
        .steps
        .iter()
        .filter(|step| step.result == Verdict::Fail)
        .count();
    let unproved: Vec<&str> = report
        .proofs
        .iter()
        .filter(|proof| proof.result == Verdict::Fail)
        .map(|proof| proof.id.as_str())
        .collect();
    match report.exit() {
        Exit::Done => None,
        Exit::Mismatch => Some(Failure::mismatch(format!(
            "{} of the proofs failed: {}",
            unproved.len(),
            unproved.join(", ")
        ))),
        exit @ (Exit::Internal
        | Exit::Usage
        | Exit::PreCheck
        | Exit::Refused
        | Exit::Unknown
        | Exit::Loss
        | Exit::Already) => Some(Failure::new(exit, format!("{failed} steps failed"))),
    }
}
