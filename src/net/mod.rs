//! Network devices of the host that a container gets: `linux.netDevices`
//! (config-linux.md, "Network Devices").
//!
//! The runtime moves them, because an init in a user namespace has no right to. The move
//! takes place when the container's network namespace exists, before init writes the
//! sysctls and before any hook runs. A device keeps its permanent addresses with global
//! scope, and the runtime sets it up. The routes stay on the host, as in runc and crun.
//!
//! The specification forbids moving a device back when a container ends. A container
//! whose `create` fails never existed. So the runtime moves each device back, and
//! restores the device's name, addresses and routes.

mod address;
mod link;
mod netlink;
mod route;

use crate::error::{Context, Error, Result};
use crate::spec::plan::NetDevice;
use crate::sys::fd::open;
use address::Address;
use link::Link;
use netlink::Socket;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};
use route::Route;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

/// The devices that were moved into a container, and what is needed to move them back.
pub struct MovedDevices {
    host: Socket,
    container: Socket,
    taken: Vec<Device>,
}

/// A device in the container, and its state on the host before the move.
struct Device {
    name: String,
    before: Link,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    /// Its index in the container.
    index: u32,
}

impl MovedDevices {
    /// Opens the sockets to move devices into the namespace `ns`.
    pub fn open(ns: BorrowedFd<'_>) -> Result<MovedDevices> {
        let open = || Ok((Socket::open()?, Socket::open_in(ns)?));
        let (host, container) = open().map_err(|e| add_hint(e).at("/linux/netDevices"))?;
        Ok(MovedDevices { host, container, taken: Vec::new() })
    }

    /// Moves all `devices` into `ns`. Looks up all names before it moves a device.
    ///
    /// # Errors
    /// A device does not exist, its new name is taken, or a move fails.
    /// [`MovedDevices::move_back`] moves back the devices that have moved.
    pub fn move_in(&mut self, devices: &[NetDevice], ns: BorrowedFd<'_>) -> Result<()> {
        if is_own_namespace(ns)? {
            return Err(Error::config(
                "/linux/netDevices",
                "unable to move network devices without a NET namespace: the joined one is the host's own",
            ));
        }
        let found: Vec<_> = devices.iter().map(|device| self.find(device)).collect::<Result<_>>()?;
        devices.iter().zip(found).try_for_each(|(device, link)| {
            self.move_device(device, link, ns)
                .map_err(|e| add_hint(e).at(device.at.clone()).on(device.name.clone()))
        })
    }

    /// Returns the device on the host. Refuses it if its name in the container is taken.
    fn find(&self, device: &NetDevice) -> Result<Link> {
        let link = link::find(&self.host, &device.name).map_err(|e| e.at(device.at.clone()))?;
        let link = link.ok_or_else(|| {
            Error::config(device.at.clone(), "the host has no network device of this name")
                .on(device.name.clone())
        })?;
        if !device.new_name.contains('%') && link::find(&self.container, &device.new_name)?.is_some() {
            return Err(Error::config(device.at.clone(), "the container has a network device of this name")
                .on(device.new_name.clone())
                .hint("give the device another name with \"name\""));
        }
        Ok(link)
    }

    /// Moves one device under a temporary name that no other device has, and renames it
    /// afterwards. The kernel moves a device first and renames it then. If that rename
    /// failed, the device would stay in the container's namespace.
    fn move_device(&mut self, device: &NetDevice, link: Link, ns: BorrowedFd<'_>) -> Result<()> {
        let addresses = address::list_kept(&self.host, link.index)?;
        let routes = route::list_over(&self.host, link.index)?;
        let passing = temporary_name();
        link::hand_over(&self.host, link.index, ns, &passing)?;
        let there = link::find(&self.container, &passing)?;
        let index = there
            .ok_or_else(|| Error::msg("the device disappeared while the kernel moved it into the container"))?
            .index;
        self.taken.push(Device { name: device.name.clone(), before: link, addresses, routes, index });
        link::rename(&self.container, index, &device.new_name)?;
        let device = self.taken.last().map(|device| device.addresses.as_slice()).unwrap_or_default();
        device.iter().try_for_each(|address| address::add(&self.container, index, address))?;
        link::set_up(&self.container, index)
    }

    /// Moves every device back to the host, in the state that it had. Tries all, and
    /// returns the errors.
    pub fn move_back(self) -> Vec<Error> {
        let home = match own_namespace() {
            Ok(home) => home,
            Err(error) => return vec![error],
        };
        let back =
            |device: &Device| self.move_device_back(device, &home).err().map(|e| e.on(device.name.clone()));
        self.taken.iter().rev().filter_map(back).collect()
    }

    fn move_device_back(&self, device: &Device, home: &OwnedFd) -> Result<()> {
        let passing = temporary_name();
        link::hand_over(&self.container, device.index, home, &passing)?;
        let back = link::find(&self.host, &passing)?;
        let index =
            back.ok_or_else(|| Error::msg("the device disappeared while the kernel moved it back"))?.index;
        let mut failed = Vec::new();
        failed.extend(link::rename(&self.host, index, &device.name).err());
        if let Some(master) = device.before.master {
            failed.extend(link::set_master(&self.host, index, master).err());
        }
        for address in &device.addresses {
            failed.extend(address::add(&self.host, index, address).err());
        }
        if device.before.up {
            failed.extend(link::set_up(&self.host, index).err());
            for route in &device.routes {
                failed.extend(route::add(&self.host, index, route).err());
            }
        }
        failed.into_iter().next().map_or(Ok(()), Err)
    }
}

fn add_hint(error: Error) -> Error {
    let hint = match error.errno.map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => {
            "call the runtime with CAP_NET_ADMIN over both network namespaces, and CAP_SYS_PTRACE"
        }
        Some(Errno::EINVAL) => "choose another device: some kinds can't leave their network namespace",
        Some(Errno::EEXIST) => {
            "give the device another name with \"name\": the container has a device of this name"
        }
        _ => "",
    };
    error.hint(hint)
}

/// Returns a temporary name: the time in nanoseconds, in twelve hexadecimal digits.
fn temporary_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("ct-{:012x}", now & 0xffff_ffff_ffff)
}

fn own_namespace() -> Result<OwnedFd> {
    let path = "/proc/self/ns/net";
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).op_on("open", path)
}

fn is_own_namespace(ns: BorrowedFd<'_>) -> Result<bool> {
    let (ns, own) = (fstat(ns).op("fstat")?, fstat(own_namespace()?.as_fd()).op("fstat")?);
    Ok((ns.st_dev, ns.st_ino) == (own.st_dev, own.st_ino))
}

/// Opens the network namespace of process `pid`, which must be a child of this process.
pub fn namespace_of(pid: i32) -> Result<OwnedFd> {
    let path = crate::sys::proc_pid::path_in_proc(pid, "ns/net");
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .op_on("open", &path)
        .map_err(|e| add_hint(e).at("/linux/netDevices"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passing_name_is_one_that_a_device_can_have() {
        assert_eq!(temporary_name().len(), 15);
    }
}
