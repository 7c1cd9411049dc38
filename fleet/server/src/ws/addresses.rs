//! How many sockets each client has open. It must never count a balancer for its clients: the door says whose they are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone)]
pub(super) struct Addresses {
    open: Arc<Mutex<HashMap<IpAddr, u32>>>,
    most: u32,
}

impl Addresses {
    /// At most so many of one address; 0 = any number.
    pub(super) fn new(most: u32) -> Self {
        Self { open: Arc::default(), most: if most == 0 { u32::MAX } else { most } }
    }

    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// Counts a socket until the place is dropped; none when the address has as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { addresses: self.clone(), address })
    }
}

/// One open socket of a client.
#[derive(Debug)]
pub(super) struct Place {
    addresses: Addresses,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_as_many_as_it_may_and_no_trace_stays() {
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let addresses = Addresses::new(2);
        let first = addresses.enter(one).unwrap();
        let second = addresses.enter(one).unwrap();
        assert!(addresses.enter(one).is_none());
        assert!(addresses.enter(other).is_some());
        drop(first);
        assert!(addresses.enter(one).is_some());
        drop(second);
        assert!(addresses.open.lock().unwrap().is_empty());
        let any = Addresses::new(0);
        let all: Vec<_> = (0..5000).map(|_| any.enter(one).unwrap()).collect();
        assert_eq!(all.len(), 5000);
    }
}
