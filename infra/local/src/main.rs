//! The program `ringfleet`. It must never do more than hand its arguments over.

use std::process::ExitCode;

fn main() -> ExitCode {
    local::cli::main()
}
