//! End to end, over real sockets, with the product's own binaries.

mod architecture;
