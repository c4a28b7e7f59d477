//! The *user* that the host becomes, if it began as root: `--user`. And the capabilities, which are
//! root's rights one by one: the host gives up all of them.
//!
//! Ports are bound as root, so that port 80 needs no right afterwards. Everything that is to be
//! opened again later, such as the log, is opened as the user, so that a missing right shows at the
//! start and not at night.

use std::ffi::CString;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail, ensure};
use nix::unistd::{self, Gid, Uid};
use rustix::process::{
    DumpableBehavior, parent_process_death_signal, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What `--user` says: a user and perhaps a group, by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    user: String,
    group: Option<String>,
}

/// An account of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// The name, or the number if there is no name for it.
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All groups, with `gid`.
    groups: Vec<Gid>,
    /// The home, for what is looked for there. `None` if the user has no entry in the database.
    pub(crate) home: Option<PathBuf>,
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "give NAME, UID, NAME:GROUP or UID:GID, such as www-data or 1000:1000";
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let fits = |name: &str| {
            let fits = |byte: u8| byte.is_ascii_graphic() && byte != b':' && byte != b'/';
            !name.is_empty() && name.bytes().all(fits)
        };
        if !fits(user) || !group.is_none_or(fits) {
            return Err(FORM.into());
        }
        Ok(Self {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        })
    }
}

impl User {
    /// Looks the user up in the system's database.
    ///
    /// # Errors
    /// A sentence that says what the database lacks.
    pub(crate) fn find(&self) -> anyhow::Result<Account> {
        let Self { user, group } = self;
        let found = match user.parse() {
            Ok(number) => unistd::User::from_uid(Uid::from_raw(number)),
            Err(_) => unistd::User::from_name(user),
        };
        let found = found.context("can't read the system's users")?;
        let uid = match (&found, user.parse()) {
            (Some(found), _) => found.uid.as_raw(),
            (None, Ok(number)) => number,
            (None, Err(_)) => {
                bail!("there is no user {user} on this system; give another name or a number")
            }
        };
        ensure!(
            uid != 0,
            "this is root, whose rights are to be given up; give another user"
        );
        let gid = match (group, &found) {
            (Some(group), _) => group_number(group)?,
            (None, Some(found)) => found.gid,
            (None, None) => bail!(
                "user {uid} has no entry on this system, and so no group: give one, as in {uid}:GID"
            ),
        };
        let groups = match &found {
            Some(found) => unistd::getgrouplist(&CString::new(&*found.name)?, gid)?,
            None => vec![gid],
        };
        let (name, home) = match found {
            Some(found) => (found.name, Some(found.dir)),
            None => (uid.to_string(), None),
        };
        let gid = gid.as_raw();
        Ok(Account {
            name,
            uid,
            gid,
            groups,
            home,
        })
    }
}

fn group_number(group: &str) -> anyhow::Result<Gid> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = unistd::Group::from_name(group).context("can't read the system's groups")?;
    let missing =
        || anyhow!("there is no group {group} on this system; give another name or a number");
    Ok(found.ok_or_else(missing)?.gid)
}

/// Becomes this user, for good. Must be called before there are other threads. A process that is
/// this user already stays what it is.
///
/// # Errors
/// If this process is neither root nor the user, or is still not the user afterwards.
pub(crate) fn become_user(account: &Account) -> anyhow::Result<()> {
    let Account {
        name,
        uid,
        gid,
        groups,
        ..
    } = account;
    let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
    let now = unistd::geteuid();
    if now == uid && unistd::getuid() == uid && unistd::getegid() == gid {
        return Ok(());
    }
    ensure!(
        now.is_root(),
        "only root can become another user, and this is user {now}: start the host as root, or as \
         {name} and without --user"
    );
    // A change of the user resets it: the process could have been given what is not the user's.
    let dies_with_parent = parent_process_death_signal()?;
    // Afterwards there is no right to do so.
    empty_bounding_set();
    unistd::setgroups(groups).context("can't set the groups")?;
    unistd::setresgid(gid, gid, gid).context("can't set the group")?;
    unistd::setresuid(uid, uid, uid).context("can't set the user")?;
    let (users, own_groups) = (unistd::getresuid()?, unistd::getresgid()?);
    let is_user = [users.real, users.effective, users.saved] == [uid; 3];
    let is_group = [own_groups.real, own_groups.effective, own_groups.saved] == [gid; 3];
    let mut has = unistd::getgroups()?;
    let mut wanted = groups.clone();
    has.sort_unstable_by_key(|group| group.as_raw());
    wanted.sort_unstable_by_key(|group| group.as_raw());
    ensure!(
        is_user && is_group && has == wanted,
        "the process did not become user {name}"
    );
    let root = Uid::from_raw(0);
    ensure!(
        unistd::setresuid(root, root, root).is_err(),
        "the process could become root again"
    );
    set_parent_process_death_signal(dies_with_parent)?;
    // Otherwise the process's files in /proc are root's, and the engine can't see which pages
    // guests have written. The user's own debuggers can look, as if the user had started it.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(())
}

/// Gives up all capabilities. Root without them is a user who owns root's files.
///
/// # Errors
/// If some are left.
pub(super) fn drop_capabilities() -> anyhow::Result<()> {
    empty_bounding_set();
    // Kernels before 4.3 have no ambient set.
    let _absent = clear_ambient_capability_set();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none)?;
    ensure!(capabilities(None)? == none, "the process still has some");
    Ok(())
}

/// No program that is started from here could get a capability. Whoever may not do this has no
/// capabilities to lose, and `no_new_privs` forbids new ones.
fn empty_bounding_set() {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // The kernel knows no more capabilities, or there is no right to do so.
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
}

/// The name of the user that this process is.
pub(super) fn current(account: Option<&Account>) -> String {
    let uid = unistd::geteuid();
    match account {
        Some(account) if account.uid == uid.as_raw() => account.name.clone(),
        Some(_) | None => {
            let entry = unistd::User::from_uid(uid).ok().flatten();
            entry.map_or(uid.to_string(), |user| user.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_or_refused() {
        for text in ["", ":", "a:", ":a", "a:b:c", "a b", "a/b", "ä"] {
            assert!(text.parse::<User>().is_err(), "{text:?}");
        }
        #[rustfmt::skip] // a line per case
        let refused = [
            ("root", "this is root"),
            ("0", "this is root"),
            ("no-such-user", "there is no user no-such-user"),
            ("65533", "and so no group: give one, as in 65533:GID"),
            ("65533:no-such-group", "there is no group no-such-group"),
        ];
        for (text, error) in refused {
            let found = text.parse::<User>().expect("a user").find();
            let found = found.expect_err(text).to_string();
            assert!(found.contains(error), "{text}: {found}");
        }
        let found = "65533:65532"
            .parse::<User>()
            .expect("a user")
            .find()
            .expect("numbers will do");
        assert_eq!((found.uid, found.gid, found.home), (65533, 65532, None));
    }
}
