//! One message of sd_notify(3): `NAME=value` lines, of which heartbeatd takes those that it knows.

use std::time::Duration;

use heartbeat_status::{Beat, Said, sanitise_line};

/// Longest interval of a watchdog. A longer one stands for none, as systemd's infinity does.
const MAX_WATCHDOG: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Returns what a message says, and which process it names as the main one. `None`: it is no message.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Said, Option<u32>)> {
    // Some programs also send the NUL at the end of their string.
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.contains('\0'))?;
    let mut said = Said::default();
    let mut main = None;
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let micros = || value.parse().ok().map(Duration::from_micros);
        match (name, value) {
            ("READY", "1") => said.ready = true,
            ("RELOADING", "1") => said.reloading = true,
            ("STOPPING", "1") => said.stopping = true,
            ("STATUS", _) => said.status = Some(sanitise_line(value)),
            ("WATCHDOG", "1") => said.beat = said.beat.or(Some(Beat::Alive)),
            ("WATCHDOG", "trigger") => said.beat = Some(Beat::Trigger),
            ("WATCHDOG_USEC", _) => {
                let endless =
                    |interval: Duration| if interval > MAX_WATCHDOG { Duration::ZERO } else { interval };
                said.watchdog = micros().map(endless).or(said.watchdog);
            }
            ("EXTEND_TIMEOUT_USEC", _) => said.extend = micros().or(said.extend),
            ("MAINPID", _) => main = value.parse().ok().filter(|pid| *pid != 0).or(main),
            // heartbeatd has answered BARRIER=1 by closing the descriptor that came with it. It ignores ERRNO,
            // BUSERROR, MONOTONIC_USEC, FDSTORE and all other names.
            _ => {}
        }
    }
    Some((said, main))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_read_and_unknown_ones_are_passed_over() {
        let message = "READY=1\nSTATUS=serving \x1b[31m 3\nWATCHDOG=1\nWATCHDOG_USEC=250000\nEXTEND_TIMEOUT_USEC=7\n\
                       MAINPID=42\nERRNO=2\nX_OTHER=1\nnothing\n=\nREADY=0\nMONOTONIC_USEC=5";
        let (said, main) = parse(message.as_bytes()).unwrap();
        let expected = Said {
            ready: true,
            status: Some("serving ?[31m 3".into()),
            beat: Some(Beat::Alive),
            watchdog: Some(Duration::from_millis(250)),
            extend: Some(Duration::from_micros(7)),
            ..Said::default()
        };
        assert_eq!((said, main), (expected, Some(42)));
        let (said, _) = parse(b"STOPPING=1\nRELOADING=1\nWATCHDOG=trigger\nWATCHDOG=1\0").unwrap();
        assert_eq!((said.stopping, said.reloading, said.beat), (true, true, Some(Beat::Trigger)));
    }

    #[test]
    fn what_is_no_number_or_too_large_a_one_is_not_taken() {
        for value in ["", "-1", "1.5", "99999999999999999999999", "x", " 1"] {
            let text = format!("WATCHDOG_USEC={value}\nEXTEND_TIMEOUT_USEC={value}\nMAINPID={value}");
            assert_eq!(parse(text.as_bytes()), Some((Said::default(), None)), "{value}");
        }
        assert_eq!(parse(b"MAINPID=0"), Some((Said::default(), None)));
        let most = format!("EXTEND_TIMEOUT_USEC={}", u64::MAX);
        assert!(parse(most.as_bytes()).unwrap().0.extend.is_some());
        let endless = format!("WATCHDOG_USEC={}", u64::MAX);
        assert_eq!(parse(endless.as_bytes()).unwrap().0.watchdog, Some(Duration::ZERO), "no watchdog");
    }

    #[test]
    fn what_is_no_text_is_no_message() {
        assert_eq!(
            (parse(b""), parse(b"\0"), parse(b"READY=1\nSTATUS=\xff"), parse(b"A=1\0READY=1")),
            (None, None, None, None)
        );
        assert_eq!(parse(b"\n\n").unwrap().0, Said::default());
    }

    /// Any bytes are a message or none, and the status that a message sets is safe to show.
    #[test]
    fn bytes_of_every_kind_do_no_harm() {
        let words = [
            "READY=1",
            "STATUS=",
            "WATCHDOG=trigger",
            "MAINPID=",
            "EXTEND_TIMEOUT_USEC=",
            "=",
            "\n",
            "\0",
            "\u{202e}",
        ];
        let mut state = 1u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap_or(0) % below
        };
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..next(12) {
                match next(3) {
                    0 => bytes.push(u8::try_from(next(256)).unwrap_or(0)),
                    1 => bytes.extend(next(usize::MAX).to_string().bytes()),
                    _ => bytes.extend(words[next(words.len())].bytes()),
                }
            }
            if let Some((Said { status: Some(status), .. }, _)) = parse(&bytes) {
                assert!(status.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{status:?}");
            }
        }
    }
}
