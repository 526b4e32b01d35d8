//! The keys of TLS, the same for every probe that connects and for receivers.

use std::path::Path;

use heartbeat_probe::TlsOptions;

use crate::code::Code;
use crate::keys::OF_TLS;
use crate::reader::{Reader, Section, beside};

/// One of the keys stands in `section`.
pub(crate) fn is_set(section: &Section<'_>) -> bool {
    OF_TLS.iter().any(|key| section.get(key).is_some())
}

/// What the keys say; relative paths start at the file that says them, or at `dir`.
pub(crate) fn options(reader: &Reader<'_>, section: &Section<'_>, dir: &Path) -> TlsOptions {
    let path = |key: &str| {
        let entry = section.get(key)?;
        Some(beside(reader, &entry, dir, &reader.text(&entry)?))
    };
    let (cert, key) = (path("cert"), path("key"));
    for (given, missing) in [("cert", "key"), ("key", "cert")] {
        if let Some(entry) = section.get(given).filter(|_| section.get(missing).is_none()) {
            let message =
                format!("`{given}` goes with `{missing}`: a client certificate and its private key");
            let help = format!("add `{missing}`, which names a PEM file, too, or remove `{given}`");
            reader.value_problem(&entry, Code::MisplacedKey, message, "here", &help);
        }
    }
    let verify = section.get("verify").and_then(|entry| reader.boolean(&entry));
    let mut options = TlsOptions::default();
    options.no_verify = verify == Some(false);
    options.ca = path("ca");
    options.identity = cert.zip(key);
    options.server_name = section.get("server_name").and_then(|entry| reader.text(&entry));
    options
}
