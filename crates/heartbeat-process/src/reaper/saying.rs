//! What realms report of themselves. The reaper believes only processes of the run's tree.
//!
//! Neither the mode of a socket nor a user id proves that a sender belongs to the tree. The proof is the same as
//! everywhere else: the control group of the run, or else its session, its group, its tag, or descent from those.

use rustix::event::epoll::{self, EventFlags};

use heartbeat_status::{RunFact, Said};

use super::trees::traits;
use super::{LINE, NOTIFY_WINDOW_LENGTH, Reaper, WORDS};
use crate::notice::Notice;
use crate::notify::{
    Line, MAX_CHANGE_MESSAGES, MAX_CHATTER_MESSAGES, MAX_DATAGRAM_BYTES, NotifySocket, parse,
};
use crate::run::{Owner, Run, Stage};
use crate::{reserved_fds, tree};

/// Messages of one realm that the reaper reads before it turns to other events.
const MAX_DATAGRAMS_AT_ONCE: usize = 64;

impl Reaper {
    /// Starts to watch for the messages of a run. Those that it has sent since exec wait in the kernel.
    pub(super) fn open_notify_listener(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id) else { return };
        let Some(notify_listener) = run.notify_listener.as_mut() else { return };
        let add = |fd, what| match epoll::add(&self.epoll, fd, Self::token(id, what), EventFlags::IN) {
            // The reaper has put back only the other one of the two.
            Err(rustix::io::Errno::EXIST) => Ok(()),
            added => added,
        };
        let words = notify_listener
            .socket
            .as_ref()
            .and_then(NotifySocket::fd)
            .map_or(Ok(()), |fd| add(std::os::fd::AsFd::as_fd(fd), WORDS));
        let line = notify_listener.fifo.as_ref().map_or(Ok(()), |fifo| add(fifo.fd(), LINE));
        // The next look around tries again what cannot be watched now.
        notify_listener.open = words.and(line).is_ok();
    }

    /// Reads the messages of a realm.
    pub(super) fn hear_words(&mut self, id: u64) {
        let mut buffer = [0; MAX_DATAGRAM_BYTES];
        let mut sum: Option<Said> = None;
        for _ in 0..MAX_DATAGRAMS_AT_ONCE {
            let Some(run) = self.runs.get(id).filter(|run| speaks(run)) else { break };
            let Some(socket) =
                run.notify_listener.as_ref().and_then(|notify_listener| notify_listener.socket.as_ref())
            else {
                break;
            };
            let Ok(datagram) = socket.receive(&mut buffer) else { break };
            let message = Some(datagram).filter(|datagram| datagram.whole && datagram.sender != 0);
            let Some((said, main)) = message.and_then(|datagram| parse(&buffer[..datagram.bytes])) else {
                continue;
            };
            if !self.speaks_for(id, datagram.sender) {
                continue;
            }
            if said.is_empty() {
                // A barrier: its sender waits until the reaper has reported the messages before it.
                self.tell(id, sum.take());
            }
            // Keeps the messages in order.
            let said = match sum.as_mut() {
                Some(sum) => sum.absorb(said).err(),
                None => Some(said),
            };
            if let Some(said) = said {
                self.tell(id, sum.replace(said));
            }
            if let Some(pid) = main {
                self.tell(id, sum.take());
                self.name_main(id, pid);
            }
        }
        self.tell(id, sum);
    }

    /// Reads the readiness line of a realm.
    pub(super) fn hear_line(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id).filter(|run| speaks(run)) else { return };
        let Some(fifo) =
            run.notify_listener.as_mut().and_then(|notify_listener| notify_listener.fifo.as_mut())
        else {
            return;
        };
        let line = fifo.hear();
        if line != Line::Nothing {
            let _ = epoll::delete(&self.epoll, fifo.fd());
        }
        if line == Line::Whole {
            // Only the realm has that descriptor.
            self.tell(id, Some(Said { ready: true, ..Said::default() }));
        }
    }

    /// At every tick: puts back sockets that another process removed, and watches what could not be watched before.
    pub(super) fn look_after_notify_listeners(&mut self) {
        let mut again = Vec::new();
        for (id, run) in self.runs.all_mut() {
            let speaks = speaks(run);
            let Some(notify_listener) = run.notify_listener.as_mut() else { continue };
            if let Some(fifo) = notify_listener.fifo.as_mut() {
                fifo.drain();
            }
            let gone = notify_listener.socket.as_ref().is_some_and(|socket| !socket.is_in_place());
            if gone || (speaks && !notify_listener.open) {
                again.push((id, gone, speaks));
            }
        }
        for (id, gone, speaks) in again {
            if gone {
                // The messages in the removed socket came first.
                self.hear_words(id);
                self.put_back(id);
            }
            if speaks {
                self.open_notify_listener(id);
            }
        }
    }

    fn put_back(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id) else { return };
        if let (Some(notify_listener), Some(realm)) = (run.notify_listener.as_mut(), &run.realm) {
            // Closing the removed socket takes it out of the epoll.
            notify_listener.socket = Some(self.places.socket_of(realm));
        }
    }

    fn tell(&mut self, id: u64, said: Option<Said>) {
        let Some(said) = said.filter(|said| !said.is_empty()) else { return };
        let Some(run) = self.runs.get_mut(id) else { return };
        let (Owner::Realm(key), Some(notify_listener)) = (run.owner, run.notify_listener.as_mut()) else {
            return;
        };
        let (chatter, changes) = &mut notify_listener.left;
        if said.is_chatter() {
            match notify_listener.held.as_mut() {
                // Both are chatter, which always merges into one message.
                Some(held) => drop(held.absorb(said)),
                None if *chatter > 0 => {
                    *chatter -= 1;
                    (self.sink)(Notice::Run { key, fact: RunFact::Said { said } });
                }
                None => notify_listener.held = Some(said),
            }
        } else if *changes > 0 {
            *changes -= 1;
            let before = notify_listener.held.take();
            before
                .into_iter()
                .chain([said])
                .for_each(|said| (self.sink)(Notice::Run { key, fact: RunFact::Said { said } }));
        }
        self.notify_window.set(NOTIFY_WINDOW_LENGTH);
    }

    /// Reports the messages that the reaper has held back.
    pub(super) fn end_notify_window(&mut self) {
        self.notify_window.take();
        for run in self.runs.all_mut().map(|(_, run)| run) {
            let (Owner::Realm(key), Some(notify_listener)) = (run.owner, run.notify_listener.as_mut()) else {
                continue;
            };
            notify_listener.left = (MAX_CHATTER_MESSAGES, MAX_CHANGE_MESSAGES);
            if let Some(said) = notify_listener.held.take() {
                (self.sink)(Notice::Run { key, fact: RunFact::Said { said } });
            }
        }
    }

    /// Whether the process with that pid belongs to the run. A process that has gone without a trace proves nothing.
    fn speaks_for(&mut self, id: u64, pid: u32) -> bool {
        let Some(stat) = reserved_fds::with(|| tree::read_stat(pid)).ok().flatten() else { return false };
        let Some(run) = self.runs.get(id) else { return false };
        let who = (pid, stat.start_time);
        if who == (run.main.pid, run.main.start_time)
            || run.notify_listener.as_ref().is_some_and(|notify_listener| notify_listener.known == Some(who))
        {
            return true;
        }
        let belongs = match &run.tree.cgroup {
            Some(cgroup) => cgroup.has(pid),
            None => traits(run, None).has(pid, &stat, &self.other_mains(id)),
        };
        // The pid must still belong to the same process.
        let proven = belongs
            && (run.users().have(pid) || tree::real_user(pid) == tree::real_user(run.main.pid))
            && tree::stat(pid).is_some_and(|now| now.start_time == stat.start_time);
        if proven
            && let Some(notify_listener) = self.runs.get_mut(id).and_then(|run| run.notify_listener.as_mut())
        {
            notify_listener.known = Some(who);
        }
        proven
    }

    /// The realm names one of its processes as the main one.
    fn name_main(&mut self, id: u64, pid: u32) {
        let Some(run) = self.runs.get(id).filter(|run| run.stage == Stage::Started && run.main.pid != pid)
        else {
            return;
        };
        let Some(stat) = tree::stat(pid) else { return };
        // A cheap check first: the realm may send this as often as any other message.
        let plausible = match &run.tree.cgroup {
            Some(cgroup) => cgroup.has(pid),
            None => {
                let mains = self.other_mains(id);
                traits(run, None).has(pid, &stat, &mains)
                    || self.is_orphan_of_no_other(run, (pid, &stat), &mains)
            }
        };
        if plausible {
            self.become_main(id, pid);
        }
    }
}

/// Whether the program was exec'd, its main process has not ended, and is proven to be the realm's.
fn speaks(run: &Run) -> bool {
    matches!(run.stage, Stage::Started | Stage::Forked(_)) && !run.main.unproven
}
