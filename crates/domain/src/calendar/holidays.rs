//! The holidays file: one date a line, a name after it if one likes, `#` for comments.

use std::collections::BTreeSet;

use super::HOLIDAYS_MAX;
use super::day::Day;
use super::timetable::Problem;

/// Reads a holidays file:
///
/// ```text
/// # General holidays 2023
/// 2023-05-26  The Birthday of the Buddha
/// ```
///
/// # Errors
/// Every line that is no date or names a date again, with its number.
pub fn parse(text: &str) -> Result<BTreeSet<Day>, Vec<Problem>> {
    let mut days = BTreeSet::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = format!("line {}", index + 1);
        let content = line.split('#').next().unwrap_or_default();
        let Some(date) = content.split_whitespace().next() else {
            continue;
        };
        match date.parse::<Day>() {
            Ok(day) if days.contains(&day) => {
                problems.push(Problem::new(at, format!("{day} is named twice")));
            }
            Ok(day) => {
                days.insert(day);
            }
            Err(wrong) => problems.push(Problem::new(at, wrong.to_string())),
        }
    }
    if days.len() > HOLIDAYS_MAX {
        problems.push(Problem::new(
            "the file".to_owned(),
            format!("{} holidays; at most {HOLIDAYS_MAX} are kept", days.len()),
        ));
    }
    if problems.is_empty() {
        Ok(days)
    } else {
        Err(problems)
    }
}
