"""A site whose exports fail in the middle: what its clients see is the matter of a test."""
