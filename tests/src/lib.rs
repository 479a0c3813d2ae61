//! The house keeps its rules: see `tests/house.rs`. Tests of whole processes stand in `processes/` and run with the program they test.
