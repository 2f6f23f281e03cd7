//! Free UDP ports for clusters on loopback.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// Ports are looked for here: below those that systems give to sockets without a port of their own,
/// so that the port of a node that is down for a moment is not given away.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// Addresses on loopback that are free at this moment. The search begins at random, so that two
/// who search at once seldom find the same.
///
/// # Errors
/// If there are not so many.
pub fn free_addresses(count: usize) -> io::Result<Vec<String>> {
    let begin = getrandom::u32().map_err(io::Error::other)?;
    let (width, first) = (u32::from(RANGE.end - RANGE.start), u32::from(RANGE.start));
    // The sockets are held until all are found: no port is found twice.
    let mut held = Vec::with_capacity(count);
    for step in 0..width {
        if held.len() == count {
            break;
        }
        let port = first + (begin % width + step) % width;
        let bound = u16::try_from(port).map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)));
        held.extend(bound.ok().and_then(Result::ok));
    }
    if held.len() < count {
        return Err(io::Error::other("there are not enough free UDP ports on loopback"));
    }
    held.iter().map(|socket| Ok(socket.local_addr()?.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_ports_differ_and_can_be_bound() {
        let addresses = free_addresses(5).unwrap();
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 5);
        for address in addresses {
            UdpSocket::bind(address).unwrap();
        }
    }
}
