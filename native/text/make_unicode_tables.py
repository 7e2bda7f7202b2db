#!/usr/bin/env python3
"""Writes unicode_classes.inc and unicode_nfc.inc from what the reference library itself answers.

The ids of a tokenizer.json depend on the Unicode version inside Hugging Face tokenizers (its regex engine, and its NFC crate), so
every code point is asked there rather than of Python's own tables. Made with Python 3.11.7 (Unicode 14.0) and tokenizers 0.23.3:

    pip install tokenizers==0.23.3 && python native/text/make_unicode_tables.py
"""
import pathlib
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

HERE = pathlib.Path(__file__).parent
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
LETTER, NUMBER, SPACE, WORD, NFC_UNSAFE = 1, 2, 4, 8, 16


def matching(pattern):
    """The code points that the pattern matches: everything else is removed."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    found = set()
    for start in range(0, len(CODES), 4096):
        text = "".join(map(chr, CODES[start:start + 4096]))
        found.update(ord(c) for piece, _ in split.pre_tokenize_str(text) for c in piece)
    return found


def word_characters():
    """What may not stand beside a single_word added token (the regex crate's \\w)."""
    tokenizer = Tokenizer(models.WordLevel({"[u]": 0}, unk_token="[u]"))
    tokenizer.add_tokens([AddedToken("QQ", single_word=True, normalized=False)])
    return {c for c in CODES if tokenizer.encode(chr(c) + "QQ").ids[-1] != 1}


def stripped_characters():
    """What an rstrip added token eats (the regex crate's \\s)."""
    tokenizer = Tokenizer(models.WordLevel({"[u]": 0}, unk_token="[u]"))
    tokenizer.add_tokens([AddedToken("QQ", rstrip=True, normalized=False)])
    return {c for c in CODES if tokenizer.encode("QQ" + chr(c)).ids == [1]}


NFD, NFC = normalizers.NFD().normalize_str, normalizers.NFC().normalize_str


def combining_classes():
    representative = {}
    for code in CODES:
        combining = unicodedata.combining(chr(code))
        if combining and combining not in representative and NFD("\u0345" + chr(code)) == chr(code) + "\u0345":
            representative[combining] = chr(code)
    representative[240] = "\u0345"
    classes = {}
    values = sorted(representative)
    for code in CODES:
        c = chr(code)
        if NFD(c) != c:
            continue
        if NFD(c + representative[1]) == c + representative[1] and NFD("\u0345" + c) == "\u0345" + c and code != 0x345:
            continue  # a starter, or unknown
        # Marks are put in order of class: c goes before a mark of a higher class, never before one of its own.
        classes[code] = max(v for v in values if NFD(c + representative[v]) == c + representative[v] and
                            NFD(representative[v] + c) == representative[v] + c)
    return classes


def decompositions():
    """One canonical level: code -> (a, b), b = 0 for a singleton. Hangul is arithmetic."""
    result = {}
    for code in CODES:
        full = NFD(chr(code))
        if full == chr(code) or 0xAC00 <= code < 0xD7A4:
            continue
        parts = unicodedata.decomposition(chr(code))
        pair = [int(p, 16) for p in parts.split()] if parts and parts[0] != "<" else [ord(c) for c in full]
        if "".join(NFD(chr(p)) for p in pair) != full or len(pair) > 2:
            pair = [ord(c) for c in full]
        assert 1 <= len(pair) <= 2, hex(code)
        result[code] = (pair[0], pair[1] if len(pair) == 2 else 0)
    return result


def write(name, lines):
    (HERE / name).write_text("// Made by make_unicode_tables.py: do not edit.\n" + "\n".join(lines) + "\n")


def packed(items, per_line):
    return [",".join(items[i:i + per_line]) + "," for i in range(0, len(items), per_line)]


def main():
    letters, numbers, spaces = matching(r"\p{L}"), matching(r"\p{N}"), matching(r"\s")
    assert spaces == stripped_characters()
    words = word_characters()
    classes, split = combining_classes(), decompositions()
    compose = {pair: code for code, pair in split.items() if pair[1] and NFC(chr(pair[0]) + chr(pair[1])) == chr(code)}
    unsafe = set(classes) | {b for _, b in compose} | {c for c in split if NFC(chr(c)) != chr(c)}
    unsafe |= set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))

    runs, previous = [], None
    for code in range(0x110000):
        value = (LETTER * (code in letters) | NUMBER * (code in numbers) | SPACE * (code in spaces) |
                 WORD * (code in words) | NFC_UNSAFE * (code in unsafe))
        if value != previous:
            runs.append(f"0x{code << 8 | value:x}")
            previous = value
    write("unicode_classes.inc", packed(runs, 10))
    write("unicode_nfc.inc", [
        "// clang-format off",
        "constexpr CombiningClass kCombiningClasses[] = {",
        *packed([f"{{0x{c:x},{v}}}" for c, v in sorted(classes.items())], 8), "};",
        "constexpr Decomposition kDecompositions[] = {",
        *packed([f"{{0x{c:x},0x{a:x},0x{b:x}}}" for c, (a, b) in sorted(split.items())], 5), "};",
        "constexpr Composition kCompositions[] = {",
        *packed([f"{{0x{a:x},0x{b:x},0x{c:x}}}" for (a, b), c in sorted(compose.items())], 5), "};",
    ])
    print(len(runs), "runs", len(classes), "classes", len(split), "decompositions", len(compose), "compositions")


main()
