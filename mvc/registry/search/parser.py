"""From text to an expression, or to one error that points at the place.

Recursive descent, a function a rule; depth and length are bounded, so that
any text ends in an expression or in ``UsageError``.

Grammar: ``docs/search.md``.
Public names: ``parse``, ``SPACED``, ``MAX_LENGTH``, ``MAX_WORDS``, ``MAX_DEPTH``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

from mvc.errors import UsageError
from mvc.registry.search import times
from mvc.registry.search.expression import (
    KEYWORDS,
    SIGNS,
    UNUSUAL,
    WORD,
    Arithmetic,
    Comparison,
    Condition,
    Field,
    Joined,
    Not,
    Number,
    Operand,
    Text,
    apart,
    fields_of,
    number_of,
)

MAX_LENGTH = 4000
MAX_WORDS = 200
MAX_DEPTH = 40

SPACED = "signs stand between spaces: "

_TOKEN = re.compile(
    rf"""(?:(?P<operator>!=|<=|>=|[=<>~])|(?P<bracket>[()])|(?P<word>{WORD.pattern})"""
    r"""|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)')""",
    re.DOTALL,
)
_REFERENCE = re.compile(r"@([A-Za-z0-9][A-Za-z0-9_-]*)\.(.*)", re.DOTALL)
_OPERATORS = "= != < <= > >= ~"
_ORDERED = frozenset(["<", "<=", ">", ">="])
# What begins as a number does, but for dates and for versions such as 1.10.2.
_LIKE_A_NUMBER = re.compile(r"[+-]?[0-9](?![0-9]{3}-[0-9]{2}|[0-9]*[.][0-9]+[.])")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int

    @property
    def keyword(self) -> str | None:
        """The word in lower case if it is and, or, not."""
        low = self.text.lower()
        return low if self.kind == "word" and low in KEYWORDS else None

    def is_sign(self, signs: Collection[str] = SIGNS) -> bool:
        return self.kind == "word" and len(self.text) == 1 and self.text in signs


def parse(text: str | Sequence[str]) -> Condition:
    """Read an expression; of several all must hold.

    Each is read by itself, so that none can end within another.

    Raises:
        UsageError: It does not follow the grammar; the message names the column.
    """
    if not isinstance(text, str):
        return Joined("and", tuple(parse(one) for one in text))
    parser = _Parser(text)
    condition = parser.condition()
    return condition if parser.token.kind == "end" else parser.unexpected()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        if len(text) > MAX_LENGTH:
            raise UsageError(
                f"the expression has {len(text):,} characters, at most {MAX_LENGTH:,} are read",
                hint="ask for less at once, as in acc > 0.9 and tag = prod",
            )
        self._tokens = self._cut()
        self._place = 0

    @property
    def token(self) -> _Token:
        return self._tokens[self._place]

    def condition(self) -> Condition:
        return self._joined("or", lambda: self._joined("and", self._negated))

    def _joined(self, word: str, inner: Callable[[], Condition]) -> Condition:
        items = [inner()]
        while self.token.keyword == word:
            self._place += 1
            items.append(inner())
        return Joined(word, tuple(items)) if len(items) > 1 else items[0]

    def _negated(self) -> Condition:
        if self.token.keyword == "not":
            self._deeper()
            found: Condition = Not(self._negated())
            self._depth -= 1
            return found
        if self.token.text == "(" and self.token.kind == "bracket" and self._holds_condition():
            self._deeper()
            found = self.condition()
            self._close()
            return found
        return self._comparison()

    def _comparison(self) -> Comparison:
        start = self.token
        left = self._sum()
        if self.token.kind != "operator":
            self._lacks_operator(start)
        operator = self._take().text
        than = self.token
        if than.kind == "operator":
            self._fail(
                than,
                f"'{operator}{than.text}' is no comparison",
                f"compare with one of {_OPERATORS}",
            )
        if all(field.selector is not None for field in fields_of(left)):
            self._fail(start, "the version's own value comes first", "as in acc > 0.9")
        typed = Comparison(left, operator, self._right(operator))
        try:
            found = times.meant(typed)
        except UsageError as error:
            self._fail(than, error.message, str(error.hint))
        if found is typed and operator in _ORDERED and isinstance(typed.right, Text):
            self._check_number(than)
        return found

    def _check_number(self, token: _Token) -> None:
        """Refuse a number written otherwise: as text it is in no order with numbers."""
        if token.kind == "word" and _LIKE_A_NUMBER.match(token.text):
            meant = "/" not in token.text and apart(token.text)  # with it, rather a date
            hint = f'as in 0.85, 1e-3 or 1.5GB; text that begins so is quoted: "{token.text}"'
            self._fail(token, f"'{token.text}' is no number", SPACED + meant if meant else hint)

    def _right(self, operator: str) -> Operand:
        """Return what stands right of an operator: one word alone is a number or text."""
        token, after = self.token, self._tokens[min(self._place + 1, len(self._tokens) - 1)]
        whole = token.kind == "quoted" or (token.kind == "word" and token.text[:1] != "@")
        if not whole or token.keyword or after.is_sign() or token.is_sign():
            return self._sum()
        self._place += 1
        if operator == "~" or token.kind == "quoted" or number_of(token.text) is None:
            return Text(token.text)
        return Number(token.text)

    def _sum(self) -> Operand:
        return self._signed("+-", lambda: self._signed("*/", self._operand))

    def _signed(self, signs: str, inner: Callable[[], Operand]) -> Operand:
        left = inner()
        while self.token.is_sign(signs):
            sign = self._take().text
            left = Arithmetic(left, sign, inner())
        return left

    def _operand(self) -> Operand:
        token = self.token
        if token.kind == "bracket" and token.text == "(":
            self._deeper()
            found = self._sum()
            self._close()
            return found
        if token.kind not in ("word", "quoted") or token.keyword or token.is_sign():
            self._lacks_value()
        self._place += 1
        if token.kind == "quoted":
            return Field(token.text)
        if UNUSUAL.intersection(token.text):
            self._unusual(token)
        if token.text.startswith("@"):
            return self._reference(token)
        return Field(token.text) if number_of(token.text) is None else Number(token.text)

    def _reference(self, token: _Token) -> Field:
        match = _REFERENCE.fullmatch(token.text)
        name = match.group(2) if match else ""
        following = self.token
        if match and not name and following.kind == "quoted" and following.start == token.end:
            name = self._take().text
        if match is None or not name:
            hint = "as in @best.acc, @latest.acc, @v3.acc or @prod.acc"
            self._fail(token, f"'{token.text}' is no value of a version", hint)
        return Field(name, match.group(1))

    def _unusual(self, token: _Token) -> NoReturn:
        """Refuse what would be a name that no metric has, and so never true."""
        hint = f'a name with such signs is quoted: "{token.text}"'
        if number_of(token.text.removesuffix("%")) is not None:
            hint = "1% of it is written 0.01, and 1% less than prod @prod.acc * 0.99"
        elif meant := apart(token.text):
            hint = SPACED + meant
        self._fail(token, f"'{token.text}' is no name and no number", hint)

    def _holds_condition(self) -> bool:
        """Say whether a bracket is around a condition: a sum has no operator in it."""
        depth = 0
        for token in self._tokens[self._place :]:
            if token.kind == "operator" or token.keyword:
                return True
            if token.kind == "bracket":
                depth += 1 if token.text == "(" else -1
            if depth == 0:
                break
        return False

    def _deeper(self) -> None:
        if self._depth == MAX_DEPTH:
            self._fail(self.token, f"nested deeper than {MAX_DEPTH}", "say it with fewer brackets")
        self._depth += 1
        self._place += 1

    def _close(self) -> None:
        if self.token.text != ")" or self.token.kind != "bracket":
            if self.token.kind == "end":
                self._fail(self.token, "a ')' is missing", "every ( has its )")
            self.unexpected()
        self._depth -= 1
        self._place += 1

    def _take(self) -> _Token:
        self._place += 1
        return self._tokens[self._place - 1]

    def unexpected(self) -> NoReturn:
        shown = self.token.text
        hint = "and or or stands between two conditions; text of several words needs quotes"
        if shown[:1] in SIGNS and number_of(shown[1:]) is not None:
            hint = f"{SPACED}{shown[0]} {shown[1:]}"
        elif (before := self._tokens[self._place - 1]).kind == "word" and before.text[-1] in SIGNS:
            hint = f"{SPACED}{before.text[:-1]} {before.text[-1]} {shown}"
        elif shown == ")":
            hint = "every ) has its ("
        self._fail(self.token, f"'{shown}' was not expected", hint)

    def _lacks_operator(self, start: _Token) -> NoReturn:
        token = self.token
        if token.kind in ("end", "bracket") or token.keyword:
            what = f"'{start.text}' is compared with nothing"
            self._fail(
                token, what, f"as in '{start.text} > 0.9', in quotes; operators are {_OPERATORS}"
            )
        self.unexpected()

    def _lacks_value(self) -> NoReturn:
        token = self.token
        if token.kind == "end":
            what = "the expression is empty" if self._place == 0 else "a value is missing"
            self._fail(token, what, "as in acc > 0.9 and dataset = imagenet-1k")
        hint = f"to compare with '{token.text}' itself, quote it"
        self._fail(token, f"a value is missing before '{token.text}'", hint)

    def _fail(self, token: _Token, what: str, hint: str) -> NoReturn:
        shown = self._text if len(self._text) <= 200 else self._text[:200] + "…"
        raise UsageError(f"'{shown}', column {token.start + 1}: {what}", hint=hint)

    def _cut(self) -> list[_Token]:
        tokens: list[_Token] = []
        start, end = self._next(0), len(self._text.rstrip())
        while start < end:
            match = _TOKEN.match(self._text, start)
            if match is None:
                token = _Token("", self._text[start], start, start + 1)
                what = "a quote is not closed" if token.text in "\"'" else "'!' is no comparison"
                self._fail(token, what, f"text is \"…\" or '…', comparisons are {_OPERATORS}")
            kind, text = str(match.lastgroup), match.group(str(match.lastgroup))
            if kind in ("double", "single"):
                kind, text = "quoted", re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
            tokens.append(_Token(kind, text, start, match.end()))
            start = self._next(match.end())
            if len(tokens) > MAX_WORDS:
                self._fail(tokens[-1], f"more than {MAX_WORDS} words", "ask for less at once")
        return [*tokens, _Token("end", "", end, end)]

    def _next(self, place: int) -> int:
        while self._text[place : place + 1].isspace():
            place += 1
        return place
