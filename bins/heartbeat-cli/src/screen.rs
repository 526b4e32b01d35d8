//! The screen of `--watch`: the alternate one, of which only what has changed is written.

use std::io::{self, IsTerminal, Write};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, read};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

/// The alternate screen, given back however the watching ends.
pub(crate) struct Screen {
    /// Keys are read one by one.
    keys: bool,
}

impl Screen {
    pub(crate) fn enter() -> io::Result<Self> {
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        // Without a keyboard there is only Ctrl-C.
        let keys = io::stdin().is_terminal() && enable_raw_mode().is_ok();
        Ok(Self { keys })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        if self.keys {
            let _ = disable_raw_mode();
        }
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    }
}

/// What a person has pressed to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// `q` or Escape.
    Quit,
    /// Ctrl-C, which reaches no signal handler while keys are read one by one.
    Interrupted,
}

const fn leaving(key: KeyEvent) -> Option<Left> {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Left::Interrupted),
        KeyCode::Char('q') | KeyCode::Esc => Some(Left::Quit),
        _ => None,
    }
}

/// Waits for a key that leaves. The thread that reads ends with this program.
pub(crate) async fn left(screen: Option<&Screen>) -> Left {
    if !screen.is_some_and(|screen| screen.keys) {
        return std::future::pending().await;
    }
    let reading = tokio::task::spawn_blocking(|| {
        loop {
            match read() {
                Ok(Event::Key(key)) => {
                    if let Some(left) = leaving(key) {
                        return Some(left);
                    }
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    });
    match reading.await {
        Ok(Some(left)) => left,
        // Without keys there is still Ctrl-C.
        _ => std::future::pending().await,
    }
}

/// What stands on the screen.
#[derive(Default)]
pub(crate) struct Drawn {
    /// Columns and rows.
    size: (u16, u16),
    lines: Vec<String>,
}

impl Drawn {
    /// Makes the screen show `frame`.
    pub(crate) fn draw(&mut self, frame: &str) -> io::Result<()> {
        let size = size().unwrap_or((u16::MAX, u16::MAX));
        let lines = fitted(frame, usize::from(size.1));
        let mut out = io::stdout().lock();
        if size != self.size {
            // A terminal that was resized has moved everything.
            execute!(out, Clear(ClearType::All))?;
            (self.size, self.lines) = (size, Vec::new());
        }
        out.write_all(&change(&self.lines, &lines)?)?;
        self.lines = lines;
        out.flush()
    }
}

/// The bytes that make one screen of another, by rewriting lines or by moving them: whichever is less.
fn change(old: &[String], new: &[String]) -> io::Result<Vec<u8>> {
    let (rewritten, moved) = (rewritten(old, new)?, moved(old, new)?);
    Ok(if moved.len() < rewritten.len() { moved } else { rewritten })
}

fn row(at: usize) -> MoveTo {
    MoveTo(0, u16::try_from(at).unwrap_or(u16::MAX))
}

/// Each line that differs from the one in its place.
fn rewritten(old: &[String], new: &[String]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for (at, line) in new.iter().enumerate().filter(|(at, line)| old.get(*at) != Some(line)) {
        queue!(out, row(at))?;
        // Cleared first: behind a line as wide as the screen, clearing would take its last character.
        write!(out, "\x1b[2K{line}")?;
    }
    if new.len() < old.len() {
        queue!(out, row(new.len()), Clear(ClearType::FromCursorDown))?;
    }
    Ok(out)
}

/// Takes the lines out that are not in `new` in this order, then puts in the others. What goes comes first, so that
/// nothing is pushed off the screen.
fn moved(old: &[String], new: &[String]) -> io::Result<Vec<u8>> {
    let kept = in_common(old, new);
    let mut out = Vec::new();
    let leaving = (0..old.len()).filter(|at| !kept.iter().any(|(from, _)| from == at));
    for (gone, at) in leaving.enumerate() {
        queue!(out, row(at - gone))?;
        out.write_all(b"\x1b[M")?;
    }
    for (at, line) in new.iter().enumerate().filter(|(at, _)| !kept.iter().any(|(_, to)| to == at)) {
        queue!(out, row(at))?;
        write!(out, "\x1b[L{line}")?;
    }
    Ok(out)
}

/// The longest sequence of lines that both have, as their places.
fn in_common(old: &[String], new: &[String]) -> Vec<(usize, usize)> {
    let mut longest = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for from in (0..old.len()).rev() {
        for to in (0..new.len()).rev() {
            longest[from][to] = if old[from] == new[to] {
                longest[from + 1][to + 1] + 1
            } else {
                longest[from + 1][to].max(longest[from][to + 1])
            };
        }
    }
    let (mut from, mut to, mut kept) = (0, 0, Vec::new());
    while from < old.len() && to < new.len() {
        if old[from] == new[to] {
            kept.push((from, to));
            (from, to) = (from + 1, to + 1);
        } else if longest[from + 1][to] >= longest[from][to + 1] {
            from += 1;
        } else {
            to += 1;
        }
    }
    kept
}

/// As many lines as there are rows; what has no room is counted in the last.
fn fitted(frame: &str, rows: usize) -> Vec<String> {
    let lines: Vec<String> = frame.lines().map(str::to_owned).collect();
    if lines.len() <= rows || rows == 0 {
        return lines;
    }
    let kept = rows - 1;
    let more = format!("{} more lines: enlarge the terminal, or status --failed", lines.len() - kept);
    lines.into_iter().take(kept).chain([more]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that knows the sequences which are written here.
    fn shown(mut screen: Vec<String>, bytes: &[u8], rows: usize) -> Vec<String> {
        screen.resize(rows, String::new());
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut at = 0;
        for part in text.split("\x1b[").skip(1) {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            let (number, rest) = (&part[..end], &part[end + 1..]);
            match &part[end..=end] {
                "H" => {
                    at = number.split(';').next().unwrap().parse::<usize>().unwrap() - 1;
                }
                "K" => screen[at] = rest.to_owned(),
                "J" => screen[at..].iter_mut().for_each(String::clear),
                "M" => {
                    screen.remove(at);
                    screen.push(String::new());
                }
                "L" => {
                    screen.insert(at, rest.to_owned());
                    screen.truncate(rows);
                }
                other => panic!("{other}"),
            }
        }
        while screen.last().is_some_and(String::is_empty) {
            screen.pop();
        }
        screen
    }

    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn either_way_the_screen_shows_the_new_frame() {
        const ROWS: usize = 6;
        for (old, new) in [
            ("", "a b c"),
            ("a b c", "a b c"),
            ("a b c d e f", "f a b c d e"),
            ("a b c d e f", "b c d e f a"),
            ("a b c", "x"),
            ("a b c d", "a x c y e"),
            ("a b c d e f", ""),
        ] {
            let (old, new) = (lines(old), lines(new));
            for bytes in [rewritten(&old, &new).unwrap(), moved(&old, &new).unwrap()] {
                assert_eq!(shown(old.clone(), &bytes, ROWS), new, "{old:?}");
            }
        }
        assert!(change(&lines("a b"), &lines("a b")).unwrap().is_empty());
    }

    #[test]
    fn one_change_of_forty_realms_is_less_than_2_kb() {
        const MOST_BYTES: usize = 2_048;
        let name = |at: usize| {
            format!("● up      realm-{at:<20} 3d04h  {:<70} ● http 200  ● 1.2ms", "http: 200 in 1.2 ms")
        };
        let mut old: Vec<String> = (0..40).map(name).collect();
        old.insert(0, "shop: OK - 40 up".to_owned());
        let mut new = old.clone();
        new.remove(30);
        new[0] = "shop: DOWN - realm-29 is down (http: connection refused, 3 times in a row)".to_owned();
        new.insert(1, name(29).replace("● up  ", "✗ down"));
        let bytes = change(&old, &new).unwrap();
        assert!(bytes.len() < MOST_BYTES, "{}", bytes.len());
        assert_eq!(shown(old, &bytes, 50), new);
    }

    #[test]
    fn a_small_screen_says_what_it_does_not_show() {
        let frame = "a\nb\nc\nd\n";
        assert_eq!(fitted(frame, 4), ["a", "b", "c", "d"]);
        assert_eq!(fitted(frame, 3), ["a", "b", "2 more lines: enlarge the terminal, or status --failed"]);
        assert_eq!(fitted(frame, 1).len(), 1);
    }

    #[test]
    fn q_and_escape_quit_and_ctrl_c_interrupts() {
        let key = |code, modifiers| leaving(KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Left::Quit));
        assert_eq!(key(KeyCode::Esc, KeyModifiers::NONE), Some(Left::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Left::Interrupted));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
    }
}
