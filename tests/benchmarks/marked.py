"""The part of a document that a benchmark writes, between two marks."""


def replaced(document: str, begin: str, end: str, content: str) -> str:
    """The document with `content` between its marks.

    Raises:
        ValueError: it does not have both marks.
    """
    before, found, rest = document.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the document has no {begin} … {end}")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"
