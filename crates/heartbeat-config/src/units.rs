//! Percentages, years and commands as people write them, and what another spelling of a quantity means.
//!
//! `shell-words` splits a command as well, but carries on where only a shell goes on: `a | b` is four words to it.

use std::time::Duration;

use heartbeat_status::{QuantityError, Signal, nearest, parse_duration, written_duration};
use thiserror::Error;

/// Digits behind the point of a share.
const SHARE_DIGITS: usize = 4;
/// Most processor time of a realm in percent of one processor: 10 000 of them.
const MAX_PROCESSOR_PERCENT: u32 = 1_000_000;

/// Characters of a command that a message shows.
const SHOWN_OF_A_COMMAND: usize = 24;

/// The reason why a value with a unit is not understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum UnitError {
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    #[error("`{0}` is too long")]
    ManyYears(String),
    #[error("`{0}` has no `%`")]
    NoPercentSign(String),
    #[error("`{0}` is not a percentage")]
    NotAPercentage(String),
    #[error("`{0}` is not a percentage with at most {SHARE_DIGITS} digits behind the point")]
    NotAShare(String),
    #[error("`{0}` leaves no budget; it is more than 0% and less than 100%")]
    NoBudget(String),
    #[error("`{0}` is not a share of processors: from 1% to {MAX_PROCESSOR_PERCENT}%")]
    NotProcessors(String),
    #[error("`{0}` is not the name of a module; before `=` stands one such as heartbeat_probe")]
    NotAModule(String),
    #[error(
        "`{0}` is not a level; there are off, error, warn, info, debug and trace, and MODULE=LEVEL behind a comma"
    )]
    NotALevel(String),
}

/// Why something is not understood, and what to type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) why: String,
    pub(crate) help: String,
    /// The variable that is not set, where that is the reason.
    pub(crate) unset: Option<String>,
}

impl Refusal {
    pub(crate) fn new(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { why: why.into(), help: help.into(), unset: None }
    }

    /// What has to be done about it, without the characters that it is about: operators need one shell together.
    fn kind(&self) -> &str {
        self.help.split("; single quotes keep the `").next().unwrap_or(&self.help)
    }

    pub(crate) fn of_unset(mut self, variable: &str) -> Self {
        self.unset = Some(variable.to_owned());
        self
    }
}

/// A quantity in our spelling, guessed from one that is not understood; not every guess makes sense.
pub(crate) fn meant(text: &str) -> Option<String> {
    let tight: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let digits = tight.find(|c: char| !c.is_ascii_digit()).unwrap_or(tight.len());
    if tight[digits..].starts_with('.') {
        return whole(&tight);
    }
    let (number, unit) = tight.split_at(digits);
    let times =
        |count: u64, unit: &str| Some(format!("{}{unit}", number.parse::<u64>().ok()?.checked_mul(count)?));
    match unit.to_ascii_lowercase().as_str() {
        "month" | "months" | "mon" => return times(30, "d"),
        "y" | "yr" | "year" | "years" => return times(365, "d"),
        _ => {}
    }
    let unit = match unit.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        "w" | "wk" | "week" | "weeks" => "w",
        "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "kib" => "KiB",
        "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        // A signal, for the one setting that takes one.
        word if number.is_empty() => return nearest_signal(word),
        _ => return None,
    };
    (!number.is_empty()).then(|| format!("{number}{unit}"))
}

/// `0.5s` and `1.5 h` in the largest unit in which they are whole.
fn whole(tight: &str) -> Option<String> {
    let at = tight.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let number: f64 = tight[..at].parse().ok()?;
    // In our word for the unit.
    let unit = parse_duration(&meant(&format!("1{}", &tight[at..]))?).ok()?;
    let millis = number * unit.as_millis() as f64;
    (1.0..1e15).contains(&millis).then(|| written_duration(Duration::from_millis(millis.round() as u64)))
}

/// `512M` as a size: a letter alone is for what has no other meaning there.
pub(crate) fn meant_size(text: &str) -> Option<String> {
    let tight: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let number = tight.strip_suffix(['M', 'm'])?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{number}MiB"))
}

fn nearest_signal(word: &str) -> Option<String> {
    let names: Vec<String> = (1..=31).filter_map(Signal::new).map(|signal| signal.to_string()).collect();
    let word = word.to_ascii_uppercase();
    let word = word.strip_prefix("SIG").unwrap_or(&word);
    nearest(word, names.iter().map(String::as_str)).map(ToOwned::to_owned)
}

/// A duration, or a number of years of 365 days: `2y`.
pub(crate) fn long_duration(text: &str) -> Result<Duration, UnitError> {
    const YEAR_SECONDS: u64 = 365 * 86_400;
    let years = text.trim().strip_suffix('y').and_then(|years| years.parse::<u64>().ok());
    let Some(years) = years else { return Ok(parse_duration(text)?) };
    let seconds = years.checked_mul(YEAR_SECONDS);
    seconds.map(Duration::from_secs).ok_or_else(|| UnitError::ManyYears(text.to_owned()))
}

/// `99.9%` in millionths; more than nothing and less than everything.
pub(crate) fn millionths(text: &str) -> Result<u32, UnitError> {
    const ALL: u32 = 1_000_000;
    let number = before_percent(text)?.trim();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = || UnitError::NotAShare(text.to_owned());
    if whole.is_empty() || part.len() > SHARE_DIGITS || !digits(whole) || !digits(part) {
        return Err(wrong());
    }
    let millionths: u32 = format!("{whole}{part:0<SHARE_DIGITS$}").parse().map_err(|_| wrong())?;
    if (1..ALL).contains(&millionths) { Ok(millionths) } else { Err(UnitError::NoBudget(text.to_owned())) }
}

/// Reads a share like `20%`.
pub(crate) fn percentage(text: &str) -> Result<u8, UnitError> {
    let percent = before_percent(text)?.parse::<u8>().ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| UnitError::NotAPercentage(text.to_owned()))
}

/// `150%` of one processor: more than one of them is more than 100%.
pub(crate) fn processors(text: &str) -> Result<u32, UnitError> {
    let bounds = 1..=MAX_PROCESSOR_PERCENT;
    let percent = before_percent(text)?.parse::<u32>().ok().filter(|percent| bounds.contains(percent));
    percent.ok_or_else(|| UnitError::NotProcessors(text.to_owned()))
}

fn before_percent(text: &str) -> Result<&str, UnitError> {
    text.strip_suffix('%').ok_or_else(|| UnitError::NoPercentSign(text.to_owned()))
}

/// Levels of heartbeatd's own log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A filter of heartbeatd's own log: `info`, or levels by module such as `info,heartbeat_probe=debug`.
pub(crate) fn log_filter(text: &str) -> Result<String, UnitError> {
    for part in text.split(',').map(str::trim) {
        let (module, level) = part.rsplit_once('=').unwrap_or(("heartbeatd", part));
        let fits =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '[' | ']' | '{' | '}' | '=');
        if module.is_empty() || !module.chars().all(fits) {
            return Err(UnitError::NotAModule(module.to_owned()));
        }
        if !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known)) {
            return Err(UnitError::NotALevel(level.to_owned()));
        }
    }
    Ok(text.to_owned())
}

/// Splits a command as a shell would, without a shell: blanks, quotes and backslashes. What only a shell would carry
/// out is refused where it is not quoted, since the program would be given it as it stands; `to_a_shell` says how to
/// have one.
pub(crate) fn words(text: &str, to_a_shell: &str) -> Result<Vec<String>, Vec<Refusal>> {
    let in_a_list = "close it, or write the command as a list: [\"program\", \"argument\"]";
    let needs_a_shell = |what: &str, quote: &str| {
        let why = format!("{what} needs a shell, and a command here has none");
        Refusal::new(why, format!("{to_a_shell}; {quote}"))
    };
    // One of each kind: what needs a shell three times needs one shell.
    let mut refusals: Vec<Refusal> = Vec::new();
    let mut refuse = |refusal: Refusal| {
        let same = |other: &Refusal| other.kind() == refusal.kind();
        if !refusals.iter().any(same) {
            refusals.push(refusal);
        }
    };
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let unclosed = |rest: &str| {
            let excerpt: String = rest.chars().take(SHOWN_OF_A_COMMAND).collect();
            Refusal::new(format!("the quote {c} before `{excerpt}` is never closed"), in_a_list)
        };
        let rest = chars.as_str();
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(inner) if inner == c => break,
                        Some('\\') if c == '"' => match chars.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                            Some(other) => word.extend(['\\', other]),
                            None => {
                                refuse(unclosed(rest));
                                break;
                            }
                        },
                        // A shell expands these within double quotes, too.
                        Some('$') if c == '"' && begins_a_variable(chars.as_str()) => {
                            let what = format!("`{}`", expansion(chars.as_str()));
                            refuse(needs_a_shell(&what, "single quotes keep the `$` as it is"));
                        }
                        Some('`') if c == '"' => {
                            refuse(needs_a_shell("a backquote", "single quotes keep it as it is"));
                        }
                        Some(inner) => word.push(inner),
                        None => {
                            refuse(unclosed(rest));
                            break;
                        }
                    }
                }
            }
            '\\' => match chars.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => {
                    refuse(Refusal::new("a backslash stands at the end of the command", "remove it"));
                }
            },
            '`' => refuse(needs_a_shell("a backquote", "single quotes keep it as it is")),
            '#' if word.is_none() => {
                refuse(Refusal::new(
                    "`#` begins a comment for a shell only, and the program would be given these words",
                    "write the comment behind the closing quote of the command; single quotes keep the `#` as it is",
                ));
                break;
            }
            '&' if rest.trim().is_empty() && is_in_the_background(text) => {
                refuse(Refusal::new(
                    BACKGROUND,
                    "remove the `&`: heartbeatd waits for no realm, and watches this one",
                ));
            }
            '&' if rest.starts_with('>') => {
                refuse(Refusal::new(BOTH_OUTPUTS, WITHOUT_BOTH_OUTPUTS));
                chars.next();
            }
            '|' | '&' | ';' | '<' | '>' | '*' => {
                let quote = format!("single quotes keep the `{c}` as it is");
                refuse(needs_a_shell(&format!("`{c}`"), &quote));
            }
            '$' if begins_a_variable(rest) => {
                let help = "`${NAME}` is filled in when the configuration is read; single quotes keep the `$` as it is";
                refuse(needs_a_shell(&format!("`{}`", expansion(rest)), help));
            }
            '~' if word.is_none() && (rest.is_empty() || rest.starts_with(['/', ' '])) => {
                refuse(needs_a_shell("`~`", "write the directory itself, for example /srv/app"));
            }
            '=' if words.is_empty() && word.as_deref().is_some_and(is_a_name) => {
                let name = word.take().unwrap_or_default();
                let value: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
                let value = value.trim_matches(['"', '\'']);
                refuse(Refusal::new(
                    format!("`{name}=` in front of a program needs a shell, and a command here has none"),
                    format!("write env = {{ {name} = {value:?} }}, and the program alone as the command"),
                ));
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() && refusals.is_empty() {
        refusals.push(Refusal::new("the command is empty", "name a program: \"program argument\""));
    }
    if refusals.is_empty() { Ok(words) } else { Err(refusals) }
}

/// The directory and the command of `cd DIRECTORY && COMMAND`, where no shell is needed but for the `cd`.
pub(crate) fn behind_cd(line: &str) -> Option<(String, &str)> {
    let (cd, command) = line.split_once("&&").or_else(|| line.split_once(';'))?;
    let [program, dir] = <[String; 2]>::try_from(words(cd, "").ok()?).ok()?;
    let is_cd = program == "cd" && dir != "-" && words(command, "").is_ok();
    is_cd.then(|| (dir, command.trim()))
}

/// What a word that only a shell knows becomes here, where it stands as the program of a command.
pub(crate) fn in_place_of_a_builtin(words: &[&str], to_a_shell: &str) -> Option<String> {
    Some(match words {
        ["cd", dir] => format!("write dir = {dir:?}, and the program alone as the command"),
        ["exec", command @ ..] if !command.is_empty() => {
            format!("leave out `exec`: write {:?}", joined(command))
        }
        [".", ..]
        | [
            "alias" | "cd" | "eval" | "exec" | "export" | "set" | "source" | "ulimit" | "umask" | "unset",
            ..,
        ] => to_a_shell.to_owned(),
        _ => return None,
    })
}

/// A line for a shell as a command of one string.
pub(crate) fn through_sh(line: &str) -> String {
    joined(&["sh", "-c", line])
}

/// Words as a command of one string.
pub(crate) fn joined(of: &[&str]) -> String {
    let quoted = of.iter().map(|word| {
        if words(word, "").is_ok_and(|same| same == [*word]) {
            return (*word).to_owned();
        }
        if !word.contains('\'') {
            return format!("'{word}'");
        }
        let mut text = String::new();
        for c in word.chars() {
            if matches!(c, '"' | '\\' | '$' | '`') {
                text.push('\\');
            }
            text.push(c);
        }
        format!("\"{text}\"")
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Why a command does not end in `&`.
pub(crate) const BACKGROUND: &str = "the `&` at the end puts the program into the background: the shell ends at once, and heartbeatd would see no more of it";

/// Why a command has no `&>`.
pub(crate) const BOTH_OUTPUTS: &str = "`&>` is of bash: sh takes its `&` for the one that puts a program into the background, and heartbeatd would see no more of it";

/// What to write in place of `&>`.
pub(crate) const WITHOUT_BOTH_OUTPUTS: &str =
    "remove it: all that the program writes goes into its log; in a shell, `> FILE 2>&1` is the same";

/// Whether a line ends in a single `&`.
pub(crate) fn is_in_the_background(line: &str) -> bool {
    line.trim_end().strip_suffix('&').is_some_and(|before| !before.ends_with(['&', '\\', '>', '<']))
}

/// Whether a shell would replace a `$` before this. A `${` that is still there was written as `$${`: it is meant.
fn begins_a_variable(rest: &str) -> bool {
    rest.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '(' | '@'))
}

/// `$NAME` or `$(`, as far as it says what it is.
fn expansion(rest: &str) -> String {
    let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    if name.is_empty() { format!("${}", rest.chars().next().unwrap_or(' ')) } else { format!("${name}") }
}

fn is_a_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_spelling_leads_to_ours() {
        for (written, ours) in [
            ("0.5s", Some("500ms")),
            ("1.5h", Some("90m")),
            ("1.5 min", Some("90s")),
            ("1w", Some("1w")),
            ("1.5 weeks", Some("252h")),
            ("2 months", Some("60d")),
            ("1.5x", None),
            ("0.0001ms", None),
        ] {
            assert_eq!(meant(written).as_deref(), ours, "{written}");
        }
        assert_eq!(meant_size("512M").as_deref(), Some("512MiB"));
    }

    #[test]
    fn percentages_have_their_sign() {
        assert_eq!(percentage("20%"), Ok(20));
        assert_eq!(processors("150%"), Ok(150));
        assert!(processors("0%").is_err() && processors("2").is_err() && processors("1000001%").is_err());
        assert!(percentage("20").is_err() && percentage("101%").is_err());
    }

    #[test]
    fn commands_are_split_and_shells_are_not_imitated() {
        let split = |text: &str| words(text, "write shell = true");
        assert_eq!(split(r#"a 'b c' "d \" e" f\ g """#).unwrap(), ["a", "b c", "d \" e", "f g", ""]);
        for bad in ["", "  ", "a 'b", "a \"b", "a \\"] {
            assert!(split(bad).is_err(), "{bad}");
        }
        for (bad, named) in [
            ("a | b", "`|`"),
            ("a && b", "`&`"),
            ("a &&", "`&`"),
            ("a b &", "`&` at the end"),
            ("a b &> /dev/null", "`&>` is of bash"),
            ("a b &>>log", "`&>` is of bash"),
            ("a > b", "`>`"),
            ("a `b`", "a backquote"),
            ("a b:$PORT", "`$PORT`"),
            ("a \"b:$PORT\"", "`$PORT`"),
            ("a --x=$(nproc)", "`$(`"),
            ("~/bin/a", "`~`"),
            ("a ~", "`~`"),
            ("a -cp lib/*.jar", "`*`"),
            ("A=1 b", "`A=`"),
            ("A='x y' b", "`A=`"),
        ] {
            let refusal = split(bad).unwrap_err();
            assert!(refusal[0].why.contains(named), "{bad}: {refusal:?}");
        }
        assert_eq!(
            split("A=1 b").unwrap_err()[0].help,
            "write env = { A = \"1\" }, and the program alone as the command"
        );
        assert!(split("a | b").unwrap_err()[0].help.starts_with("write shell = true; single quotes"));
    }

    #[test]
    fn a_line_for_a_shell_is_one_string() {
        for line in ["mkdir -p x && true", "echo 'it''s' \"$HOME\" `date` \\n", ""] {
            assert_eq!(words(&through_sh(line), "").unwrap(), ["sh", "-c", line], "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_leave_alone_is_left_alone() {
        let same = [
            ("a '$PORT' '*' '~/x' '`b`'", vec!["a", "$PORT", "*", "~/x", "`b`"]),
            (r#"a \$B \* \~/x "\$C""#, vec!["a", "$B", "*", "~/x", "$C"]),
            (
                "a price=5$ x~ a~/b --set A=1 http://x/?a=b$",
                vec!["a", "price=5$", "x~", "a~/b", "--set", "A=1", "http://x/?a=b$"],
            ),
            ("./A=1 b", vec!["./A=1", "b"]),
            ("a ${HOME} $5", vec!["a", "${HOME}", "$5"]),
        ];
        for (text, expected) in same {
            assert_eq!(words(text, "").unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_filter_has_levels_alone_or_by_module() {
        for fine in
            ["info", "WARN", "off", "info,heartbeat_probe=debug", "warn, heartbeat_daemon::control=trace"]
        {
            assert_eq!(log_filter(fine), Ok(fine.to_owned()));
        }
        for wrong in ["", "(((", "verbose", "heartbeat_daemon", "info,", "x=loud", "=info", "a b=info"] {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn years_and_shares_are_read() {
        let day = Duration::from_secs(86_400);
        assert_eq!(long_duration("2y"), Ok(day * 730));
        assert_eq!(long_duration("90d"), Ok(day * 90));
        assert!(long_duration("y").is_err() && long_duration("99999999999999y").is_err());
        assert_eq!(millionths("99.9%"), Ok(999_000));
        assert_eq!(millionths("99.9999%"), Ok(999_999));
        assert_eq!(millionths("5%"), Ok(50_000));
        for wrong in ["99.9", "100%", "0%", "0.00%", "99.99999%", "-1%", ".5%", "1.%2", "%", "99,9%", "999%"]
        {
            assert!(millionths(wrong).is_err(), "{wrong}");
        }
    }
}
