//! The messages between heartbeatd, its launcher, and the launcher's copies of itself: a `SOCK_SEQPACKET` pair for
//! each; a message is one byte and its arguments.

use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send,
    sendmsg, socketpair,
};

use crate::notice::Step;

/// Longest path in a message, in bytes; a longer one is cut.
const MAX_PATH_BYTES: usize = 1_024;
/// Length of a failure message before its path, in bytes.
const FAILED_BYTES: usize = 10;
/// Longest report in bytes.
const MAX_MESSAGE_BYTES: usize = FAILED_BYTES + MAX_PATH_BYTES;
/// Longest specification in the message itself, in bytes; a longer one is in a memory file.
pub(crate) const MAX_INLINE_BYTES: usize = 16 * 1024;

/// What the launcher or its copy reports about a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LaunchMessage {
    /// From the launcher: its copy is process `pid`. The copy's own report may arrive first.
    Made { pid: u32 },
    /// From the copy, process `pid`: it is set up, and waits for `proceed`.
    Ready { pid: u32 },
    /// From the copy: it is about to call execve.
    Exec,
    /// A step failed in the copy, process `pid`; `None`: in the launcher, and there is no copy. `path` is what the step
    /// failed at, where that is not the program.
    Failed { step: Step, errno: i32, pid: Option<u32>, path: Option<PathBuf> },
    /// End of file: the copy has exec'd (the socket is close-on-exec), or is gone.
    End,
    /// No message has arrived yet.
    Nothing,
}

/// A connected pair: our end, and the peer's.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((ours, theirs))
}

/// Where the launcher finds a specification.
#[derive(Debug)]
pub(crate) enum Specification<T> {
    /// In the message, of at most [`MAX_INLINE_BYTES`].
    Inline(Vec<u8>),
    /// In a sealed memory file.
    Memory(T),
}

/// What heartbeatd gives the launcher for one launch.
#[derive(Debug)]
pub(crate) struct LaunchOrder<T> {
    pub(crate) spec: Specification<T>,
    /// The copy's end of the pair on which it reports.
    pub(crate) socket: T,
    /// The directory of the control group that the copy is born in.
    pub(crate) group: Option<T>,
    /// Where captured output goes.
    pub(crate) capture: Option<T>,
}

/// First byte of an order; the second says which of the optional descriptors come along.
const ORDER: u8 = b'S';
const WITH_GROUP: u8 = 1;
const WITH_CAPTURE: u8 = 2;
const WITH_MEMORY: u8 = 4;

pub(crate) fn send_order(launcher: BorrowedFd<'_>, order: &LaunchOrder<BorrowedFd<'_>>) -> Result<(), Errno> {
    let (inline, memory) = match &order.spec {
        Specification::Inline(bytes) => (bytes.as_slice(), None),
        Specification::Memory(memory) => (&[][..], Some(*memory)),
    };
    let fds: Vec<RawFd> = [Some(order.socket), memory, order.group, order.capture]
        .into_iter()
        .flatten()
        .map(|fd| fd.as_raw_fd())
        .collect();
    let with = |is: bool, flag| if is { flag } else { 0 };
    let flags = with(order.group.is_some(), WITH_GROUP)
        | with(order.capture.is_some(), WITH_CAPTURE)
        | with(memory.is_some(), WITH_MEMORY);
    let control = [ControlMessage::ScmRights(&fds)];
    let message = [ORDER, flags];
    loop {
        let parts = [IoSlice::new(&message), IoSlice::new(inline)];
        match sendmsg::<()>(launcher.as_raw_fd(), &parts, &control, MsgFlags::MSG_NOSIGNAL, None) {
            // A SIGCHLD interrupted the wait for room.
            Err(Errno::EINTR) => {}
            sent => return sent.map(|_| ()),
        }
    }
}

/// Waits for the next order. `None` when heartbeatd is gone.
pub(crate) fn receive_order(socket: BorrowedFd<'_>) -> Option<LaunchOrder<OwnedFd>> {
    let mut message = [0; 2];
    let mut inline = vec![0; MAX_INLINE_BYTES];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let (received, bytes) = loop {
        let mut parts = [IoSliceMut::new(&mut message), IoSliceMut::new(&mut inline)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(received) => {
                let bytes = received.bytes;
                let descriptors = received.cmsgs().ok()?.find_map(|control| match control {
                    ControlMessageOwned::ScmRights(fds) => Some(fds),
                    _ => None,
                });
                break (descriptors?, bytes);
            }
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    };
    let mut fds = received.into_iter().map(crate::sys::own);
    let flags = message[1];
    let socket = fds.next()?;
    let mut next = |flag| if flags & flag == 0 { Some(None) } else { fds.next().map(Some) };
    let spec = match next(WITH_MEMORY)? {
        Some(memory) => Specification::Memory(memory),
        None => {
            inline.truncate(bytes.saturating_sub(message.len()));
            Specification::Inline(inline)
        }
    };
    Some(LaunchOrder { spec, socket, group: next(WITH_GROUP)?, capture: next(WITH_CAPTURE)? })
}

pub(crate) fn send_proceed(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    send(socket.as_raw_fd(), b"G", MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT).map(|_| ())
}

/// Waits for `proceed`. False when heartbeatd is gone: then the copy must not exec.
pub(crate) fn receive_proceed(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0; 1];
    loop {
        match recv(socket.as_raw_fd(), &mut byte, MsgFlags::empty()) {
            Ok(1) => return byte == *b"G",
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

fn say_pid(socket: BorrowedFd<'_>, word: u8, pid: u32, pidfd: Option<&OwnedFd>) -> Result<(), Errno> {
    let mut message = [0; 5];
    message[0] = word;
    message[1..].copy_from_slice(&pid.to_le_bytes());
    let fds: Vec<RawFd> = pidfd.into_iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[][..] } else { &control };
    let parts = [IoSlice::new(&message)];
    sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None).map(|_| ())
}

pub(crate) fn say_made(socket: BorrowedFd<'_>, pid: u32, pidfd: Option<&OwnedFd>) {
    // If the reaper no longer listens, the copy ends by itself.
    let _ = say_pid(socket, b'P', pid, pidfd);
}

pub(crate) fn say_ready(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    say_pid(socket, b'R', std::process::id(), None)
}

pub(crate) fn say_exec(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    send(socket.as_raw_fd(), b"X", MsgFlags::MSG_NOSIGNAL).map(|_| ())
}

/// `pid` is that of the copy; 0: the launcher could not make one.
pub(crate) fn say_failed(socket: BorrowedFd<'_>, step: Step, errno: i32, pid: u32, path: Option<&Path>) {
    let mut message = vec![b'E', step.code()];
    message.extend_from_slice(&errno.to_le_bytes());
    message.extend_from_slice(&pid.to_le_bytes());
    message.extend(path.into_iter().flat_map(|path| path.as_os_str().as_bytes()).take(MAX_PATH_BYTES));
    // If the reaper no longer listens, it does not need the report.
    let _ = send(socket.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL);
}

fn word(message: &[u8; MAX_MESSAGE_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]])
}

/// Receives the next message about a launch, without waiting; with [`LaunchMessage::Made`] perhaps a pidfd of the copy.
pub(crate) fn hear(socket: BorrowedFd<'_>) -> (LaunchMessage, Option<OwnedFd>) {
    let mut message = [0; MAX_MESSAGE_BYTES];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut message)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut pidfd = None;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).map(|received| {
        for control in received.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(fds) = control {
                // There is room for one; any other is closed.
                fds.into_iter().for_each(|fd| pidfd = Some(crate::sys::own(fd)));
            }
        }
        received.bytes
    });
    (meaning(received, &message), pidfd)
}

fn meaning(received: Result<usize, Errno>, message: &[u8; MAX_MESSAGE_BYTES]) -> LaunchMessage {
    match received {
        Ok(0) => LaunchMessage::End,
        Ok(5) if message[0] == b'P' => LaunchMessage::Made { pid: word(message, 1) },
        Ok(5) if message[0] == b'R' => LaunchMessage::Ready { pid: word(message, 1) },
        Ok(1) if message[0] == b'X' => LaunchMessage::Exec,
        Ok(length @ FAILED_BYTES..) if message[0] == b'E' => LaunchMessage::Failed {
            step: Step::from_code(message[1]).unwrap_or(Step::Launcher),
            errno: word(message, 2).cast_signed(),
            pid: Some(word(message, 6)).filter(|pid| *pid != 0),
            path: Some(&message[FAILED_BYTES..length])
                .filter(|path| !path.is_empty())
                .map(|path| PathBuf::from(OsStr::from_bytes(path))),
        },
        Err(Errno::EAGAIN | Errno::EINTR) => LaunchMessage::Nothing,
        // No launcher of ours sends anything else.
        Ok(_) | Err(_) => LaunchMessage::End,
    }
}
