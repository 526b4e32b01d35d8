//! The user that a program runs as: a user of this host with its groups, looked up before the start.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid};

use crate::UserError;

/// Most supplementary groups: the limit of Linux.
const MAX_GROUPS: usize = 65_536;

/// A user as the databases of this host (`passwd`, `group`) had it when it was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name of the user.
    pub name: String,
    /// The numeric user id.
    pub uid: u32,
    /// Its primary group id.
    pub gid: u32,
    /// Supplementary groups, ascending.
    pub groups: Vec<u32>,
    /// Home directory. Only the code that builds the environment sets `HOME` from it.
    pub home: PathBuf,
    /// Login shell. `SHELL` is set like `HOME`.
    pub shell: PathBuf,
}

/// The number of a group, looked up by its name, or by its number when no group has that name.
///
/// # Errors
/// [`UserError`]: there is no such group, or the database cannot be read.
pub fn group_id(name: &str) -> Result<u32, UserError> {
    group(name)
}

impl User {
    /// Looks a user up by its name, or by its number when no user has that name, with the supplementary groups that
    /// a login would get.
    ///
    /// # Errors
    /// [`UserError`]: there is no such user, or the database cannot be read.
    pub fn find(name: &str) -> Result<Self, UserError> {
        let read = |errno: Errno| UserError::Read { name: name.to_owned(), source: errno.into() };
        let mut found = nix::unistd::User::from_name(name).map_err(read)?;
        if let (None, Ok(uid)) = (&found, name.parse()) {
            found = nix::unistd::User::from_uid(Uid::from_raw(uid)).map_err(read)?;
        }
        let found = found.ok_or_else(|| UserError::NoUser { name: name.to_owned() })?;
        let login = CString::new(found.name.as_str()).map_err(|_| read(Errno::EINVAL))?;
        let groups = nix::unistd::getgrouplist(&login, found.gid).map_err(read)?;
        Ok(Self {
            groups: ordered(groups.into_iter().map(Gid::as_raw).collect()),
            name: found.name,
            uid: found.uid.as_raw(),
            gid: found.gid.as_raw(),
            home: found.dir,
            shell: found.shell,
        })
    }

    /// Replaces the supplementary groups by these names or numbers. The primary group stays what it was; no names
    /// means no supplementary group at all.
    ///
    /// # Errors
    /// [`UserError`]: there is no such group, or too many were named, or the database cannot be read.
    pub fn with_groups(self, names: &[String]) -> Result<Self, UserError> {
        if names.len() > MAX_GROUPS {
            return Err(UserError::TooManyGroups { count: names.len() });
        }
        let groups = names.iter().map(|name| group(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { groups: ordered(groups), ..self })
    }

    /// Becomes this user for good: real, effective and saved ids alike, and without capabilities that would outlive the
    /// change. Groups go first, since the new user may not change them. A process that is exactly this user already
    /// stays as it is, so that heartbeatd without privileges can start realms as itself.
    ///
    /// # Errors
    /// EPERM: the process has no right to become another user. The caller must not exec then: the change may have been
    /// made in part.
    pub(crate) fn assume(&self) -> Result<(), Errno> {
        if self.is_current()? {
            return Ok(());
        }
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        nix::unistd::setgroups(&groups)?;
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid)?;
        // A heartbeatd that is not root may have the right by ambient capabilities, which execve would pass on. Where
        // the kernel or a filter knows none, none are passed on.
        let _ = rustix::thread::clear_ambient_capability_set();
        Ok(())
    }

    fn is_current(&self) -> Result<bool, Errno> {
        let (user, group) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
        let uids = [user.real, user.effective, user.saved];
        let gids = [group.real, group.effective, group.saved];
        let groups = nix::unistd::getgroups()?.into_iter().map(Gid::as_raw).collect();
        // Whether the primary group is named among the others makes no difference to any check of the kernel.
        let others =
            |groups: &[u32]| groups.iter().copied().filter(|group| *group != self.gid).collect::<Vec<_>>();
        Ok(uids.iter().all(|uid| uid.as_raw() == self.uid)
            && gids.iter().all(|gid| gid.as_raw() == self.gid)
            && others(&ordered(groups)) == others(&self.groups))
    }
}

fn group(name: &str) -> Result<u32, UserError> {
    let read = |errno: Errno| UserError::Read { name: name.to_owned(), source: errno.into() };
    let found = nix::unistd::Group::from_name(name).map_err(read)?;
    match (found, name.parse::<u32>()) {
        (Some(found), _) => Ok(found.gid.as_raw()),
        // A number needs no entry: shared directories often belong to a group that has none here.
        (None, Ok(number)) if number != u32::MAX => Ok(number),
        (None, _) => Err(UserError::NoGroup { name: name.to_owned() }),
    }
}

fn ordered(mut groups: Vec<u32>) -> Vec<u32> {
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_find_the_same_user() {
        let root = User::find("root").unwrap();
        assert_eq!((root.uid, root.gid, root.name.as_str()), (0, 0, "root"));
        assert_eq!(User::find("0").unwrap(), root);
        assert!(matches!(User::find("no-such-user-here"), Err(UserError::NoUser { .. })));
        assert!(matches!(User::find("4294967294"), Err(UserError::NoUser { .. })));
        let text = User::find("no-such-user-here").unwrap_err().to_string();
        assert!(text.contains("no-such-user-here"), "{text}");
    }

    #[test]
    fn groups_are_replaced_and_the_primary_stays() {
        let root = User::find("root").unwrap();
        let names = ["4242", "root", "4242"].map(str::to_owned);
        let changed = root.clone().with_groups(&names).unwrap();
        assert_eq!((changed.gid, changed.groups), (0, vec![0, 4242]));
        assert_eq!(root.clone().with_groups(&[]).unwrap().groups, Vec::<u32>::new());
        let error = root.with_groups(&["no-such-group-here".to_owned()]).unwrap_err();
        assert!(matches!(error, UserError::NoGroup { .. }), "{error}");
    }

    #[test]
    fn becoming_oneself_needs_no_right() {
        let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
        let groups = nix::unistd::getgroups().unwrap().into_iter().map(Gid::as_raw).collect();
        let own = User {
            name: "own".into(),
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            groups: ordered(groups),
            home: "/".into(),
            shell: "/bin/sh".into(),
        };
        assert_eq!(own.is_current(), Ok(true));
        assert_eq!(own.assume(), Ok(()));
        assert_eq!(User { uid: own.uid + 1, ..own.clone() }.is_current(), Ok(false));
        assert_eq!(User { groups: vec![54_321], ..own }.is_current(), Ok(false));
    }
}
