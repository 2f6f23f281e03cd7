//! Tests of the client that need its insides.
