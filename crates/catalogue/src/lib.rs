//! The catalogue of the sixteen departments: categories, fields, natural keys, and the closed types of a record.
