//! The fork boundary: everything between "the plan is made" and "init runs".

pub mod idmap;
pub mod joins;
pub mod limits;
pub mod sched;
pub mod seal;
pub mod sources;
pub mod sync;

use crate::error::{Context, Result};
use crate::spec::plan::{Namespaces, Ns, NsKind};
use crate::sys::clone::{self, Forked};
use joins::Joins;
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
    pub in_clone: u64,
    /// By init, with unshare(2), once it is who it is to be.
    pub in_init: u64,
    /// By init too, but not before it has been told that it is in its cgroup.
    pub in_cgroup: u64,
    /// By init too, but a child is what enters it.
    pub hop: bool,
}

impl Split {
    /// - A new user namespace must be mapped before it is root over others: a
    ///   mqueue made before that belongs to nobody (measured: uid 65534).
    /// - The pid namespace has to be made by a clone, so it is made by the
    ///   first one, unless the user namespace that is to own it is still to be
    ///   joined: then init clones once more.
    /// - The root of a cgroup namespace is where its maker stands, so init has
    ///   to be in its cgroup by then.
    /// - The time namespace can't be made by clone3: its offsets come first.
    /// - The network namespace costs as much as all the others together. Init
    ///   makes it, while the host side sets the limits.
    pub fn of(namespaces: &Namespaces, arrival: Arrival) -> Split {
        let new = NsKind::ALL.into_iter().filter(|kind| namespaces.is_new(*kind));
        let all = new.filter(|kind| *kind != NsKind::Time).fold(0, |flags, kind| flags | kind.flag());
        let pid = all & NsKind::Pid.flag();
        let (in_clone, hop) = match namespaces.get(NsKind::User) {
            Ns::Inherit if arrival == Arrival::WithClone => (all & !NsKind::Network.flag(), false),
            Ns::Inherit => (all & !NsKind::Cgroup.flag() & !NsKind::Network.flag(), false),
            Ns::New => (pid | NsKind::User.flag(), false),
            Ns::Join(_) => (0, pid != 0),
        };
        let later = if arrival == Arrival::ToldLater { NsKind::Cgroup.flag() } else { 0 };
        Split { in_clone, in_init: all & !in_clone & !pid & !later, in_cgroup: all & later, hop }
    }
}

/// Clones init. A pid namespace that is joined is entered by the parent for
/// its next child only, and left again, so that hooks stay on the host.
pub fn fork(split: &Split, joins: &Joins, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    let home = joins.enter_pid()?;
    let forked = clone::fork(split.in_clone, cgroup).op("clone3")?;
    match (&forked, home) {
        (Forked::Parent { .. }, Some(home)) => joins::return_to(&home)?,
        (Forked::Child | Forked::Parent { .. }, _) => {}
    }
    Ok(forked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces(list: &[(NsKind, Ns)]) -> Namespaces {
        let mut out = Namespaces::default();
        list.iter().for_each(|(kind, ns)| out.set(*kind, ns.clone()));
        out
    }

    #[test]
    fn without_a_user_namespace_all_is_one_clone() {
        let ns = namespaces(&[(NsKind::Pid, Ns::New), (NsKind::Mount, Ns::New), (NsKind::Time, Ns::New)]);
        let split = Split::of(&ns, Arrival::WithClone);
        assert_eq!(split.in_clone, NsKind::Pid.flag() | NsKind::Mount.flag());
        assert_eq!((split.in_init, split.hop), (0, false));
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
        assert_eq!((later.in_init, later.in_cgroup), (0, NsKind::Cgroup.flag()));
        assert_eq!(later.in_clone, NsKind::Mount.flag());
        assert_eq!(Split::of(&ns, Arrival::WithClone).in_init, 0);
    }

    #[test]
    fn a_new_user_namespace_comes_first() {
        let ns = namespaces(&[(NsKind::User, Ns::New), (NsKind::Pid, Ns::New), (NsKind::Ipc, Ns::New)]);
        let split = Split::of(&ns, Arrival::WithClone);
        assert_eq!(split.in_clone, NsKind::User.flag() | NsKind::Pid.flag());
        assert_eq!((split.in_init, split.hop), (NsKind::Ipc.flag(), false));
    }

    #[test]
    fn a_joined_user_namespace_owns_the_new_pid_namespace() {
        let ns = namespaces(&[(NsKind::User, Ns::Join("/x".into())), (NsKind::Pid, Ns::New)]);
        assert_eq!(
            Split::of(&ns, Arrival::WithClone),
            Split { in_clone: 0, in_init: 0, in_cgroup: 0, hop: true }
        );
    }
}
