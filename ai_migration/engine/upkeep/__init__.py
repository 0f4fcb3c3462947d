"""Recover what died, and halve the batches that kill workers."""
