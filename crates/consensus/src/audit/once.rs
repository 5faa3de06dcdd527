//! Each trail of a data folder, opened once: opening cuts off what looks unfinished, and to a
//! second reader a row that is just being written does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use domain::LineRef;

use super::{Error, Trail};
use crate::{files, place};

/// The trails of a node. Clones are the same ones. They stay open: there is one a session.
#[derive(Debug, Clone)]
pub struct Trails(Arc<Held>);

#[derive(Debug)]
struct Held {
    data: PathBuf,
    opened: Mutex<BTreeMap<String, Trail>>,
}

impl Trails {
    /// Those in this data folder, none of them open yet.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self(Arc::new(Held {
            data: data.to_owned(),
            opened: Mutex::default(),
        }))
    }

    /// The trail of a line, begun if it is not there. Blocks when it is opened: all of it is read.
    ///
    /// # Errors
    /// As `Trail::open`.
    pub fn of(&self, line: &LineRef) -> Result<Trail, Error> {
        self.at(place::audit(&self.0.data, line), place::line_name(line))
    }

    /// A trail that is no line's, in a folder of its own. Blocks when it is opened.
    ///
    /// # Errors
    /// As `Trail::open_in`.
    pub(crate) fn at(&self, folder: PathBuf, name: String) -> Result<Trail, Error> {
        let mut opened = self.0.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trail) = opened.get(&name) {
            return Ok(trail.clone());
        }
        let trail = Trail::open_in(folder, name.clone())?;
        opened.insert(name, trail.clone());
        Ok(trail)
    }

    /// Whether a line has a trail here.
    #[must_use]
    pub fn has(&self, line: &LineRef) -> bool {
        files::is_dir(&place::audit(&self.0.data, line))
    }
}
