"""Workers: bounded slices of work, their upkeep, and insight into both."""
