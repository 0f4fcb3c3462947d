"""The queue, the ledger, and the pipeline that turns claimed entries into vectors."""
