"""Listings: Python source as HTML, with a class for each kind of word."""

import keyword
import tokenize
from io import StringIO
from itertools import accumulate

from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

KINDS = {tokenize.STRING: "string", tokenize.COMMENT: "comment", tokenize.NUMBER: "number"}


def listing(source: str) -> SafeString:
    """Give the source as HTML: its text is the source, character by character."""
    starts = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]
    parts: list[str] = []
    done = 0
    before = ""
    for token in tokenize.generate_tokens(StringIO(source).readline):
        start = max(done, starts[token.start[0] - 1] + token.start[1])
        end = max(start, starts[min(token.end[0], len(starts)) - 1] + token.end[1])
        parts.append(conditional_escape(source[done:start]))
        text = source[start:end]
        kind = _kind(token, before)
        parts.append(
            format_html('<span class="{}">{}</span>', kind, text) if kind else conditional_escape(text)
        )
        done, before = end, token.string
    return mark_safe("".join(parts) + conditional_escape(source[done:]))


def _kind(token: tokenize.TokenInfo, before: str) -> str:
    if token.type == tokenize.NAME:
        if keyword.iskeyword(token.string):
            return "keyword"
        return "name" if before in ("def", "class", "@") else ""
    if tokenize.tok_name[token.type].startswith("FSTRING"):
        return "string"
    return KINDS.get(token.type, "")
