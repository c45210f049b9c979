"""The gallery: streaming patterns, each in a file that can be copied."""
