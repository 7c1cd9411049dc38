//! Receives many datagrams with one system call. The only module of the fleet server with `unsafe`:
//! it must never let a pointer outlive the boxed storage that it points into.
#![expect(unsafe_code, reason = "recvmmsg(2) has no safe wrapper; one call a tick instead of one a packet")]

use std::fmt;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

/// Datagrams read by one call: enough for a burst of late packets, small enough to stay in cache.
const DEPTH: usize = 8;
/// Longest datagram that is read whole; an RTP packet of 60 ms G.711 has 492 bytes.
const LONGEST: usize = 1500;

struct Storage {
    bytes: [[u8; LONGEST]; DEPTH],
    names: [libc::sockaddr_storage; DEPTH],
    vectors: [libc::iovec; DEPTH],
    headers: [libc::mmsghdr; DEPTH],
}

/// Buffers for one media thread, made once.
pub(super) struct Batch {
    // Boxed: `vectors` and `headers` point into the same allocation, which never moves.
    storage: Box<Storage>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batch")
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: every field is an array of bytes, integers or raw pointers, for which all zeroes is a valid value.
        let mut storage: Box<Storage> = unsafe { Box::new(mem::zeroed()) };
        for i in 0..DEPTH {
            storage.vectors[i].iov_base = storage.bytes[i].as_mut_ptr().cast();
            storage.vectors[i].iov_len = LONGEST;
            let vector: *mut libc::iovec = &raw mut storage.vectors[i];
            let name: *mut libc::sockaddr_storage = &raw mut storage.names[i];
            let header = &mut storage.headers[i].msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = name.cast();
        }
        Self { storage }
    }

    /// Hands every datagram that waits on `socket` to `each`, at most [`DEPTH`], without blocking.
    pub(super) fn receive(&mut self, socket: &UdpSocket, mut each: impl FnMut(SocketAddr, &[u8])) -> io::Result<usize> {
        let storage = &mut *self.storage;
        for header in &mut storage.headers {
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        // SAFETY: `headers` has DEPTH entries whose vectors and names point into `storage`, which outlives the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                storage.headers.as_mut_ptr(),
                DEPTH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                // An ICMP "port unreachable" for something we sent: reported once, then the socket goes on.
                io::ErrorKind::ConnectionRefused => Ok(0),
                _ => Err(error),
            };
        }
        let count = count.unsigned_abs() as usize;
        for i in 0..count.min(DEPTH) {
            let length = (storage.headers[i].msg_len as usize).min(LONGEST);
            if let Some(source) = source_of(&storage.names[i]) {
                each(source, &storage.bytes[i][..length]);
            }
        }
        Ok(count)
    }
}

fn source_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a sockaddr_in for AF_INET; sockaddr_storage is large and aligned enough for it.
            let v4: libc::sockaddr_in = unsafe { std::ptr::read(std::ptr::from_ref(name).cast()) };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for AF_INET6.
            let v6: libc::sockaddr_in6 = unsafe { std::ptr::read(std::ptr::from_ref(name).cast()) };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_datagrams_come_in_order_with_their_sources() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(receiver) = UdpSocket::bind(address) else { continue };
            receiver.set_nonblocking(true).unwrap();
            let sender = UdpSocket::bind(address).unwrap();
            let mut batch = Batch::new();
            assert_eq!(batch.receive(&receiver, |_, _| panic!("nothing was sent")).unwrap(), 0);
            for n in 0..3_u8 {
                sender.send_to(&[n; 20], receiver.local_addr().unwrap()).unwrap();
            }
            let mut seen = Vec::new();
            batch.receive(&receiver, |source, bytes| seen.push((source, bytes.to_vec()))).unwrap();
            let expect: Vec<_> = (0..3_u8).map(|n| (sender.local_addr().unwrap(), vec![n; 20])).collect();
            assert_eq!(seen, expect);
        }
    }

    #[test]
    fn a_datagram_longer_than_the_buffer_is_cut_not_overrun() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(&[1; 4000], receiver.local_addr().unwrap()).unwrap();
        let mut lengths = Vec::new();
        Batch::new().receive(&receiver, |_, bytes| lengths.push(bytes.len())).unwrap();
        assert_eq!(lengths, [LONGEST]);
    }
}
