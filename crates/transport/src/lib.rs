//! Mutual TLS between nodes: server, clients, reloading, limits.
