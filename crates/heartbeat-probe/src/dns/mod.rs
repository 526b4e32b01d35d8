//! DNS: one query, and the records of its answer.

mod exchange;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use heartbeat_http::Address;
use heartbeat_status::{FailReason, InconclusiveReason, Outcome, ProbeKind, ProbePhase};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use crate::broken::Broken;
use crate::clock;
use crate::kind::Kind;
use crate::measure::Seen;
use crate::progress::Progress;

/// Port of a server that names none.
const DNS_PORT: u16 = 53;
/// Longest part of a record that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 80;
/// Most records that are shown.
const MAX_SHOWN_RECORDS: usize = 4;
/// Most records that are noted in an explanation.
const MAX_NOTED_RECORDS: usize = 20;
/// Most aliases between the name and its record. Resolvers give up earlier.
const MAX_ALIASES: usize = 16;

/// Time beyond the timeout for a query that ends at the timeout by itself, with words of its own.
const GRACE: Duration = Duration::from_millis(100);

/// Types of records that can be asked for.
const RECORDS: [(&str, TYPE); 9] = [
    ("A", TYPE::A),
    ("AAAA", TYPE::AAAA),
    ("CNAME", TYPE::CNAME),
    ("MX", TYPE::MX),
    ("NS", TYPE::NS),
    ("PTR", TYPE::PTR),
    ("SOA", TYPE::SOA),
    ("SRV", TYPE::SRV),
    ("TXT", TYPE::TXT),
];

/// A type of DNS records, such as `A` or `MX`.
///
/// ```
/// use heartbeat_probe::DnsRecord;
///
/// assert_eq!("mx".parse::<DnsRecord>().unwrap().to_string(), "MX");
/// assert!("X".parse::<DnsRecord>().unwrap_err().to_string().contains("AAAA"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsRecord(&'static str, TYPE);

impl FromStr for DnsRecord {
    type Err = DnsError;

    fn from_str(text: &str) -> Result<Self, DnsError> {
        let found = RECORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let (name, kind) = found.ok_or_else(|| DnsError::Record { text: text.to_owned() })?;
        Ok(Self(name, *kind))
    }
}

impl fmt::Display for DnsRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why a DNS probe is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsError {
    /// Not a name, and not a URL with one.
    Name {
        /// The text as given.
        text: String,
    },
    /// The server is not an IP address: asking for its name would need another server.
    Server {
        /// The text as given.
        server: String,
    },
    /// Not a type of records.
    Record {
        /// The text as given.
        text: String,
    },
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { text } => write!(
                f,
                "`{text}` is not a name like shop.example.org, or dns://192.0.2.53/shop.example.org?type=A"
            ),
            Self::Server { server } => write!(f, "`{server}` is not the IP address of a DNS server"),
            Self::Record { text } => write!(
                f,
                "`{text}` is not a type of DNS records; there are {}",
                RECORDS.map(|(name, _)| name).join(", ")
            ),
        }
    }
}

impl std::error::Error for DnsError {}

/// Sends one query, over UDP and again over TCP where the answer does not fit. Passes when the answer has a record of
/// the wanted type, and the expected one where that is set.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsProbe {
    /// The server; `None` for those of `/etc/resolv.conf`.
    server: Option<SocketAddr>,
    name: String,
    record: DnsRecord,
    expect: Option<String>,
}

impl DnsProbe {
    /// A probe of a name by the servers of this host (`shop.example.org`), or by a server
    /// (`dns://192.0.2.53[:port]/shop.example.org[?type=MX]`, as in RFC 4501); for records of type `A` by default.
    ///
    /// # Errors
    /// [`DnsError`] names the part that cannot be used.
    pub fn new(text: &str) -> Result<Self, DnsError> {
        let refused = || DnsError::Name { text: text.to_owned() };
        let (server, rest) = match text.strip_prefix("dns:") {
            Some(rest) => match rest.strip_prefix("//") {
                Some(rest) => rest.split_once('/').ok_or_else(refused)?,
                None => ("", rest),
            },
            None => ("", text),
        };
        let (name, query) = rest.split_once('?').map_or((rest, None), |(name, query)| (name, Some(query)));
        let record = match query {
            None => DnsRecord("A", TYPE::A),
            Some(query) => match query.split_once('=') {
                Some((key, value)) if key.eq_ignore_ascii_case("type") => value.parse()?,
                _ => return Err(refused()),
            },
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        if !name.split('.').all(is_label) || Name::new(name).is_err() {
            return Err(refused());
        }
        let server = match server {
            "" => None,
            server => Some(address(server).ok_or_else(|| DnsError::Server { server: server.to_owned() })?),
        };
        Ok(Self { server, name: name.to_owned(), record, expect: None })
    }

    /// Asks for records of another type.
    #[must_use]
    pub fn with_record(self, record: DnsRecord) -> Self {
        Self { record, ..self }
    }

    /// Passes only when one of the records is this, or one of its fields is: the host of `10 mail.example.org`. A TXT
    /// record needs to contain it.
    #[must_use]
    pub fn with_expect(self, expect: &str) -> Self {
        Self { expect: Some(expect.to_owned()), ..self }
    }

    async fn talk(&self, progress: &mut Progress<'_>) -> Seen {
        progress.phase = ProbePhase::FirstByte;
        let id = fastrand::u16(..);
        let query = self.query(id).ok_or_else(|| protocol("the query cannot be written"))?;
        let servers = self.server.map_or_else(exchange::system_servers, |server| vec![server]);
        progress.note('>', format_args!("{} {} to {}", self.name, self.record, list(&servers)));
        let began = clock::now();
        let answer = exchange::ask(&servers, &query, progress.timeout).await;
        let answer = answer.map_err(|broken| if self.server.is_some() { broken } else { ours(broken) })?;
        progress.times.first_byte = Some(clock::now().since(began));
        let packet =
            Packet::parse(&answer).map_err(|error| protocol(&format!("not a DNS answer: {error}")))?;
        progress.note('<', format_args!("{:?}, {} records", packet.rcode(), packet.answers.len()));
        for record in packet.answers.iter().take(MAX_NOTED_RECORDS) {
            let (kind, text) = shown(&record.rdata);
            progress.note('<', format_args!("{} {kind:?} {text}", record.name));
        }
        self.verdict(&packet)
    }

    fn query(&self, id: u16) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let (kind, class) = (QTYPE::TYPE(self.record.1), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(Question::new(Name::new(&self.name).ok()?, kind, class, false));
        packet.build_bytes_vec().ok()
    }

    fn verdict(&self, packet: &Packet<'_>) -> Seen {
        let failed = |reason, detail| Err(Broken::fail(reason, ProbePhase::FirstByte, detail));
        match packet.rcode() {
            RCODE::NoError => {}
            RCODE::NameError => {
                return failed(FailReason::NameNotFound, format!("there is no {}", self.name));
            }
            // The resolver of this host could not find out: nothing is known about the name.
            RCODE::ServerFailure if self.server.is_none() => {
                let detail = "the DNS server of this host reports that it failed";
                return Err(Broken::inconclusive(InconclusiveReason::NameTemporary, detail));
            }
            other => return failed(FailReason::UnexpectedStatus, refusal(other)),
        }
        let found = self.records(packet)?;
        let all = || {
            let shown = found.iter().take(MAX_SHOWN_RECORDS).cloned().collect::<Vec<_>>().join(", ");
            let more = found.len().saturating_sub(MAX_SHOWN_RECORDS);
            if more == 0 { shown } else { format!("{shown} and {more} more") }
        };
        match &self.expect {
            _ if found.is_empty() => {
                failed(FailReason::ConditionMissing, format!("{} has no {} record", self.name, self.record))
            }
            Some(expect) if !found.iter().any(|record| is_expected(self.record, record, expect)) => failed(
                FailReason::ConditionFailed,
                format!("expected {}, got {}", crate::expected(expect), all()),
            ),
            _ => Ok((Outcome::Pass, all())),
        }
    }

    /// The records of the wanted type of the name, or of the name that it is an alias of.
    fn records(&self, packet: &Packet<'_>) -> Result<Vec<String>, Broken> {
        let is_of = |owner: &Name<'_>, name: &str| owner.to_string().eq_ignore_ascii_case(name);
        let mut name = self.name.clone();
        for _ in 0..=MAX_ALIASES {
            let mut own = packet.answers.iter().filter(|record| is_of(&record.name, &name));
            let found: Vec<String> = own
                .clone()
                .map(|record| shown(&record.rdata))
                .filter(|(kind, _)| *kind == self.record.1)
                .map(|(_, text)| text)
                .collect();
            let alias = own.find_map(|record| match &record.rdata {
                RData::CNAME(alias) => Some(alias.0.to_string()),
                _ => None,
            });
            match alias {
                Some(alias) if found.is_empty() => name = alias,
                _ => return Ok(found),
            }
        }
        Err(protocol(&format!("more than {MAX_ALIASES} aliases, or a circle of them")))
    }
}

impl Kind for DnsProbe {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Dns
    }

    fn target(&self) -> String {
        match self.server {
            Some(server) => format!("{} {} at {server}", self.name, self.record),
            None => format!("{} {}", self.name, self.record),
        }
    }

    fn grace(&self) -> Duration {
        GRACE
    }

    async fn observe(&self, progress: &mut Progress<'_>) -> Seen {
        self.talk(progress).await
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    let address = Address::parse(text, Some(DNS_PORT))?;
    Some(SocketAddr::new(address.ip()?, address.port()))
}

fn list(servers: &[SocketAddr]) -> String {
    servers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// A resolver of this host that does not answer says nothing about the name.
fn ours(broken: Broken) -> Broken {
    match broken.outcome {
        Outcome::Fail { .. } => Broken::inconclusive(InconclusiveReason::NameTemporary, broken.detail),
        _ => broken,
    }
}

fn protocol(why: &str) -> Broken {
    Broken::fail(FailReason::Protocol, ProbePhase::FirstByte, why)
}

fn refusal(code: RCODE) -> String {
    let why = match code {
        RCODE::FormatError => "does not understand the query",
        RCODE::ServerFailure => "reports that it failed",
        RCODE::NotImplemented => "does not support this kind of query",
        RCODE::Refused => "refuses to answer",
        _ => "answered with an error",
    };
    format!("the DNS server {why}")
}

/// The type of a record, and its data as a zone file writes it.
fn shown(data: &RData<'_>) -> (TYPE, String) {
    let text = match data {
        RData::A(a) => IpAddr::from(a.address.to_be_bytes()).to_string(),
        RData::AAAA(aaaa) => IpAddr::from(aaaa.address.to_be_bytes()).to_string(),
        RData::CNAME(name) => name.0.to_string(),
        RData::NS(name) => name.0.to_string(),
        RData::PTR(name) => name.0.to_string(),
        RData::MX(mx) => format!("{} {}", mx.preference, mx.exchange),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target),
        RData::SOA(soa) => format!("{} {} {}", soa.mname, soa.rname, soa.serial),
        RData::TXT(txt) => String::try_from(txt.clone()).unwrap_or_else(|_| "(not UTF-8)".to_owned()),
        _ => String::new(),
    };
    (data.type_code(), text.chars().take(MAX_SHOWN_CHARS).collect())
}

fn is_expected(record: DnsRecord, found: &str, expect: &str) -> bool {
    if record.1 == TYPE::TXT {
        return found.contains(expect);
    }
    let expect = expect.trim().trim_end_matches('.');
    let is = |text: &str| match (text.parse::<IpAddr>(), expect.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => text.eq_ignore_ascii_case(expect),
    };
    is(found) || found.split(' ').any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_name_its_server_and_its_type() {
        let target = |text: &str| DnsProbe::new(text).map(|probe| probe.target());
        for (text, shown) in [
            ("shop.example.org", "shop.example.org A"),
            ("dns:shop.example.org?type=mx", "shop.example.org MX"),
            ("dns://192.0.2.53/shop.example.org.", "shop.example.org A at 192.0.2.53:53"),
            ("dns://[::1]:5353/_http._tcp.shop?TYPE=SRV", "_http._tcp.shop SRV at [::1]:5353"),
            ("dns:///shop", "shop A"),
        ] {
            assert_eq!(target(text).unwrap(), shown, "{text}");
        }
        assert!(matches!(target("dns://ns.example.org/shop"), Err(DnsError::Server { .. })));
        assert!(matches!(target("shop?type=X"), Err(DnsError::Record { .. })));
        let long = "x".repeat(64);
        for bad in ["", ".", "dns://192.0.2.53", "dns://192.0.2.53/", "a b", "shop?class=IN", "a..b", &long] {
            assert!(matches!(target(bad), Err(DnsError::Name { .. })), "{bad}");
        }
    }

    #[test]
    fn a_record_is_expected_as_a_whole_or_by_one_of_its_fields() {
        let is = |kind: &str, found, expect| is_expected(kind.parse().unwrap(), found, expect);
        assert!(is("A", "192.0.2.1", "192.0.2.1") && !is("A", "192.0.2.10", "192.0.2.1"));
        assert!(is("AAAA", "2001:db8::1", "2001:DB8:0::1"));
        assert!(is("MX", "10 mail.example.org", "Mail.example.org.") && is("MX", "10 a", "10 a"));
        assert!(is("TXT", "v=spf1 -all", "spf1") && !is("CNAME", "www.example.org", "example.org"));
    }
}
