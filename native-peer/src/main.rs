//! `meganet`: see `meganet --help`.

fn main() -> std::process::ExitCode {
    meganet_native_peer::cli::main()
}
