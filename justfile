# What people do often. `just` lists them.

default:
    @just --list

# Four real nodes, one lookup
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Every test
test *ARGS:
    bash .ci/test {{ARGS}}

# A thousand simulated federations, then 24 hours of a province, then 3,000 nodes: about half an hour
simulate:
    SANKU_SEEDS=0..1000 cargo test --profile simulate -p sanku-testkit --test simulation g1_to_g6 -- --nocapture
    SANKU_DAY_HOURS=24 SANKU_DAY_QUESTIONS=288 SANKU_SIZE=full cargo test --profile simulate -p sanku-testkit --test simulation every_question_of_a_day -- --nocapture
    SANKU_NODES=3000 cargo test --profile simulate -p sanku-testkit --test simulation one_question_reaches -- --nocapture

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
