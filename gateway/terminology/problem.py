"""Conditions and procedures: to which groups they belong by code, and to which they could belong by their words (rules 3).

Membership is decided by exact code (SNOMED CT) or by ICD block, with and without the dot. A record that belongs to no group by code could
still belong to one if its words contain one of the group's stems (`stems.csv`), or if it has no words at all. Phrases that only mention
a disease (family history, risk, screening, tests) are taken out first (`stem_exclusions.csv`). A code listed for one group may name the
disease of another as well (I11.0, hypertension with heart failure): what the lists leave open that way stands in `possible_codes.csv`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.terminology.code import Code

ICD_CATEGORY_LENGTH = 3  # A00, 410, V45: the part before the dot
BEGINNING_LENGTH = 4
_WORD = re.compile(r"\w+")
NOT_SUFFIX = "_NOT"  # a group `diabetes_NOT` holds codes that must never count as `diabetes`


class IcdBlocks(msgspec.Struct, frozen=True, kw_only=True):
    """The blocks of one ICD system: ranges of categories, and prefixes, both without dots."""

    ranges: tuple[tuple[str, str, str], ...]  # low category, high category, group
    prefixes: Mapping[str, tuple[str, ...]]

    def groups_of(self, code: str) -> tuple[str, ...]:
        """Return the groups of a code, given with or without its dot, in any case."""
        plain = plain_icd(code)
        category = plain[:ICD_CATEGORY_LENGTH]
        if len(category) < ICD_CATEGORY_LENGTH:
            return ()
        found = [group for low, high, group in self.ranges if low <= category <= high]
        for length in range(ICD_CATEGORY_LENGTH, len(plain) + 1):
            found += self.prefixes.get(plain[:length], ())
        return tuple(found)


def plain_icd(code: str) -> str:
    """Return an ICD code in the form the blocks use: no dot, no blanks, upper case."""
    return code.replace(".", "").strip().upper()


def build_icd_blocks(rows: Iterable[tuple[str, str]]) -> IcdBlocks:
    """Build the blocks of one system from (group, list of codes and ranges such as `I70.2,I73.9` or `I20-I25`)."""
    ranges: list[tuple[str, str, str]] = []
    prefixes: dict[str, list[str]] = {}
    for group, cell in rows:
        for part in cell.split(","):
            low, dash, high = part.partition("-")
            if dash:
                ranges.append((plain_icd(low), plain_icd(high), group))
            else:
                prefixes.setdefault(plain_icd(low), []).append(group)
    return IcdBlocks(ranges=tuple(ranges), prefixes={code: tuple(groups) for code, groups in prefixes.items()})


class StemTable(msgspec.Struct, frozen=True, kw_only=True):
    """Per group one pattern of its stems and one of the phrases to take out before looking.

    The other fields tell quickly which groups a text might concern; for most texts there are none. `beginnings`: the first BEGINNING_LENGTH
    letters of stems' first words; `short_words`: first words that are shorter; `anywhere`: stems that may stand inside a word.
    """

    by_group: Mapping[str, tuple[re.Pattern[str], re.Pattern[str] | None]]
    beginnings: Mapping[str, frozenset[str]]
    short_words: Mapping[str, frozenset[str]]
    anywhere: Mapping[str, frozenset[str]]

    def groups_in(self, words: str) -> frozenset[str]:
        """Return the groups whose stems the words contain, in any case."""
        plain = words.lower()
        found = set()
        for group in self._candidates(plain):
            stems, phrases = self.by_group[group]
            if stems.search(phrases.sub(" ", plain) if phrases is not None else plain) is not None:
                found.add(group)
        return frozenset(found)

    def _candidates(self, plain: str) -> set[str]:
        groups: set[str] = set()
        for word in _WORD.findall(plain):
            groups.update(self.beginnings.get(word[:BEGINNING_LENGTH], ()), self.short_words.get(word, ()))
        for stem, concerned in self.anywhere.items():
            if stem in plain:
                groups |= concerned
        return groups


def build_stem_table(stems: Iterable[tuple[str, str, str]], exclusions: Iterable[tuple[str, str]]) -> StemTable:
    """Build the table from (group, stem, place) and (group or `*`, phrase pattern), all in lower case.

    `place`: `start` (a word begins with the stem), `word` (the whole word), `inside` (anywhere).
    """
    patterns: dict[str, list[str]] = {}
    beginnings: dict[str, set[str]] = {}
    short_words: dict[str, set[str]] = {}
    anywhere: dict[str, set[str]] = {}
    for group, stem, place in stems:
        words = re.escape(stem).replace(r"\ ", r"[\s-]+")
        patterns.setdefault(group, []).append({"start": rf"\b{words}", "word": rf"\b{words}\b", "inside": words}[place])
        first = _WORD.findall(stem)[0]
        if place == "inside":
            anywhere.setdefault(stem, set()).add(group)
        elif len(first) >= BEGINNING_LENGTH:
            beginnings.setdefault(first[:BEGINNING_LENGTH], set()).add(group)
        else:
            short_words.setdefault(first, set()).add(group)
    phrases: dict[str, list[str]] = {}
    for group, pattern in exclusions:
        for name in patterns if group == "*" else (group,):
            phrases.setdefault(name, []).append(pattern)
    return StemTable(
        by_group={group: (_join(found), _join(phrases[group]) if group in phrases else None) for group, found in patterns.items()},
        beginnings=_frozen(beginnings),
        short_words=_frozen(short_words),
        anywhere=_frozen(anywhere),
    )


def _frozen(index: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    return {key: frozenset(groups) for key, groups in index.items()}


def _join(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


class ProblemTable(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to place a condition or procedure."""

    exact: Mapping[tuple[str, str], tuple[str, ...]]
    icd: Mapping[str, IcdBlocks]
    stems: StemTable
    possible_exact: Mapping[tuple[str, str], tuple[str, ...]]
    possible_icd: Mapping[str, IcdBlocks]

    def groups_of(self, system: str, code: str) -> tuple[str, ...]:
        """Return the groups of one code of a canonical system."""
        blocks = self.icd.get(system)
        return blocks.groups_of(code) if blocks is not None else self.exact.get((system, code), ())

    def place(self, codes: Sequence[Code], text: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return (groups it belongs to by code, groups it could belong to by its words or for lack of any)."""
        groups = frozenset(group for code in codes for group in self.groups_of(code.system, code.code))
        words = " | ".join(filter(None, (*(code.display.strip() for code in codes), text.strip())))
        anything = frozenset() if groups else frozenset(self.stems.by_group)
        possible = (self.stems.groups_in(words) if words else anything) | self._possible_by_code(codes)
        excluded = {group.removesuffix(NOT_SUFFIX) for group in groups if group.endswith(NOT_SUFFIX)}
        return groups, possible - groups - excluded

    def _possible_by_code(self, codes: Sequence[Code]) -> frozenset[str]:
        found: set[str] = set()
        for code in codes:
            blocks = self.possible_icd.get(code.system)
            found.update(blocks.groups_of(code.code) if blocks is not None else self.possible_exact.get((code.system, code.code), ()))
        return frozenset(found)
