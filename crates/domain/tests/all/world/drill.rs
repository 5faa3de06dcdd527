//! The Saturday with session 2 on a branch, from its opening to its end.

use domain::session::Command as Plan;

use super::{SATURDAY_2000, SATURDAY_2300, World, session};
use domain::{Command, NodeId};

/// Gives session 2 up, on the word of the nodes that refused to start its branch.
pub fn abandon(refused: Vec<NodeId>) -> Command {
    Command::Session(Plan::Abandon {
        session: session("S2"),
        refused,
        reason: "the branch is lost".into(),
    })
}

/// Session 1 with an initiation by `AU1`, closed; session 2 open, its branch serving.
pub fn drill() -> (World, World) {
    let mut main = World::in_session_1();
    main.initiate("AU1", "first", false);
    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000);
    let branch = main.branch();
    (main, branch)
}

/// Ends session 2 on both of its lines.
pub fn close_both(main: &mut World, branch: &mut World) {
    branch.close("S2", SATURDAY_2300);
    main.close("S2", SATURDAY_2300);
}
