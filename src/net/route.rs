//! Reads the routes over a network device, and restores them if the device is moved back.

use super::netlink::{Answer, NLM_F_CREATE, NLM_F_REPLACE, Request, Socket, read_u32};
use crate::error::Result;

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// The size of struct rtmsg: family, lengths, tos, table, protocol, scope, type, flags.
const HEADER: usize = 12;
const PROTOCOL: usize = 5;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_CACHEINFO: u16 = 12;
/// The protocols of routes that the kernel creates again itself: redirects, the kernel's
/// own (they come with an address), and those of router advertisements.
const MADE_BY_THE_KERNEL: [u8; 3] = [1, 2, 9];

/// A route, as the kernel reported it.
#[derive(Debug)]
pub struct Route {
    header: Vec<u8>,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Returns the routes over the device `index` alone that somebody has added. Routes
/// through a gateway come last, because the kernel accepts them only if the gateway is
/// reachable.
pub fn list_over(socket: &Socket, index: u32) -> Result<Vec<Route>> {
    let mut out = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).unwrap_or(0);
        let mut header = [0; HEADER];
        header[0] = family;
        let answers = socket.list(&Request::new("RTM_GETROUTE", RTM_GETROUTE, &header))?;
        out.extend(answers.iter().filter(|a| a.u8(0) == family && is_restorable(a, index)).map(parse_route));
    }
    out.sort_by_key(|route: &Route| route.attributes.iter().any(|(kind, _)| *kind == RTA_GATEWAY));
    Ok(out)
}

/// Returns whether a route leads over the device `index`, and was not created by the
/// kernel.
fn is_restorable(answer: &Answer, index: u32) -> bool {
    answer.attribute(HEADER, RTA_OIF).map(read_u32) == Some(index)
        && !MADE_BY_THE_KERNEL.contains(&answer.u8(PROTOCOL))
}

fn parse_route(answer: &Answer) -> Route {
    // The flags follow the first eight bytes. They report the route's state, so they are
    // cleared.
    let header = [answer.header(8), &[0; 4]].concat();
    let attributes = answer.attributes(HEADER).filter(|(kind, _)| *kind != RTA_CACHEINFO);
    Route { header, attributes: attributes.map(|(kind, data)| (kind, data.to_vec())).collect() }
}

/// Adds the route again. `index` is the index that the device has now.
pub fn add(socket: &Socket, index: u32, route: &Route) -> Result<()> {
    let request =
        Request::new("RTM_NEWROUTE", RTM_NEWROUTE, &route.header).flags(NLM_F_CREATE | NLM_F_REPLACE);
    let add = |request: Request, (kind, data): &(u16, Vec<u8>)| match *kind {
        RTA_OIF => request.with(RTA_OIF, &index.to_ne_bytes()),
        kind => request.with(kind, data),
    };
    socket.change(&route.attributes.iter().fold(request, add))
}
