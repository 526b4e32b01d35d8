//! PEM files of certificates and keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsOptionsError;

/// Largest PEM file that is read, in bytes: a whole store of a distribution is a quarter of it.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// The certificates in a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsOptionsError> {
    let content = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(TlsOptionsError::NoCertificate { path: path.to_owned() }),
        Err(source) => Err(TlsOptionsError::Pem { path: path.to_owned(), source }),
    }
}

/// A certificate chain and its private key.
pub(super) fn identity(
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsOptionsError> {
    let chain = certificates(cert)?;
    let key_of = |content: &[u8]| PrivateKeyDer::from_pem_slice(content);
    let found = key_of(&read(key)?).map_err(|source| match source {
        rustls::pki_types::pem::Error::NoItemsFound => TlsOptionsError::NoKey { path: key.to_owned() },
        source => TlsOptionsError::Pem { path: key.to_owned(), source },
    })?;
    Ok((chain, found))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsOptionsError> {
    let failed = |source| TlsOptionsError::Read { path: path.to_owned(), source };
    // A FIFO or a device would block or never end.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let mut content = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_PEM_BYTES).read_to_end(&mut content)).map_err(failed)?;
    Ok(content)
}
