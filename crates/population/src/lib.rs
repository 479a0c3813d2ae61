//! Synthetic people, households, department files and planted cases, for the demonstration and for tests.
