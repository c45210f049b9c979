"""A shop: tables of every kind, to be exported."""
