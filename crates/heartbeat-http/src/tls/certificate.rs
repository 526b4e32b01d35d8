//! The certificate of a server, as far as people ask about it.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_cert::der::{DateTime, Decode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::TlsError;

/// Names that [`Certificate::issued_to`] prints.
const MAX_SHOWN_NAMES: usize = 3;
/// Names that are kept; a certificate of a hosting company may list thousands.
const MAX_KEPT_NAMES: usize = 16;
const DAY_S: u64 = 24 * 60 * 60;

/// What a server's certificate says: for which names it is, who issued it, and how long it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    names: Vec<String>,
    /// Names beyond those that are kept.
    more: usize,
    subject: String,
    issuer: String,
    not_before: Date,
    not_after: Date,
    chain: usize,
}

/// A time of the certificate: for comparing and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Date {
    unix_s: u64,
    text: String,
}

impl From<DateTime> for Date {
    fn from(time: DateTime) -> Self {
        let text = format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day());
        Self { unix_s: time.unix_duration().as_secs(), text }
    }
}

impl Certificate {
    /// Reads the first certificate of a chain.
    pub(super) fn read(chain: &[CertificateDer<'_>]) -> Result<Self, TlsError> {
        let unreadable = |why: String| TlsError::Unreadable { why };
        let leaf = chain.first().ok_or_else(|| unreadable("the server sent none".to_owned()))?;
        let parsed = x509_cert::Certificate::from_der(leaf).map_err(|error| unreadable(error.to_string()))?;
        let signed = parsed.tbs_certificate();
        let listed = signed.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0);
        let mut names = listed.unwrap_or_default().iter().filter_map(name).collect::<Vec<_>>();
        let more = names.len().saturating_sub(MAX_KEPT_NAMES);
        names.truncate(MAX_KEPT_NAMES);
        let of = |name: &x509_cert::name::Name| match name.common_name() {
            Ok(Some(common)) => common.value().into_owned(),
            _ => name.to_string(),
        };
        Ok(Self {
            names,
            more,
            subject: of(signed.subject()),
            issuer: of(signed.issuer()),
            not_before: signed.validity().not_before.to_date_time().into(),
            not_after: signed.validity().not_after.to_date_time().into(),
            chain: chain.len(),
        })
    }

    /// DNS names and IP addresses that it is for; at most 16 of them.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The common name of its issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Number of certificates that the server sent.
    #[must_use]
    pub const fn chain_len(&self) -> usize {
        self.chain
    }

    /// The first day of its validity, as `2026-11-23`.
    #[must_use]
    pub fn not_before(&self) -> &str {
        &self.not_before.text
    }

    /// The last day of its validity, as `2026-11-23`.
    #[must_use]
    pub fn not_after(&self) -> &str {
        &self.not_after.text
    }

    /// The beginning of its validity, in seconds since 1970.
    #[must_use]
    pub const fn not_before_unix_s(&self) -> u64 {
        self.not_before.unix_s
    }

    /// The end of its validity, in seconds since 1970.
    #[must_use]
    pub const fn not_after_unix_s(&self) -> u64 {
        self.not_after.unix_s
    }

    /// Whole days until it expires, at `unix_s` seconds since 1970; 0 once it has.
    #[must_use]
    pub const fn days_left(&self, unix_s: u64) -> u64 {
        self.not_after.unix_s.saturating_sub(unix_s) / DAY_S
    }

    /// The names it is for, in one phrase: `for shop.test and *.shop.test`.
    #[must_use]
    pub fn issued_to(&self) -> String {
        let more = self.more + self.names.len().saturating_sub(MAX_SHOWN_NAMES);
        let shown = &self.names[..self.names.len().min(MAX_SHOWN_NAMES)];
        match (shown, more) {
            ([], _) => format!("for no host name, only for the subject {}", self.subject),
            ([one], 0) => format!("for {one}"),
            ([first @ .., last], 0) => format!("for {} and {last}", first.join(", ")),
            (some, more) => format!("for {} and {more} more names", some.join(", ")),
        }
    }

    pub(super) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match *bytes.as_bytes() {
            [a, b, c, d] => Some(IpAddr::from([a, b, c, d]).to_string()),
            ref long => Some(IpAddr::from(<[u8; 16]>::try_from(long).ok()?).to_string()),
        },
        _ => None,
    }
}
