//! Finds, moves, renames and sets up network devices.

use super::netlink::{Request, Socket, read_u32};
use crate::error::Result;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
/// The size of struct ifinfomsg.
const HEADER: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_NET_NS_FD: u16 = 28;
const IFF_UP: u32 = 1;

/// A network device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The device's number in its network namespace.
    pub index: u32,
    /// Whether the device is up.
    pub up: bool,
    /// The index of the bridge, bond or similar device that has this device as a port.
    pub master: Option<u32>,
}

/// Returns the device with this name. `None` if there is none.
pub fn find(socket: &Socket, name: &str) -> Result<Option<Link>> {
    let request = link_request("RTM_GETLINK", RTM_GETLINK, 0, 0, 0).with(IFLA_IFNAME, &c_name(name));
    match socket.get(&request) {
        Err(e) if e.is(Errno::ENODEV) => Ok(None),
        Err(e) => Err(e),
        Ok(answer) => Ok(Some(Link {
            index: answer.u32(4),
            up: answer.u32(8) & IFF_UP != 0,
            master: answer.attribute(HEADER, IFLA_MASTER).map(read_u32),
        })),
    }
}

/// Moves a device to the network namespace `ns` and renames it. The device is down
/// afterwards.
pub fn hand_over(socket: &Socket, index: u32, ns: impl AsFd, name: &str) -> Result<()> {
    let fd = ns.as_fd().as_raw_fd().to_ne_bytes();
    socket.change(&change_request(index).with(IFLA_IFNAME, &c_name(name)).with(IFLA_NET_NS_FD, &fd))
}

/// Renames a device. The kernel replaces `%d` in the name by the first free number.
pub fn rename(socket: &Socket, index: u32, name: &str) -> Result<()> {
    socket.change(&change_request(index).with(IFLA_IFNAME, &c_name(name)))
}

/// Sets the device up.
pub fn set_up(socket: &Socket, index: u32) -> Result<()> {
    socket.change(&link_request("RTM_NEWLINK", RTM_NEWLINK, index, IFF_UP, IFF_UP))
}

/// Makes the device `index` a port of the device `master`.
pub fn set_master(socket: &Socket, index: u32, master: u32) -> Result<()> {
    socket.change(&change_request(index).with(IFLA_MASTER, &master.to_ne_bytes()))
}

fn change_request(index: u32) -> Request {
    link_request("RTM_NEWLINK", RTM_NEWLINK, index, 0, 0)
}

/// Returns a request with its ifinfomsg: family and type (0), index, flags, and the mask
/// of the flags to change.
fn link_request(name: &'static str, kind: u16, index: u32, flags: u32, mask: u32) -> Request {
    let words = [0, index, flags, mask].map(u32::to_ne_bytes);
    Request::new(name, kind, words.as_flattened())
}

fn c_name(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}
