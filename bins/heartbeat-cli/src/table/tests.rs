//! The table compared with committed screens; `samples/*.txt` are what a person would see.

use super::*;
use crate::sample;

const WIDTHS: [usize; 5] = [40, 60, 80, 120, 200];
const ASCII: Style = Style { color: false, ascii: true, words: false };

fn whole(document: &StatusDocument, style: Style) -> FirstLine {
    FirstLine::of(document, None, usize::MAX, style)
}

fn screen(document: &StatusDocument, columns: usize, style: Style) -> String {
    render(document, &whole(document, style), &by_severity(&document.realms), columns, style)
}

/// Every screen of both samples in one text, so that one file shows them all.
fn gallery() -> String {
    let mut out = String::new();
    for (name, document) in [("outage", sample::outage()), ("calm", sample::calm())] {
        for columns in WIDTHS {
            out +=
                &format!("== {name}, {columns} columns\n{}\n", screen(&document, columns, Style::default()));
        }
        out += &format!("== {name}, 80 columns, ascii\n{}\n", screen(&document, 80, ASCII));
        let realms = by_severity(&document.realms);
        out += &format!(
            "== {name}, plain\n{}\n",
            plain(&document, &whole(&document, Style::default()), &realms, Style::default())
        );
    }
    out
}

#[test]
fn screens_are_the_committed_ones() {
    let now = gallery();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/screens.txt");
    if std::env::var_os("HEARTBEAT_BLESS").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(now == committed, "HEARTBEAT_BLESS=1 rewrites samples/screens.txt:\n{now}");
}

#[test]
fn no_line_is_wider_than_the_screen() {
    for document in [sample::outage(), sample::calm()] {
        for columns in 40..=200 {
            for style in [Style::default(), ASCII] {
                for line in screen(&document, columns, style).lines() {
                    assert!(width(line) <= columns, "{columns}: {line:?} is {}", width(line));
                }
            }
        }
    }
}

#[test]
fn what_is_hidden_is_said_and_what_is_shown_is_not() {
    let document = sample::outage();
    for columns in 40..=200 {
        let text = screen(&document, columns, Style::default());
        let last = text.lines().skip_while(|line| !line.starts_with("hidden")).collect::<Vec<_>>().join(" ");
        let header = text.lines().find(|line| line.starts_with("STATUS")).unwrap_or("");
        let names = |text: &str, column: &str| text.split([' ', ',', ';', ':']).any(|word| word == column);
        for column in OPTIONAL.concat().into_iter().map(Column::title) {
            assert!(names(header, column) != names(&last, column), "{columns}: {column}\n{text}");
        }
    }
    assert!(!screen(&document, WIDE, Style::default()).contains("hidden"));
}

#[test]
fn why_and_next_are_there_for_everything_that_is_not_fine_at_any_width() {
    let document = sample::outage();
    for columns in WIDTHS {
        let text = screen(&document, columns, Style::default());
        assert!(text.contains("exit code 1 after"), "{columns}\n{text}");
        assert!(text.contains("start in 2s"), "{columns}\n{text}");
        assert!(text.contains("probe when postgres is up"), "{columns}\n{text}");
    }
}

#[test]
fn colour_is_only_added() {
    let document = sample::outage();
    for columns in WIDTHS {
        let coloured = screen(&document, columns, Style { color: true, ..Style::default() });
        assert!(coloured.contains("\x1b["));
        let stripped: Vec<String> = anstream::adapter::strip_str(&coloured)
            .to_string()
            .lines()
            .map(|l| l.trim_end().to_owned())
            .collect();
        let plain = screen(&document, columns, Style::default());
        assert_eq!(stripped.join("\n") + "\n", plain);
    }
}

#[test]
fn text_of_others_cannot_move_the_cursor() {
    let mut document = sample::outage();
    document.name = "\x1b[2Jshop".into();
    document.realms[0].message = "a\tb\n\x1b]0;title\x07 \u{202e}".into();
    document.realms[1].name = "na\u{9b}me".into();
    for probe in &mut document.realms[3].probes {
        probe.detail = Some("\x1b[31m".into());
    }
    let realms = by_severity(&document.realms);
    let rows = plain(&document, &whole(&document, Style::default()), &realms, Style::default());
    for text in [screen(&document, 200, Style::default()), rows.clone()] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
    assert!(rows.lines().skip(1).all(|line| line.matches('\t').count() == Column::ALL.len() - 1), "{rows}");
}

#[test]
fn ascii_is_ascii() {
    let mut document = sample::outage();
    document.realms[0].message = "größer … ✗".into();
    for columns in WIDTHS {
        assert!(screen(&document, columns, ASCII).is_ascii());
    }
}
