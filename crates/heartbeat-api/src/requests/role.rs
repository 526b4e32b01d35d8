//! The role of a calling process, by its user and its groups.

/// What a caller may do. Each role includes the ones before it; a route names the lowest role that it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Reads: every process that the mode of the socket lets in.
    Read,
    /// Starts, stops and reloads: members of `socket_group`.
    Operate,
    /// Everything: root, and the user that heartbeatd runs as.
    Admin,
}

/// The credentials of the process at the other end of a Unix socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) uid: Option<u32>,
    /// Its primary and supplementary groups.
    pub(crate) groups: Vec<u32>,
}

impl Role {
    /// The role of a peer at a daemon that runs as `own`.
    pub(crate) fn of(peer: &Peer, own: u32, socket_group: Option<u32>) -> Self {
        match peer.uid {
            Some(uid) if uid == 0 || uid == own => Self::Admin,
            Some(_) if socket_group.is_some_and(|group| peer.groups.contains(&group)) => Self::Operate,
            _ => Self::Read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_of_a_peer_follows_from_its_user_and_its_groups() {
        let peer = |uid, groups: &[u32]| Peer { uid, groups: groups.to_vec() };
        for (peer, socket_group, role) in [
            (peer(Some(0), &[]), None, Role::Admin),
            (peer(Some(1_000), &[]), None, Role::Admin),
            (peer(Some(1_001), &[7, 8]), Some(8), Role::Operate),
            (peer(Some(1_001), &[7]), Some(8), Role::Read),
            (peer(Some(1_001), &[8]), None, Role::Read),
            // A peer without a user id belongs to no group.
            (peer(None, &[8]), Some(8), Role::Read),
        ] {
            assert_eq!(Role::of(&peer, 1_000, socket_group), role, "{peer:?} {socket_group:?}");
        }
    }
}
