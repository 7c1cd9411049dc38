//! What the end-to-end tests share: processes of ours, peers that nobody here wrote, and what they saw.
//! It must never reach into the product's insides: only its binaries, its ports and its files.
