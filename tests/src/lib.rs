//! ringfleet_tests
