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
    /// Rows for a spreadsheet, where a command has them.
    Csv,
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
            Format::Table | Format::Csv => false,
        }
    }

    /// Whether stdout gets CSV.
    #[must_use]
    pub fn csv(self) -> bool {
        match self.format {
            Format::Csv => true,
            Format::Table | Format::Json => false,
        }
    }

    /// Prints rows as CSV.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn rows(self, table: &Table) -> Result<(), Failure> {
        line(&mut io::stdout().lock(), &table.csv()?);
        Ok(())
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
            Format::Table | Format::Csv => text(),
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
            Format::Json | Format::Csv => {}
        }
    }

    /// Prints one of many events, each on a line of its own, JSON too.
    ///
    /// # Errors
    /// If the document cannot be written as JSON.
    pub fn event<T: Serialize>(
        self,
        document: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = if self.json() {
            serde_json::to_string(document)
                .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?
        } else {
            text()
        };
        line(&mut io::stdout().lock(), &text);
        Ok(())
    }

    /// Shows a text in place of the one before it; without a terminal below it.
    pub fn redraw(self, text: &str) {
        let mut stdout = io::stdout().lock();
        if stdout.is_terminal() {
            line(&mut stdout, &over(text));
        } else {
            line(&mut stdout, text);
            line(&mut stdout, "");
        }
        let _closed = stdout.flush();
    }

    /// Prints the completions of a shell.
    pub fn completions(self, shell: clap_complete::Shell) {
        let mut command = <crate::args::Tidemark as clap::CommandFactory>::command();
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, "tidemark", &mut text);
        line(&mut io::stdout().lock(), &String::from_utf8_lossy(&text));
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

    /// Has a secret typed that the terminal does not show.
    ///
    /// # Errors
    /// Without a terminal: nothing is ever asked of a script.
    pub fn ask_hidden(self, question: &str) -> Result<String, Failure> {
        let shown = || Failure::usage("the terminal cannot be kept from showing what is typed");
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::usage("there is no terminal to type a secret at")
                .next("put it into a file that nobody else can read, and name that"));
        }
        let echo = |flag: &str| {
            let set = std::process::Command::new("stty").arg(flag).status();
            set.is_ok_and(|status| status.success())
        };
        if !echo("-echo") {
            return Err(shown());
        }
        let typed = self.ask(question);
        let restored = echo("echo");
        self.talk("");
        if !restored {
            return Err(shown().next("type: stty echo"));
        }
        typed.ok_or_else(|| Failure::usage("nothing was typed"))
    }

    /// Whether anybody can be asked.
    #[must_use]
    pub fn can_ask(self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks for a name to be typed. None without a terminal: nothing is ever asked of a script.
    #[must_use]
    pub fn ask(self, question: &str) -> Option<String> {
        if !self.can_ask() {
            return None;
        }
        let mut stderr = io::stderr().lock();
        let _closed = write!(stderr, "{question} ").and_then(|()| stderr.flush());
        let mut typed = String::new();
        io::stdin().read_line(&mut typed).ok()?;
        Some(typed.trim().to_owned())
    }
}

/// A text that is written over what a terminal shows, from its first line on: each line clears
/// what was there, and the last one all that is below. Nothing flickers.
fn over(text: &str) -> String {
    const HOME: &str = "\u{1b}[H";
    const CLEAR_LINE: &str = "\u{1b}[K\n";
    const CLEAR_BELOW: &str = "\u{1b}[J";
    let lines: Vec<&str> = text.trim_end_matches('\n').lines().collect();
    format!("{HOME}{}{CLEAR_LINE}{CLEAR_BELOW}", lines.join(CLEAR_LINE))
}

/// A spreadsheet carries out a cell that begins like a formula, and people's names are theirs.
fn harmless(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell != "-" {
        return format!("'{cell}");
    }
    cell.to_owned()
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

    /// The table as CSV (RFC 4180), headings first.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn csv(&self) -> Result<String, Failure> {
        let broken = |why: String| Failure::internal(format!("cannot write CSV: {why}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.rows {
            writer
                .write_record(row.iter().map(|cell| harmless(cell)))
                .map_err(|error| broken(error.to_string()))?;
        }
        let bytes = writer
            .into_inner()
            .map_err(|error| broken(error.to_string()))?;
        String::from_utf8(bytes).map_err(|error| broken(error.to_string()))
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

    #[test]
    fn a_screen_is_written_over_line_by_line() {
        assert_eq!(
            over("OK\nall is well\n"),
            "\u{1b}[HOK\u{1b}[K\nall is well\u{1b}[K\n\u{1b}[J"
        );
    }

    #[test]
    fn csv_is_quoted_and_holds_no_formula() {
        let mut table = Table::new(&["NAME", "STAGE"]);
        table.row(["Chan, \"Tai\" Man", "-"]);
        table.row(["=1+1", "initiated"]);
        let csv = table.csv().unwrap_or_default();
        assert_eq!(
            csv,
            "NAME,STAGE\n\"Chan, \"\"Tai\"\" Man\",-\n'=1+1,initiated\n"
        );
    }
}
