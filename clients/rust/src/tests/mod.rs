//! Tests of the client against a cluster made of scripts.
