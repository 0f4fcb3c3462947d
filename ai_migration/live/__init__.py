"""The index follows the rows: signals, managers, and the changes they put in the queue."""
