//! A report in Markdown for a terminal: headings, and tables that fit its width.

use comfy_table::{ContentArrangement, Table, presets};

use crate::style::{Hue, Style, fold, width};

/// Columns between two cells.
const SPACE_COLUMNS: usize = 2;

/// The lines of a page on a screen of so many columns.
pub(crate) fn lines(page: &str, columns: usize, style: Style) -> Vec<String> {
    let mut out = Vec::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in page.lines().chain([""]) {
        if let Some(row) = line.strip_prefix("| ") {
            rows.push(cells(row));
            continue;
        }
        if line.starts_with("|-") {
            continue;
        }
        if !rows.is_empty() {
            out.extend(table(&std::mem::take(&mut rows), columns, style));
        }
        match line.trim_start_matches('#') {
            text if text.len() < line.len() => out.push(style.paint(Hue::Strong, &style.text(text.trim()))),
            text => out.extend(fold(&style.text(text), columns, 2)),
        }
    }
    while out.last().is_some_and(String::is_empty) {
        out.pop();
    }
    out
}

/// The cells of a row; `\|` is a bar within one.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim_end().trim_end_matches('|').replace("\\|", "\u{0}");
    row.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// Rows, of which the first is the heading. A table for which the screen is too narrow has a line for each cell.
fn table(rows: &[Vec<String>], columns: usize, style: Style) -> Vec<String> {
    let [head, body @ ..] = rows else { return Vec::new() };
    let widest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max();
    let needed: usize = (0..head.len()).map(|at| widest(at).unwrap_or_default() + SPACE_COLUMNS).sum();
    if needed > columns {
        let named = |row: &Vec<String>| {
            let named = head.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
            let lines = named.enumerate().flat_map(|(at, (name, cell))| {
                let cell = style.text(cell);
                let line =
                    if at == 0 { style.paint(Hue::Strong, &cell) } else { format!("  {name}: {cell}") };
                fold(&line, columns, 2)
            });
            lines.collect::<Vec<_>>()
        };
        return body.iter().flat_map(named).collect();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.force_no_tty();
    table.set_header(head.iter().map(|cell| cell.to_uppercase()));
    for row in body {
        table.add_row(row.iter().map(|cell| style.text(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, u16::try_from(SPACE_COLUMNS).unwrap_or_default()));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::style::visible_width;

    const PAGE: &str = "# shop: 2026-11\n\n2026-11-01 to 2026-11-30, UTC.\n\n\
        | realm | availability | objective | down | incidents | p50 | p95 | p99 |\n|---|---|---|---|---|---|---|---|\n\
        | api | 99.95 % (99.90-99.97, unknown 3h) | 99.9 %, met | 21m | 2 | 9.0 ms | 18.2 ms | 41.0 ms |\n\n\
        ## Incidents\n\n| began | realm | why | lasted | id |\n|---|---|---|---|---|\n\
        | 2026-11-23T22:39:58.310Z | db | exit code 1 \\| after 0.2 s | 10s | 0193-ffee1234 |\n";

    #[test]
    fn a_report_fits_every_screen_and_loses_nothing() {
        for columns in [40, 80, 120, 200] {
            let shown = lines(PAGE, columns, Style::default());
            assert!(shown.iter().all(|line| visible_width(line) <= columns), "{columns}: {shown:#?}");
            let text = shown.join("\n");
            assert!(
                !text.contains("|---") && !text.contains('#') && text.starts_with("shop: 2026-11"),
                "{text}"
            );
            let words: Vec<&str> = text.split_whitespace().collect();
            for part in
                ["99.95", "(99.90-99.97,", "18.2", "Incidents", "0193-ffee1234", "2026-11-23T22:39:58.310Z"]
            {
                assert!(words.contains(&part), "{columns}: {part} is whole: {text}");
            }
            assert_eq!(text.contains("REALM"), columns >= 120, "{columns}: {text}");
        }
    }
}
