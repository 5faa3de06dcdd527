//! The only place that prints: data to stdout, as a table or as JSON, and talk to stderr. A
//! closed pipe is no error: whoever closed it has seen enough.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::exit::Failure;

/// The form of the data on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// Where a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
}

impl Output {
    /// An output of this form.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether stdout gets JSON.
    #[must_use]
    pub fn json(self) -> bool {
        match self.format {
            Format::Json => true,
            Format::Table => false,
        }
    }

    /// Prints the command's data: `document` as JSON, or `text` for people.
    ///
    /// # Errors
    /// If the document cannot be written as JSON.
    pub fn data<T: Serialize>(
        self,
        document: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => text(),
            Format::Json => serde_json::to_string_pretty(document)
                .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?,
        };
        line(&mut io::stdout().lock(), &text);
        Ok(())
    }

    /// Prints a line of progress for people: to stdout when the data is a table (it is the
    /// data then), and not at all otherwise.
    pub fn progress(self, text: &str) {
        match self.format {
            Format::Table => line(&mut io::stdout().lock(), text),
            Format::Json => {}
        }
    }

    /// Says something to whoever watches.
    pub fn talk(self, text: &str) {
        line(&mut io::stderr().lock(), text);
    }

    /// Says why the command failed.
    pub fn failure(self, failure: &Failure) {
        let reason = failure
            .reason
            .as_ref()
            .map_or_else(String::new, |reason| format!(" [{reason}]"));
        self.talk(&format!("tidemark: {}{reason}", failure.what));
        if let Some(next) = &failure.next {
            self.talk(&format!("  next: {next}"));
        }
    }

    /// Asks for a name to be typed. None without a terminal: nothing is ever asked of a script.
    #[must_use]
    pub fn ask(self, question: &str) -> Option<String> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let mut stderr = io::stderr().lock();
        let _closed = write!(stderr, "{question} ").and_then(|()| stderr.flush());
        let mut typed = String::new();
        io::stdin().read_line(&mut typed).ok()?;
        Some(typed.trim().to_owned())
    }
}

fn line(to: &mut impl Write, text: &str) {
    let _closed = writeln!(to, "{}", text.trim_end_matches('\n'));
}

/// A table for people: columns as wide as their widest cell.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&text| text.to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table as lines.
    #[must_use]
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let cells: Vec<String> = row
                    .iter()
                    .zip(&widths)
                    .map(|(cell, width)| format!("{cell:<width$}"))
                    .collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["CENTRE", "ROLE"]);
        table.row(["east", "primary"]);
        table.row(["港", ""]);
        assert_eq!(table.text(), "CENTRE  ROLE\neast    primary\n港");
    }
}
