"""A site of pages that use the template pieces, alone and with htmx."""
