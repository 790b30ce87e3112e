"""Comments and trailing commas in JSON files, blanked out before Python's own parser reads them."""


def strip_comments(text: str) -> str:
    """Blank out ``//``, ``#`` and ``/* */`` comments and trailing commas; line numbers are kept."""
    out: list[str] = []
    position, length = 0, len(text)
    while position < length:
        character = text[position]
        if character == '"':
            end = _end_of_string(text, position)
            out.append(text[position:end])
            position = end
        elif character == "#" or text.startswith("//", position):
            end = text.find("\n", position)
            position = length if end < 0 else end
        elif text.startswith("/*", position):
            end = text.find("*/", position + 2)
            end = length if end < 0 else end + 2
            out.append("\n" * text.count("\n", position, end))
            position = end
        else:
            if character in "]}":
                _drop_trailing_comma(out)
            out.append(character)
            position += 1
    return "".join(out)


def _end_of_string(text: str, start: int) -> int:
    position = start + 1
    while position < len(text) and text[position] not in '"\n':
        position += 2 if text[position] == "\\" else 1
    return min(position + 1, len(text))


def _drop_trailing_comma(out: list[str]) -> None:
    for index in range(len(out) - 1, -1, -1):
        if out[index].isspace() or not out[index]:
            continue
        if out[index] == ",":
            out[index] = " "
        return
