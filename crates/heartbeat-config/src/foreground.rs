//! Commands that leave heartbeatd no process to watch: programs that make daemons of themselves, and clients of other
//! supervisors. A configuration with one of these loads, and its realm would be started again and again.

use heartbeat_status::RealmKind;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::reader::Reader;
use crate::realm::ReadRealm;
use crate::units;

/// Why a command leaves no process, and what to write instead.
struct Leaving {
    why: String,
    help: String,
}

/// Warns of the services that would lose their process.
pub(crate) fn look(reader: &Reader<'_>, realms: &[ReadRealm]) {
    for realm in realms.iter().filter(|realm| realm.enabled && realm.spec.kind == RealmKind::Service) {
        let Some(launch) = realm.config.launch.as_ref().filter(|launch| launch.pidfile.is_none()) else {
            continue;
        };
        let words: Vec<String> = launch.argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let Some(Leaving { why, help }) = of_command(&words) else { continue };
        let message = format!("{} would not stay in the foreground: {why}", realm.spec.name);
        let path: Vec<String> = realm.path.iter().cloned().chain(["run".to_owned()]).collect();
        let diagnostic = Diagnostic::new(Code::NotInForeground, message).help(help);
        reader.push(diagnostic.at(reader.place(&path), "in this command"));
    }
}

fn of_command(words: &[String]) -> Option<Leaving> {
    match words {
        [shell, option, line, ..] if name_of(shell).ends_with("sh") && option == "-c" => of_line(line),
        words => of_words(words),
    }
}

/// Of a line for a shell, the last command is the one that stays.
fn of_line(line: &str) -> Option<Leaving> {
    let parts = parts_outside_of_quotes(line);
    if parts.iter().any(|part| part.starts_with("&>")) {
        let why = units::BOTH_OUTPUTS.to_owned();
        return Some(Leaving { why, help: units::WITHOUT_BOTH_OUTPUTS.to_owned() });
    }
    let last = without_redirections(parts.iter().rfind(|part| !part.trim().is_empty())?);
    let words = units::words(last, "");
    let words = words.unwrap_or_else(|_| last.split_whitespace().map(ToOwned::to_owned).collect());
    let is_setting = |word: &&String| word.split_once('=').is_some_and(|(name, _)| !name.contains('/'));
    let rest: Vec<String> =
        words.iter().skip_while(|word| *word == "exec" || is_setting(word)).cloned().collect();
    of_words(&rest)
}

/// Where a line has a mark outside of quotes, with the mark and the one in front of it.
fn marks(line: &str) -> impl Iterator<Item = (usize, char, char)> {
    let (mut quote, mut last) = (None, ' ');
    line.char_indices().filter_map(move |(at, c)| {
        let before = std::mem::replace(&mut last, c);
        match quote {
            Some(open) if c == open && before != '\\' => quote = None,
            None if matches!(c, '\'' | '"') && before != '\\' => quote = Some(c),
            None if matches!(c, ';' | '\n' | '|' | '&' | '<' | '>') => return Some((at, c, before)),
            _ => {}
        }
        None
    })
}

/// The commands of a line; a part that begins with `&>` is a redirection of both outputs.
fn parts_outside_of_quotes(line: &str) -> Vec<&str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    for (at, c, before) in marks(line) {
        let is_both = line[at..].starts_with("&>") && before != '&';
        if matches!(c, '<' | '>') || (c == '&' && matches!(before, '<' | '>')) {
            continue;
        }
        parts.push(&line[from..at]);
        from = if is_both { at } else { at + 1 };
    }
    parts.push(&line[from..]);
    parts
}

/// A command up to where it redirects something.
fn without_redirections(command: &str) -> &str {
    let at = marks(command).find(|(_, c, _)| matches!(c, '<' | '>')).map_or(command.len(), |(at, ..)| at);
    let (front, digits) = (&command[..at], |c: char| c.is_ascii_digit());
    let without = front.trim_end_matches(digits);
    if at < command.len() && without.ends_with(' ') { without } else { front }
}

/// Programs that run the one behind them, as their first words.
const WRAPPERS: [&[&str]; 9] = [
    &["exec"],
    &["nice"],
    &["ionice"],
    &["poetry", "run"],
    &["pipenv", "run"],
    &["uv", "run"],
    &["bundle", "exec"],
    &["python", "-m"],
    &["python3", "-m"],
];

/// Programs, the words by which they leave the foreground, and what to write instead.
const LEAVING: [(&[&str], &[&str], &str); 21] = [
    (&["gunicorn", "unicorn", "thin", "sidekiq", "puma"], &["-D", "--daemon", "--daemonize"], STAY),
    (&["uwsgi"], &["-d", "--daemonize", "--daemonize2"], STAY),
    (&["celery"], &["--detach", "-D"], STAY),
    (&["celery"], &["multi"], "write `celery -A APP worker` in its place"),
    (&["redis-server", "valkey-server"], &["--daemonize yes"], "leave out `--daemonize yes`"),
    (&["haproxy"], &["-D"], "leave it out; `-W` has a master process that stays"),
    (&["memcached"], &["-d", "--daemon"], STAY),
    (&["mongod", "mongos"], &["--fork"], STAY),
    (&["mysqld", "mariadbd"], &["--daemonize", "-D"], STAY),
    (&["pg_ctl"], &["start"], "write `postgres -D DIRECTORY` in its place"),
    (&["php-fpm"], &["-D", "--daemonize"], "write `-F` in its place"),
    (&["rabbitmq-server"], &["-detached"], STAY),
    (&["elasticsearch"], &["-d", "--daemonize"], STAY),
    (&["kafka-server-start", "kafka-server-start.sh"], &["-daemon"], STAY),
    (&["apachectl", "apache2ctl"], &["start"], "write `-D FOREGROUND` in its place"),
    (&["caddy"], &["start"], "write `caddy run` in its place"),
    (&["pm2", "forever"], &["start"], "write the program itself as the command"),
    (&["systemctl", "service", "supervisorctl"], &["start", "restart"], WATCHED),
    (&["screen"], &["-d", "-dm", "-dmS"], "write the program alone as the command"),
    (&["tmux"], &["-d"], "write the program alone as the command"),
    (&["start-stop-daemon"], &["-b", "--background"], "write the program alone as the command"),
];

const STAY: &str = "leave it out: heartbeatd watches the process that it has started itself";
const WATCHED: &str = "leave out `run`, and give the realm `port` or `health`: then heartbeatd watches what the other supervisor runs";

fn of_words(words: &[String]) -> Option<Leaving> {
    let begins = |with: &&&[&str]| {
        words.len() > with.len() && with.iter().zip(words).all(|(one, word)| *one == name_of(word))
    };
    if let Some(wrapper) = WRAPPERS.iter().find(begins) {
        return of_words(&words[wrapper.len()..]);
    }
    let (program, arguments) = words.split_first()?;
    let program = name_of(program);
    if let Some(leaving) = of_wrapper(program, arguments).or_else(|| of_containers(program, arguments)) {
        return Some(leaving);
    }
    let (word, help) = LEAVING.iter().filter(|(programs, ..)| programs.contains(&program)).find_map(
        |(_, options, help)| Some((options.iter().find(|option| has(arguments, option))?, *help)),
    )?;
    Some(Leaving {
        why: format!("with `{word}`, {program} goes into the background and ends at once"),
        help: help.to_owned(),
    })
}

/// `nohup` and `setsid`, which are for terminals.
fn of_wrapper(program: &str, arguments: &[String]) -> Option<Leaving> {
    let rest: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let waits = rest.iter().any(|word| matches!(*word, "-w" | "--wait"));
    let why = match program {
        "nohup" => {
            "`nohup` has the program ignore SIGHUP, by which many reload, and there is no terminal to outlive"
        }
        "setsid" if !waits => "`setsid` puts the program into a process of its own and ends at once",
        _ => return None,
    };
    let first = rest.iter().position(|word| !word.starts_with('-'))?;
    let command = &rest[first..];
    Some(Leaving { why: why.to_owned(), help: format!("write run = {:?}", units::joined(command)) })
}

/// Containers that the client of a container engine does not wait for.
fn of_containers(program: &str, arguments: &[String]) -> Option<Leaving> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (what, rest, help) = match (program, words.as_slice()) {
        ("docker" | "podman" | "nerdctl", ["run", rest @ ..] | ["container", "run", rest @ ..]) => (
            format!("{program} run"),
            rest,
            "leave it out, and write `--rm --init` beside it: the client stays as long as the container",
        ),
        ("docker" | "podman" | "nerdctl", ["compose", rest @ ..]) if rest.contains(&"up") => (
            format!("{program} compose up"),
            rest,
            "leave it out: the client stays as long as the containers",
        ),
        ("docker-compose" | "podman-compose", rest) if rest.contains(&"up") => {
            (format!("{program} up"), rest, "leave it out: the client stays as long as the containers")
        }
        _ => return None,
    };
    let detached = options(rest).find(|word| {
        let short = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        *word == "--detach"
            || *word == "--detach=true"
            || short.is_some_and(|letters| is_flags(letters) && letters.contains('d'))
    })?;
    let why = format!("with `{detached}`, `{what}` ends at once, and the container is none of its processes");
    Some(Leaving { why, help: help.to_owned() })
}

/// The letters of `-d`, `-it` and `-dit`.
fn is_flags(letters: &str) -> bool {
    letters.chars().all(|letter| "dit".contains(letter))
}

/// The options in front of the image, whose own arguments are none of the client's: a word behind an option may be its
/// value, and one behind another word or a flag is the image.
fn options<'a>(words: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    const FLAGS: [&str; 5] = ["--rm", "--init", "--privileged", "--read-only", "--interactive"];
    let mut takes_value = false;
    let in_front = words.iter().copied().take_while(move |word| {
        let is_option = word.starts_with('-');
        let goes_on = is_option || takes_value || *word == "up";
        let is_flag = FLAGS.contains(word) || word.contains('=') || is_flags(word.trim_start_matches('-'));
        takes_value = is_option && !is_flag;
        goes_on
    });
    in_front.filter(|word| word.starts_with('-'))
}

/// Whether an option is there: a word, one with `=`, or two words one behind the other.
fn has(arguments: &[String], option: &str) -> bool {
    match option.split_once(' ') {
        Some((name, value)) => arguments.windows(2).any(|pair| pair[0] == name && pair[1] == value),
        None => arguments.iter().any(|word| {
            word == option
                || (option.starts_with("--")
                    && word.strip_prefix(option).is_some_and(|rest| rest.starts_with('=')))
        }),
    }
}

fn name_of(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(line: &str) -> Option<String> {
        let words = units::words(line, "").unwrap();
        of_command(&words).map(|leaving| leaving.why)
    }

    #[test]
    fn a_program_that_leaves_the_foreground_is_named_with_the_word_that_does_it() {
        for (line, word) in [
            ("nohup ./x.sh", "`nohup`"),
            ("setsid ./x.sh", "`setsid`"),
            ("docker run -d redis", "`-d`"),
            ("docker run --name x -p 1:1 --detach redis", "`--detach`"),
            ("podman run -dit redis", "`-dit`"),
            ("docker compose up -d", "`-d`"),
            ("docker-compose -f a.yaml up -d", "`-d`"),
            ("/usr/bin/gunicorn -D shop.wsgi", "`-D`"),
            ("poetry run gunicorn --daemon shop.wsgi", "`--daemon`"),
            ("python3 -m gunicorn --daemon shop.wsgi", "`--daemon`"),
            ("redis-server --daemonize yes", "`--daemonize yes`"),
            ("uwsgi --daemonize=/var/log/x", "`--daemonize`"),
            ("systemctl start redis", "`start`"),
            ("sh -c 'cd /srv && nohup ./x.sh &> /dev/null'", "`&>`"),
            ("sh -c 'cd /srv && A=1 exec gunicorn -D shop.wsgi'", "`-D`"),
            ("bash -c 'nohup ./x.sh > log 2>&1'", "`nohup`"),
        ] {
            let found = why(line);
            assert!(found.as_deref().is_some_and(|why| why.contains(word)), "{line}: {found:?}");
        }
    }

    #[test]
    fn a_program_that_stays_is_not_warned_of() {
        for line in [
            "gunicorn shop.wsgi",
            "docker run --rm redis -d",
            "docker run --rm -p 1:1 redis app -d",
            "docker run -i redis --daemonize yes",
            "docker compose up",
            "redis-server --daemonize no",
            "setsid --wait ./x.sh",
            "haproxy -W -f x.cfg",
            "systemctl --help",
            "sh -c 'gunicorn -D shop.wsgi; tail -F log'",
            "sh -c './a > log 2>&1'",
            "sh -c 'echo \"a &> b\"; exec ./serve'",
            "sh -c './a & exec ./b'",
            "./serve -d",
        ] {
            assert_eq!(why(line), None, "{line}");
        }
    }

    #[test]
    fn what_to_write_is_the_command_alone() {
        let words = units::words("sh -c 'nohup ./x.sh --a \"b c\" > log 2>&1'", "").unwrap();
        assert_eq!(of_command(&words).unwrap().help, "write run = \"./x.sh --a 'b c'\"");
    }
}
