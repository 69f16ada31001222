"""Words that a DICOM header states, whatever alphabet, spelling or character set they are in.

bytes of an element -> [decodings -> words] -> body part, view
Archives hold CHEST, Tórax, P.A. and 胸部, in UTF-8 or in a character set of the region, declared or
not. Here values become words that can be compared; none of them ever reaches a message.
"""

import unicodedata
from collections.abc import Iterator, Sequence

from pydicom.charset import decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

MAX_WORDS_BYTES = 256  # a code has 16 characters, a description 64
UNKNOWN_TEXT = ["?"]  # something is stated; no word has this character
ESCAPE = b"\x1b"  # starts a switch of character set (PS3.5 6.1.2.5)
# Without a declaration, or with a wrong one: what the software of a region writes. The first that
# gives a known word counts.
SWITCHED_CHARACTER_SETS = ["iso8859", "iso2022_jp", "iso2022_jp_2", "euc_kr", "iso_ir_58"]
REGIONAL_CHARACTER_SETS = (
    *("latin-1", "cp850", "cp1250", "iso8859-2", "cp1251", "iso8859-5", "koi8-r", "cp866"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "tis-620"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)


def stated_words(header: Dataset, keyword: str) -> Iterator[list[str]]:
    """Give the words of an element, in every decoding that its bytes may have.

    Parameters
    ----------
    header
        Its elements are not parsed by this.
    keyword
        Of the element.

    Yields
    ------
    list of str
        As :func:`words` gives them; an empty list where the value is absent, empty or blank. The
        likeliest decoding comes first: UTF-8, what is declared (0008,0005), what regions use.
    """
    value = _bytes(header, keyword)
    if len(value) > MAX_WORDS_BYTES:
        yield UNKNOWN_TEXT
        return
    for text in dict.fromkeys(_decodings(value, header.original_character_set)):
        stated = words(text)
        wrong = not stated and not value.isascii()  # letters elsewhere, frames of a table here
        yield UNKNOWN_TEXT if wrong else stated


def words(text: str) -> list[str]:
    """Split text into words, in capitals, without accents, punctuation and NULs.

    >>> words("Tórax_p.a."), words("A/P")
    (['TORAX', 'PA'], ['AP'])
    """
    folded = "".join(
        character if character.isalnum() else " "
        for character in unicodedata.normalize("NFKD", text).upper()
        if not unicodedata.category(character).startswith("M")
    )
    joined: list[str] = []
    letters = False
    for word in folded.split():
        letter = len(word) == 1 and word.isascii() and word.isalpha()
        if letter and letters:
            joined[-1] += word
        else:
            joined.append(word)
        letters = letter
    return joined


def _bytes(header: Dataset, keyword: str) -> bytes:
    """Return the value as it is in the file."""
    element: object = header.get_item(keyword) if keyword in header else None
    if isinstance(element, RawDataElement):
        return bytes(element.value or b"")
    return b"" if element is None else str(header[keyword].value or "").encode()


def _decodings(value: bytes, declared: str | Sequence[str]) -> Iterator[str]:
    if value.isascii() and ESCAPE not in value:
        yield value.decode("ascii")
        return
    if ESCAPE not in value:
        yield from _decoded(value, "utf-8")
    encodings = [declared] if isinstance(declared, str) else list(declared)
    yield decode_bytes(value, encodings, set())
    if ESCAPE in value:
        yield decode_bytes(value, SWITCHED_CHARACTER_SETS, set())
    for character_set in REGIONAL_CHARACTER_SETS:
        yield from _decoded(value, character_set)


def _decoded(value: bytes, character_set: str) -> Iterator[str]:
    try:
        yield value.decode(character_set)
    except UnicodeDecodeError:
        return
