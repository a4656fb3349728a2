//! Reads and sets the addresses of a network device.

use super::netlink::{Answer, NLM_F_CREATE, NLM_F_REPLACE, Request, Socket, read_u32};
use crate::error::Result;

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// The size of struct ifaddrmsg: family, prefix, flags, scope, and the device's index.
const HEADER: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;
const RT_SCOPE_UNIVERSE: u8 = 0;
const IFA_F_PERMANENT: u32 = 0x80;
/// The flags that an administrator chooses: no duplicate address detection, home address,
/// temporary addresses beside the address, no route for the prefix, and joined multicast
/// groups. The kernel sets the other flags to report a state.
const CHOSEN: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;

/// An address, as it is needed to set it on the same device in another namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Returns the addresses that a device keeps (config-linux.md, "Network Devices"):
/// permanent addresses with global scope. Keeps the kernel's order, in which the primary
/// address of a subnet comes first.
pub fn list_kept(socket: &Socket, index: u32) -> Result<Vec<Address>> {
    let [a, b, c, d] = index.to_ne_bytes();
    let request = Request::new("RTM_GETADDR", RTM_GETADDR, &[0, 0, 0, 0, a, b, c, d]);
    Ok(socket.list(&request)?.iter().filter(|answer| answer.u32(4) == index).filter_map(parse_kept).collect())
}

/// Returns the address in an answer. `None` if the device does not keep it.
fn parse_kept(answer: &Answer) -> Option<Address> {
    let flags = answer.attribute(HEADER, IFA_FLAGS).map_or(answer.u8(2).into(), read_u32);
    if flags & IFA_F_PERMANENT == 0 || answer.u8(3) != RT_SCOPE_UNIVERSE {
        return None;
    }
    // Leave out the label, which contains the old name, and the lifetimes, which a
    // permanent address does not have.
    let wanted = [IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST, IFA_RT_PRIORITY, IFA_PROTO];
    let attributes = answer.attributes(HEADER).filter(|(kind, _)| wanted.contains(kind));
    Some(Address {
        family: answer.u8(0),
        prefix: answer.u8(1),
        flags: flags & CHOSEN,
        attributes: attributes.map(|(kind, data)| (kind, data.to_vec())).collect(),
    })
}

/// Sets an address on the device `index`.
pub fn add(socket: &Socket, index: u32, address: &Address) -> Result<()> {
    let [a, b, c, d] = index.to_ne_bytes();
    let header = [address.family, address.prefix, 0, RT_SCOPE_UNIVERSE, a, b, c, d];
    let request = Request::new("RTM_NEWADDR", RTM_NEWADDR, &header)
        .flags(NLM_F_CREATE | NLM_F_REPLACE)
        .with(IFA_FLAGS, &address.flags.to_ne_bytes());
    let add = |request: Request, (kind, data): &(u16, Vec<u8>)| request.with(*kind, data);
    socket.change(&address.attributes.iter().fold(request, add))
}
