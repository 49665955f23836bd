//! Tables: aligned columns, with colours and a light line on a terminal, plain elsewhere.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, TableComponent, Width, presets};

use super::format::clean;
use super::output::Tone;

/// The last column of a table is given at least so many characters, even where the terminal is too narrow for it.
const LAST_COLUMN: u16 = 24;

/// Rows of aligned columns.
#[derive(Debug)]
pub(super) struct Table {
    header: Vec<&'static str>,
    right: &'static [usize],
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table whose columns are called so; those of `right` (numbers) are aligned to the right.
    pub(super) fn new(header: &[&'static str], right: &'static [usize]) -> Self {
        Self { header: header.to_vec(), right, rows: Vec::new() }
    }

    /// Leaves the header out.
    pub(super) fn without_header(mut self) -> Self {
        self.header.clear();
        self
    }

    /// Adds a row. Texts are cleaned.
    pub(super) fn row<const N: usize>(&mut self, cells: [(String, Tone); N]) {
        self.rows.push(cells.into_iter().map(|(text, tone)| (clean(&text).into_owned(), tone)).collect());
    }

    /// Whether there are no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text: with lines, colours and the terminal's width, or as plain columns.
    pub(super) fn render(&self, terminal: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING);
        let coloured = terminal && anstream::stdout().current_choice() != anstream::ColorChoice::Never;
        let tone = |text: &str, tone: Tone| match (coloured, tone) {
            (true, tone) => cell(text, tone),
            (false, _) => comfy_table::Cell::new(text),
        };
        if !self.header.is_empty() {
            table.set_header(self.header.iter().map(|name| tone(name, Tone::Strong)));
        }
        for row in &self.rows {
            table.add_row(row.iter().map(|(text, of)| tone(text, *of)));
        }
        let widths = table.column_max_content_widths();
        if terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_style(TableComponent::HeaderLines, '─');
            table.set_style(TableComponent::MiddleHeaderIntersections, '─');
        } else {
            table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
        }
        for (i, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if terminal { 1 } else { 2 }));
            if self.right.contains(&i) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            // Only the last column is broken into lines: ids and names are there to be copied.
            if terminal && i + 1 == widths.len() {
                let enough = Width::Fixed(widths[i].min(LAST_COLUMN));
                column.set_constraint(ColumnConstraint::LowerBoundary(enough));
            } else if terminal {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table.trim_fmt()
    }
}

/// A cell without a colour.
#[expect(clippy::needless_pass_by_value, reason = "a cell is given up to its table")]
pub(super) fn plain(text: impl ToString) -> (String, Tone) {
    (text.to_string(), Tone::Plain)
}

fn cell(text: &str, tone: Tone) -> comfy_table::Cell {
    use comfy_table::{Attribute, Color};
    let cell = comfy_table::Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Doubtful => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Strong => cell.add_attribute(Attribute::Bold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_not_for_a_terminal_is_plain_columns() {
        let mut table = Table::new(&["NAME", "N"], &[1]);
        table.row([plain("a\u{1b}[1m"), plain(5)]);
        table.row([("long name".to_owned(), Tone::Bad), plain(1234)]);
        assert_eq!(table.render(false), "NAME           N\na\\u{1b}[1m     5\nlong name   1234");
    }
}
