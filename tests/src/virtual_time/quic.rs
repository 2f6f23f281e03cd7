//! The little of QUIC that anybody on the way can read: the connection ids of a handshake
//! (RFC 9000, section 17.2).

/// The length of the connection ids that endpoints give themselves. Those that a client makes up
/// for the other end, until it knows better, are longer.
pub const NAME: usize = 8;

/// The connection ids of a packet with a long header: whom it is for, and whom it is from.
pub fn names(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = packet.split_first()?;
    let rest = rest.get(4..).filter(|_| first & 0x80 != 0)?;
    let (to, rest) = name(rest)?;
    let (from, _) = name(rest)?;
    Some((to, from))
}

/// Whom an Initial packet is for.
pub fn initial(packet: &[u8]) -> Option<&[u8]> {
    let of_that_type = packet.first()? & 0x30 == 0;
    names(packet).filter(|_| of_that_type).map(|(to, _)| to)
}

fn name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_of_long_headers_alone() {
        let packet = [0xc3, 0, 0, 0, 1, 2, 7, 8, 1, 9, 0];
        assert_eq!(names(&packet), Some((&[7, 8][..], &[9][..])));
        assert_eq!(initial(&packet), Some(&[7, 8][..]));
        let handshake = [0xe3, 0, 0, 0, 1, 2, 7, 8, 1, 9, 0];
        assert_eq!(initial(&handshake), None);
        assert_eq!(names(&[0x43, 0, 0, 0, 1, 2, 7, 8, 1, 9, 0]), None);
        assert_eq!(names(&packet[..7]), None);
    }
}
