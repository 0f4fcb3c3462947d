"""Brings the rows an application already has into a vector index, and keeps them there."""
