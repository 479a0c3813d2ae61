# What people do often. `just` lists them.

default:
    @just --list

# Four real nodes, one lookup
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Every test
test *ARGS:
    bash .ci/test {{ARGS}}

# Hurt real processes: root, Debian's faketime, minutes
faults *ARGS:
    bash tests/faults/run {{ARGS}}

# Form and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# The documentation of every crate
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Everything that must hold before a change lands
ci:
    bash .ci/run
