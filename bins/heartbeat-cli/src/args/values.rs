//! Words of the command line as values, each refused with what can be written.

use heartbeat_client::BeatEvent;
use heartbeat_status::{RealmName, Signal};

use crate::select::{is_name, selector};

/// The last signal that has a name of its own.
const LAST_SIGNAL: u8 = 31;

pub(super) fn selector_or_heartbeatd(text: &str) -> Result<String, String> {
    if text == crate::why_heartbeatd::NAME { Ok(text.to_owned()) } else { selector(text) }
}

pub(super) fn realm_name(text: &str) -> Result<String, String> {
    match selector(text)? {
        name if is_name(&name) => Ok(name),
        // A reserved word says that it is one.
        _ => match RealmName::new(text) {
            Err(error) if text == "all" => Err(error.to_string()),
            _ => Err(format!("`{text}` can mean several realms; name one")),
        },
    }
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "it is not a whole number".to_owned())
}

pub(super) fn at_most(text: &str, most: u16) -> Result<u16, String> {
    let number: u16 = text.parse().map_err(|_| format!("it is not a whole number from 0 to {most}"))?;
    if number > most { Err(format!("at most {most} are kept")) } else { Ok(number) }
}

pub(super) fn signal_name(text: &str) -> Result<String, String> {
    if text.parse::<Signal>().is_ok() {
        return Ok(text.to_owned());
    }
    let names: Vec<String> =
        (1..=i32::from(LAST_SIGNAL)).filter_map(Signal::new).map(|signal| signal.to_string()).collect();
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let names = names.iter().map(|name| name.strip_prefix("SIG").unwrap_or(name));
    Err(match heartbeat_status::nearest(bare, names) {
        Some(suggestion) => format!("unknown signal `{text}`; did you mean {suggestion}?"),
        None => format!("unknown signal `{text}`; for example HUP, USR1 or TERM"),
    })
}

pub(super) fn beat_event(text: &str) -> Result<BeatEvent, String> {
    match text {
        "ok" => Ok(BeatEvent::Ok),
        "start" => Ok(BeatEvent::Start),
        "fail" => Ok(BeatEvent::Fail),
        code => code
            .parse()
            .map(BeatEvent::Exit)
            .map_err(|_| "a heartbeat is ok, start, fail or an exit code from 0 to 255".to_owned()),
    }
}

/// `2026-11`.
pub(super) fn month(text: &str) -> Result<String, String> {
    let digits = |part: &str, count: usize| {
        (part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u16>().ok())?
    };
    let read = text.split_once('-').and_then(|(year, month)| Some((digits(year, 4)?, digits(month, 2)?)));
    match read {
        Some((1970.., 1..=12)) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a month; write the year and the month, such as 2026-11")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn a_month_has_a_year_and_a_number_from_1_to_12() {
        assert_eq!(month("2026-11"), Ok("2026-11".to_owned()));
        for wrong in ["2026-13", "2026-00", "2026-1", "11-2026", "2026", "november", "2026-11-01", "+026-11"]
        {
            assert!(month(wrong).is_err(), "{wrong}");
            let refused = Cli::try_parse_from(["heartbeat-cli", "report", "--month", wrong]);
            assert_eq!(refused.unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn a_signal_has_a_name_or_a_number() {
        assert_eq!(signal_name("HPU").unwrap_err(), "unknown signal `HPU`; did you mean HUP?");
        assert!(signal_name("hup").is_ok() && signal_name("SIGUSR1").is_ok() && signal_name("10").is_ok());
    }
}
