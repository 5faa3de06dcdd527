//! When the certificates expire that callers showed at this node. Only their keys are registered
//! (LOGIN.md, "Who calls"), so nothing else knows, and a front end whose certificate runs out stops
//! everybody who logs in through it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consensus::facts::Certificate;
use credential::certificate;
use domain::registration::Holder;
use domain::{State, UnixMs};

use crate::identity::Caller;

/// Most callers that are remembered; further ones are not.
const CALLERS_MAX: usize = 48;
/// How often a caller's certificate is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    not_after: UnixMs,
}

/// What callers showed since the node was started. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown(Arc<Mutex<BTreeMap<Holder, Seen>>>);

impl Shown {
    /// Notes what a caller showed, now and then.
    pub(crate) fn note(&self, caller: &Caller, der: &[u8]) {
        let holder = match caller {
            Caller::FrontEnd(id, _) => Holder::FrontEnd(id.clone()),
            Caller::BackEnd(id) => Holder::BackEnd(id.clone()),
            Caller::Operator(id) => Holder::Operator(id.clone()),
            Caller::Script(id) => Holder::Script(id.clone()),
            // Each says it of itself.
            Caller::Node(_) => return,
        };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |seen: &Seen| seen.at.elapsed() < LOOK_EVERY;
        let known = seen.get(&holder);
        if known.is_some_and(fresh) || (known.is_none() && seen.len() >= CALLERS_MAX) {
            return;
        }
        if let Ok(not_after) = certificate::not_after(der) {
            let at = Instant::now();
            seen.insert(holder, Seen { at, not_after });
        }
    }

    /// Those of callers who are registered still, as `caller/` with role and id.
    pub(crate) fn all(&self, state: &State) -> Vec<Certificate> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|(holder, _)| state.registered(holder).is_some())
            .map(|(holder, seen)| Certificate {
                name: format!("caller/{holder}"),
                not_after: seen.not_after,
            })
            .collect()
    }
}
