//! Soon.

cases![];
