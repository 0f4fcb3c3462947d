"""One slice of work: feed, claim, read, embed, write, finish."""
