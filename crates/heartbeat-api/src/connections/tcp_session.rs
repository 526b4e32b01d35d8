//! A connection over TCP: plain, or a session of TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use heartbeat_http::{TlsServer, TlsServerStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::connections::unreadable;

/// A connection over TCP on which requests come.
pub(crate) enum TcpSession {
    Plain(TcpStream),
    Secure(Box<TlsServerStream<TcpStream>>),
}

impl TcpSession {
    /// Shakes hands where there is a certificate. A client that speaks plain HTTP there is told so.
    pub(crate) async fn open(mut stream: TcpStream, tls: Option<TlsServer>) -> io::Result<Self> {
        let Some(tls) = tls else { return Ok(Self::Plain(stream)) };
        let mut first = [0];
        if stream.peek(&mut first).await? > 0 && !TlsServer::is_spoken(first[0]) {
            stream.write_all(&unreadable::plain_on_tls().into_bytes()).await?;
            stream.shutdown().await?;
            // What the client still sends would reset the connection before it has read the answer.
            let mut rest = [0; 1_024];
            while tokio::io::AsyncReadExt::read(&mut stream, &mut rest).await? > 0 {}
            return Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP on a port with TLS"));
        }
        tls.accept(stream).await.map(|session| Self::Secure(Box::new(session)))
    }
}

impl TcpSession {
    /// The client has proven a certificate that the configuration accepts.
    pub(crate) fn has_certificate(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Secure(session) => TlsServer::has_certificate(session),
        }
    }
}

impl AsyncRead for TcpSession {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secure(session) => Pin::new(session).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for TcpSession {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secure(session) => Pin::new(session).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Secure(session) => Pin::new(session).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secure(session) => session.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secure(session) => Pin::new(session).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secure(session) => Pin::new(session).poll_shutdown(context),
        }
    }
}
