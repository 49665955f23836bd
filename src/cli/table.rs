//! Tables: aligned columns, with colours and a light line on a terminal, plain elsewhere.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, TableComponent, Width, presets};

use super::format::clean;
use super::output::Tone;

/// The last column of a table, which is broken into lines, is given so many characters …
const LAST_COLUMN: usize = 24;
/// … and at least so many where the terminal is too narrow for that.
const LAST_COLUMN_LEAST: usize = 12;
/// A name is cut to so many characters before a column is left out …
const NAME: usize = 14;
/// … and to so many at least where that is not enough: no header of a column with names is wider.
const NAME_LEAST: usize = 11;

/// Rows of aligned columns.
#[derive(Debug)]
pub(super) struct Table {
    header: Vec<&'static str>,
    right: &'static [usize],
    cut: &'static [usize],
    spare: &'static [usize],
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table whose columns are called so; those of `right` (numbers) are aligned to the right.
    pub(super) fn new(header: &[&'static str], right: &'static [usize]) -> Self {
        Self { header: header.to_vec(), right, cut: &[], spare: &[], rows: Vec::new() }
    }

    /// Cuts the texts of these columns where the terminal is too narrow for them: names that come from outside.
    pub(super) fn cutting(mut self, columns: &'static [usize]) -> Self {
        self.cut = columns;
        self
    }

    /// Leaves these columns out where the terminal is too narrow for them, in this order.
    pub(super) fn leaving_out(mut self, columns: &'static [usize]) -> Self {
        self.spare = columns;
        self
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
        let width = if terminal { comfy_table::Table::new().width() } else { None };
        self.laid_out(terminal, width.map(usize::from))
    }

    fn laid_out(&self, terminal: bool, width: Option<usize>) -> String {
        let (mut layout, mut gap) = (self.layout(width, 2), 2);
        if width.is_some_and(|width| needed(&layout, gap, usize::MAX) > width) {
            (layout, gap) = (self.layout(width, 1), 1);
        }
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING);
        let coloured = terminal && anstream::stdout().current_choice() != anstream::ColorChoice::Never;
        let tone = |text: &str, tone: Tone| match (coloured, tone) {
            (true, tone) => cell(text, tone),
            (false, _) => comfy_table::Cell::new(text),
        };
        if !self.header.is_empty() {
            table.set_header(layout.iter().map(|column| tone(self.header[column.index], Tone::Strong)));
        }
        for row in &self.rows {
            table.add_row(layout.iter().map(|column| {
                let (text, of) = &row[column.index];
                if column.is_cut { tone(&cut(text, column.width), *of) } else { tone(text, *of) }
            }));
        }
        let widths = table.column_max_content_widths();
        if terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_style(TableComponent::HeaderLines, '─');
            table.set_style(TableComponent::MiddleHeaderIntersections, '─');
            if let Some(width) = width.and_then(|width| u16::try_from(width).ok()) {
                table.set_width(width);
            }
        } else {
            table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
        }
        for (i, column) in table.column_iter_mut().enumerate() {
            // On a terminal there is a space between columns anyway.
            column.set_padding((0, if terminal { gap - 1 } else { gap }));
            if self.right.contains(&layout[i].index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            // Only the last column is broken into lines: ids and names are there to be copied.
            if terminal && i + 1 == widths.len() {
                let enough = u16::try_from(layout[i].width).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(widths[i].min(enough))));
            } else if terminal {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table.trim_fmt()
    }

    /// The columns that are shown, `gap` apart, and how wide, so that a row fits into `width`; all of them without one.
    fn layout(&self, width: Option<usize>, gap: u16) -> Vec<Column> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(self.header.len());
        let mut columns: Vec<Column> =
            (0..count).map(|index| self.column(index, index + 1 == count)).collect();
        let Some(width) = width else { return columns };
        for spare in self.spare {
            if needed(&columns, gap, NAME) > width {
                columns.retain(|column| column.index != *spare);
            }
        }
        let over = needed(&columns, gap, NAME_LEAST).saturating_sub(width);
        if let Some(last) = columns.last_mut() {
            last.width = last.width.saturating_sub(over).max(last.width.min(LAST_COLUMN_LEAST));
        }
        // The widest name is cut first.
        while needed(&columns, gap, usize::MAX) > width {
            let names = columns.iter_mut().filter(|column| column.is_name && column.width > NAME_LEAST);
            let Some(widest) = names.max_by_key(|column| column.width) else { break };
            widest.width -= 1;
            widest.is_cut = true;
        }
        columns
    }

    fn column(&self, index: usize, is_last: bool) -> Column {
        let cells = self.rows.iter().map(|row| row[index].0.chars().count());
        let header = self.header.get(index).map_or(0, |name| name.len());
        let width = cells.max().unwrap_or(0).max(header);
        let is_name = !is_last && self.cut.contains(&index);
        Column { index, width: if is_last { width.min(LAST_COLUMN) } else { width }, is_name, is_cut: false }
    }
}

/// A column that is shown.
struct Column {
    index: usize,
    /// How wide it is, or has to be at least where it is the last.
    width: usize,
    is_name: bool,
    is_cut: bool,
}

/// How wide a row is whose columns are `gap` apart, when no name is wider than `name`.
fn needed(columns: &[Column], gap: u16, name: usize) -> usize {
    let least = |column: &Column| if column.is_name { column.width.min(name) } else { column.width };
    let wide: usize = columns.iter().map(|column| least(column) + usize::from(gap)).sum();
    wide.saturating_sub(1)
}

/// A text cut to `width` characters: of a name the end says more than the middle, of a URL the start says most.
fn cut(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let start = if text.contains("://") { width - 1 } else { width / 3 };
    let end: String = text.chars().skip(length + 1 + start - width).collect();
    let start: String = text.chars().take(start).collect();
    format!("{start}…{end}")
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

    #[test]
    fn a_row_fits_the_terminal() {
        const LONG: &str = "instance:the-sales-team-of-the-northern-region";
        let header = ["ID", "WHEN", "DESTINATION", "EVENT", "REASON", "ATTEMPTS", "STATUS", "SIZE", "ERROR"];
        let mut table = Table::new(&header, &[5, 6, 7]).cutting(&[2, 3]).leaving_out(&[7, 5, 6]);
        let row = ["1761038164871-0", "59 min 59 s ago", LONG, "MESSAGES_UPSERT", "unreadable", "10", "503"];
        let [id, when, destination, event, reason, attempts, status] = row.map(plain);
        let error = plain("the receiver answered 503 Service Unavailable, and asked for patience");
        table.row([id, when, destination, event, reason, attempts, status, plain("1.4 KiB"), error]);
        for width in [80, 100, 120, 200] {
            let text = table.laid_out(true, Some(width));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert!(text.contains("1761038164871-0"), "{width}:\n{text}");
            assert_eq!(text.contains(LONG), width == 200, "{width}:\n{text}");
            assert_eq!(text.contains("SIZE"), width == 200, "{width}:\n{text}");
        }
        assert!(table.laid_out(false, None).contains(LONG));
    }

    #[test]
    fn a_text_is_cut_where_it_says_least() {
        assert_eq!(cut("instance:sales-team", 12), "inst…es-team");
        assert_eq!(cut("https://h.example/in", 12), "https://h.e…");
        assert_eq!(cut("ação", 4), "ação");
        assert_eq!(cut("ação!", 4), "a…o!");
    }
}
