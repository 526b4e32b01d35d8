//! The files that heartbeatd itself needs beside the configuration: the token of its API, its certificate, and the secrets
//! of receivers. heartbeatd opens them with these functions when it starts, and a check tries the same ones, so that
//! heartbeatd starts with what a check accepts.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use heartbeat_http::{TlsOptionsError, TlsServer};
use heartbeat_notify::{Login, Secret, SecretError, Token};
use heartbeat_process::{PrivateFileError, read_private, read_token};

use crate::code::Code;
use crate::config::{Heartbeat, ListenerTls, ReceiverConfig, ReceiverTarget};
use crate::diagnostic::Diagnostic;
use crate::reader::Reader;

/// Why heartbeatd cannot use a file of a receiver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnFileError {
    /// The file cannot be read, or other users can.
    #[error("cannot use {path}", path = path.display())]
    Private {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: PrivateFileError,
    },
    /// The content of the secret file is invalid.
    #[error("{path} holds no secret", path = path.display())]
    Secret {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: SecretError,
    },
    /// The content of the file with a login is invalid.
    #[error("{path} holds no login of a mail server: write USER:PASSWORD into it", path = path.display())]
    Login {
        /// Path of the file.
        path: PathBuf,
    },
    /// The content of the token file is invalid.
    #[error("{path} holds no token: it is empty, or has more than one word", path = path.display())]
    Token {
        /// Path of the file.
        path: PathBuf,
    },
}

fn read(path: &Path) -> Result<String, OwnFileError> {
    read_private(path).map_err(|source| OwnFileError::Private { path: path.to_owned(), source })
}

/// The secret with which webhooks are signed.
///
/// # Errors
/// [`OwnFileError`] names the file, and the reason.
pub fn webhook_secret(path: &Path) -> Result<Secret, OwnFileError> {
    Secret::parse(&read(path)?).map_err(|source| OwnFileError::Secret { path: path.to_owned(), source })
}

/// The login of a mail server.
///
/// # Errors
/// [`OwnFileError`] names the file, and the reason.
pub fn login(path: &Path) -> Result<Login, OwnFileError> {
    Login::new(&read(path)?).ok_or_else(|| OwnFileError::Login { path: path.to_owned() })
}

/// The token with which heartbeatd proves itself to a receiver.
///
/// # Errors
/// [`OwnFileError`] names the file, and the reason.
pub fn receiver_token(path: &Path) -> Result<Token, OwnFileError> {
    Token::new(&read(path)?).ok_or_else(|| OwnFileError::Token { path: path.to_owned() })
}

/// The server's side of TLS on the TCP listener. A client without a certificate may still prove itself by the token.
///
/// # Errors
/// [`TlsOptionsError`] names the file that cannot be used.
pub fn tls(heartbeat: &Heartbeat, files: &ListenerTls) -> Result<TlsServer, TlsOptionsError> {
    let ListenerTls { cert, key, client_ca } = files;
    match client_ca {
        Some(ca) => TlsServer::for_clients(cert, key, ca, heartbeat.token_file.is_some()),
        None => TlsServer::new(cert, key),
    }
}

/// A file or directory that keeps heartbeatd from starting.
struct Refusal {
    /// The key that names it.
    at: Vec<String>,
    why: String,
    help: Option<String>,
    /// The user who checks may not look.
    is_of_permission: bool,
}

/// Tries everything that heartbeatd needs for itself.
pub(crate) fn look(reader: &Reader<'_>, heartbeat: &Heartbeat, receivers: &[ReceiverConfig]) {
    let mut refusals = Vec::new();
    if let Some(path) = heartbeat.token_file.as_deref()
        && let Err(error) = ask(reader, path, || read_token(path))
    {
        let at = ["heartbeat", "token_file"];
        refusals.push(Refusal::private(
            &at,
            format!("the token file {}: {}", path.display(), error.in_full()),
            &error,
            path,
        ));
    }
    if let Some(files) = heartbeat.tls.as_ref().filter(|_| heartbeat.listen.is_some())
        && let Err(error) = ask(reader, &files.cert, || tls(heartbeat, files))
    {
        let is_of_permission = matches!(&error, TlsOptionsError::Read { source, .. } if is_denied(source));
        let why = format!("`tls` cannot be used: {error}");
        let at = ["heartbeat", "tls"].map(str::to_owned).into();
        refusals.push(Refusal { at, why, help: None, is_of_permission });
    }
    for receiver in receivers {
        for (key, error) in files_of(reader, receiver) {
            refusals.push(Refusal::of_receiver(&["notify", &receiver.name, key], &error));
        }
    }
    let socket_parent = heartbeat.socket.parent();
    let directories = [
        ("socket", socket_parent),
        ("state_dir", Some(heartbeat.state_dir.as_path())),
        ("runtime_dir", Some(heartbeat.runtime_dir.as_path())),
    ];
    if let Err(error) = ask(reader, &heartbeat.socket, || is_free(&heartbeat.socket)) {
        let at = ["heartbeat", "socket"].map(str::to_owned).into();
        let why = format!("{} is there already, and is {error}", heartbeat.socket.display());
        let help = Some("write another `socket`, or leave it out".to_owned());
        refusals.push(Refusal { at, why, help, is_of_permission: false });
    }
    for (key, dir) in directories {
        if let Some(dir) = dir
            && let Err(error) =
                ask(reader, dir, || has_place(dir).and_then(|()| is_private(dir, key != "socket")))
        {
            let why = format!("the directory {} of `{key}` cannot be used: {error}", dir.display());
            let help = Some(format!("write another `{key}`, for example below /run or /var/lib"));
            let at = ["heartbeat", key].map(str::to_owned).into();
            refusals.push(Refusal { at, why, help, is_of_permission: is_denied(&error) });
        }
    }
    for refusal in refusals {
        refusal.push(reader);
    }
}

fn ask<T>(reader: &Reader<'_>, path: &Path, ask: impl FnOnce() -> T) -> T {
    reader.files.ask(path.display().to_string(), ask)
}

/// The files of a receiver that cannot be used, each with the key that names it.
fn files_of(reader: &Reader<'_>, receiver: &ReceiverConfig) -> Vec<(&'static str, OwnFileError)> {
    let secrets = receiver.secret_files.iter().zip(["secret_file", "next_secret_file"]);
    let secrets = secrets.filter(|_| matches!(receiver.target, ReceiverTarget::Webhook(_)));
    let mut found: Vec<(&str, OwnFileError)> = secrets
        .filter_map(|(path, key)| Some((key, ask(reader, path, || webhook_secret(path)).err()?)))
        .collect();
    if let Some(path) = receiver.token_file.as_deref() {
        let refused = match receiver.target {
            ReceiverTarget::Smtp { .. } => ask(reader, path, || login(path)).err(),
            _ => ask(reader, path, || receiver_token(path)).err(),
        };
        found.extend(refused.map(|error| ("token_file", error)));
    }
    found
}

/// Whether a directory is there, or can be: what is above it is a directory, and not one that the kernel makes up.
///
/// # Errors
/// As mkdir(2) would fail.
fn has_place(dir: &Path) -> io::Result<()> {
    for above in dir.ancestors() {
        match above.metadata() {
            Ok(meta) if !meta.is_dir() => {
                return Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!("{} is not a directory", above.display()),
                ));
            }
            Ok(_) if above != dir && ["/proc", "/sys"].iter().any(|kernel| above.starts_with(kernel)) => {
                return Err(io::Error::other(format!("nothing can be made in {}", above.display())));
            }
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether nothing but a socket stands where the socket is to be.
fn is_free(socket: &Path) -> Result<(), &'static str> {
    match socket.symlink_metadata() {
        Ok(found) if found.is_dir() => Err("a directory"),
        Ok(found) if !found.file_type().is_socket() => Err("no socket"),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether heartbeatd can believe what is in a directory that is there: it belongs to its own user, and others write
/// nothing into it.
fn is_private(dir: &Path, is_needed: bool) -> io::Result<()> {
    const STICKY: u32 = 0o1000;
    let Some(found) = dir.metadata().ok().filter(|_| is_needed) else { return Ok(()) };
    let own = std::fs::metadata("/proc/self").map_or(found.uid(), |own| own.uid());
    if found.mode() & STICKY != 0 {
        return Err(io::Error::other("all users write into it"));
    }
    if found.uid() != own {
        // heartbeatd may well run as that user.
        let why = format!("it belongs to uid {}, and you are uid {own}", found.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

impl Refusal {
    fn private(at: &[&str], why: String, error: &PrivateFileError, path: &Path) -> Self {
        let at = at.iter().map(|word| (*word).to_owned()).collect();
        Self { at, why, help: error.help(path), is_of_permission: error.is_of_permission() }
    }

    fn of_receiver(at: &[&str], error: &OwnFileError) -> Self {
        match error {
            OwnFileError::Private { path, source } => {
                // A secret is not made here: the receiver knows it, too.
                let is_made =
                    matches!(source, PrivateFileError::Read { .. } | PrivateFileError::Short { .. });
                let refusal = Self::private(at, format!("{error}: {}", source.in_full()), source, path);
                if is_made { Self { help: None, ..refusal } } else { refusal }
            }
            OwnFileError::Secret { source, .. } => {
                let at = at.iter().map(|word| (*word).to_owned()).collect();
                Self { at, why: format!("{error}: {source}"), help: None, is_of_permission: false }
            }
            OwnFileError::Login { .. } | OwnFileError::Token { .. } => {
                let at = at.iter().map(|word| (*word).to_owned()).collect();
                Self { at, why: error.to_string(), help: None, is_of_permission: false }
            }
        }
    }

    fn push(self, reader: &Reader<'_>) {
        let place = reader.place(&self.at);
        let (code, message, help) = if self.is_of_permission {
            let message = format!("{}; it is not checked", self.why);
            (Code::Unchecked, message, Some("check as the user as whom heartbeatd runs".to_owned()))
        } else {
            (Code::OwnFile, format!("{}; heartbeatd does not start with that", self.why), self.help)
        };
        let help = help.unwrap_or_else(|| "name a file that heartbeatd can use".to_owned());
        reader.push(Diagnostic::new(code, message).at(place, "here").help(help));
    }
}
