//! The fork boundary: everything between "the plan is made" and "init runs".

pub mod cgroup_view;
pub mod courier;
pub mod entry;
pub mod idmap;
pub mod joins;
pub mod late;
pub mod limits;
pub mod nodes;
pub mod sched;
pub mod seal;
pub mod sources;
pub mod sync;
pub mod target;

use crate::error::{Context, Result};
use crate::spec::plan::{Namespaces, Ns, NsKind};
use crate::sys::clone::{self, Forked};
use crate::sys::namespaces::NsFlags;
use joins::{Joins, Pid};
use std::os::fd::BorrowedFd;

/// When init is in its cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// From the first instant: clone3 put it there.
    WithClone,
    /// It moves itself, before it does anything else.
    ByItself,
    /// systemd moves it: the host side says when, and init waits for that first.
    ToldFirst,
    /// The same, but init makes its mounts in the meantime.
    ToldLater,
}

/// Which new namespaces are made by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// By clone3 itself.
    pub in_clone: NsFlags,
    /// By init, with unshare(2), once it is who it is to be.
    pub in_init: NsFlags,
    /// By init too, but not before it has been told that it is in its cgroup.
    pub in_cgroup: NsFlags,
    /// By init too, which has to clone once more for it: into these, and into
    /// the pid namespace that it has joined.
    pub hop: Option<NsFlags>,
    /// Is it for init to enter the pid namespace that is joined?
    pub enter_pid: bool,
}

impl Split {
    /// - A new user namespace must be mapped before it is root over others: a
    ///   mqueue made before that belongs to nobody (measured: uid 65534).
    /// - The pid namespace has to be made by a clone, so it is made by the
    ///   first one, unless the user namespace that is to own it is still to be
    ///   joined: then init clones once more.
    /// - A new user namespace takes away the rights over the host's that are to
    ///   be joined (as a pod's network is). Then, too, init clones once more.
    /// - The root of a cgroup namespace is where its maker stands, so init has
    ///   to be in its cgroup by then.
    /// - The time namespace can't be made by clone3: its offsets come first.
    /// - The network namespace costs as much as all the others together. Init
    ///   makes it, while the host side sets the limits.
    pub fn of(namespaces: &Namespaces, arrival: Arrival) -> Split {
        let new = NsKind::ALL.into_iter().filter(|kind| namespaces.is_new(*kind));
        let all: NsFlags = new.filter(|kind| *kind != NsKind::Time).map(NsKind::flag).collect();
        let [user, pid, cgroup] = [NsKind::User, NsKind::Pid, NsKind::Cgroup].map(NsKind::flag);
        let new_pid = pid.only_if(all.has(pid));
        let others_joined =
            NsKind::ALL.into_iter().any(|kind| kind != NsKind::Pid && namespaces.is_joined(kind));
        let (in_clone, hop) = match namespaces.get(NsKind::User) {
            Ns::Inherit => {
                let in_clone = all.without(NsKind::Network.flag());
                (if arrival == Arrival::WithClone { in_clone } else { in_clone.without(cgroup) }, None)
            }
            Ns::New if others_joined => (NsFlags::NONE, Some(new_pid | user)),
            Ns::New => (new_pid | user, None),
            Ns::Join { .. } => (NsFlags::NONE, (!new_pid.is_none()).then_some(new_pid)),
        };
        let in_cgroup = cgroup.only_if(arrival == Arrival::ToldLater && all.has(cgroup));
        let in_init = all.without(in_clone | hop.unwrap_or_default() | in_cgroup);
        Split { in_clone, in_init, in_cgroup, hop, enter_pid: false }
    }

    /// Lets init clone once more whatever its namespaces are, so that the process that is
    /// cloned first stays outside of them (`launch/courier.rs`).
    pub fn with_hop(self) -> Split {
        Split { in_clone: NsFlags::NONE, hop: Some(self.in_clone | self.hop.unwrap_or_default()), ..self }
    }
}

/// Clones init. A pid namespace that is joined is entered by the parent for
/// its next child only, and left again; where it may not, that is left to init.
pub fn fork(split: &mut Split, joins: &Joins, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    let home = match joins.enter_pid_for_child()? {
        Pid::Stayed => None,
        Pid::Entered(home) => Some(home),
        Pid::Denied => {
            split.enter_pid = true;
            split.hop = Some(split.hop.unwrap_or_default());
            None
        }
    };
    joins::fork(home, || clone::fork(split.in_clone, cgroup).op("clone3"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces(list: &[(NsKind, Ns)]) -> Namespaces {
        let mut out = Namespaces::default();
        list.iter().for_each(|(kind, ns)| out.set(*kind, ns.clone()));
        out
    }

    fn join() -> Ns {
        Ns::Join { path: "/x".into(), at: String::new() }
    }

    #[test]
    fn without_a_user_namespace_all_is_one_clone() {
        let ns = namespaces(&[(NsKind::Pid, Ns::New), (NsKind::Mount, Ns::New), (NsKind::Time, Ns::New)]);
        let split = Split::of(&ns, Arrival::WithClone);
        assert_eq!(split.in_clone, NsKind::Pid.flag() | NsKind::Mount.flag());
        assert_eq!((split.in_init, split.hop), (NsFlags::NONE, None));
    }

    #[test]
    fn the_network_namespace_is_made_beside_the_limits() {
        let ns = namespaces(&[(NsKind::Network, Ns::New), (NsKind::Mount, Ns::New)]);
        assert_eq!(Split::of(&ns, Arrival::WithClone).in_init, NsKind::Network.flag());
    }

    #[test]
    fn a_cgroup_namespace_waits_for_the_cgroup() {
        let ns = namespaces(&[(NsKind::Cgroup, Ns::New), (NsKind::Mount, Ns::New)]);
        assert_eq!(Split::of(&ns, Arrival::ByItself).in_init, NsKind::Cgroup.flag());
        assert_eq!(Split::of(&ns, Arrival::ToldFirst).in_init, NsKind::Cgroup.flag());
        let later = Split::of(&ns, Arrival::ToldLater);
        assert_eq!((later.in_init, later.in_cgroup), (NsFlags::NONE, NsKind::Cgroup.flag()));
        assert_eq!(later.in_clone, NsKind::Mount.flag());
        assert_eq!(Split::of(&ns, Arrival::WithClone).in_init, NsFlags::NONE);
    }

    #[test]
    fn a_new_user_namespace_comes_first() {
        let ns = namespaces(&[(NsKind::User, Ns::New), (NsKind::Pid, Ns::New), (NsKind::Ipc, Ns::New)]);
        let split = Split::of(&ns, Arrival::WithClone);
        assert_eq!(split.in_clone, NsKind::User.flag() | NsKind::Pid.flag());
        assert_eq!((split.in_init, split.hop), (NsKind::Ipc.flag(), None));
    }

    #[test]
    fn the_hosts_namespaces_are_joined_before_a_new_user_namespace() {
        let ns = [(NsKind::User, Ns::New), (NsKind::Pid, Ns::New), (NsKind::Ipc, Ns::New)];
        let split =
            Split::of(&namespaces(&[&ns[..], &[(NsKind::Network, join())]].concat()), Arrival::WithClone);
        assert_eq!((split.in_clone, split.in_init), (NsFlags::NONE, NsKind::Ipc.flag()));
        assert_eq!(split.hop, Some(NsKind::User.flag() | NsKind::Pid.flag()));
        // The parent enters a pid namespace with its own rights.
        let split =
            Split::of(&namespaces(&[(NsKind::User, Ns::New), (NsKind::Pid, join())]), Arrival::WithClone);
        assert_eq!((split.in_clone, split.hop), (NsKind::User.flag(), None));
    }

    #[test]
    fn a_courier_stays_outside() {
        let ns = namespaces(&[(NsKind::User, Ns::New), (NsKind::Pid, Ns::New), (NsKind::Ipc, Ns::New)]);
        let split = Split::of(&ns, Arrival::WithClone).with_hop();
        assert_eq!((split.in_clone, split.in_init), (NsFlags::NONE, NsKind::Ipc.flag()));
        assert_eq!(split.hop, Some(NsKind::User.flag() | NsKind::Pid.flag()));
    }

    #[test]
    fn a_joined_user_namespace_owns_the_new_pid_namespace() {
        let ns = namespaces(&[(NsKind::User, join()), (NsKind::Pid, Ns::New), (NsKind::Ipc, Ns::New)]);
        let split = Split::of(&ns, Arrival::WithClone);
        assert_eq!((split.in_clone, split.in_init), (NsFlags::NONE, NsKind::Ipc.flag()));
        assert_eq!(split.hop, Some(NsKind::Pid.flag()));
        assert_eq!(
            Split::of(&namespaces(&[(NsKind::User, join()), (NsKind::Pid, join())]), Arrival::WithClone).hop,
            None
        );
    }
}
