"""Entity types: which models are indexed, and how their rows become text."""
