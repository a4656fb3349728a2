//! The fork boundary: everything between the finished plan and the start of init.

pub mod cgroup_view;
pub mod courier;
pub mod hide;
pub mod idmap;
pub mod inside_rootfs;
pub mod joins;
pub mod late;
pub mod messages;
pub mod namespace_handout;
pub mod nodes;
pub mod rlimits;
pub mod sched;
pub mod seal;
pub mod sources;
pub mod sync;
pub mod target;

use crate::error::{Context, Error, Result};
use crate::spec::plan::{Namespaces, Ns, NsKind};
use crate::sys::clone::{self, Forked};
use crate::sys::namespaces::NsFlags;
use joins::{ChildPidNamespace, Joins};
use std::os::fd::BorrowedFd;

/// How, and when, init gets into its cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupEntry {
    /// clone3 creates init in its cgroup.
    ByClone,
    /// Init moves itself, before it does anything else.
    BySelf,
    /// systemd moves init. The runtime reports that, and init waits for the report first.
    BySystemdFirst,
    /// systemd moves init. Init makes its mounts before it waits for the runtime's
    /// report.
    BySystemdLate,
}

/// Which process creates which new namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespacePlan {
    /// clone3 creates these.
    pub in_clone: NsFlags,
    /// Init creates these by unshare(2), after it has taken its ids.
    pub in_init: NsFlags,
    /// Init creates these by unshare(2), after the runtime's report that it is in its
    /// cgroup.
    pub in_cgroup: NsFlags,
    /// Init's double fork creates these. The second clone also enters the pid namespace
    /// that init has joined. `None` if init clones no more.
    pub double_fork: Option<NsFlags>,
    /// Whether init has to enter the joined pid namespace, because the runtime may not.
    pub enter_pid: bool,
}

impl NamespacePlan {
    /// Decides which process creates which new namespace.
    ///
    /// - A new user namespace needs its maps before its root has rights over other
    ///   namespaces: an mqueue that is created before that belongs to nobody (measured:
    ///   uid 65534).
    /// - Only a clone can create a pid namespace, so the first clone does. If the user
    ///   namespace that is to own it is still to be joined, init clones once more.
    /// - A new user namespace takes away the rights over the host's namespaces that are
    ///   to be joined, such as a pod's network namespace. Then, too, init clones once
    ///   more.
    /// - The root of a cgroup namespace is the cgroup of the process that creates it. So
    ///   init must be in its cgroup by then.
    /// - clone3 can't create the time namespace, because its offsets come first.
    /// - The network namespace takes as long as all the others together. Init creates it
    ///   while the runtime sets the resource limits.
    pub fn new(namespaces: &Namespaces, entry: CgroupEntry) -> NamespacePlan {
        let new = NsKind::ALL.into_iter().filter(|kind| namespaces.is_new(*kind));
        let all: NsFlags = new.filter(|kind| *kind != NsKind::Time).map(NsKind::flag).collect();
        let [user, pid, cgroup] = [NsKind::User, NsKind::Pid, NsKind::Cgroup].map(NsKind::flag);
        let new_pid = pid.only_if(all.has(pid));
        let others_joined =
            NsKind::ALL.into_iter().any(|kind| kind != NsKind::Pid && namespaces.is_joined(kind));
        let (in_clone, double_fork) = match namespaces.get(NsKind::User) {
            Ns::Inherit => {
                let in_clone = all.without(NsKind::Network.flag());
                (if entry == CgroupEntry::ByClone { in_clone } else { in_clone.without(cgroup) }, None)
            }
            Ns::New if others_joined => (NsFlags::NONE, Some(new_pid | user)),
            Ns::New => (new_pid | user, None),
            Ns::Join { .. } => (NsFlags::NONE, (!new_pid.is_none()).then_some(new_pid)),
        };
        let in_cgroup = cgroup.only_if(entry == CgroupEntry::BySystemdLate && all.has(cgroup));
        let in_init = all.without(in_clone | double_fork.unwrap_or_default() | in_cgroup);
        NamespacePlan { in_clone, in_init, in_cgroup, double_fork, enter_pid: false }
    }

    /// Lets init clone once more in any case, so that the process that is cloned first
    /// stays outside of the new namespaces (`launch/courier.rs`).
    pub fn with_double_fork(self) -> NamespacePlan {
        NamespacePlan {
            in_clone: NsFlags::NONE,
            double_fork: Some(self.in_clone | self.double_fork.unwrap_or_default()),
            ..self
        }
    }
}

/// Clones init. If a pid namespace is joined, the parent enters it for its next child
/// only, and comes back. If the parent may not enter it, init does.
pub fn fork(plan: &mut NamespacePlan, joins: &Joins, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    let home = match joins.enter_pid_for_child()? {
        ChildPidNamespace::Own => None,
        ChildPidNamespace::Entered(home) => Some(home),
        ChildPidNamespace::Denied => {
            plan.enter_pid = true;
            plan.double_fork = Some(plan.double_fork.unwrap_or_default());
            None
        }
    };
    joins::fork_and_return(home, || {
        clone::fork(plan.in_clone, cgroup).op("clone3").map_err(|e| explain(e, plan.in_clone))
    })
}

/// Adds a hint to the error of a clone that creates a user namespace.
fn explain(error: Error, created: NsFlags) -> Error {
    match error.errno {
        Some(libc::EACCES) if created.has(NsKind::User.flag()) => error.hint(
            "if AppArmor restricts user namespaces here, give corten a profile that allows them \
             (`make install-apparmor`)",
        ),
        _ => error,
    }
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
        let plan = NamespacePlan::new(&ns, CgroupEntry::ByClone);
        assert_eq!(plan.in_clone, NsKind::Pid.flag() | NsKind::Mount.flag());
        assert_eq!((plan.in_init, plan.double_fork), (NsFlags::NONE, None));
    }

    #[test]
    fn the_network_namespace_is_made_beside_the_limits() {
        let ns = namespaces(&[(NsKind::Network, Ns::New), (NsKind::Mount, Ns::New)]);
        assert_eq!(NamespacePlan::new(&ns, CgroupEntry::ByClone).in_init, NsKind::Network.flag());
    }

    #[test]
    fn a_cgroup_namespace_waits_for_the_cgroup() {
        let ns = namespaces(&[(NsKind::Cgroup, Ns::New), (NsKind::Mount, Ns::New)]);
        assert_eq!(NamespacePlan::new(&ns, CgroupEntry::BySelf).in_init, NsKind::Cgroup.flag());
        assert_eq!(NamespacePlan::new(&ns, CgroupEntry::BySystemdFirst).in_init, NsKind::Cgroup.flag());
        let later = NamespacePlan::new(&ns, CgroupEntry::BySystemdLate);
        assert_eq!((later.in_init, later.in_cgroup), (NsFlags::NONE, NsKind::Cgroup.flag()));
        assert_eq!(later.in_clone, NsKind::Mount.flag());
        assert_eq!(NamespacePlan::new(&ns, CgroupEntry::ByClone).in_init, NsFlags::NONE);
    }

    #[test]
    fn a_new_user_namespace_comes_first() {
        let ns = namespaces(&[(NsKind::User, Ns::New), (NsKind::Pid, Ns::New), (NsKind::Ipc, Ns::New)]);
        let plan = NamespacePlan::new(&ns, CgroupEntry::ByClone);
        assert_eq!(plan.in_clone, NsKind::User.flag() | NsKind::Pid.flag());
        assert_eq!((plan.in_init, plan.double_fork), (NsKind::Ipc.flag(), None));
    }

    #[test]
    fn the_hosts_namespaces_are_joined_before_a_new_user_namespace() {
        let ns = [(NsKind::User, Ns::New), (NsKind::Pid, Ns::New), (NsKind::Ipc, Ns::New)];
        let plan = NamespacePlan::new(
            &namespaces(&[&ns[..], &[(NsKind::Network, join())]].concat()),
            CgroupEntry::ByClone,
        );
        assert_eq!((plan.in_clone, plan.in_init), (NsFlags::NONE, NsKind::Ipc.flag()));
        assert_eq!(plan.double_fork, Some(NsKind::User.flag() | NsKind::Pid.flag()));
        // The parent enters a pid namespace with its own rights.
        let plan = NamespacePlan::new(
            &namespaces(&[(NsKind::User, Ns::New), (NsKind::Pid, join())]),
            CgroupEntry::ByClone,
        );
        assert_eq!((plan.in_clone, plan.double_fork), (NsKind::User.flag(), None));
    }

    #[test]
    fn a_courier_stays_outside() {
        let ns = namespaces(&[(NsKind::User, Ns::New), (NsKind::Pid, Ns::New), (NsKind::Ipc, Ns::New)]);
        let plan = NamespacePlan::new(&ns, CgroupEntry::ByClone).with_double_fork();
        assert_eq!((plan.in_clone, plan.in_init), (NsFlags::NONE, NsKind::Ipc.flag()));
        assert_eq!(plan.double_fork, Some(NsKind::User.flag() | NsKind::Pid.flag()));
    }

    #[test]
    fn a_joined_user_namespace_owns_the_new_pid_namespace() {
        let ns = namespaces(&[(NsKind::User, join()), (NsKind::Pid, Ns::New), (NsKind::Ipc, Ns::New)]);
        let plan = NamespacePlan::new(&ns, CgroupEntry::ByClone);
        assert_eq!((plan.in_clone, plan.in_init), (NsFlags::NONE, NsKind::Ipc.flag()));
        assert_eq!(plan.double_fork, Some(NsKind::Pid.flag()));
        assert_eq!(
            NamespacePlan::new(
                &namespaces(&[(NsKind::User, join()), (NsKind::Pid, join())]),
                CgroupEntry::ByClone
            )
            .double_fork,
            None
        );
    }
}
