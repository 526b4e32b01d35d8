//! The messages between heartbeatd, its launcher, and the children that the launcher makes: a `SOCK_SEQPACKET` pair for
//! each; a message is one byte and its arguments. What a child calls neither allocates nor calls the C library.

use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use rustix::net::SendFlags;

use crate::notice::Step;

/// Longest path in a message, in bytes; a longer one is cut.
const MAX_PATH_BYTES: usize = 1_024;
/// Length of a failure message before its path, in bytes.
const FAILED_BYTES: usize = 10;
/// Longest report in bytes.
const MAX_MESSAGE_BYTES: usize = FAILED_BYTES + MAX_PATH_BYTES;
/// Longest specification in the message itself, in bytes; a longer one is in a memory file.
pub(crate) const MAX_INLINE_BYTES: usize = 16 * 1024;

/// What the launcher or the child reports about a launch.
#[derive(Debug)]
pub(crate) enum LaunchMessage {
    /// From the launcher: its copy is process `pid`, held by `pidfd` if the kernel has made one. The copy's own report
    /// may arrive first.
    Made { pid: u32, pidfd: Option<OwnedFd> },
    /// From the launcher: the child `pid`, which shares its memory, sets itself up, and will wait for `proceed`; `log`
    /// is where its output goes, if that is a log. The child's report of a failure may arrive first.
    Sharing { pid: u32, pidfd: Option<OwnedFd>, log: Option<OwnedFd> },
    /// From the copy, process `pid`: it is set up, and waits for `proceed`.
    Ready { pid: u32 },
    /// From the child: it is about to call execve.
    Exec,
    /// A step failed in the child, process `pid`; `None`: in the launcher, and there is no child. `path` is what the step
    /// failed at, where that is not the program.
    Failed { step: Step, errno: i32, pid: Option<u32>, path: Option<PathBuf> },
    /// End of file: the child has exec'd (the socket is close-on-exec), or is gone.
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
    send(socket, b"G", SendFlags::DONTWAIT)
}

fn send(socket: BorrowedFd<'_>, message: &[u8], flags: SendFlags) -> Result<(), Errno> {
    let sent = rustix::net::send(socket, message, SendFlags::NOSIGNAL | flags);
    sent.map(drop).map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// Waits for `proceed`. False when heartbeatd is gone: then the child must not exec.
pub(crate) fn receive_proceed(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0; 1];
    loop {
        match rustix::io::read(socket, &mut byte) {
            Ok(1) => return byte == *b"G",
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

/// Most descriptors with a report.
const MAX_REPORT_DESCRIPTORS: usize = 2;

fn say_pid(socket: BorrowedFd<'_>, word: u8, pid: u32, fds: &[RawFd]) -> Result<(), Errno> {
    let mut message = [0; 5];
    message[0] = word;
    message[1..].copy_from_slice(&pid.to_le_bytes());
    let control = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &control };
    let parts = [IoSlice::new(&message)];
    sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None).map(|_| ())
}

pub(crate) fn say_made(socket: BorrowedFd<'_>, pid: u32, pidfd: Option<&OwnedFd>) {
    let fds: Vec<RawFd> = pidfd.into_iter().map(AsRawFd::as_raw_fd).collect();
    // If the reaper no longer listens, the copy ends by itself.
    let _ = say_pid(socket, b'P', pid, &fds);
}

pub(crate) fn say_sharing(
    socket: BorrowedFd<'_>,
    pid: u32,
    pidfd: BorrowedFd<'_>,
    log: Option<BorrowedFd<'_>>,
) {
    let fds: Vec<RawFd> = [Some(pidfd), log].into_iter().flatten().map(|fd| fd.as_raw_fd()).collect();
    // As above.
    let _ = say_pid(socket, b'H', pid, &fds);
}

pub(crate) fn say_ready(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    say_pid(socket, b'R', std::process::id(), &[])
}

pub(crate) fn say_exec(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    send(socket, b"X", SendFlags::empty())
}

/// `pid` is that of the child; 0: the launcher could not make one.
pub(crate) fn say_failed(socket: BorrowedFd<'_>, step: Step, errno: i32, pid: u32, path: Option<&Path>) {
    let mut message = [0; MAX_MESSAGE_BYTES];
    message[..2].copy_from_slice(&[b'E', step.code()]);
    message[2..6].copy_from_slice(&errno.to_le_bytes());
    message[6..FAILED_BYTES].copy_from_slice(&pid.to_le_bytes());
    let path = path.map_or(&b""[..], |path| path.as_os_str().as_bytes());
    let path = &path[..path.len().min(MAX_PATH_BYTES)];
    let length = FAILED_BYTES + path.len();
    message[FAILED_BYTES..length].copy_from_slice(path);
    // If the reaper no longer listens, it does not need the report.
    let _ = send(socket, &message[..length], SendFlags::empty());
}

fn word(message: &[u8; MAX_MESSAGE_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]])
}

/// Receives the next message about a launch, without waiting.
pub(crate) fn hear(socket: BorrowedFd<'_>) -> LaunchMessage {
    let mut message = [0; MAX_MESSAGE_BYTES];
    let mut space = nix::cmsg_space!([RawFd; MAX_REPORT_DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(&mut message)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    // One that is not asked for below is closed.
    let mut descriptors = Vec::new();
    let received = loop {
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags);
        // The child has ended without reading `proceed`: the kernel says so once, before what the child has said.
        if received.as_ref().err() != Some(&Errno::ECONNRESET) {
            break received.map(|received| {
                for control in received.cmsgs().into_iter().flatten() {
                    if let ControlMessageOwned::ScmRights(fds) = control {
                        descriptors.extend(fds.into_iter().map(crate::sys::own));
                    }
                }
                received.bytes
            });
        }
    };
    let mut descriptors = descriptors.into_iter();
    match received {
        Ok(0) => LaunchMessage::End,
        Ok(5) if message[0] == b'P' => {
            LaunchMessage::Made { pid: word(&message, 1), pidfd: descriptors.next() }
        }
        Ok(5) if message[0] == b'H' => LaunchMessage::Sharing {
            pid: word(&message, 1),
            pidfd: descriptors.next(),
            log: descriptors.next(),
        },
        Ok(5) if message[0] == b'R' => LaunchMessage::Ready { pid: word(&message, 1) },
        Ok(1) if message[0] == b'X' => LaunchMessage::Exec,
        Ok(length @ FAILED_BYTES..) if message[0] == b'E' => LaunchMessage::Failed {
            step: Step::from_code(message[1]).unwrap_or(Step::Launcher),
            errno: word(&message, 2).cast_signed(),
            pid: Some(word(&message, 6)).filter(|pid| *pid != 0),
            path: Some(&message[FAILED_BYTES..length])
                .filter(|path| !path.is_empty())
                .map(|path| PathBuf::from(OsStr::from_bytes(path))),
        },
        Err(Errno::EAGAIN | Errno::EINTR) => LaunchMessage::Nothing,
        // No launcher of ours sends anything else.
        Ok(_) | Err(_) => LaunchMessage::End,
    }
}
