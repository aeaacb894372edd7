"""Choices that a text gives by their letters.

Design choice: a letter counts where something shows that it is one: brackets, a mark or the end of
the line behind it, "the answer is" in front. So the article of "A dog barks" is none, nor is "I".
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence

from pal_plugin.evaluation.metrics.answers import tokens
from pal_plugin.evaluation.metrics.choice_words import (
    begun,
    denied,
    named_by_words,
    negated,
    spans,
    without_lists,
)
from pal_plugin.utils.characters import composed, narrow

#: Brackets and marks of East Asia and of print, as ASCII has them.
_PLAIN = str.maketrans(
    "\u3010\u3011\u300c\u300d\u300e\u300f\u3014\u3015\u201c\u201d\u2018\u2019\u2013\u2014",
    "[][][][]\"\"''--",
)
_PLAIN |= str.maketrans(
    "\u3008\u3009\u300a\u300b\u27e8\u27e9\u27ea\u27eb\u27e6\u27e7\ufe59\ufe5a\u00ab\u00bb\u2039\u203a\u201e\u201a",
    "[][][][][]()\"\"''\"'",
)
#: The first of an alphabet of letters in circles, in brackets, in squares.
_ENCLOSED = (0x24B6, 0x24D0, 0x249C, 0x1F110, 0x1F130, 0x1F150, 0x1F170)
_PLAIN.update(
    {
        first + n: f"({letter})"
        for first in _ENCLOSED
        for n, letter in enumerate(string.ascii_uppercase)
    }
)
_PLAIN.update({0x2192: "->", 0x21D2: "=>"})
#: No space follows these where they are used.
_EASTERN = str.maketrans({0x3001: ", ", 0x3002: ". ", 0xFF0C: ", ", 0xFF0E: ". ", 0xFF1B: "; "})
#: Markdown, HTML, TeX's signs of formulas, and marks of the end that a tokenizer left; what is
#: struck out goes.
_STYLE = re.compile(
    r"~~[^~\n]*~~|\*+|`+|__|\$|\\[()\[\]]"
    r"|</?(?:b|i|u|em|strong|s|p|br|eos|end_of_turn)\s*/?>|<\|\w+\|>|^[ \t]*[#>]+",
    re.M,
)
#: What is said in front of an answer: who says it, and words that say nothing. "A: B" is an answer
#: to a question.
_OPENING = re.compile(
    r"\A(?:(?:sure|okay|ok|alright|hm+|well|yes|certainly|of course|great|right)\b[\s,.!:]+"
    r"|(?:(?:assistant|model|response|output|ai|bot)\b\s*[:\n]|A:(?=\s*[(\[]?[A-Za-z]\b\W*\Z))\s*)+",
    re.I,
)

_BRACKETED = r"[(\[{<]\s*([A-Za-z])\s*[)\]}>]"
#: Behind a bare letter: an end, or the reason.
_ENDS = r"(?=\s*(?:$|\n)|[.:,;!)\]}\"']+(?:\s|$)"
_REASONS = (
    r"|\s+(?:-|=|because\b|since\b|due to\b|given\b|instead of\b|rather than\b|it is\b"
    r"|I (?:think|guess|believe|suppose)\b|\((?:not|as|since|because)\b))"
)
_CAPITAL = rf"([A-Z]){_ENDS}{_REASONS}"
_SURE = rf"[\"']*(?:{_BRACKETED}|{_CAPITAL}|([b-hj-z]){_ENDS}))"  # "it is a" may go on
_ANY = rf"[\"']*(?:{_BRACKETED}|{_CAPITAL}|([a-z]){_ENDS}))"
_NOUN = r"(?i:option|opt\.?|choice|alternative|letter|answer|ans\.?)"
#: "Answer" in other languages, with what may stand in front of the letter.
_FOREIGN = (
    r"(?:antwort|r\u00e9ponse|respuesta|risposta|resposta|antwoord|svaret?|odpowied\u017a|jawaban|cevap"
    r"|\u043e\u0442\u0432\u0435\u0442)\W{1,4}(?:(?:correcta|correcte|corretta|correta|lautet)\W{1,4})?"
    r"(?:(?:ist|est|es|\u00e8|\u00e9|is|\u00e4r|er|to|adalah)\W{1,4})?"
)
_START = re.compile(
    rf"[\s\"'(\[]*(?:(?i:the\s+)?{_NOUN}\W{{1,3}}{_ANY}|{_BRACKETED}|([A-Za-z])(?:\)|[.:](?=\s|$))|{_CAPITAL}"
    r"|([B-HJ-Z])(?=\s*\())"
)
_CHOOSE = (
    r"choose|chose|choosing|pick|select|(?:go|going) (?:with|for)|opt for|say|think|believe|guess"
)
_BEST = r"correct|right|answer|best|choice|option|likely|suitable"
_CONCLUSIONS = [
    re.compile(form)
    for form in (
        # "the correct answer is most likely option B"
        r"\b(?i:answer|ans|choice|option|alternative|selection|selected|pick|guess|match|fit|best"
        r"|verdict|conclusion|letter)\b"
        r"[^.\n?!;]{0,40}?"
        r"(?:\b(?i:is|be)\b|[:=>-])\s*(?i:(?:most likely|probably|likely|clearly|therefore)\s+)?"
        rf"(?:{_NOUN}\s*:?\s*)?{_ANY}",
        rf"\b(?i:answer|ans\.)(?:[ \t:=\"'-]{{1,6}}|[ \t]*:\s*){_ANY}",
        rf"\b(?i:{_FOREIGN}){_SURE}",
        rf"(?im:^[ \t]*(?:final |correct )?answer[ \t]*\n)\s*{_ANY}",  # a heading
        # Chinese, Japanese and Korean: "the answer is", "option"; no space ends the letter there
        r"(?:\u7b54\u6848|\u9009\u9879?|\u9078\u9805?|\u7b54\u3048|\u6b63\u89e3|\uc815\ub2f5|\ub2f5)"
        r"\W{0,3}[\u662f\u4e3a\u70ba\u306f\uc740]?\W{0,3}"
        rf"(?:{_SURE}|([A-Z])(?=[,\u3041-\u9fff\uac00-\ud7a3]))",
        # "B is correct", "(B) seems to be the best choice"
        rf"(?<![\w'])(?:{_BRACKETED}|([A-Zb-hj-z]))\s+(?i:is|seems|appears|must be|would be)\s+"
        r"(?!not\b|never\b)(?i:(?:to be|the|a|my|most|best|clearly|definitely)\s+)*"
        rf"(?i:(?!(?:not|wrong|incorrect|false|worst|least|un\w+)\b)\w+\s+)?(?i:{_BEST})\b",
        rf"\b(?i:{_CHOOSE})\s+(?i:(?:that\s+)?(?:it is|it's)\s+)?(?i:the\s+)?{_NOUN}\s*:?\s*{_ANY}",
        rf"\b(?i:{_CHOOSE})\s+(?i:(?:that\s+)?(?:it is|it's)\s+)?{_SURE}",
        r"\b(?i:it|that|this)(?i:'s| is| must be| should be| would be| has to be)\s+"
        rf"(?:{_NOUN}\s+)?{_SURE}",
        r"(?:\b(?i:therefore|thus|hence|so|finally|final|conclusion|correct|probably|likely"
        r"|definitely|certainly|surely|clearly)\b"
        r"[^\w\n]{1,4}|[=-]>\s*)" + _SURE,
        # "B fits best"
        rf"(?<![\w'])(?:{_BRACKETED}|([A-Z]))\s+(?i:(?:fits|matches|describes)\b[^.,\n]{{0,30}}"
        r"\bbest|best\s+(?:fits|matches|describes))\b",
        # alone on its line, or in the last sentence there
        r"(?m:^|(?<=[a-z]{2}[.!?]\s)|(?<=\b[A-Z][.!?]\s))"
        r"[ \t\"'(\[]*([A-Z])[ \t\"')\].!]*(?m:$)",
    )
]
#: The one with a negation in it that is not meant of the letter.
_BUT = re.compile(
    r"\b(?i:not|isn't)\b[^.\n]{0,40}?\bbut\s+(?i:(?:rather|it is|it's|with)\s+)?"
    rf"(?:{_NOUN}\s+)?{_SURE}"
)
_MENTION = re.compile(
    r"[(\[]([A-Z])[)\]]|\b(?i:option|choice|(?:might|may|could) be|perhaps|maybe|possibly)\s+"
    + _CAPITAL
)
_LISTED = re.compile(r"(?:^|(?<=[\s,;]))[(\[]?([A-Z])[)\].:](?=\s)")
_CONTRAST = {"but", "however", "although", "though", "while", "whereas", "except", "if"}
_TAKEN_BACK = re.compile(
    r"[.!?\n]\s*(?:(?:no|oh|but)[, ]+)?(?:wait|actually|correction|sorry|on second thought)\b", re.I
)
#: Between a letter and another that is as good.
_OR = r"\W*(?:\b(?:or|and|vs\.?|versus)(?!\w)|[/&])\s*"
_LETTER = r"[(\[]?[A-HJ-Z]\b"
_OUT = (
    r"(?!\s+(?:(?:is|was|would be)\s+(?:not|wrong|incorrect|false|excluded|ruled)|isn't|cannot)\b)"
)
_ANOTHER = re.compile(
    rf"{_OR}(?i:the\s+)?(?:{_NOUN}\s+)?(?i:is\s+)?{_LETTER}{_OUT}"
    rf"|\s*[,;]\s*[(\[]?[A-Z][)\].]?(?=\s*(?:[,;]|$|\n|(?:are|both)\b)|{_OR})"
    rf"|\s*[,;(]\s*(?i:but |or )?(?i:possibly|maybe|perhaps|probably)\s+(?:{_NOUN}\s+)?{_LETTER}"
    r"|[ \t]*[(\[][A-Z][)\]]|[ \t]+[A-Z]\)"
)
_ONE_BEFORE = re.compile(
    rf"(?:\b[A-Z]\W*(?:\b(?:or|and|vs\.?|versus)(?!\w)(?:\s+the\s+{_NOUN}\s+is)?|[/&,])"
    rf"|\b(?i:either|neither|both))\W*(?i:possibly|maybe|perhaps|probably)?\W*{_NOUN}?\W*$"
)
_CLAUSE = re.compile(r"[.!?;:,\n]|\bbut\b")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_ORDINAL = re.compile(rf"\b(?:{'|'.join(_ORDINALS)}|last|option|choice)\b", re.I)
_PLACE = re.compile(
    r"\A(?:(?:it(?: is|'s)|i (?:think|believe|choose|pick|select)(?: it(?: is|'s))?"
    rf"|the (?:correct |right |best )?answer is)\s+)?(?:the\s+)?(?:({'|'.join(_ORDINALS)}|last)\s+"
    r"(?:one|option|choice|answer)|(?:option|choice)\s+(?:number\s+|no\.\s*|#)?([1-9]))\s*(?:[.,;:!\n].*)?\Z",
    re.I | re.S,
)


def unstyled(text: str) -> str:
    """The text without Markdown and HTML, with brackets and marks as ASCII has them."""
    text = narrow(composed(text).translate(_EASTERN)).translate(_PLAIN)
    if not text.isascii():  # the alphabets of mathematics
        text = "".join(
            unicodedata.normalize("NFKC", c) if "\U0001d400" <= c <= "\U0001d6a5" else c
            for c in text
        )
    return _STYLE.sub("", text).replace("_", " ").strip()


def named_by_letter(text: str, choices: Sequence[str]) -> set[int] | None:
    """Choices that an answer (`unstyled`) gives by letter; None where it gives none, so that its
    words may tell.

    It begins with a letter, or concludes with one ("the answer is (B)", "B is correct"), or exactly
    one is mentioned and the words name no other. More than one are a contradiction: two letters; a
    letter in front of another choice's text; one that is itself another choice's text (keys: C, G,
    D). Letters beyond the choices do not count, nor those that are denied.

    Args:
        choices: squeezed.
    """
    found: set[int] = set()
    text = _OPENING.sub("", text)
    start = _START.match(text) or _before_text(text, choices)
    if start is not None and not _meant(text, start, choices):
        if _ANOTHER.match(text, start.end()):
            return set()
        start = None
    if start is not None and _list_at(text, choices) == 0:
        start = None  # the choices as they were asked
    if start is not None:
        found |= _choices_at(text, start, choices)
    given = [
        match
        for form in (*_CONCLUSIONS, _BUT)
        for match in form.finditer(text)
        if _meant(text, match, choices, within=form is not _BUT)
    ]
    for match in given:
        found |= _choices_at(text, match, choices)
    if found:
        last = max((m.end() for m in given), default=0)
        if last and _TAKEN_BACK.search(text, last):
            return set()
        back = start is not None and (
            _TAKEN_BACK.search(text, start.start(start.lastindex))
            or _weighs(text, start, found, choices)
        )
        return set() if back else found
    if _list_at(without_lists(text, choices), choices) is not None:
        return set()  # each is discussed, and none is chosen
    mentions = [m for m in _MENTION.finditer(text) if _meant(text, m, choices)]
    if len({_letter(mention) for mention in mentions}) != 1:
        return None  # letters that are discussed
    found = set().union(*(_choices_at(text, mention, choices) for mention in mentions))
    words = named_by_words(text, choices)
    weighed = any(_weighs(text, mention, found, choices) for mention in mentions)
    return None if weighed or not words <= found else found or None


def named_by_place(text: str, choices: Sequence[str]) -> set[int]:
    """The choice of an answer (`unstyled`) that is "the second one" or "option 2"; none where the
    choices speak of places themselves."""
    match = _PLACE.match(text)
    if match is None or any(_ORDINAL.search(choice) for choice in choices):
        return set()
    word = (match[1] or "").lower()
    if match[2]:
        place = int(match[2]) - 1
    else:
        place = len(choices) - 1 if word == "last" else _ORDINALS.index(word)
    return {place} & set(range(len(choices)))


def _meant(text: str, match: re.Match, choices: Sequence[str], within: bool = True) -> bool:
    """Whether nothing around a letter takes it back.

    Args:
        within: what stands in front of the letter within the match counts too.
    """
    at = match.start(match.lastindex)
    before = _CLAUSE.split(text[: match.start()])[-1]
    inside = text[match.start() : at] if within else ""
    if negated(tokens(before)) or any(negated([word]) for word in tokens(inside)):
        return False
    if _ONE_BEFORE.search(text[:at].rstrip(" ([\"'")) or _ANOTHER.match(text, match.end()):
        return False
    behind = text[match.end() :].lstrip(" )]\"'*")
    if behind.startswith("?"):
        return False
    said = tokens(_CLAUSE.split(behind.lstrip(".:,-"))[0])
    own = number_of(_letter(match), len(choices))
    if own is not None and begun(" ".join(said), [choices[own]]) is not None:
        while said and choices[own].startswith(said[0]):
            said = said[1:]
    return not denied(said)


def _choices_at(text: str, match: re.Match, choices: Sequence[str]) -> set[int]:
    at = match.start(match.lastindex)
    whole, letter = begun(text[at:], choices), number_of(_letter(match), len(choices))
    if whole is not None and len(choices[whole]) > 1 and not _is_article(text, at, choices[whole]):
        return {whole}  # "D. H. Lawrence", or the chord "B:maj7"
    if letter is None:
        return set()
    same = {n for n, choice in enumerate(choices) if choice == _letter(match).lower()}
    line, _, rest = text[match.end() :].lstrip(" )]}.:,-=(\"'").partition("\n")
    other = begun(line, choices)
    if other is not None and _is_discussed(line, choices[other]):
        return {letter, *same}
    if other is None and not line.strip():
        (other,) = [n for n, c in enumerate(choices) if c == "".join(tokens(rest))][:1] or [None]
    if other is not None and choices[other] != choices[letter]:
        same.add(other)
    return {letter, *same}


def _is_discussed(line: str, choice: str) -> bool:
    """Whether a text that begins with a choice says that this is not, or would not be, it."""
    said = tokens(line)
    ends = [n for n in range(1, len(said) + 1) if "".join(said[:n]).endswith(choice)]
    behind = said[ends[0] :]
    return denied(behind) or behind[:1] in (["would"], ["could"], ["might"])


def _is_article(text: str, at: int, choice: str) -> bool:
    """Whether the letter stands in front of the choice and is no part of it."""
    return not "".join(tokens(text[at:])).startswith(choice)


def _before_text(text: str, choices: Sequence[str]) -> re.Match | None:
    """A bare first letter in front of a choice's text; A and I are words there."""
    bare = re.match(r"([B-HJ-Z])\s+", text)
    return bare if bare and begun(text[bare.end() :], choices) is not None else None


def _list_at(text: str, choices: Sequence[str]) -> int | None:
    """Where the text goes through the choices: A, then B, each at the beginning of a line, in front
    of its text or of a colon."""
    entries = [
        match
        for match in _LISTED.finditer(text)
        if (number := number_of(match[1], len(choices))) is not None
        and (
            text[: match.start()].rpartition("\n")[2] == ""
            or match[0].endswith(":")
            or begun(text[match.end() :], choices) == number
        )
    ]
    in_order = [entry[1] for entry in entries[:2]] == ["A", "B"]
    return entries[0].start() if in_order else None


def _letter(match: re.Match) -> str:
    return match[match.lastindex]


def number_of(letter: str, count: int) -> int | None:
    """The place of a letter among `count` choices, None beyond them."""
    number = string.ascii_uppercase.find(letter.upper())
    return number if 0 <= number < count else None


def _weighs(text: str, match: re.Match, found: set[int], choices: Sequence[str]) -> bool:
    """Whether the letter's sentence sets another choice against it: "(A) fits, but I hear rain"."""
    start = max(text.rfind(mark, 0, match.start()) for mark in ".!?\n") + 1
    ends = [end for mark in ".!?\n" if (end := text.find(mark, match.end())) >= 0]
    sentence = text[start : min(ends, default=len(text))]
    said = tokens(sentence)
    own = {n for i in found for span in spans(said, choices[i]) for n in range(*span)}
    contrasted = any(word in _CONTRAST for n, word in enumerate(said) if n not in own)
    return contrasted and not named_by_words(sentence, choices) <= found
