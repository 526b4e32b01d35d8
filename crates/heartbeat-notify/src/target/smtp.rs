//! Mail, by SMTP. All messages about one incident are one thread: each refers to the identifier of the incident.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use heartbeat_http::{Address, Tls, TlsOptions};
use heartbeat_status::sanitise_line;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};

use super::Letter;
use crate::mail::MailError;
use crate::{NotifyError, Template};

/// Incidents of a digest that its mail refers to.
const MAX_REFERENCES: usize = 20;
/// Port of `smtp://` when the URL names none: submission.
const STARTTLS_PORT: u16 = 587;
/// Port of `smtps://` when the URL names none.
const TLS_PORT: u16 = 465;

/// How a connection to a mail server becomes secure.
#[derive(Clone, PartialEq)]
pub(crate) enum Security {
    /// From its first byte.
    Tls(Arc<Tls>),
    /// By STARTTLS, which the server has to offer.
    StartTls(Arc<Tls>),
    /// Not at all: it stays on this machine.
    Plain,
}

/// Who heartbeatd is for the mail server. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Login {
    /// Takes `USER:PASSWORD`, with whitespace around it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let (user, password) = text.trim().split_once(':')?;
        let fits = |part: &str| !part.is_empty() && !part.contains(char::is_control);
        let login = || Self { user: user.to_owned(), password: password.to_owned() };
        (fits(user) && fits(password)).then(login)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

/// A mail server, and whom it writes to.
#[derive(Clone, PartialEq)]
pub struct Smtp {
    pub(crate) server: Address,
    pub(crate) security: Security,
    pub(crate) login: Option<Login>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Smtp {
    /// Takes `smtp://NAME[:PORT]` (STARTTLS, which is demanded unless the server is on this machine and `options` name no
    /// certificates) or `smtps://NAME[:PORT]` (TLS from the first byte), and addresses such as `Shop <ops@example.org>`.
    ///
    /// # Errors
    /// [`NotifyError`] for anything else, and when a file of certificates cannot be used.
    pub fn new(
        url: &str,
        options: &TlsOptions,
        login: Option<Login>,
        (from, to): (&str, &[String]),
    ) -> Result<Self, NotifyError> {
        let (is_tls, rest) = match (url.strip_prefix("smtps://"), url.strip_prefix("smtp://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(NotifyError::MailServer),
        };
        let port = if is_tls { TLS_PORT } else { STARTTLS_PORT };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let server = Address::parse(authority, Some(port)).ok_or(NotifyError::MailServer)?;
        let tls = || Tls::new(options).map(Arc::new).map_err(|source| NotifyError::Tls { source });
        let security = match is_tls {
            true => Security::Tls(tls()?),
            false if is_here(server.host()) && options.ca.is_none() => Security::Plain,
            false => Security::StartTls(tls()?),
        };
        let mailbox =
            |text: &str| text.parse().map_err(|_| NotifyError::MailAddress { text: sanitise_line(text) });
        let to: Vec<Mailbox> = to.iter().map(|text| mailbox(text)).collect::<Result<_, _>>()?;
        Ok(Self { server, security, login, from: mailbox(from)?, to })
    }

    /// The mail for a letter, at `unix_s` seconds since 1970.
    pub(crate) fn mail(
        &self,
        letter: &Letter,
        template: Option<&Template>,
        unix_s: u64,
    ) -> Result<Message, MailError> {
        let text = letter.text(template);
        let own = |id: &str| format!("<{id}@{}>", self.from.email.domain());
        // A mail of this identifier was never sent: the thread needs none that begins it.
        let threads: Vec<String> =
            letter.incidents().iter().take(MAX_REFERENCES).map(|document| own(&document.id)).collect();
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut mail = Message::builder()
            .from(self.from.clone())
            .date(SystemTime::UNIX_EPOCH + Duration::from_secs(unix_s))
            .message_id(Some(own(&letter.key)))
            .references(threads.join(" "))
            .subject(text.title.clone())
            .header(ContentType::TEXT_PLAIN)
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        if let [thread] = threads.as_slice() {
            mail = mail.in_reply_to(thread.clone());
        }
        let mail = self.to.iter().fold(mail, |mail, to| mail.to(to.clone()));
        mail.body(text.plain()).map_err(|error| MailError::Message { why: error.to_string() })
    }
}

impl fmt::Display for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let security = match self.security {
            Security::Tls(_) => "TLS",
            Security::StartTls(_) => "STARTTLS",
            Security::Plain => "no encryption, on this machine",
        };
        write!(f, "{} ({security})", self.server)
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Smtp({self})")
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use heartbeat_status::IncidentStep;

    use super::*;
    use crate::target::sample::{document, letter};

    fn smtp(url: &str) -> Result<Smtp, NotifyError> {
        let to = ["Ops <ops@example.org>".to_owned(), "boss@example.org".to_owned()];
        Smtp::new(url, &TlsOptions::default(), None, ("heartbeat@shop.example", &to))
    }

    #[test]
    fn an_incident_is_one_thread() {
        let smtp = smtp("smtp://localhost:25").unwrap();
        let mail = |step, seq| {
            let letter = letter(heartbeat_wire::IncidentDocument { seq, ..document(step) });
            let mail = smtp.mail(&letter, None, 1_795_473_600).unwrap();
            String::from_utf8(mail.formatted()).unwrap()
        };
        let (opened, resolved) = (mail(IncidentStep::Opened, 1), mail(IncidentStep::Resolved, 2));
        for line in [
            "Message-ID: <0193-a.1@shop.example>\r\n",
            "References: <0193-a@shop.example>\r\n",
            "In-Reply-To: <0193-a@shop.example>\r\n",
            "Subject: [shop] postgres has failed: exit code 1 after 0.2 s\r\n",
            "To: Ops <ops@example.org>, boss@example.org\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Type: heartbeat-cli why postgres\r\n",
        ] {
            assert!(opened.contains(line), "{line} in {opened}");
        }
        assert!(resolved.contains("Message-ID: <0193-a.2@shop.example>\r\n"), "{resolved}");
        assert!(resolved.contains("References: <0193-a@shop.example>\r\n"), "{resolved}");
    }

    #[test]
    fn output_of_a_realm_is_no_header() {
        let mut hostile = document(IncidentStep::Opened);
        hostile.message = "a\r\nBcc: eve@example.org".to_owned();
        let mail = smtp("smtp://127.0.0.1").unwrap().mail(&letter(hostile), None, 0).unwrap();
        let text = String::from_utf8(mail.formatted()).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
        assert_eq!(mail.envelope().to().len(), 2);
    }

    #[test]
    fn only_a_server_on_this_machine_may_go_without_encryption() {
        let shown = |url: &str| smtp(url).unwrap().to_string();
        assert_eq!(shown("smtp://localhost"), "localhost:587 (no encryption, on this machine)");
        assert_eq!(shown("smtp://mail.example.org/"), "mail.example.org:587 (STARTTLS)");
        assert_eq!(shown("smtps://mail.example.org"), "mail.example.org:465 (TLS)");
        for url in ["mail.example.org", "http://h", "smtp://", "smtp://u:p@h", "smtp://h/path", "smtp://h:0"]
        {
            assert!(matches!(smtp(url), Err(NotifyError::MailServer)), "{url}");
        }
        let refused = Smtp::new("smtp://h", &TlsOptions::default(), None, ("nobody", &[]));
        assert_eq!(refused.unwrap_err().to_string(), "`nobody` is not a mail address");
        assert_eq!(Login::new(" me:a:b c\n").map(|login| login.password), Some("a:b c".to_owned()));
        assert!(Login::new("me").is_none() && Login::new(":x").is_none());
    }
}
