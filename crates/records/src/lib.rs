//! Reads departments' files as they come: what they are, headers, units, merged cells, and the fate of every row.
