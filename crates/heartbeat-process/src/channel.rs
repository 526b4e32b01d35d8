//! The words between heartbeatd and a launcher: one `SOCK_SEQPACKET` pair, one byte a message and what it needs.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send,
    sendmsg, socketpair,
};

use crate::notice::Step;

/// Longest message in bytes.
const MAX_MESSAGE_BYTES: usize = 16;

/// What a launcher says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Set up, and waiting for `go`: the process of that number, which a launcher with a control group has made.
    Ready { pid: u32 },
    /// About to execve.
    Exec,
    /// A step failed, in the process of that number.
    Failed { step: Step, errno: i32, pid: u32 },
    /// End of file: exec'd (the socket is close-on-exec), or gone.
    End,
    /// Nothing yet.
    Nothing,
}

/// A connected pair: ours (non-blocking) and the launcher's.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((ours, theirs))
}

/// Sends the specification, a sealed memory file, and where captured output goes.
pub(crate) fn send_spec(
    socket: BorrowedFd<'_>,
    spec: BorrowedFd<'_>,
    capture: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut fds = vec![spec.as_raw_fd()];
    fds.extend(capture.map(|capture| capture.as_raw_fd()));
    let control = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"S")], &control, MsgFlags::MSG_NOSIGNAL, None)
        .map(|_| ())
}

/// Waits for the specification, and for where captured output goes. `None` when heartbeatd is gone.
pub(crate) fn receive_spec(socket: BorrowedFd<'_>) -> Option<(OwnedFd, Option<OwnedFd>)> {
    let mut byte = [0; 1];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 2]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    let received = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => Some(fds),
        _ => None,
    })?;
    let mut received = received.into_iter().map(crate::sys::own);
    Some((received.next()?, received.next()))
}

pub(crate) fn send_go(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    send(socket.as_raw_fd(), b"G", MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT).map(|_| ())
}

/// Waits for `go`. False when heartbeatd is gone: nothing must be started then.
pub(crate) fn receive_go(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0; 1];
    loop {
        match recv(socket.as_raw_fd(), &mut byte, MsgFlags::empty()) {
            Ok(1) => return byte == *b"G",
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

pub(crate) fn say_ready(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut message = [0; 5];
    message[0] = b'R';
    message[1..].copy_from_slice(&std::process::id().to_le_bytes());
    send(socket.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL).map(|_| ())
}

pub(crate) fn say_exec(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    send(socket.as_raw_fd(), b"X", MsgFlags::MSG_NOSIGNAL).map(|_| ())
}

pub(crate) fn say_failed(socket: BorrowedFd<'_>, step: Step, errno: i32) {
    let mut message = [0; 10];
    message[0] = b'E';
    message[1] = step.code();
    message[2..6].copy_from_slice(&errno.to_le_bytes());
    message[6..].copy_from_slice(&std::process::id().to_le_bytes());
    // Nobody listens any more: then nobody needs to know.
    let _ = send(socket.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL);
}

fn word(message: &[u8; MAX_MESSAGE_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]])
}

/// Hears the next word of a launcher, without waiting.
pub(crate) fn hear(socket: BorrowedFd<'_>) -> Said {
    let mut message = [0; MAX_MESSAGE_BYTES];
    match recv(socket.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Said::End,
        Ok(5) if message[0] == b'R' => Said::Ready { pid: word(&message, 1) },
        Ok(1) if message[0] == b'X' => Said::Exec,
        Ok(10) if message[0] == b'E' => Said::Failed {
            step: Step::from_code(message[1]).unwrap_or(Step::Launcher),
            errno: word(&message, 2).cast_signed(),
            pid: word(&message, 6),
        },
        Err(Errno::EAGAIN | Errno::EINTR) => Said::Nothing,
        // Anything else is no launcher of ours.
        Ok(_) | Err(_) => Said::End,
    }
}
