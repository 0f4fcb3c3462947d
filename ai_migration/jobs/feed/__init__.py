"""Fill the queue for a job, range by range, and the collection it writes to."""
